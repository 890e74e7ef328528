"""Services and policies -> clusters: what a proxy holds of each destination.

The endpoints of most clusters travel apart (`assignment`); those a proxy resolves itself, or that never change, stand
in the cluster. A cluster that cannot be made as asked is made empty, so that calls fail, rather than left out or made
with less protection than its rule demands.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from controlplane.base.identity import uri_of
from controlplane.ir import names as ir_names
from controlplane.ir.cluster import Cluster, Direction, LocalityGroup, MeshTls, Upstream
from controlplane.ir.policy import Algorithm, DestinationPolicy, LoadBalancer, TlsMode, TrafficPolicy
from controlplane.ir.service import Endpoint, Protocol, Resolution, Service, ServicePort
from controlplane.mesh import connections, locality
from controlplane.mesh.assignment import assignment, usable
from controlplane.mesh.caller import NOWHERE, Standpoint
from controlplane.mesh.destinationrule import balancer, base_connection_pool
from controlplane.mesh.hosts import UNIX
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
_NO_GROUPS: Final[tuple[LocalityGroup, ...]] = ()
_NAMES_RESOLVE: Final = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})
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
    without capture), what has endpoints is balanced over them, and the rest has nowhere to go.
    """
    if traffic.blocked:
        return Resolution.STATIC
    declared = service.resolution
    if captured and traffic.load_balancer.algorithm is Algorithm.PASSTHROUGH:
        return Resolution.PASSTHROUGH
    if captured or declared is not Resolution.PASSTHROUGH:
        return declared
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
    at: Standpoint = NOWHERE,
    peers: "Peers | None" = None,
) -> tuple[Cluster, ...]:
    """The cluster of a port, and one for each subset.

    `gateway`: the caller does not sniff, and sends HTTP/1.1 where nothing is declared. `endpoints` are those a
    workloadSelector found, for services a proxy resolves itself; `at` ranks these. `peers`: who is behind the service;
    None where proxies have no identities.
    """
    listed = service.static.get(port.number, _NO_ENDPOINTS) if endpoints is None else endpoints
    upgrades = settings.h2_upgrade_policy is H2UpgradePolicy.UPGRADE
    domains = settings.trusted_domains if peers is not None else ()
    names = _identities(peers.accounts, domains) if peers is not None else ()
    caller = _Caller(captured and not gateway, not gateway, upgrades, at, settings, domains, names, peers)
    origins = (service.origin, *policy.origins)
    subsets = ((subset.name, subset.labels) for subset in policy.subsets)
    return tuple(
        [
            _destination(service, port, subset, policy.policy(port.number, subset[0]), listed, caller, origins)
            for subset in (("", _NO_LABELS), *subsets)
        ]
    )


class Peers(NamedTuple):
    """Who is behind a service, as far as its callers may ask."""

    accounts: tuple[str, ...]  # "namespace/account"; none while none is known
    all_capable: Callable[[], bool]  # whether every endpoint of the port takes mutual TLS


class _Caller(NamedTuple):
    """What the caller's proxy can do."""

    captured: bool
    sniffs: bool
    upgrades: bool  # the mesh wishes HTTP/2 between proxies
    at: Standpoint
    settings: Settings
    trust_domains: tuple[str, ...]
    names: tuple[str, ...]  # what those behind the service may prove to be
    peers: Peers | None


def _destination(  # noqa: PLR0913, PLR0917  one cluster's worth of what `outbound` was given
    service: Service,
    port: ServicePort,
    subset: tuple[str, Mapping[str, str]],
    traffic: TrafficPolicy,
    listed: Sequence[Endpoint],
    caller: _Caller,
    origins: tuple[Origin, ...],
) -> Cluster:
    traffic = effective(service, traffic)
    resolution, groups = resolution_of(service, traffic, captured=caller.captured), _NO_GROUPS
    if resolution in _NAMES_RESOLVE:
        resolution, groups = _placed(service, resolution, traffic, usable(listed, subset[1]), caller.at)
    return Cluster(
        name=ir_names.outbound_cluster(service.host, port.number, subset[0]),
        direction=Direction.OUTBOUND,
        resolution=resolution,
        upstream=upstream(port.protocol, traffic, upgrade=caller.upgrades, sniffs=caller.sniffs),
        policy=_balanced(traffic, resolution),
        origins=origins,
        host=service.host,
        namespace=service.namespace,
        port=port.number,
        subset=subset[0],
        groups=groups,
        service_sans=service.subject_alt_names,
        mesh_tls=_mesh_tls(service, port, subset[0], traffic, resolution, groups, caller),
        external=service.external,
    )


def _mesh_tls(  # noqa: PLR0913, PLR0917  what one cluster is, and what its caller can do
    service: Service,
    port: ServicePort,
    subset: str,
    traffic: TrafficPolicy,
    resolution: Resolution,
    groups: tuple[LocalityGroup, ...],
    caller: _Caller,
) -> MeshTls | None:
    """Mutual TLS of the mesh: to all endpoints where a rule says so, else to those that can."""
    peers, rule = caller.peers, traffic.tls
    if peers is None or (rule is not None and rule.mode is not TlsMode.MESH):
        return None
    if rule is None and not _is_automatic(service, resolution, groups, caller, peers):
        return None
    found = MeshTls(
        sni=ir_names.sni_cluster(service.host, port.number, subset),
        names=caller.names + service.subject_alt_names,
        trust_domains=caller.trust_domains,
        by_endpoint=rule is None and resolution is not Resolution.PASSTHROUGH,
        sniffed=port.protocol is Protocol.AUTO,
    )
    if rule is None or not (rule.sni or rule.subject_alt_names):
        return found
    return msgspec.structs.replace(found, sni=rule.sni or found.sni, names=rule.subject_alt_names or found.names)


