"""Values of `ir` that tests start from."""

from controlplane.ir.cluster import Cluster, Direction, Upstream
from controlplane.ir.listener import MATCH_ALL, FilterChain, HttpChain, Listener, TcpChain
from controlplane.ir.policy import TrafficPolicy
from controlplane.ir.route import Forward, Route, RouteMatch, VirtualHost, WeightedCluster
from controlplane.ir.service import Endpoint, Resolution
from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.settings import Settings

SETTINGS = Settings()
SERVICE = Origin(ObjectRef("", "Service", "default", "reviews"))
RULE = Origin(ObjectRef("networking.istio.io", "VirtualService", "default", "reviews"), "spec.http[0]")
HOST = "reviews.default.svc.cluster.local"
REVIEWS = f"outbound|9080||{HOST}"


def forward(*clusters: str, **fields: object) -> Forward:
    destinations = tuple(WeightedCluster(name, origin=RULE.at(f"route[{at}]")) for at, name in enumerate(clusters))
    return Forward(destinations, **fields)  # type: ignore[arg-type]


def route(action: object = None, match: RouteMatch | None = None, **fields: object) -> Route:
    fields.setdefault("origin", RULE)
    return Route(match or RouteMatch(), action or forward(REVIEWS), **fields)  # type: ignore[arg-type]


def virtual_host(*routes: Route, domains: tuple[str, ...] = ("*",), **fields: object) -> VirtualHost:
    return VirtualHost(f"{HOST}:9080", domains, routes or (route(),), origins=(SERVICE,), **fields)  # type: ignore[arg-type]


def cluster(name: str = REVIEWS, resolution: Resolution = Resolution.ENDPOINTS, **fields: object) -> Cluster:
    values: dict[str, object] = {"upstream": Upstream.HTTP1, "policy": TrafficPolicy(), "origins": (SERVICE,), **fields}
    return Cluster(name, Direction.OUTBOUND, resolution, **values)  # type: ignore[arg-type]


def endpoint(address: str, port: int, **fields: object) -> Endpoint:
    return Endpoint(address, port, {}, **fields)  # type: ignore[arg-type]


def tcp_chain(*clusters: str, name: str = "tcp", **fields: object) -> FilterChain:
    destinations = tuple(WeightedCluster(cluster) for cluster in clusters)
    return FilterChain(name, MATCH_ALL, TcpChain("tcp", destinations, **fields))  # type: ignore[arg-type]


def http_chain(*hosts: VirtualHost, name: str = "http", **fields: object) -> FilterChain:
    http = HttpChain("http", virtual_hosts=hosts, route_name="inline", **fields)  # type: ignore[arg-type]
    return FilterChain(name, MATCH_ALL, http)


def listener(*chains: FilterChain, **fields: object) -> Listener:
    values: dict[str, object] = {"address": "127.0.0.1", "port": 0, "direction": Direction.OUTBOUND, **fields}
    return Listener(name="test", chains=chains, **values)  # type: ignore[arg-type]
