"""What a sidecar listens on for calls to its workload.

Captured traffic arrives at `virtualInbound`, which has filter chains for every port the workload serves, by the port
the caller dialled, and others for ports no Service names. Without a Sidecar the ports are the target ports of the
workload's Services; a Sidecar with ingress listeners replaces them. A listener that binds its own socket (captureMode
NONE) stands beside it; where nothing is captured these are all there is, because a listener made from a Service would
take the port the application itself needs (as Istio).

So far everything is plain text. Mutual TLS will add chains beside these, per port: `_chains` is the place.
"""

from collections.abc import Iterable
from datetime import timedelta

import msgspec

from controlplane.ir import names
from controlplane.ir.cluster import Cluster, Direction
from controlplane.ir.guard import UNGUARDED, WorkloadPolicy
from controlplane.ir.listener import (
    MATCH_ALL,
    ChainMatch,
    FilterChain,
    HttpChain,
    Listener,
    ServerTls,
    TcpChain,
)
from controlplane.ir.route import Forward, Retry, Route, RouteMatch, VirtualHost, WeightedCluster
from controlplane.ir.service import Protocol, Service, ServicePort
from controlplane.mesh import clusters as mesh_clusters
from controlplane.mesh.chains import HTTP_BYTES, PLAIN_HTTP
from controlplane.mesh.guarding import guarded
from controlplane.mesh.http.retry import retry
from controlplane.mesh.ingress import Ingress
from controlplane.mesh.listeners import ANY_ADDRESS
from controlplane.mesh.policy import MESH_SETTINGS
from controlplane.mesh.sidecar import SidecarScope
from controlplane.model.destinationrule import ConnectionPoolSettings
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings

CATCH_ALL_HTTP = "virtualInbound-catchall-http"
BLACK_HOLE = "virtualInbound-blackhole"

# The application may not have read a request that was reset before it was sent: trying again is always safe.
SAFE_RETRY = Retry(attempts=2, on="reset-before-request", ignore_previous_hosts=False)

_NO_TIMEOUT = timedelta(0)


class InboundPort(msgspec.Struct, frozen=True):
    """One port the workload serves."""

    target: int  # where the application listens, and what callers dial
    protocol: Protocol
    host: str  # the service, for traces
    service_port: int
    origin: Origin
    name: str = ""


def inbound_ports(
    services: Iterable[tuple[Service, ServicePort, int]],
) -> tuple[tuple[InboundPort, ...], tuple[Problem, ...]]:
    """(service, port, target port) of all that the workload serves, one per target port: the oldest service has it."""
    found: dict[int, InboundPort] = {}
    problems: list[Problem] = []
    for service, port, target in sorted(services, key=_age):
        if port.protocol is Protocol.UDP:
            continue
        mine = InboundPort(target, port.protocol, service.host, port.number, service.origin, port.name)
        first = found.setdefault(target, mine)
        if first.protocol is not mine.protocol:
            problems.append(_conflict(mine, first))
    return tuple(found[target] for target in sorted(found)), tuple(problems)


def virtual_inbound(
    ports: tuple[InboundPort, ...],
    scope: SidecarScope | None,
    addresses: tuple[str, ...],
    settings: Settings,
    policy: WorkloadPolicy = UNGUARDED,
) -> tuple[Listener, tuple[Cluster, ...]]:
    """The listener of captured calls, and the clusters that lead to the application."""
    served = _captured(ports, scope)
    chains = [_trap(settings)]
    for one in served:
        chains += _chains(one, ChainMatch(destination_port=one.port), settings)
    listener = Listener(
        name=names.VIRTUAL_INBOUND,
        address=ANY_ADDRESS,
        port=settings.proxy_inbound_listen_port,
        direction=Direction.INBOUND,
        chains=(*chains, _passthrough_http(settings)),
        default_chain=FilterChain(names.VIRTUAL_INBOUND, MATCH_ALL, _tcp(names.INBOUND_PASSTHROUGH_CLUSTER)),
        original_destination_filter=True,
        inspect_http=True,
        inspect_tls=True,
        uninspected_ports=tuple(one.port for one in served if _may_wait(one)),
        inspection_timeout=settings.protocol_detection_timeout or None,
    )
    clusters = tuple(_cluster(one, scope, addresses, settings) for one in served if not one.closed)
    return guarded(listener, policy), clusters


