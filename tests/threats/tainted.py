"""Meshes whose Secrets can be recognised wherever they turn up, and whose users try to get at each other's.

Every part of every Secret holds a marker with the name of its namespace. Gateways, DestinationRules and streams name
Secrets in every way that somebody might take for a namespace, a path or another Secret.
"""

from collections.abc import Iterator, Mapping
from random import Random  # noqa: TID251  the same meshes for the same seed
from typing import Any, Final

from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from tests.secrets import pair, secret

NAMESPACES: Final = ("alpha", "beta", "gamma", "alph", "alphab")
SECRETS: Final = ("key", "other", "key-cacert", "alpha", "beta")
ACCOUNT: Final = "edge"
_MESH: Final = "networking.istio.io/v1"
_LOOKALIKES: Final = {"a": "\u0430", "e": "\u0435", "k": "\u212a", "/": "\u2215", ".": "\u2024", "y": "\uff59"}

# What may stand between a namespace and a name; and what may stand before both.
_JOINTS: Final = (
    "/",
    "//",
    "%2f",
    "%2F",
    "%252f",
    "\\",
    "\u2215",
    "\u2044",
    "/./",
    "/../",
    ".",
    ":",
    "~",
    "\0",
    "|",
    "@",
)
_FRONTS: Final = (
    "",
    "kubernetes://",
    "kubernetes:/",
    "kubernetes:///",
    "KUBERNETES://",
    "kubernetes-gateway://",
    "secret://",
    "spiffe://",
    "file-cert:",
    "file-root:",
    "../",
    "/",
    "./",
    "*",
    "sds-grpc:",
    "kubernetes://kubernetes://",
)
_ENDS: Final = (
    "",
    "-cacert",
    "-cacert-cacert",
    "/",
    "\0",
    "\0-cacert",
    " ",
    ".",
    "%00",
    "?x",
    "#x",
    "\n",
    "*",
    "\u200b",
)


def marker(namespace: str, *what: object) -> str:
    """Text that says where it is from; `markers_of` finds it again."""
    return f"<<{namespace}|{'|'.join(map(str, what))}>>"


def markers_of(payload: bytes) -> set[str]:
    """Namespaces of all markers in some bytes."""
    found = set()
    at = payload.find(b"<<")
    while at >= 0:
        end = payload.index(b"|", at)
        found.add(payload[at + 2 : end].decode())
        at = payload.find(b"<<", end)
    return found


def mutation(random: Random) -> str:
    """A name of a Secret as nobody ought to write it."""
    namespace, name = random.choice(NAMESPACES), random.choice(SECRETS)
    body = random.choice((name, f"{namespace}{random.choice(_JOINTS)}{name}"))
    made = random.choice(_FRONTS) + body + random.choice(_ENDS)
    match random.randrange(8):
        case 0:
            made = made.upper()
        case 1:
            letter = random.choice(sorted(_LOOKALIKES))
            made = made.replace(letter, _LOOKALIKES[letter], 1)
        case 2:
            place = random.randrange(len(made) + 1)
            made = made[:place] + random.choice("\0/%.~ *\u202e\ud7ff") + made[place:]
        case 3 if made:
            place = random.randrange(len(made))
            made = made[:place] + made[place + 1 :]
        case 4:
            made = made * random.randrange(2, 4)
    return made


