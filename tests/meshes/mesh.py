"""One random mesh: all its parts, and the proxies that are connected."""

from collections.abc import Mapping
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

import msgspec

from controlplane.model.decode import decode
from controlplane.model.problem import Level, ObjectRef
from controlplane.model.proxy import InterceptionMode, Locality, Proxy, ProxyType
from tests.meshes.edges import add_explicit_sidecar, add_gateways, add_sidecars
from tests.meshes.entries import add_entries
from tests.meshes.ground import Ground
from tests.meshes.making import Making
from tests.meshes.policies import add_policies
from tests.meshes.routing import add_routing
from tests.meshes.security import add_security
from tests.meshes.services import REGIONS, add_namespaces, add_nodes, add_services
from tests.meshes.tokens import add_tokens
from tests.meshes.words import HOME, INGRESS, TIERS, Json, maybe

Manifests = Mapping[ObjectRef, Json]


class Mesh(msgspec.Struct, frozen=True):
    """Manifests by reference, and who is connected."""

    seed: int
    manifests: Manifests
    proxies: tuple[Proxy, ...]
    making: Making  # for changes that go on where the making stopped

    def objects(self) -> dict[ObjectRef, Any]:
        return {ref: decoded(manifest) for ref, manifest in self.manifests.items()}


def decoded(manifest: Json) -> Any:
    """The value of a manifest. A mistake in it is a fault of the generator."""
    found = decode(manifest)
    errors = [problem for problem in found.problems if problem.level is Level.ERROR]
    assert found.value is not None, (found.problems, manifest)
    assert not errors, (errors, manifest)
    return found.value


def random_mesh(seed: int, ground: Ground | None = None, *, services: int = 7, routing: int = 8) -> Mesh:
    """A mesh of at most so many Services and VirtualServices."""
    making = Making(Random(seed), ground or Ground())
    add_nodes(making)
    add_namespaces(making)
    add_services(making, services)
    add_entries(making, 3)
    add_gateways(making, 3)
    add_routing(making, routing)
    add_policies(making)
    add_sidecars(making)
    add_security(making, Random(f"{seed}, who proves what"))
    proxies = (*_captured(making), _explicit(making), _gateway(making))
    add_tokens(making)
    return Mesh(seed, making.manifests, proxies, making)


def _captured(making: Making) -> list[Proxy]:
    """A sidecar beside one of the Pods, and one that only its node message describes."""
    rng = making.rng
    pods = [manifest for ref, manifest in making.manifests.items() if ref.kind == "Pod"]
    found = []
    if pods:
        pod = rng.choice(pods)
        meta = pod["metadata"]
        found.append(
            _proxy(ProxyType.SIDECAR, meta["namespace"], meta["name"], pod["status"]["podIP"], labels=meta["labels"])
        )
    labels = {"app": "caller", **maybe(rng, 0.5, tier=rng.choice(TIERS))}
    metadata = maybe(rng, 0.3, HTTP_PROXY_PORT="15080")
    locality = Locality.parse(rng.choice((*REGIONS, "")))
    address = f"{making.ground.bind}.1"
    found.append(
        _proxy(
            ProxyType.SIDECAR,
            HOME,
            "caller",
            address,
            labels=labels,
            metadata=metadata,
            locality=locality,
        )
    )
    return found


def _explicit(making: Making) -> Proxy:
    """A sidecar without traffic capture, as on a laptop."""
    namespace, address = HOME, f"{making.ground.bind}.2"
    add_explicit_sidecar(making, namespace, "one", address)
    return _proxy(
        ProxyType.SIDECAR,
        namespace,
        "alone",
        address,
        labels={"app": "alone", "alone": "one"},
        interception=InterceptionMode.NONE,
        metadata={"INTERCEPTION_MODE": "NONE", **maybe(making.rng, 0.6, HTTP_PROXY_PORT="15081")},
    )


def _gateway(making: Making) -> Proxy:
    address = f"{making.ground.bind}.3"
    metadata = {"LATEEN_BIND_ADDRESS": address, "LATEEN_PORT_OFFSET": "10000"}
    return _proxy(ProxyType.ROUTER, INGRESS, "gateway", address, labels={"istio": "ingressgateway"}, metadata=metadata)


def _proxy(kind: ProxyType, namespace: str, name: str, ip: str, **fields: Any) -> Proxy:
    domain = f"{namespace}.svc.cluster.local"
    return Proxy(
        id=f"{kind.value}~{ip}~{name}.{namespace}~{domain}",
        type=kind,
        namespace=namespace,
        name=name,
        ips=(ip,),
        dns_domain=domain,
        **fields,
    )