def explicit_inbound(
    ports: tuple[InboundPort, ...],
    scope: SidecarScope | None,
    addresses: tuple[str, ...],
    settings: Settings,
    policy: WorkloadPolicy = UNGUARDED,
) -> tuple[tuple[Listener, ...], tuple[Cluster, ...]]:
    """One listener with a socket of its own for each ingress listener that asks for it."""
    del ports  # a listener made from a Service would take the application's own port
    bound = [one for one in scope.ingress if one.bound] if scope is not None else []
    served = [_Served.of_ingress(one) for one in bound]
    listeners = tuple(
        guarded(_listener(one, ingress.bind, addresses, settings), policy)
        for one, ingress in zip(served, bound, strict=True)
    )
    return listeners, tuple(_cluster(one, scope, addresses, settings) for one in served)


class _Served(msgspec.Struct, frozen=True):
    """One port, whether a Service or a Sidecar says so."""

    port: int
    protocol: Protocol
    host: str
    service_port: int
    origin: Origin
    target: str = ""
    pool: ConnectionPoolSettings | None = None
    tls: ServerTls | None = None
    closed: bool = False  # its TLS cannot be served, so nothing is

    @classmethod
    def of_service(cls, port: InboundPort) -> "_Served":
        return cls(port.target, port.protocol, port.host, port.service_port, port.origin)

    @classmethod
    def of_ingress(cls, ingress: Ingress) -> "_Served":
        ref = ingress.origin.ref
        return cls(
            port=ingress.port,
            protocol=ingress.protocol,
            host=f"{ref.name}.{ref.namespace}",
            service_port=ingress.port,
            origin=ingress.origin,
            target=ingress.target,
            pool=ingress.pool,
            tls=ingress.tls,
            closed=ingress.closed,
        )


def _may_wait(served: _Served) -> bool:
    """Whether the application may speak first: then nobody must wait for the caller's first bytes."""
    client_first = served.protocol.is_http or served.protocol.is_tls or served.protocol is Protocol.AUTO
    return served.tls is None and not client_first


def _captured(ports: tuple[InboundPort, ...], scope: SidecarScope | None) -> list[_Served]:
    if scope is None or not scope.ingress:
        return [_Served.of_service(port) for port in ports]
    unbound = {one.port: one for one in reversed(scope.ingress) if not one.bound}
    return [_Served.of_ingress(unbound[port]) for port in sorted(unbound)]


def _listener(served: _Served, bind: str, addresses: tuple[str, ...], settings: Settings) -> Listener:
    address, *more = (bind,) if bind else addresses or (ANY_ADDRESS,)
    name = names.http_listener(served.port, address)
    chains = _chains(served, MATCH_ALL, settings)
    whole = [chain for chain in chains if chain.match == MATCH_ALL]
    parts = tuple(chain for chain in chains if chain.match != MATCH_ALL)
    return Listener(
        name=name,
        address=address,
        port=served.port,
        direction=Direction.INBOUND,
        chains=parts or (whole[0],),
        default_chain=whole[0] if parts and whole else None,
        extra_addresses=tuple(more),
        inspect_http=served.protocol is Protocol.AUTO,
        inspect_tls=served.tls is not None,
        inspection_timeout=settings.protocol_detection_timeout or None,
        origins=(served.origin,),
    )


