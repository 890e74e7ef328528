"""Who proves what: sidecars before some workloads, accounts, and PeerAuthentications at every level."""

from copy import deepcopy
from random import Random  # noqa: TID251 — takes its seed as an argument

from tests.meshes.making import Making
from tests.meshes.words import NAMESPACES, ROOT, SERVICES, VERSIONS, Json, maybe, one_of

TRUST_DOMAINS = ("cluster.local", "old.example")
ACCOUNTS = ("default", "a", "b")
TLS_MODE = "security.istio.io/tlsMode"
# Whatever a workload of these meshes may prove, for servers that stand for all of them.
IDENTITIES = tuple(
    f"spiffe://{domain}/ns/{namespace}/sa/{account}"
    for domain in TRUST_DOMAINS
    for namespace in NAMESPACES
    for account in ACCOUNTS
)
_MODES = ("DISABLE", "PERMISSIVE", "PERMISSIVE", "STRICT", "STRICT", "UNSET")


def add_security(making: Making, rng: Random) -> None:
    """On top of a mesh that is there: what was random before stays as it was."""
    before = dict(making.manifests)
    for ref, manifest in before.items():
        if ref.kind in _SECURED:
            making.manifests[ref] = secured = deepcopy(manifest)
            _SECURED[ref.kind](secured, rng)
    for _ in range(rng.randint(0, 3)):
        add_peer_authentication(making, rng)


def add_peer_authentication(making: Making, rng: Random) -> None:
    """Of the mesh, a namespace, or workloads; some of them with ports."""
    level = one_of(rng, {"mesh": 1.0, "namespace": 2.0, "workload": 3.0})
    namespace = ROOT if level == "mesh" else rng.choice(making.namespaces)
    spec: Json = {**maybe(rng, 0.8, mtls=mode(rng))}
    if level == "workload":
        spec["selector"] = {
            "matchLabels": rng.choice(({"app": rng.choice(SERVICES)}, {"version": rng.choice(VERSIONS)}))
        }
        ports = rng.sample((*making.ground.ports, 7777), rng.randint(1, 2))
        spec |= maybe(rng, 0.4, portLevelMtls={str(port): mode(rng) for port in ports})
    making.add("PeerAuthentication", namespace, f"peers-{making.number()}", spec=spec)


def mode(rng: Random) -> Json:
    return {"mode": rng.choice(_MODES)}


def _pod(manifest: Json, rng: Random) -> None:
    manifest["metadata"]["labels"] |= maybe(rng, 0.6, **{TLS_MODE: "istio"})
    manifest["spec"] |= maybe(rng, 0.6, serviceAccountName=rng.choice(ACCOUNTS))


def _workload_entry(manifest: Json, rng: Random) -> None:
    manifest["spec"]["labels"] |= maybe(rng, 0.5, **{TLS_MODE: "istio"})
    manifest["spec"] |= maybe(rng, 0.5, serviceAccount=rng.choice(ACCOUNTS))


def _service_entry(manifest: Json, rng: Random) -> None:
    for endpoint in manifest["spec"].get("endpoints", ()):
        endpoint["labels"] |= maybe(rng, 0.5, **{TLS_MODE: "istio"})
        endpoint.update(maybe(rng, 0.5, serviceAccount=rng.choice(ACCOUNTS)))


def _destination_rule(manifest: Json, rng: Random) -> None:
    policy = manifest["spec"].get("trafficPolicy")
    if policy is not None and rng.random() < 0.15:
        sans = ["spiffe://cluster.local/ns/alpha/sa/a", "any.example.com"]
        policy["tls"] = {
            "mode": "ISTIO_MUTUAL",
            **maybe(rng, 0.2, sni="by.rule"),
            **maybe(rng, 0.2, subjectAltNames=sans),
        }


def _gateway(manifest: Json, rng: Random) -> None:
    for server in manifest["spec"]["servers"]:
        if server.get("tls", {}).get("mode") == "SIMPLE" and rng.random() < 0.3:
            server["tls"] = {"mode": "ISTIO_MUTUAL", **maybe(rng, 0.2, minProtocolVersion="TLSV1_3")}


_SECURED = {
    "Pod": _pod,
    "WorkloadEntry": _workload_entry,
    "ServiceEntry": _service_entry,
    "DestinationRule": _destination_rule,
    "Gateway": _gateway,
}