def _identities(accounts: tuple[str, ...], trust_domains: tuple[str, ...]) -> tuple[str, ...]:
    """What workloads with these accounts prove to be, in each of the trust domains."""
    return tuple([uri_of(domain, account) for domain in trust_domains for account in accounts])


def _is_automatic(
    service: Service, resolution: Resolution, groups: tuple[LocalityGroup, ...], caller: _Caller, peers: Peers
) -> bool:
    """Whether endpoints are called under mutual TLS without any rule.

    An endpoint says what it can do where the proxy knows it. Addresses that callers dialled say nothing, so all must
    be able; and what no endpoint in the cluster can, the cluster need not.
    """
    if service.external or not caller.settings.enable_auto_mtls or resolution is Resolution.DYNAMIC_DNS:
        return False
    if resolution is Resolution.PASSTHROUGH:
        return peers.all_capable()
    return resolution is Resolution.ENDPOINTS or any(one.mutual_tls for group in groups for one in group.endpoints)


def _placed(
    service: Service, resolution: Resolution, traffic: TrafficPolicy, listed: Sequence[Endpoint], at: Standpoint
) -> tuple[Resolution, tuple[LocalityGroup, ...]]:
    """The endpoints that stand in the cluster: names the proxy resolves itself, ranked as others are.

    Envoy refuses LOGICAL_DNS without exactly one, so no name at all becomes a cluster without endpoints.
    """
    if not listed:
        return Resolution.STATIC, _NO_GROUPS
    found = assignment(
        "",
        listed[:1] if resolution is Resolution.DNS_ROUND_ROBIN else listed,
        _NO_LABELS,
        traffic.load_balancer,
        service=service,
        outlier=traffic.outlier is not None,
        locality=at.locality,
        node=at.node,
        caller_labels=at.labels,
    )
    return (resolution, found.groups) if found.groups else (Resolution.STATIC, _NO_GROUPS)


def _balanced(traffic: TrafficPolicy, resolution: Resolution) -> TrafficPolicy:
    """The policy with a balancer the resolution can have: the dialled address is not balanced, endpoints are."""
    dialled = resolution is Resolution.PASSTHROUGH
    if dialled == (traffic.load_balancer.algorithm is Algorithm.PASSTHROUGH):
        return traffic
    return msgspec.structs.replace(traffic, load_balancer=_DIALLED if dialled else LoadBalancer())


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
    target: str,
    pool: ConnectionPoolSettings | None,
    settings: Settings,
    *,
    protocol: Protocol = Protocol.AUTO,
    origins: tuple[Origin, ...] = _SETTINGS_ORIGIN,
    bind_address: str = "",
) -> Cluster:
    """The cluster in front of the application.

    `target` is where it listens, "address:port" or "unix:///path"; empty: where the caller dialled. No DestinationRule
    acts here; `pool` is the Sidecar resource's.
    """
    base = base_connection_pool(settings)
    traffic = TrafficPolicy(
        load_balancer=LoadBalancer() if target else _DIALLED,
        pool=base if pool is None else connections.connection_pool(pool, base),
    )
    return Cluster(
        name=ir_names.inbound_cluster(port),
        direction=Direction.INBOUND,
        resolution=Resolution.STATIC if target else Resolution.PASSTHROUGH,
        upstream=upstream(protocol, traffic),
        policy=traffic,
        origins=origins,
        port=port,
        endpoints=(_application(target),) if target else (),
        bind_address=bind_address or ("" if target else PASSTHROUGH_SOURCE),
    )


def _application(target: str) -> Endpoint:
    if target.startswith(UNIX):
        return Endpoint(target, 0, _NO_LABELS)
    address, _, port = target.rpartition(":")
    return Endpoint(address.removeprefix("[").removesuffix("]"), int(port), _NO_LABELS)


def fixed(settings: Settings) -> tuple[Cluster, ...]:
    """The clusters every sidecar has: pass on as dialled, refuse, and pass on to the application."""
    pool = base_connection_pool(settings)
    as_dialled = TrafficPolicy(load_balancer=_DIALLED, pool=pool)
    passed_on = Cluster(
        name=ir_names.PASSTHROUGH_CLUSTER,
        direction=Direction.OUTBOUND,
        resolution=Resolution.PASSTHROUGH,
        upstream=Upstream.AUTO,
        policy=as_dialled,
        origins=_SETTINGS_ORIGIN,
        external=True,
    )
    refused = Cluster(
        name=ir_names.BLACK_HOLE_CLUSTER,
        direction=Direction.OUTBOUND,
        resolution=Resolution.STATIC,
        upstream=Upstream.TCP,
        policy=TrafficPolicy(pool=pool),
        origins=_SETTINGS_ORIGIN,
    )
    to_application = Cluster(
        name=ir_names.INBOUND_PASSTHROUGH_CLUSTER,
        direction=Direction.INBOUND,
        resolution=Resolution.PASSTHROUGH,
        upstream=Upstream.AUTO,
        policy=as_dialled,
        origins=_SETTINGS_ORIGIN,
        bind_address=PASSTHROUGH_SOURCE,
    )
    return passed_on, refused, to_application
