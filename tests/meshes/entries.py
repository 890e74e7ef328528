"""ServiceEntries of every resolution, and WorkloadEntries."""

from tests.meshes.making import Host, Making, Port
from tests.meshes.services import REGIONS
from tests.meshes.words import ENTRIES, VERSIONS, Json, maybe, some

_PORTS = (
    *(Port(80, "http", "http"), Port(443, "tls", "tls"), Port(443, "https", "tls"), Port(9000, "tcp", "tcp")),
    *(Port(5432, "db", "tcp"), Port(8080, "any", "auto"), Port(9090, "grpc", "grpc"), Port(27017, "mongo", "tcp")),
)
_PROTOCOLS = {
    "http": ("HTTP", "HTTP2", "http"),
    "tls": ("TLS", "HTTPS"),
    "tcp": ("TCP", "MONGO"),
    "grpc": ("GRPC", "GRPC-WEB"),
    "auto": ("",),
}
_LISTED = frozenset({"STATIC", "DNS", "DNS_ROUND_ROBIN"})


def add_entries(making: Making, most: int) -> None:
    for host in some(making.rng, ENTRIES, most, least=0):
        add_entry(making, making.namespace(), host)


def add_entry(making: Making, namespace: str, host: str) -> None:
    rng = making.rng
    resolution = rng.choice(("NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"))
    ports = list({port.number: port for port in some(rng, _PORTS, 3)}.values())
    ports = list({port.name: port for port in ports}.values())
    hosts = [host, *([f"alt.{host.removeprefix('*.')}"] if rng.random() < 0.2 else [])]
    spec: Json = {
        "hosts": hosts,
        "ports": [_port(making, port, resolution) for port in ports],
        "resolution": resolution,
        **maybe(rng, 0.5, location=rng.choice(("MESH_INTERNAL", "MESH_EXTERNAL"))),
        **maybe(rng, 0.4, addresses=_addresses(making, resolution)),
        **maybe(rng, 0.2, exportTo=[rng.choice((".", "*", "beta"))]),
        **_endpoints(making, resolution, host, ports),
    }
    making.add("ServiceEntry", namespace, host.replace("*.", "any-"), spec=spec)
    for one in hosts:
        making.hosts.append(Host(one, one, namespace, tuple(ports), has_subsets=rng.random() < 0.4))


def _port(making: Making, port: Port, resolution: str) -> Json:
    rng = making.rng
    declared = rng.choice(_PROTOCOLS[port.speaks])
    target = {} if resolution in {"NONE", "DYNAMIC_DNS"} else {"targetPort": making.ground.ports[0]}
    kept = target if making.ground.real or rng.random() < 0.3 else {}
    return {"number": port.number, "name": port.name, **({"protocol": declared} if declared else {}), **kept}


def _addresses(making: Making, resolution: str) -> list[str]:
    outside, number = making.ground.external, making.number()
    if number % 4 == 0:
        return [f"{outside}.0.1"]  # others have it too
    single = f"{outside}.{number % 250}.{1 + number % 200}"
    if resolution in {"NONE", "STATIC"} and making.rng.random() < 0.4:
        return [f"{outside}.{number % 250}.0/24"]
    return [single]


def _endpoints(making: Making, resolution: str, host: str, ports: list[Port]) -> Json:
    rng = making.rng
    if resolution not in _LISTED:
        return {}
    if rng.random() < 0.25:
        app = host.replace("*.", "").partition(".")[0]
        for _ in range(rng.randint(0, 2)):
            add_workload_entry(making, app)
        return {"workloadSelector": {"labels": {"app": app}}}
    most = 1 if resolution == "DNS_ROUND_ROBIN" else 3
    nameless = resolution != "STATIC" and not making.ground.real and not host.startswith("*")
    if nameless and rng.random() < 0.4:
        return {}  # the host's own name is resolved
    names = not making.ground.real and resolution != "STATIC"
    return {"endpoints": [_endpoint(making, ports, names=names) for _ in range(rng.randint(1, most))]}


def _endpoint(making: Making, ports: list[Port], *, names: bool) -> Json:
    rng = making.rng
    address = "backend.example.com" if names and rng.random() < 0.4 else making.place()
    return {
        "address": address,
        "labels": {"version": rng.choice(VERSIONS)},
        **maybe(rng, 0.3, ports={port.name: making.ground.ports[1] for port in ports}),
        **maybe(rng, 0.3, weight=rng.randint(1, 5)),
        **maybe(rng, 0.3, locality=rng.choice(REGIONS)),
        **maybe(rng, 0.1, network="n1" if not making.ground.real else ""),
    }


def add_workload_entry(making: Making, app: str) -> None:
    rng = making.rng
    name = f"vm-{making.number()}"
    labels = {"app": app, "version": rng.choice(VERSIONS)}
    spec = {
        "address": making.place(),
        "labels": labels,
        **maybe(rng, 0.3, weight=2),
        **maybe(rng, 0.3, locality="west/a"),
    }
    making.add("WorkloadEntry", making.namespace(), name, spec=spec)
