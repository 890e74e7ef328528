"""A mesh under way: its manifests, and what later parts want to know of earlier ones."""

from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any, NamedTuple

from controlplane.model.problem import ObjectRef
from tests.meshes.ground import Ground
from tests.meshes.words import HOME, NAMESPACES, Json

VERSIONS_SERVED = {
    "Service": "v1",
    "Pod": "v1",
    "Namespace": "v1",
    "Node": "v1",
    "Secret": "v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "RequestAuthentication": "security.istio.io/v1",
    "PeerAuthentication": "security.istio.io/v1",
}
ISTIO = "networking.istio.io/v1"


class Port(NamedTuple):
    """A port callers may dial."""

    number: int
    name: str
    speaks: str  # "http", "grpc", "tcp", "tls", "auto", "udp"


class Host(NamedTuple):
    """A name callers may use."""

    name: str  # fully qualified
    short: str  # as its own namespace calls it
    namespace: str
    ports: tuple[Port, ...]
    has_subsets: bool = False


class Making:
    """What has been made so far."""

    def __init__(self, rng: Random, ground: Ground) -> None:
        self.rng = rng
        self.ground = ground
        self.manifests: dict[ObjectRef, Json] = {}
        self.hosts: list[Host] = []
        self.namespaces: list[str] = [HOME, *rng.sample([one for one in NAMESPACES if one != HOME], rng.randint(1, 2))]
        self.gateways: list[Json] = []
        self._places = ground.places()
        self._numbers = 0

    def add(self, kind: str, namespace: str, name: str, *, meta: Json | None = None, **body: Any) -> Json:
        """A manifest, from its body; replaces one of the same name. Some know their age, files never do."""
        api = VERSIONS_SERVED.get(kind, ISTIO)
        metadata: Json = {"name": name, **({"namespace": namespace} if namespace else {}), **(meta or {})}
        if self.rng.random() < 0.5:
            metadata["creationTimestamp"] = f"2026-01-0{self.rng.randint(1, 5)}T00:00:00Z"
        made = {"apiVersion": api, "kind": kind, "metadata": metadata, **body}
        group = api.rpartition("/")[0]
        self.manifests[ObjectRef(group, kind, namespace, name)] = made
        return made

    def number(self) -> int:
        """A number not given out before."""
        self._numbers += 1
        return self._numbers

    def place(self) -> str:
        """Address of a workload."""
        return next(self._places)

    def virtual(self) -> str:
        number = self.number()
        return f"{self.ground.virtual}.{number // 250}.{1 + number % 250}"

    def namespace(self) -> str:
        return self.rng.choice(self.namespaces)
