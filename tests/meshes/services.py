"""What Kubernetes knows: namespaces, nodes, Services of all kinds, Pods, and endpoints in every state."""

from random import Random  # noqa: TID251 — takes its seed as an argument

from tests.meshes.making import Host, Making, Port
from tests.meshes.words import INGRESS, ROOT, SERVICES, TIERS, VERSIONS, Json, maybe, one_of, some

_PORTS = (
    *(Port(80, "http", "http"), Port(80, "http", "http"), Port(8080, "http-web", "http"), Port(9090, "grpc", "grpc")),
    *(Port(80, "web", "auto"), Port(5000, "main", "auto"), Port(7000, "tcp", "tcp"), Port(9000, "tcp-data", "tcp")),
    *(Port(443, "https", "tls"), Port(8443, "tls-x", "tls"), Port(3306, "mysql", "tcp"), Port(53, "dns", "udp")),
    *(Port(8081, "http2", "http"), Port(27017, "mongo", "tcp"), Port(8888, "grpc-web", "http")),
)
_APP_PROTOCOLS = {
    "http": "http",
    "kubernetes.io/h2c": "http",
    "tcp": "tcp",
    "https": "tls",
    "grpc": "grpc",
    "odd": "auto",
}
REGIONS = ("west/a", "west/b", "east/a")


def add_nodes(making: Making) -> None:
    for index, place in enumerate(REGIONS):
        region, zone = place.split("/")
        labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": f"{region}-{zone}"}
        making.add("Node", "", f"node-{index}", meta={"labels": labels})


def add_namespaces(making: Making) -> None:
    for name in (*making.namespaces, ROOT, INGRESS):
        making.add("Namespace", "", name)


def add_services(making: Making, most: int) -> None:
    taken = [(namespace, name) for namespace in making.namespaces for name in SERVICES]
    for namespace, name in some(making.rng, taken, most, least=min(3, most)):
        add_service(making, namespace, name)


def add_service(making: Making, namespace: str, name: str) -> None:
    """One Service; with workloads, unless it is another name for something else."""
    rng = making.rng
    kind = one_of(rng, {"ClusterIP": 8.0, "Headless": 1.5, "ExternalName": 1.0})
    ports = _ports(rng)
    host = Host(f"{name}.{namespace}.svc.cluster.local", name, namespace, tuple(p for p in ports if p.speaks != "udp"))
    if kind == "ExternalName":
        making.add("Service", namespace, name, spec=_external_name(making, ports))
        making.hosts.append(host)
        return
    targets = {port.name: rng.choice((making.ground.ports[0], making.ground.ports[1], "web")) for port in ports}
    spec: Json = {
        "clusterIP": "None" if kind == "Headless" else making.virtual(),
        "selector": {"app": name},
        "ports": [_port(rng, port, targets[port.name]) for port in ports],
        **maybe(rng, 0.15, sessionAffinity="ClientIP"),
        **maybe(rng, 0.1, internalTrafficPolicy="Local"),
        **maybe(rng, 0.15, trafficDistribution=rng.choice(("PreferClose", "PreferSameZone", "PreferSameNode"))),
        **maybe(rng, 0.1, publishNotReadyAddresses=True),
    }
    exported = rng.choice((".", "*", "beta", "~")) if rng.random() < 0.15 else "*"
    annotations = {} if exported == "*" else {"annotations": {"networking.istio.io/exportTo": exported}}
    making.add("Service", namespace, name, meta=annotations, spec=spec)
    pods = [_pod(making, namespace, name, version) for version in some(rng, VERSIONS, 3)]
    for number in range(rng.choice((1, 1, 1, 2))):
        add_slice(
            making, namespace, name, number, {port.name: _number(making, targets[port.name]) for port in ports}, pods
        )
    making.hosts.append(host._replace(has_subsets=rng.random() < 0.6))


def _ports(rng: Random) -> list[Port]:
    """One name and one number each."""
    found: dict[int, Port] = {}
    for port in some(rng, _PORTS, 4):
        if port.name not in {other.name for other in found.values()}:
            found.setdefault(port.number, port)
    return list(found.values())


def _port(rng: Random, port: Port, target: int | str) -> Json:
    made: Json = {"name": port.name, "port": port.number, "targetPort": target}
    if port.speaks == "udp":
        return {**made, "protocol": "UDP"}
    fitting = [name for name, speaks in _APP_PROTOCOLS.items() if speaks == port.speaks]
    return {**made, **(maybe(rng, 0.2, appProtocol=rng.choice(fitting)) if fitting else {})}


def _external_name(making: Making, ports: list[Port]) -> Json:
    rng = making.rng
    inside = [host.name for host in making.hosts]
    names = inside or [making.place()]  # real ground has no names to resolve
    if not making.ground.real:
        names = [*names, "elsewhere.example.com", "api.example.com"]
    declared = [_port(rng, port, port.number) for port in ports] if rng.random() < 0.9 else []
    return {"type": "ExternalName", "externalName": rng.choice(names), **({"ports": declared} if declared else {})}


def _pod(making: Making, namespace: str, app: str, version: str) -> Json:
    rng = making.rng
    labels = {"app": app, "version": version, **maybe(rng, 0.3, tier=rng.choice(TIERS))}
    name = f"{app}-{version}-{making.number()}"
    ip = making.place()
    node = f"node-{rng.randrange(len(REGIONS))}"
    container = {"name": "app", "ports": [{"name": "web", "containerPort": making.ground.ports[0]}]}
    status = {"phase": "Running", "podIP": ip}
    return making.add(
        "Pod",
        namespace,
        name,
        meta={"labels": labels},
        spec={"nodeName": node, "containers": [container]},
        status=status,
    )


def _number(making: Making, target: int | str) -> int:
    return target if isinstance(target, int) else making.ground.ports[0]


def add_slice(
    making: Making, namespace: str, service: str, number: int, ports: dict[str, int], pods: list[Json]
) -> None:
    """Endpoints in every state a rollout passes through."""
    rng = making.rng
    chosen = some(rng, range(len(pods)), len(pods), least=0 if rng.random() < 0.1 else 1)
    making.add(
        "EndpointSlice",
        namespace,
        f"{service}-{number}",
        meta={"labels": {"kubernetes.io/service-name": service}},
        addressType="IPv4",
        ports=[{"name": name, "port": port} for name, port in ports.items()],
        endpoints=[endpoint(rng, pods[index]) for index in chosen],
    )


def endpoint(rng: Random, pod: Json) -> Json:
    """A Pod as an endpoint: ready, starting, draining, or gone but still there."""
    ready, serving, terminating = rng.choice(
        ((True, True, False),) * 6 + ((False, False, False), (False, True, True), (False, False, True))
    )
    meta, spec = pod["metadata"], pod["spec"]
    place = REGIONS[int(spec["nodeName"].rpartition("-")[2])]
    return {
        "addresses": [pod["status"]["podIP"]],
        "targetRef": {"kind": "Pod", "name": meta["name"], "namespace": meta["namespace"]},
        "nodeName": spec["nodeName"],
        "zone": place.replace("/", "-"),
        **maybe(rng, 0.8, conditions={"ready": ready, "serving": serving, "terminating": terminating}),
    }
