"""Random changes of a mesh, one at a time: what operators, rollouts and nodes do to it all day."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random  # noqa: TID251 — takes its seed as an argument

import msgspec

from controlplane.model.problem import ObjectRef
from tests.meshes.edges import add_gateway, add_sidecar
from tests.meshes.entries import add_entry
from tests.meshes.making import Making
from tests.meshes.mesh import Manifests, Mesh
from tests.meshes.policies import add_destination_rule, policy
from tests.meshes.routing import add_virtual_service, destinations, http_route
from tests.meshes.security import add_peer_authentication, mode
from tests.meshes.services import add_service, endpoint
from tests.meshes.tokens import add_request_authentication
from tests.meshes.words import ENTRIES, SERVICES, TIERS, VERSIONS, Json


class Edit(msgspec.Struct, frozen=True):
    """What was done, and the manifests it concerns; None is one that is gone."""

    what: str
    manifests: dict[ObjectRef, Json | None]


def changes(mesh: Mesh, seed: int, count: int) -> Iterator[Edit]:
    """One change after the other; each knows what those before it did. The mesh itself stays as it is."""
    rng = Random(seed)
    making = Making(rng, mesh.making.ground)
    making.manifests = dict(mesh.manifests)
    making.hosts = list(mesh.making.hosts)
    making.namespaces = list(mesh.making.namespaces)
    making.gateways = list(mesh.making.gateways)
    making._numbers = 1000
    gone: list[Json] = []
    for _ in range(count):
        edit = _one(rng, making, gone)
        making.manifests = apply(making.manifests, edit)
        yield edit


def apply(manifests: Manifests, edit: Edit) -> dict[ObjectRef, Json]:
    """The manifests after a change."""
    after = {**manifests, **edit.manifests}
    return {ref: manifest for ref, manifest in after.items() if manifest is not None}


def _one(rng: Random, making: Making, gone: list[Json]) -> Edit:
    while True:
        kind = rng.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
        before = dict(making.manifests)
        found = KINDS[kind][0](rng, making, gone)
        if found is None:  # nothing of the kind is there
            continue
        changed = {ref: one for ref, one in making.manifests.items() if before.get(ref) is not one} | found
        making.manifests = before
        return Edit(kind, changed)


Changed = dict[ObjectRef, Json | None] | None
_Change = Callable[[Random, Making, list[Json]], Changed]


def _create(rng: Random, making: Making, _: list[Json]) -> Changed:
    rng.choice(
        (
            lambda: add_virtual_service(making),
            lambda: add_destination_rule(making, rng.choice(making.hosts)),
            lambda: add_service(making, making.namespace(), rng.choice(SERVICES)),
            lambda: add_entry(making, making.namespace(), rng.choice(ENTRIES)),
            lambda: add_gateway(making),
            lambda: add_sidecar(making, making.namespace()),
            lambda: add_request_authentication(making),
        )
    )()
    return {}


def _delete(rng: Random, making: Making, gone: list[Json]) -> Changed:
    ref = rng.choice(list(making.manifests))
    gone.append(making.manifests[ref])
    return {ref: None}


def _bring_back(rng: Random, making: Making, gone: list[Json]) -> Changed:
    if not gone:
        return None
    manifest = gone.pop(rng.randrange(len(gone)))
    group = manifest["apiVersion"].rpartition("/")[0]
    meta = manifest["metadata"]
    ref = ObjectRef(group, manifest["kind"], meta.get("namespace", ""), meta["name"])
    return {ref: manifest}


def _edit(kind: str, change: Callable[[Random, Making, Json], bool]) -> _Change:
    """Edits one object of a kind in place, as `kubectl edit` does."""

    def edited(rng: Random, making: Making, _: list[Json]) -> Changed:
        refs = [ref for ref in making.manifests if ref.kind == kind]
        if not refs:
            return None
        ref = rng.choice(refs)
        manifest = deepcopy(making.manifests[ref])
        return {ref: manifest} if change(rng, making, manifest) else None

    return edited


def _weight(rng: Random, _: Making, manifest: Json) -> bool:
    routes = [
        one
        for kind in ("http", "tcp", "tls")
        for rule in manifest["spec"].get(kind, ())
        for one in rule.get("route", ())
    ]
    if not routes:
        return False
    rng.choice(routes)["weight"] = rng.choice((1, 5, 37, 100))
    return True


def _rules(rng: Random, making: Making, manifest: Json) -> bool:
    rules = manifest["spec"].get("http")
    if not rules:
        return False
    target = rng.choice(making.hosts)
    delegate = not manifest["spec"].get("hosts")
    new = (
        {"route": destinations(making, target)}
        if delegate
        else http_route(making, target, manifest["metadata"]["namespace"])
    )
    rules[rng.randrange(len(rules))] = new
    if rng.random() < 0.3:
        rng.shuffle(rules)
    return True


def _policy(rng: Random, making: Making, manifest: Json) -> bool:
    hosts = {host.name: host for host in making.hosts}
    host = hosts.get(manifest["spec"]["host"], making.hosts[0])
    manifest["spec"]["trafficPolicy"] = policy(rng, host._replace(ports=()))
    if manifest["spec"].get("subsets") and rng.random() < 0.4:
        manifest["spec"]["subsets"].pop(rng.randrange(len(manifest["spec"]["subsets"])))
    return True


def _relabel(rng: Random, _: Making, manifest: Json) -> bool:
    labels = manifest["metadata"]["labels"]
    labels["version"] = rng.choice(VERSIONS)
    labels.pop("tier", None)
    if rng.random() < 0.5:
        labels["tier"] = rng.choice(TIERS)
    return True


def _flap(rng: Random, making: Making, manifest: Json) -> bool:
    """Readiness comes and goes, endpoints too."""
    namespace, service = manifest["metadata"]["namespace"], manifest["metadata"]["labels"]["kubernetes.io/service-name"]
    pods = [
        one
        for ref, one in making.manifests.items()
        if ref.kind == "Pod" and ref.namespace == namespace and one["metadata"]["labels"].get("app") == service
    ]
    manifest["endpoints"] = [endpoint(rng, pod) for pod in rng.sample(pods, rng.randint(0, len(pods)))]
    return True


def _service(rng: Random, _: Making, manifest: Json) -> bool:
    spec = manifest["spec"]
    if not spec.get("ports"):
        return False
    if len(spec["ports"]) > 1 and rng.random() < 0.5:
        spec["ports"].pop(rng.randrange(len(spec["ports"])))
    else:
        spec["sessionAffinity"] = rng.choice(("None", "ClientIP"))
        spec["ports"][0]["name"] = rng.choice(("http", "tcp", "grpc", "anything"))
        names = [port["name"] for port in spec["ports"]]
        return len(set(names)) == len(names)
    return True


def _servers(rng: Random, making: Making, manifest: Json) -> bool:
    servers = manifest["spec"]["servers"]
    if len(servers) > 1 and rng.random() < 0.5:
        servers.pop(rng.randrange(len(servers)))
    else:
        servers[0]["hosts"] = [rng.choice(("*", "shop.example.com", "./www.example.com", "*.example.com"))]
    return True


def _sidecar(rng: Random, making: Making, manifest: Json) -> bool:
    manifest["spec"]["egress"][-1]["hosts"] = [rng.choice(("*/*", "./*", f"{making.namespace()}/*"))]
    return True


def _mode(rng: Random, _: Making, manifest: Json) -> bool:
    manifest["spec"]["mtls"] = mode(rng)
    return True


def _peers(rng: Random, making: Making, _: list[Json]) -> Changed:
    add_peer_authentication(making, rng)
    return {}


def _delete_namespace(rng: Random, making: Making, gone: list[Json]) -> Changed:
    """All that is in it goes at once, as the API server's namespace controller does."""
    namespace = making.namespace()
    refs = [
        ref
        for ref in making.manifests
        if ref.namespace == namespace or (ref.kind, ref.name) == ("Namespace", namespace)
    ]
    gone.extend(making.manifests[ref] for ref in refs)
    return dict.fromkeys(refs) if refs else None


KINDS: dict[str, tuple[_Change, float]] = {
    "create": (_create, 4),
    "delete": (_delete, 3),
    "bring back": (_bring_back, 3),
    "weight": (_edit("VirtualService", _weight), 3),
    "rules": (_edit("VirtualService", _rules), 4),
    "policy": (_edit("DestinationRule", _policy), 3),
    "relabel": (_edit("Pod", _relabel), 3),
    "flap": (_edit("EndpointSlice", _flap), 4),
    "service": (_edit("Service", _service), 2),
    "gateway": (_edit("Gateway", _servers), 2),
    "sidecar": (_edit("Sidecar", _sidecar), 1),
    "peers": (_peers, 1.5),
    "mode": (_edit("PeerAuthentication", _mode), 1.5),
    "delete namespace": (_delete_namespace, 0.7),
}
