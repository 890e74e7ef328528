"""Which endpoints of a cluster may get a call.

The numbers are those of Envoy's load balancer: a priority level whose healthy share times 1.4 reaches 100 % takes
all it is given, what is missing spills to the next level, and a level with too few healthy endpoints panics and
uses all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import health_check_pb2

from controlplane.explain.call import Address, split_port
from controlplane.explain.headers import Headers, first
from controlplane.explain.outcome import Connection, Endpoint, Failure, Secured
from controlplane.explain.request import Request
from controlplane.explain.upstreamtls import secured

_HEALTHY = frozenset({health_check_pb2.UNKNOWN, health_check_pb2.HEALTHY})
_DEGRADED = health_check_pb2.DEGRADED
_OVERPROVISIONING = 140  # percent, Envoy's default
_PANIC = 50.0  # percent, Envoy's default healthy_panic_threshold

NO_CLUSTER = Failure("NC", 503, "cluster_not_found")
NO_ENDPOINT = Failure("UH", 503, "no_healthy_upstream")


_Secure = Callable[[Any], Secured]  # an endpoint's metadata -> how it is called


class _Host(NamedTuple):
    endpoint: Endpoint
    health: int
    locality_weight: int


class _Level(NamedTuple):
    """One priority."""

    all: Sequence[_Host]
    healthy: Sequence[_Host]
    degraded: Sequence[_Host]

    @property
    def available_percent(self) -> float:
        return 100.0 * (len(self.healthy) + len(self.degraded)) / len(self.all) if self.all else 0.0


class _Load(NamedTuple):
    """What one level gets."""

    level: _Level
    panics: bool
    to_healthy: int  # percent of all calls
    to_degraded: int


def assignment_of(cluster: Any, endpoints: Mapping[str, Any]) -> Any | None:
    """The ClusterLoadAssignment; None if EDS has not brought one."""
    if cluster.type != cluster_pb2.Cluster.EDS:
        return cluster.load_assignment
    return endpoints.get(cluster.eds_cluster_config.service_name or cluster.name)


def is_original_destination(cluster: Any) -> bool:
    return bool(cluster.type == cluster_pb2.Cluster.ORIGINAL_DST)


def original_destination(cluster: Any, connection: Connection, headers: Headers) -> tuple[Endpoint, ...]:
    """Where the caller meant to go; nothing if that is not known."""
    config = cluster.original_dst_lb_config
    header = config.http_header_name or "x-envoy-original-dst-host"
    named = first(headers, header) if config.use_http_header else ""
    if named:
        return (Endpoint(named),)
    if not connection.restored:
        return ()
    port = config.upstream_port_override.value or connection.local.port
    return (Endpoint(str(Address(connection.local.ip, port))),)


def is_by_name(cluster: Any) -> bool:
    """A dynamic forward proxy: whatever name the request has is resolved when it comes."""
    return str(cluster.cluster_type.typed_config.type_url).endswith("dynamic_forward_proxy.v3.ClusterConfig")


def by_name(cluster: Any, request: Request, connection: Connection) -> tuple[Endpoint, ...]:
    """The name of a request is its authority, that of a connection its SNI."""
    host, port = split_port(request.authority or connection.server_name)
    usual = "443" if cluster.HasField("transport_socket") else "80"
    return (Endpoint(f"{host}:{port or usual}"),) if host else ()


def candidates(cluster: Any, assignment: Any, state: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Endpoints that may be drawn, sorted; empty when Envoy would answer that there is none.

    `state`: what the connection's filters noted, which may say how endpoints are called.
    """
    secure = partial(secured, cluster, state=state)
    factor = assignment.policy.overprovisioning_factor.value or _OVERPROVISIONING
    loads = _loads(_levels(assignment, secure), factor, panic_threshold(cluster))
    return tuple(sorted({host.endpoint for load in loads for host in _drawn(cluster, load)}))


def panic_threshold(cluster: Any) -> float:
    """Percent of available endpoints below which a level panics."""
    config = cluster.common_lb_config
    return float(config.healthy_panic_threshold.value) if config.HasField("healthy_panic_threshold") else _PANIC


def _levels(assignment: Any, secure: _Secure) -> list[_Level]:
    hosts: dict[int, list[_Host]] = {}
    for locality in assignment.endpoints:
        hosts.setdefault(locality.priority, []).extend(_hosts(locality, secure))
    return [_level(hosts[priority]) for priority in sorted(hosts)]


def _level(hosts: Sequence[_Host]) -> _Level:
    healthy = [host for host in hosts if host.health in _HEALTHY]
    return _Level(hosts, healthy, [host for host in hosts if host.health == _DEGRADED])


def _hosts(locality: Any, secure: _Secure) -> Iterator[_Host]:
    where = locality.locality
    place = f"{where.region}/{where.zone}/{where.sub_zone}".rstrip("/")
    weight = locality.load_balancing_weight.value
    for one in locality.lb_endpoints:
        endpoint = Endpoint(address_text(one.endpoint.address), locality.priority, place, secure(one.metadata))
        yield _Host(endpoint, one.health_status, weight)


def address_text(address: Any) -> str:
    """An Envoy address as a person writes it."""
    kind = address.WhichOneof("address")
    if kind == "socket_address":
        return str(Address(address.socket_address.address, address.socket_address.port_value))
    return f"unix:{address.pipe.path}" if kind == "pipe" else str(address.envoy_internal_address)


def _loads(levels: Sequence[_Level], factor: int, threshold: float) -> list[_Load]:
    healthy = [_capacity(level.healthy, level, factor) for level in levels]
    degraded = [_capacity(level.degraded, level, factor) for level in levels]
    total = min(100, sum(healthy) + sum(degraded))
    panics = [total < 100 and level.available_percent < threshold for level in levels]
    if all(panics):  # then the calls spread over all endpoints of all levels
        return [_Load(level, panics=True, to_healthy=1, to_degraded=0) for level in levels]
    if not total:
        return []
    to_healthy, left = _fill(healthy, total, 100)
    to_degraded, _ = _fill(degraded, total, left)
    return [_Load(*one) for one in zip(levels, panics, to_healthy, to_degraded, strict=True)]


def _capacity(usable: Sequence[_Host], level: _Level, factor: int) -> int:
    """How much a level could take, in percent."""
    return min(100, factor * len(usable) // len(level.all)) if level.all else 0


def _fill(capacities: Sequence[int], total: int, left: int) -> tuple[list[int], int]:
    """Gives each level in turn what it can take, scaled so that all together take everything."""
    given = []
    for capacity in capacities:
        share = min(left, capacity * 100 // total)
        given.append(share)
        left -= share
    return given, left


def _drawn(cluster: Any, load: _Load) -> Iterable[_Host]:
    if load.panics and (load.to_healthy or load.to_degraded):
        refuses = cluster.common_lb_config.zone_aware_lb_config.fail_traffic_on_panic
        return () if refuses else load.level.all
    healthy = _by_locality(cluster, load.level.healthy) if load.to_healthy else []
    degraded = _by_locality(cluster, load.level.degraded) if load.to_degraded else []
    return [*healthy, *degraded]


def _by_locality(cluster: Any, hosts: Sequence[_Host]) -> Sequence[_Host]:
    """With locality weights, localities without one get nothing, unless none has any."""
    if cluster.common_lb_config.WhichOneof("locality_config_specifier") != "locality_weighted_lb_config":
        return hosts
    return [host for host in hosts if host.locality_weight] or hosts
