"""Services and policies -> clusters: what a proxy holds of each destination.

The endpoints of most clusters travel apart (`assignment`); those a proxy resolves itself, or that never change, stand
in the cluster. A cluster that cannot be made as asked is made empty, so that calls fail, rather than left out or made
with less protection than its rule demands.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from controlplane.ir import names
from controlplane.ir.cluster import Cluster, Direction, Upstream
from controlplane.ir.policy import Algorithm, DestinationPolicy, LoadBalancer, TlsMode, TrafficPolicy
from controlplane.ir.service import Endpoint, Protocol, Resolution, Service, ServicePort
from controlplane.mesh import connections, locality
from controlplane.mesh.assignment import assignment, usable
from controlplane.mesh.destinationrule import balancer, base_connection_pool
from controlplane.mesh.endpoints import UNIX
from controlplane.model.destinationrule import ConnectionPoolSettings, H2UpgradePolicy
from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.settings import Settings

__all__ = [
    "assignment",
    "effective",
    "fixed",
    "inbound",
    "outbound",
    "place_sensitivity",
    "resolution_of",
    "takes_assignment",
    "upstream",
]

# Connections of the inbound passthrough come from here, so that capture rules let them reach the application.
PASSTHROUGH_SOURCE: Final = "127.0.0.6"
_SETTINGS_ORIGIN: Final = (Origin(ObjectRef("", "MeshConfig", "", "mesh")),)
_DIALLED: Final = LoadBalancer(algorithm=Algorithm.PASSTHROUGH)
_NO_LABELS: Final[Mapping[str, str]] = {}
_NO_ENDPOINTS: Final[tuple[Endpoint, ...]] = ()
_VERIFIES: Final = frozenset({TlsMode.SIMPLE, TlsMode.MUTUAL})


def effective(service: Service, traffic: TrafficPolicy) -> TrafficPolicy:
    """A policy with what the service itself wishes: clients pinned to endpoints, further names of its servers."""
    lb = balancer(traffic.load_balancer, service)
    if lb is not traffic.load_balancer:
        traffic = msgspec.structs.replace(traffic, load_balancer=lb)
    tls = traffic.tls
    if service.subject_alt_names and tls is not None and tls.mode in _VERIFIES and not tls.subject_alt_names:
        tls = msgspec.structs.replace(tls, subject_alt_names=service.subject_alt_names)
        traffic = msgspec.structs.replace(traffic, tls=tls)
    return traffic


def resolution_of(service: Service, traffic: TrafficPolicy, *, captured: bool = True) -> Resolution:
    """How a caller finds the endpoints.

    `captured`: the caller's proxy sees the address the application dialled. Where it does not (a gateway, a sidecar
    without capture), a headless Service is balanced over its endpoints, and passing on has nowhere to pass to.
    """
    if traffic.blocked:
        return Resolution.STATIC
    if (
        traffic.load_balancer.algorithm is not Algorithm.PASSTHROUGH
        and service.resolution is not Resolution.PASSTHROUGH
    ):
        return service.resolution
    if captured:
        return Resolution.PASSTHROUGH
    return Resolution.ENDPOINTS if service.headless else Resolution.STATIC


def takes_assignment(service: Service, traffic: TrafficPolicy, *, captured: bool = True) -> bool:
    """Whether the endpoints of this cluster travel apart."""
    return resolution_of(service, traffic, captured=captured) is Resolution.ENDPOINTS


def place_sensitivity(service: Service, policies: Iterable[DestinationPolicy]) -> tuple[bool, bool]:
    """Whether the endpoints callers get differ by the caller's locality, and by its node."""
    zone = node = False
    for policy in policies:
        by_subset = (policy.by_subset.values(), policy.by_subset_port.values())
        for traffic in (policy.default, *policy.ports.values(), *(one for many in by_subset for one in many)):
            lb = traffic.load_balancer
            by_zone, by_node = locality.needs_place(service, lb, outlier=traffic.outlier is not None)
            zone, node = zone or by_zone, node or by_node
    return zone, node