def _chains(served: _Served, match: ChainMatch, settings: Settings) -> list[FilterChain]:
    """The chains of one port: HTTP, bytes, or (sniffed) both. Of each there is one per kind of transport security."""
    name = names.http_listener(served.port)
    cluster = names.inbound_cluster(served.port)
    origins = (served.origin,)
    if served.closed:
        return [FilterChain(name, match, _tcp(names.BLACK_HOLE_CLUSTER), origins=origins)]
    if served.tls is not None:
        match = msgspec.structs.replace(match, transport="tls")
    if served.protocol.is_http:
        return [FilterChain(name, match, _http(served, cluster, settings), served.tls, origins)]
    tcp = FilterChain(name, match, _tcp(cluster), served.tls, origins)
    if served.protocol is not Protocol.AUTO or served.tls is not None:
        return [tcp]
    sniffed = msgspec.structs.replace(match, transport="raw_buffer", application_protocols=PLAIN_HTTP)
    http = FilterChain(name, sniffed, _http(served, cluster, settings), origins=origins)
    if match == MATCH_ALL:
        return [http, tcp]
    # Plain bytes are told from TLS above, so plain bytes that are no HTTP need a chain too: Envoy never goes back.
    plain = msgspec.structs.replace(tcp, match=msgspec.structs.replace(match, transport="raw_buffer"))
    return [http, plain, tcp]


def _http(served: _Served, cluster: str, settings: Settings) -> HttpChain:
    operation = f"{served.host}:{served.service_port}/*"
    grpc_web = served.protocol is Protocol.GRPC_WEB
    host = f"inbound|http|{served.service_port}"
    name = names.http_listener(served.port)
    return _http_to(name, cluster, host, operation, served.origin, settings, grpc_web=grpc_web)


def _http_to(  # noqa: PLR0913, PLR0917  where to, and what statistics and traces call it
    place: str, cluster: str, host: str, operation: str, origin: Origin, settings: Settings, *, grpc_web: bool = False
) -> HttpChain:
    policy = settings.default_inbound_http_retry_policy
    forward = Forward(
        destinations=(WeightedCluster(cluster),),
        timeout=_NO_TIMEOUT,
        retry=SAFE_RETRY if policy is None else retry(policy, settings, hashed=False),
    )
    route = Route(RouteMatch(), forward, origin, operation=operation)
    return HttpChain(
        stat_prefix=f"inbound_{place}",
        route_name=cluster,
        virtual_hosts=(VirtualHost(host, ("*",), (route,)),),
        grpc_web=grpc_web,
    )


def _tcp(cluster: str) -> TcpChain:
    return TcpChain(cluster, (WeightedCluster(cluster),))


def _trap(settings: Settings) -> FilterChain:
    """A call to the listener's own port would go round in circles."""
    match = ChainMatch(destination_port=settings.proxy_inbound_listen_port)
    return FilterChain(BLACK_HOLE, match, _tcp(names.BLACK_HOLE_CLUSTER))


def _passthrough_http(settings: Settings) -> FilterChain:
    cluster = names.INBOUND_PASSTHROUGH_CLUSTER
    origin = MESH_SETTINGS.at("inboundTrafficPolicy")
    speaks = _http_to(cluster, cluster, "inbound|http|0", ":0/*", origin, settings)
    return FilterChain(CATCH_ALL_HTTP, HTTP_BYTES, speaks)


def _cluster(served: _Served, scope: SidecarScope | None, addresses: tuple[str, ...], settings: Settings) -> Cluster:
    """From the sidecar to the application. Where it listens: by the Sidecar, else at the workload's own address."""
    pool = served.pool or (scope.pool if scope is not None else None)
    target = _target(served, addresses)
    return mesh_clusters.inbound(
        served.port, target, pool, settings, protocol=served.protocol, origins=(served.origin,)
    )


def _target(served: _Served, addresses: tuple[str, ...]) -> str:
    """ "address:port" or "unix:///path"; "" = where the caller dialled."""
    wildcard, _, port = served.target.rpartition(":")
    if wildcard not in {ANY_ADDRESS, "[::]"}:
        return served.target
    own = addresses[0] if addresses else "127.0.0.1"
    return f"[{own}]:{port}" if ":" in own else f"{own}:{port}"


def _age(entry: tuple[Service, ServicePort, int]) -> tuple[bool, str, str, int]:
    service, port, _ = entry
    created = service.created
    return (created is None, created.isoformat() if created is not None else "", service.host, port.number)


def _conflict(mine: InboundPort, first: InboundPort) -> Problem:
    text = (
        f"port {mine.service_port} leads to the workload's port {mine.target} as {mine.protocol}, but {first.host} "
        f"({first.origin}), which is older, says {first.protocol}; that is what it is served as"
    )
    return Problem("Conflicted", Level.WARNING, mine.origin, text)
