"""What a sidecar listens on for calls to its workload.

Captured traffic arrives at `virtualInbound`, which has filter chains for every port the workload serves, by the port
the caller dialled, and others for ports no Service names. Without a Sidecar the ports are the target ports of the
workload's Services; a Sidecar with ingress listeners replaces them. A listener that binds its own socket (captureMode
NONE) stands beside it; where nothing is captured these are all there is, because a listener made from a Service would
take the port the application itself needs (as Istio).

Who may come in, and as what, is a matter of each port's mode (`doors`): every way in is a chain of its own, and no
chain takes the rest, or a caller that found no way into a strict port would come in there.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec

from controlplane.ir import names
from controlplane.ir.authorization import Unknowing
from controlplane.ir.cluster import Cluster, Direction
from controlplane.ir.guard import UNGUARDED, PeerMode, WorkloadPolicy
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
from controlplane.mesh.chains import PLAIN_HTTP
from controlplane.mesh.doors import Door, Ends, Spoken, doors
from controlplane.mesh.guarding import guarded
from controlplane.mesh.http.retry import retry
from controlplane.mesh.ingress import Ingress
from controlplane.mesh.listeners import ANY_ADDRESS
from controlplane.mesh.policy import MESH_SETTINGS
from controlplane.mesh.protocol import SERVER_SPEAKS_FIRST
from controlplane.mesh.servertls import mesh_tls
from controlplane.mesh.sidecar import SidecarScope
from controlplane.model.destinationrule import ConnectionPoolSettings
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings

CATCH_ALL_HTTP = "virtualInbound-catchall-http"
BLACK_HOLE = "virtualInbound-blackhole"

# The application may not have read a request that was reset before it was sent: trying again is always safe.
SAFE_RETRY = Retry(attempts=2, on="reset-before-request", ignore_previous_hosts=False)

_NO_TIMEOUT = timedelta(0)
# How long a port of its own listens for a call of the mesh before it takes the caller for one that waits for the
# application to speak first.
_PATIENCE: Final = timedelta(seconds=1)


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


def unasked(ports: Iterable[InboundPort], policy: WorkloadPolicy) -> Iterator[Problem]:
    """Rules about requests, where a workload serves something else: they fail closed, which may not be meant."""
    served = [port for port in ports if port.protocol is not Protocol.AUTO]
    others = [port.target for port in served if not port.protocol.is_http]
    has_http = len(others) < len(served)
    for rule in policy.tcp.authorization.unknowing if policy.tcp.authorization is not None else ():
        concerned = [port for port in others if not rule.ports or port in rule.ports]
        if concerned and (rule.refuses or not has_http):
            yield _cannot_be_asked(rule, concerned)


def virtual_inbound(
    ports: tuple[InboundPort, ...],
    scope: SidecarScope | None,
    addresses: tuple[str, ...],
    settings: Settings,
    policy: WorkloadPolicy = UNGUARDED,
) -> tuple[Listener, tuple[Cluster, ...]]:
    """The listener of captured calls, and the clusters that lead to the application."""
    served = _captured(ports, scope)
    peers = policy.peers
    chains = [_trap(settings)]
    for one in served:
        chains += _chains(one, ChainMatch(destination_port=one.port), settings, peers.at(one.port))
    unnamed = {port: mode for port, mode in peers.ports if all(one.port != port for one in served)}
    for port, mode in unnamed.items():
        chains += _passthrough(ChainMatch(destination_port=port), settings, mode)
    listener = Listener(
        name=names.VIRTUAL_INBOUND,
        address=ANY_ADDRESS,
        port=settings.proxy_inbound_listen_port,
        direction=Direction.INBOUND,
        chains=(*chains, *_passthrough(MATCH_ALL, settings, peers.mode)),
        original_destination_filter=True,
        inspect_http=True,
        inspect_tls=True,
        uninspected_ports=tuple(one.port for one in served if not _is_inspected(one, peers.at(one.port))),
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
        guarded(_listener(one, ingress.bind, addresses, settings, policy.peers.at(one.port)), policy)
        for one, ingress in zip(served, bound, strict=True)
    )
    return listeners, tuple(_cluster(one, scope, addresses, settings) for one in served)


def remarks(
    ports: tuple[InboundPort, ...], scope: SidecarScope | None, settings: Settings, policy: WorkloadPolicy
) -> tuple[Problem, ...]:
    """What does not work for every caller, or works for more than a mode says."""
    captured = _captured(ports, scope)
    waiting = () if settings.protocol_detection_timeout else captured
    bound = [_Served.of_ingress(one) for one in scope.ingress if one.bound] if scope is not None else []
    peers = policy.peers
    return (
        *(_waits(one) for one in waiting if _speaks_first(one) and peers.at(one.port) is PeerMode.PERMISSIVE),
        *(_lets_in(one, policy) for one in (*captured, *bound) if one.tls and peers.at(one.port) is PeerMode.STRICT),
    )


def _speaks_first(served: "_Served") -> bool:
    known = served.protocol is Protocol.MYSQL or {served.port, served.service_port} & SERVER_SPEAKS_FIRST
    return _may_wait(served) and bool(known)


def _waits(served: "_Served") -> Problem:
    text = (
        f"port {served.service_port}: the server speaks first, and callers without an identity of the mesh wait for it "
        f"for ever, as its proxy waits for them. A PeerAuthentication with STRICT or DISABLE for the workload's port "
        f"{served.port} settles it, or protocolDetectionTimeout"
    )
    return Problem("ServerSpeaksFirst", Level.INFO, served.origin, text)


def _lets_in(served: "_Served", policy: WorkloadPolicy) -> Problem:
    strict = policy.peers.origins[-1].ref if policy.peers.origins else "the mesh"
    text = f"{strict} says STRICT, but this TLS is the port's own: its callers come in without an identity of the mesh"
    return Problem("OwnTlsBesideStrict", Level.WARNING, served.origin.at("tls"), text)


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


def _is_inspected(served: _Served, mode: PeerMode) -> bool:
    """Whether the caller's first bytes are waited for. Where the application may speak first, they are if it takes
    them to tell callers of the mesh, who do speak first, from others.
    """
    return not _may_wait(served) or mode is PeerMode.PERMISSIVE


def _captured(ports: tuple[InboundPort, ...], scope: SidecarScope | None) -> list[_Served]:
    if scope is None or not scope.ingress:
        return [_Served.of_service(port) for port in ports]
    unbound = {one.port: one for one in reversed(scope.ingress) if not one.bound}
    return [_Served.of_ingress(unbound[port]) for port in sorted(unbound)]


def _listener(served: _Served, bind: str, addresses: tuple[str, ...], settings: Settings, mode: PeerMode) -> Listener:
    address, *more = (bind,) if bind else addresses or (ANY_ADDRESS,)
    name = names.http_listener(served.port, address)
    chains = _chains(served, MATCH_ALL, settings, mode)
    waits = _may_wait(served) and mode is PeerMode.PERMISSIVE
    return Listener(
        name=name,
        address=address,
        port=served.port,
        direction=Direction.INBOUND,
        chains=chains,
        extra_addresses=tuple(more),
        inspect_http=any(chain.match.application_protocols == PLAIN_HTTP for chain in chains),
        inspect_tls=any(chain.match.transport for chain in chains),
        inspection_timeout=settings.protocol_detection_timeout or (_PATIENCE if waits else None),
        origins=(served.origin,),
    )


def _chains(served: _Served, match: ChainMatch, settings: Settings, mode: PeerMode) -> tuple[FilterChain, ...]:
    """The chains of one port: one for each way in."""
    name = names.http_listener(served.port)
    cluster = names.inbound_cluster(served.port)
    if served.closed:
        return (FilterChain(name, match, _tcp(names.BLACK_HOLE_CLUSTER), origins=(served.origin,)),)
    found = doors(Spoken.on(served.protocol), mode, own_tls=served.tls is not None)
    if not _is_inspected(served, mode):
        found = tuple(door._replace(transport="") for door in found)
    behind = _Behind(name, _http(served, cluster, settings), name, _tcp(cluster), served.tls, (served.origin,))
    return tuple(_opened(door, match, behind, settings) for door in found)


class _Behind(NamedTuple):
    """What is behind the ways into a port, and what they are called."""

    http_name: str
    http: HttpChain
    tcp_name: str
    tcp: TcpChain
    own_tls: ServerTls | None = None
    origins: tuple[Origin, ...] = ()


def _opened(door: Door, match: ChainMatch, behind: _Behind, settings: Settings) -> FilterChain:
    tls = mesh_tls(settings, http=door.http) if door.ends is Ends.MESH else None
    return FilterChain(
        name=behind.http_name if door.http else behind.tcp_name,
        match=msgspec.structs.replace(match, transport=door.transport, application_protocols=door.alpn),
        network=behind.http if door.http else behind.tcp,
        tls=behind.own_tls if door.ends is Ends.OWN else tls,
        origins=behind.origins,
    )


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


def _passthrough(match: ChainMatch, settings: Settings, mode: PeerMode) -> tuple[FilterChain, ...]:
    """The chains of ports no Service names: what they speak is found out call by call."""
    cluster = names.INBOUND_PASSTHROUGH_CLUSTER
    origin = MESH_SETTINGS.at("inboundTrafficPolicy")
    http = _http_to(cluster, cluster, "inbound|http|0", ":0/*", origin, settings)
    behind = _Behind(CATCH_ALL_HTTP, http, names.VIRTUAL_INBOUND, _tcp(cluster))
    return tuple(_opened(door, match, behind, settings) for door in doors(Spoken.EITHER, mode))


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


def _cannot_be_asked(rule: Unknowing, ports: Sequence[int]) -> Problem:
    where = ", ".join(map(str, ports))
    what = "refuses every connection its other conditions hold for" if rule.refuses else "allows no connection"
    message = f"asks about requests, and the workload serves something else at {where}: there it {what}"
    hint = "; name the ports it is for" if rule.refuses else ""
    return Problem("NoEffect" if not rule.refuses else "RefusesConnections", Level.WARNING, rule.origin, message + hint)


def _conflict(mine: InboundPort, first: InboundPort) -> Problem:
    text = (
        f"port {mine.service_port} leads to the workload's port {mine.target} as {mine.protocol}, but {first.host} "
        f"({first.origin}), which is older, says {first.protocol}; that is what it is served as"
    )
    return Problem("Conflicted", Level.WARNING, mine.origin, text)