def outbound(  # noqa: PLR0913  one destination, and what its caller can do
    service: Service,
    port: ServicePort,
    policy: DestinationPolicy,
    settings: Settings,
    *,
    captured: bool = True,
    gateway: bool = False,
    endpoints: Sequence[Endpoint] | None = None,
) -> tuple[Cluster, ...]:
    """The cluster of a port, and one for each subset.

    `gateway`: the caller does not sniff, and sends HTTP/1.1 where nothing is declared. `endpoints` are those a
    workloadSelector found, for services a proxy resolves itself.
    """
    subsets = (("", _NO_LABELS), *[(subset.name, subset.labels) for subset in policy.subsets])
    origins = (service.origin, *policy.origins)
    listed = endpoints if endpoints is not None else service.static.get(port.number, _NO_ENDPOINTS)
    upgrade = settings.h2_upgrade_policy is H2UpgradePolicy.UPGRADE
    clusters: list[Cluster] = []
    for subset, labels in subsets:
        traffic = effective(service, policy.policy(port.number, subset))
        resolution = resolution_of(service, traffic, captured=captured and not gateway)
        placed = _NO_ENDPOINTS
        if resolution in {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}:
            resolution, placed = _resolved(resolution, usable(listed, labels))
        if resolution is Resolution.PASSTHROUGH:
            traffic = msgspec.structs.replace(traffic, load_balancer=_DIALLED)
        clusters.append(
            Cluster(
                name=names.outbound_cluster(service.host, port.number, subset),
                direction=Direction.OUTBOUND,
                resolution=resolution,
                upstream=upstream(port.protocol, traffic, upgrade=upgrade, sniffs=not gateway),
                policy=traffic,
                origins=origins,
                host=service.host,
                namespace=service.namespace,
                port=port.number,
                subset=subset,
                endpoints=placed,
                service_sans=service.subject_alt_names,
                external=service.external,
            )
        )
    return tuple(clusters)


def _resolved(resolution: Resolution, listed: Sequence[Endpoint]) -> tuple[Resolution, tuple[Endpoint, ...]]:
    """Names the proxy resolves itself. Envoy refuses LOGICAL_DNS without exactly one, and none resolves to nothing."""
    if not listed:
        return Resolution.STATIC, _NO_ENDPOINTS
    return resolution, tuple(listed[:1] if resolution is Resolution.DNS_ROUND_ROBIN else listed)


def upstream(protocol: Protocol, traffic: TrafficPolicy, *, upgrade: bool = False, sniffs: bool = True) -> Upstream:
    """Which HTTP goes to the endpoints: what a rule wishes, else the client's if a rule says so, else the port's.

    `upgrade`: the mesh wishes HTTP/2 on every port that is declared as HTTP.
    """
    if traffic.http2 or (upgrade and traffic.http2 is None and protocol.is_http):
        return Upstream.HTTP2
    if traffic.pool.use_client_protocol:
        return Upstream.AUTO
    if protocol is Protocol.AUTO:
        return Upstream.AUTO if sniffs else Upstream.HTTP1
    if protocol.is_http:
        return Upstream.HTTP2 if protocol.is_http2 else Upstream.HTTP1
    return Upstream.TCP


def inbound(  # noqa: PLR0913  one port of the application
    port: int,
    target: tuple[str, int] | None,
    pool: ConnectionPoolSettings | None,
    settings: Settings,
    *,
    protocol: Protocol = Protocol.AUTO,
    origins: tuple[Origin, ...] = _SETTINGS_ORIGIN,
    bind_address: str = "",
) -> Cluster:
    """The cluster in front of the application.

    `target` is where it listens, as (IP address, port) or ("unix:///path", 0); None: where the caller dialled. No rule
    of a destination acts here; `pool` is the Sidecar resource's.
    """
    base = base_connection_pool(settings)
    traffic = TrafficPolicy(
        load_balancer=_DIALLED if target is None else LoadBalancer(),
        pool=base if pool is None else connections.connection_pool(pool, base),
    )
    return Cluster(
        name=names.inbound_cluster(port),
        direction=Direction.INBOUND,
        resolution=Resolution.PASSTHROUGH if target is None else Resolution.STATIC,
        upstream=upstream(protocol, traffic),
        policy=traffic,
        origins=origins,
        port=port,
        endpoints=() if target is None else (_application(*target),),
        bind_address=bind_address or (PASSTHROUGH_SOURCE if target is None else ""),
    )


def _application(address: str, port: int) -> Endpoint:
    return Endpoint(address, 0 if address.startswith(UNIX) else port, _NO_LABELS)


def fixed(settings: Settings) -> tuple[Cluster, ...]:
    """The clusters every sidecar has: pass on as dialled, refuse, and pass on to the application."""
    pool = base_connection_pool(settings)
    as_dialled = TrafficPolicy(load_balancer=_DIALLED, pool=pool)
    passed_on = Cluster(
        name=names.PASSTHROUGH_CLUSTER,
        direction=Direction.OUTBOUND,
        resolution=Resolution.PASSTHROUGH,
        upstream=Upstream.AUTO,
        policy=as_dialled,
        origins=_SETTINGS_ORIGIN,
        external=True,
    )
    refused = Cluster(
        name=names.BLACK_HOLE_CLUSTER,
        direction=Direction.OUTBOUND,
        resolution=Resolution.STATIC,
        upstream=Upstream.TCP,
        policy=TrafficPolicy(pool=pool),
        origins=_SETTINGS_ORIGIN,
    )
    to_application = Cluster(
        name=names.INBOUND_PASSTHROUGH_CLUSTER,
        direction=Direction.INBOUND,
        resolution=Resolution.PASSTHROUGH,
        upstream=Upstream.AUTO,
        policy=as_dialled,
        origins=_SETTINGS_ORIGIN,
        bind_address=PASSTHROUGH_SOURCE,
    )
    return passed_on, refused, to_application
