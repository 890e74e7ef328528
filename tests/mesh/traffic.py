"""Rules read for one place, for tests: what they make, and what they complain about."""

from collections.abc import Mapping
from textwrap import dedent, indent
from typing import Any, NamedTuple

from controlplane.ir.policy import HashKey
from controlplane.ir.route import Route
from controlplane.ir.service import Protocol, Resolution, Service, ServicePort
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import TcpTimes
from controlplane.mesh.virtualservice import http_routes, own_problems, rules_of
from controlplane.model.gateway import Gateway
from controlplane.model.problem import ObjectRef, Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.sidecar import Sidecar
from controlplane.model.virtualservice import VirtualService
from tests.mesh.manifests import SETTINGS, _spec, manifest

REVIEWS = "reviews.default.svc.cluster.local"
RATINGS = "ratings.default.svc.cluster.local"
TO_REVIEWS = "route: [{destination: {host: reviews}}]"


class Known:
    """`Destinations` of a small mesh: reviews and ratings on 9080, many with two ports, db on 3306."""

    def __init__(self, **hosts: tuple[int, ...]) -> None:
        named = {"reviews": (9080,), "ratings": (9080,), "many": (80, 90), "db": (3306,)} | hosts
        self.hosts = {f"{name}.default.svc.cluster.local": ports for name, ports in named.items()}
        self.subsets = {"v1", "v2", "v3"}
        self.keys: Mapping[str, tuple[HashKey, ...]] = {}
        self.times = TcpTimes()

    def ports(self, host: str) -> tuple[int, ...] | None:
        return self.hosts.get(host)

    def has_subset(self, host: str, subset: str) -> bool:
        return subset in self.subsets

    def hash_keys(self, host: str, port: int, subset: str) -> tuple[HashKey, ...]:
        return self.keys.get(subset, ())

    def stands_for(self, host: str) -> str:
        return host

    def tcp_times(self, host: str, port: int, subset: str) -> TcpTimes:
        return self.times


def virtual_service(body: str, name: str = "reviews", **meta: Any) -> VirtualService:
    found: VirtualService = manifest("networking.istio.io/v1", "VirtualService", _spec(body), name=name, **meta)
    return found


def gateway(body: str, name: str = "gw", **meta: Any) -> Gateway:
    found: Gateway = manifest("networking.istio.io/v1", "Gateway", _spec(body), name=name, **meta)
    return found


def sidecar(body: str, name: str = "sidecar", **meta: Any) -> Sidecar:
    found: Sidecar = manifest("networking.istio.io/v1", "Sidecar", _spec(body), name=name, **meta)
    return found


def svc(
    name: str = "reviews",
    port: int = 9080,
    protocol: Protocol = Protocol.HTTP,
    *,
    namespace: str = "default",
    addresses: tuple[str, ...] = ("10.0.0.1",),
    **fields: Any,
) -> Service:
    """A Kubernetes Service as the registry has it."""
    origin = Origin(ObjectRef("", "Service", namespace, name))
    host = f"{name}.{namespace}.svc.cluster.local"
    ports = fields.pop("ports", (ServicePort(port, protocol.value, protocol, port),))
    resolution = fields.pop("resolution", Resolution.ENDPOINTS)
    return Service(host, namespace, name, ports, addresses, resolution, origin, **fields)


class Read(NamedTuple):
    """Routes of a VirtualService at one place, None where it does not apply, and its problems."""

    routes: tuple[Route, ...] | None
    problems: tuple[Problem, ...]

    @property
    def all(self) -> tuple[Route, ...]:
        assert self.routes is not None
        return self.routes

    @property
    def only(self) -> Route:
        (route,) = self.all
        return route

    @property
    def clusters(self) -> list[str]:
        """The first destination of each route that has one, without the common parts of its name."""
        return [
            short(route.action.destinations[0].cluster) for route in self.all if hasattr(route.action, "destinations")
        ]

    @property
    def complaints(self) -> list[tuple[str, str]]:
        return [(problem.code, problem.origin.path) for problem in self.problems]


def short(cluster: str) -> str:
    """outbound|9080|v1|reviews.default.svc.cluster.local -> reviews:9080/v1"""
    _, port, subset, host = cluster.split("|")
    name = host.removesuffix(".default.svc.cluster.local")
    return f"{name}:{port}/{subset}" if subset else f"{name}:{port}"


def http(
    rules: str,
    *,
    namespace: str = "default",
    caller: str = "default",
    labels: Mapping[str, str] | None = None,
    port: int = 9080,
    at: str = "mesh",
    known: Known | None = None,
    delegates: tuple[VirtualService, ...] = (),
    settings: Settings = SETTINGS,
    spec: str = "hosts: [reviews]",
    tls: bool = False,
) -> Read:
    """The routes that `http: [rules]` makes."""
    listed = indent(dedent(rules).strip(), "  ")
    vs = virtual_service(f"{spec}\nhttp:\n{listed}", namespace=namespace)
    by_key = {(one.meta.namespace, one.meta.name): one for one in delegates}
    read, found = rules_of(vs, lambda *key: by_key.get(key))
    routes, more = http_routes(
        read,
        vs=vs,
        caller=Caller(caller, labels or {}),
        listener_port=port,
        gateway=at,
        destinations=known or Known(),
        settings=settings,
        tls=tls,
    )
    return Read(routes, (*found, *own_problems(vs, read), *more))


def matching(match: str, **place: Any) -> Read:
    """The routes of one rule with one match."""
    return http(f"- match: [{{{match}}}]\n  {TO_REVIEWS}", **place)


def doing(action: str, **place: Any) -> Read:
    """The routes of one rule that takes every request: `action` is YAML of several lines."""
    return http("- " + indent(dedent(action).strip(), "  ").lstrip(), **place)