class Tainted:
    """One such mesh; it changes when asked to."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._count = 0

    def settings(self) -> Mapping[str, Any]:
        return {
            "scopeGatewayToNamespace": self._random.random() < 0.2,
            "tenancy": self._random.choice(("owner", "istio")),
            "workloadCertificates": self._random.random() < 0.5,
        }

    def first(self) -> dict[ObjectRef, Any]:
        """All of it."""
        documents = [
            *(_pod(namespace, kind) for namespace in NAMESPACES for kind in ("router", "sidecar")),
            *(_service(namespace) for namespace in NAMESPACES),
            *(self._secret(namespace, name) for namespace in NAMESPACES for name in SECRETS),
            *(self._gateway(number) for number in range(8)),
            *(self._virtual_service(number) for number in range(4)),
            *(self._destination_rule(number) for number in range(6)),
        ]
        return dict(_decoded(document) for document in documents)

    def change(self) -> dict[ObjectRef, Any]:
        """One object is another, or gone."""
        random = self._random
        kind = random.randrange(4)
        if kind == 0:
            return dict([_decoded(self._gateway(random.randrange(8)))])
        if kind == 1:
            return dict([_decoded(self._destination_rule(random.randrange(6)))])
        namespace, name = random.choice(NAMESPACES), random.choice(SECRETS)
        if kind == 2:
            return {ObjectRef("", "Secret", namespace, name): None}
        return dict([_decoded(self._secret(namespace, name))])

    def _secret(self, namespace: str, name: str) -> dict[str, Any]:
        self._count += 1
        kinds = (("tls.crt", "tls.key"), ("tls.crt", "tls.key", "ca.crt"), ("cert", "key", "cacert"), ("cacert",))
        keys = self._random.choice((*kinds, ("ca.crt", "tls.key"), ("tls.crt",), ("password",)))
        data = {key: _marked(key, marker(namespace, name, key, self._count)) for key in keys}
        return secret(name, namespace, **data)

    def _credential(self) -> str:
        """Half of them are right."""
        return self._random.choice(SECRETS) if self._random.random() < 0.5 else mutation(self._random)

    def _gateway(self, number: int) -> dict[str, Any]:
        random = self._random
        selectors: tuple[dict[str, str], ...] = ({}, {"istio": "ingressgateway"}, {"in": random.choice(NAMESPACES)})
        servers = [self._server(number, port) for port in range(random.randrange(1, 3))]
        return _object("Gateway", number, random, selector=random.choice(selectors), servers=servers)

    def _server(self, number: int, port: int) -> dict[str, Any]:
        random = self._random
        tls: dict[str, Any] = {"mode": random.choice(("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"))}
        match random.randrange(4):
            case 0:
                tls["credentialNames"] = [self._credential() for _ in range(2)]
            case 1:
                tls["caCertCredentialName"] = self._credential()
                tls["credentialName"] = self._credential()
            case _:
                tls["credentialName"] = self._credential()
        hosts = [random.choice(("*", f"h{number}.example.com", "./h.example.com"))]
        name = {"number": 443 + port, "name": f"https-{port}", "protocol": random.choice(("HTTPS", "TLS"))}
        return {"port": name, "hosts": hosts, "tls": tls}

    def _virtual_service(self, number: int) -> dict[str, Any]:
        random = self._random
        gateways = [f"{random.choice(NAMESPACES)}/o{random.randrange(8)}" for _ in range(2)]
        host = f"web.{random.choice(NAMESPACES)}.svc.cluster.local"
        route = {"route": [{"destination": {"host": host, "port": {"number": 80}}}]}
        return _object("VirtualService", number, random, hosts=["*"], gateways=gateways, http=[route], tcp=[route])

    def _destination_rule(self, number: int) -> dict[str, Any]:
        random = self._random
        tls = {"mode": random.choice(("SIMPLE", "MUTUAL")), "credentialName": self._credential()}
        host = f"web.{random.choice(NAMESPACES)}.svc.cluster.local"
        spec: dict[str, Any] = {"host": host, "trafficPolicy": {"tls": tls}}
        if random.random() < 0.3:
            spec["workloadSelector"] = {"matchLabels": {"app": "web"}}
        return _object("DestinationRule", number, random, **spec)


def _object(kind: str, number: int, random: Random, **spec: Any) -> dict[str, Any]:
    meta = {"name": f"o{number}", "namespace": random.choice(NAMESPACES)}
    return {"apiVersion": _MESH, "kind": kind, "metadata": meta, "spec": spec}


def _pod(namespace: str, kind: str) -> dict[str, Any]:
    gateway = kind == "router"
    meta: dict[str, Any] = {"name": pod_name(kind), "namespace": namespace, "labels": {"app": "web", "in": namespace}}
    if gateway:
        meta["labels"]["istio"] = "ingressgateway"
        meta["annotations"] = {"inject.istio.io/templates": "gateway"}
    address = f"10.0.{NAMESPACES.index(namespace)}.{int(gateway) + 1}"
    status = {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"serviceAccountName": ACCOUNT},
        "status": status,
    }


def pod_name(kind: str) -> str:
    return f"{kind}-0"


def _service(namespace: str) -> dict[str, Any]:
    spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}], "clusterIP": "10.96.0.1"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace}, "spec": spec}


def _marked(key: str, text: str) -> bytes:
    """Good PEM, after a line that says where it is from."""
    return f"{text}\n".encode() + (pair().key_pem if "key" in key else pair().pem)


def _decoded(document: Mapping[str, Any]) -> tuple[ObjectRef, Any]:
    value: Any = decode(document).value
    assert value is not None, document
    return ref_of(value), value


def all_names() -> Iterator[str]:
    """The SDS names that would be right somewhere."""
    for name in SECRETS:
        yield f"kubernetes://{name}"
        yield f"kubernetes://{name}-cacert"
