"""What a sidecar listens on for calls that leave its workload, and which virtual hosts these calls find.

Captured calls arrive at `virtualOutbound`, which hands each to the listener of the address it was dialled for:

- HTTP ports share one listener a port, `0.0.0.0_<port>`, whose route table `<port>` tells services apart by host.
  Bytes that are no HTTP go where the outbound policy says.
- Every other port has a listener for each virtual address of its service, `<vip>_<port>`. A port whose protocol is
  not declared is sniffed there: HTTP goes to the table `<host>:<port>`, the rest is forwarded.
- A service without an address lives in `0.0.0.0_<port>` too. TLS is told apart by server name, addresses blocks
  (CIDR) and the endpoints of headless services by destination. Istio makes a listener for every endpoint of a
  headless service; here each endpoint is a filter chain, so that a Pod that comes or goes leaves other connections
  alone, and HTTP and headless TCP can share a port. Above `MAX_HEADLESS_CHAINS` endpoints, or with none known, such a
  service takes all connections of the port.

Envoy looks for a chain by destination, then server name, then transport, then application protocol, and never goes
back a step. What is to catch the rest of a listener is therefore its default chain, not a chain that matches
everything.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol as Shape

import msgspec

from controlplane.ir import names
from controlplane.ir.cluster import Direction
from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, HttpChain, Listener, TcpChain
from controlplane.ir.policy import HashKey
from controlplane.ir.route import Forward, Route, RouteMatch, VirtualHost, WeightedCluster
from controlplane.ir.service import Protocol, Service, ServicePort
from controlplane.mesh import hosts
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import Destinations, Target
from controlplane.mesh.http.match import Place
from controlplane.mesh.http.retry import retry
from controlplane.mesh.l4routes import L4Place, service_chain, tcp_chains, tls_chains
from controlplane.mesh.policy import OutboundPolicy, catch_all, mesh_policy
from controlplane.mesh.references import IN_MESH
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService

__all__ = [
    "Member",
    "OutboundPolicy",
    "Placement",
    "catch_all",
    "default_routes",
    "http_proxy_listener",
    "is_sniffed",
    "literal_virtual_host",
    "mesh_policy",
    "outbound_policy",
    "placement",
    "proxy_virtual_host",
    "service_chains",
    "vip_listener",
    "virtual_host",
    "virtual_outbound",
    "wildcard_listener",
]

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  captured traffic has any destination
MAX_HEADLESS_CHAINS = 64
PASSTHROUGH_CHAIN = "PassthroughFilterChain"

# What Envoy's HTTP inspector finds in plain bytes.
PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")
_HTTP_FIELDS = {"transport": "raw_buffer", "application_protocols": PLAIN_HTTP}
HTTP_BYTES = ChainMatch(transport="raw_buffer", application_protocols=PLAIN_HTTP)

_ANY_PATH = RouteMatch()
_NO_TIMEOUT = timedelta(0)
_NO_KEYS: tuple[HashKey, ...] = ()


class Placement(msgspec.Struct, frozen=True):
    """Where a service port lives in a captured sidecar."""

    wildcard: bool  # it takes part in 0.0.0.0_<port>
    addresses: tuple[str, ...] = ()  # it has listeners <address>_<port>
    table: str = ""  # the route table its virtual host stands in
    http: bool = False  # it makes 0.0.0.0_<port> speak HTTP


class Member(msgspec.Struct, frozen=True):
    """The chains one service port brings into a listener. Members come oldest service first."""

    service: Service
    port: ServicePort
    chains: tuple[FilterChain, ...]


_NOWHERE = Placement(wildcard=False)


def placement(service: Service, port: ServicePort) -> Placement:
    """Where calls to a service port arrive."""
    if port.protocol is Protocol.UDP:
        return _NOWHERE
    shared = names.sidecar_route(port.number)
    if port.protocol.is_http:
        return Placement(wildcard=True, table=shared, http=True)
    addresses = tuple(address for address in service.addresses if "/" not in address)
    if port.protocol is not Protocol.AUTO:
        return Placement(wildcard=not addresses, addresses=addresses)
    if addresses:
        return Placement(wildcard=False, addresses=addresses, table=names.sniffed_route(service.host, port.number))
    return Placement(wildcard=True, table=shared, http=True)


def is_sniffed(table: str) -> bool:
    """Whether this route table is that of one service on a port whose protocol is sniffed."""
    return ":" in table


def default_routes(
    service: Service, port: ServicePort, hash_keys: tuple[HashKey, ...], settings: Settings
) -> tuple[Route, ...]:
    """What a service does with requests when no VirtualService says anything."""
    return (
        Route(
            match=_ANY_PATH,
            action=Forward(
                destinations=(WeightedCluster(names.outbound_cluster(service.host, port.number)),),
                timeout=_NO_TIMEOUT,
                retry=retry(None, settings, hashed=bool(hash_keys)),
                hash_keys=hash_keys,
            ),
            origin=service.origin,
            operation=f"{service.host}:{port.number}/*",
        ),
    )


def virtual_host(  # noqa: PLR0913  a service port, who calls, and what rules made of it
    service: Service,
    port: ServicePort,
    routes: tuple[Route, ...] | None,
    *,
    caller_namespace: str | None,
    settings: Settings,
    hash_keys: tuple[HashKey, ...] = _NO_KEYS,
    listener_port: int | None = None,
) -> VirtualHost:
    """A service port as callers find it by host. `routes` None: no VirtualService speaks for it.

    `listener_port`: where callers reach it, if an explicit listener stands on another port than the service's.
    """
    dialled = port.number if listener_port is None else listener_port
    return VirtualHost(
        name=names.virtual_host(service.host, port.number),
        domains=hosts.domains(service, dialled, caller_namespace, settings.cluster_domain),
        routes=default_routes(service, port, hash_keys, settings) if routes is None else routes,
        origins=(service.origin,),
    )


def proxy_virtual_host(host: VirtualHost, port: int) -> VirtualHost:
    """The same host in the table of the explicit proxy, which serves all ports: so its names carry the port."""
    if port == 80:
        return host
    ending = f":{port}"
    domains = tuple(domain for domain in host.domains if domain.endswith(ending))
    return msgspec.structs.replace(host, domains=domains)


def literal_virtual_host(
    host: str, port: int, routes: tuple[Route, ...], *, origins: tuple[Origin, ...] = ()
) -> VirtualHost:
    """A host of a VirtualService that no service has. Istio has such hosts on port 80 alone, and so do we."""
    return VirtualHost(
        name=names.virtual_host(host, port), domains=(host, f"{host}:{port}"), routes=routes, origins=origins
    )


def service_chains(  # noqa: PLR0913  a service port, who calls, what exists, and where the listener stands
    service: Service,
    port: ServicePort,
    *,
    caller: Caller,
    destinations: Destinations,
    settings: Settings,
    vs: Sequence[VirtualService] = (),
    hash_keys: tuple[HashKey, ...] = _NO_KEYS,
    addresses: Sequence[str] = (),
    listener_port: int | None = None,
) -> tuple[tuple[FilterChain, ...], tuple[Problem, ...]]:
    """What a service port that is not plain HTTP brings into its listener.

    `vs`: the VirtualServices with tcp or tls rules that speak for the host, oldest first; `addresses`: the endpoints
    of a headless service; `listener_port`: where an explicit listener stands, if not on the service's own port.
    """
    ranges = _ranges(service, addresses)
    place = Place(caller, port.number if listener_port is None else listener_port, IN_MESH)
    at = L4Place(place, destinations, settings.cluster_domain, ranges)
    if port.protocol.is_tls:
        chains, problems = tls_chains(vs, at)
        match = ChainMatch(destination_ranges=ranges, server_names=_needed_sni(service))
        return chains or (_default_chain(service, port, match, destinations, hash_keys),), problems
    chains, complete, problems = tcp_chains(vs, at)
    if not complete:
        matches = _default_matches(service, ranges)
        chains += tuple(_default_chain(service, port, match, destinations, hash_keys) for match in matches)
    if port.protocol is Protocol.AUTO:
        chains = _sniffed(service, port, ranges, chains)
    return chains, problems


def vip_listener(
    address: str, port: int, members: Sequence[Member], settings: Settings
) -> tuple[Listener, tuple[Problem, ...]]:
    """The listener of one virtual address. If services share it, the server name decides, else age."""
    chains, default, problems = together(members)
    name = names.http_listener(port, address)
    return _captured(name, address, port, chains, default, members, settings), problems


def wildcard_listener(
    port: int, *, members: Sequence[Member] = (), http: bool, policy: OutboundPolicy, settings: Settings
) -> tuple[Listener, tuple[Problem, ...]]:
    """The listener that HTTP services of a port share (`http`: there are any) with services that have no address."""
    chains, default, problems = together(members)
    name = names.http_listener(port)
    if http:
        speaks = HttpChain(stat_prefix=f"outbound_{name}", route=names.sidecar_route(port))
        chains = (FilterChain(name, HTTP_BYTES, speaks), *chains)
    rest = default or passthrough_chain(policy)
    return _captured(name, ANY_ADDRESS, port, chains, rest, members, settings), problems


class HasPolicy(Shape):
    """A Sidecar's scope, as far as unknown calls go."""

    @property
    def policy(self) -> OutboundPolicy: ...


def outbound_policy(scope: HasPolicy | None, settings: Settings) -> OutboundPolicy:
    """What holds for a workload: its Sidecar's policy, else the mesh's."""
    return scope.policy if scope is not None else mesh_policy(settings)


def virtual_outbound(policy: OutboundPolicy, settings: Settings) -> Listener:
    """Where captured calls arrive. A call to its own port would go round in circles, so it ends at once."""
    port = settings.proxy_listen_port
    trap = FilterChain(
        "virtualOutbound-trap",
        ChainMatch(destination_port=port),
        TcpChain(names.BLACK_HOLE_CLUSTER, (WeightedCluster(names.BLACK_HOLE_CLUSTER),)),
    )
    rest = msgspec.structs.replace(passthrough_chain(policy), name="virtualOutbound-catchall-tcp")
    return Listener(
        name=names.VIRTUAL_OUTBOUND,
        address=ANY_ADDRESS,
        port=port,
        direction=Direction.OUTBOUND,
        chains=(trap,),
        default_chain=rest,
        use_original_destination=True,
        origins=(policy.origin,),
    )


def http_proxy_listener(address: str, port: int, _settings: Settings) -> Listener:
    """The explicit forward proxy for applications that are told to use one."""
    name = names.http_listener(port, address)
    speaks = HttpChain(stat_prefix=f"outbound_{name}", route=names.HTTP_PROXY)
    return Listener(
        name=name,
        address=address,
        port=port,
        direction=Direction.OUTBOUND,
        chains=(FilterChain(name, MATCH_ALL, speaks),),
    )


def passthrough_chain(policy: OutboundPolicy) -> FilterChain:
    """Where bytes go that nothing else wants."""
    cluster = policy.tcp_cluster
    return FilterChain(PASSTHROUGH_CHAIN, MATCH_ALL, TcpChain(cluster, (WeightedCluster(cluster),)))


def assembled(
    listener: Listener,
    chains: tuple[FilterChain, ...],
    default: FilterChain | None,
    members: Sequence[Member],
    settings: Settings,
) -> Listener:
    """A listener with its chains, and the inspection these chains need.

    Whatever changes outside of filter chains closes all connections of a listener, so what is inspected follows from
    what the services speak, and not from the rules of the day.
    """
    if default is not None and not chains:
        chains, default = (default,), None
    sniffs = any(chain.match.application_protocols for chain in chains)
    by_name = any(chain.match.server_names for chain in chains) or any(one.port.protocol.is_tls for one in members)
    return msgspec.structs.replace(
        listener,
        chains=chains,
        default_chain=default,
        inspect_tls=sniffs or by_name,
        inspect_http=sniffs,
        inspection_timeout=settings.protocol_detection_timeout or None,
    )


def _captured(  # noqa: PLR0913, PLR0917  one call per kind of listener
    name: str,
    address: str,
    port: int,
    chains: tuple[FilterChain, ...],
    default: FilterChain | None,
    members: Sequence[Member],
    settings: Settings,
) -> Listener:
    bare = Listener(
        name=name,
        address=address,
        port=port,
        direction=Direction.OUTBOUND,
        chains=(),
        bind_to_port=False,
        origins=tuple(member.service.origin for member in members),
    )
    return assembled(bare, chains, default, members, settings)


def together(
    members: Sequence[Member],
) -> tuple[tuple[FilterChain, ...], FilterChain | None, tuple[Problem, ...]]:
    """The chains of all members, and the one that takes the rest; what an older member has, a younger cannot get."""
    taken: dict[ChainMatch, Member] = {}
    chains: list[FilterChain] = []
    default: FilterChain | None = None
    problems: list[Problem] = []
    for member in members:
        for chain in member.chains:
            fitted = _told_apart(chain, member) if len(members) > 1 else chain
            if (winner := taken.get(fitted.match)) is not None:
                if winner is not member:
                    problems.append(_conflict(member, winner))
                continue
            taken[fitted.match] = member
            if fitted.match == MATCH_ALL:
                default = fitted
            else:
                chains.append(fitted)
    return tuple(chains), default, tuple(dict.fromkeys(problems))


def _told_apart(chain: FilterChain, member: Member) -> FilterChain:
    """Among several services a TLS service that asks for nothing asks for its own name."""
    if chain.match != MATCH_ALL or not member.port.protocol.is_tls:
        return chain
    return msgspec.structs.replace(chain, match=ChainMatch(server_names=(member.service.host,)))


def _conflict(loser: Member, winner: Member) -> Problem:
    text = (
        f"port {loser.port.number} ({loser.port.protocol}) of {loser.service.host} cannot be told from that of "
        f"{winner.service.host} ({winner.service.origin}), which is older and keeps it; give it an address of its own"
    )
    return Problem("Conflicted", Level.ERROR, loser.service.origin, text)


def _ranges(service: Service, addresses: Sequence[str]) -> tuple[str, ...]:
    """Destinations that mean this service, where the listener's address does not say it."""
    if service.headless:
        return tuple(sorted(addresses)) if len(addresses) <= MAX_HEADLESS_CHAINS else ()
    blocks = tuple(address for address in service.addresses if "/" in address)
    return blocks if len(blocks) == len(service.addresses) else ()


def _needed_sni(service: Service) -> tuple[str, ...]:
    """A TLS service with no address of its own is known by its name alone; a headless one by its endpoints."""
    has_own = any("/" not in address for address in service.addresses)
    return () if has_own or service.headless else (service.host,)


def _default_matches(service: Service, ranges: tuple[str, ...]) -> tuple[ChainMatch, ...]:
    """One; one for each endpoint of a headless service, so that their chains come and go by themselves."""
    if not service.headless or not ranges:
        return (ChainMatch(destination_ranges=ranges),)
    return tuple(ChainMatch(destination_ranges=(address,)) for address in ranges)


def _default_chain(
    service: Service,
    port: ServicePort,
    match: ChainMatch,
    destinations: Destinations,
    hash_keys: tuple[HashKey, ...],
) -> FilterChain:
    target = Target(service.host, port.number)
    times = destinations.tcp_times(service.host, port.number, "")
    return service_chain(target, match, service.origin, times=times, hash_keys=hash_keys, name=target.cluster)


def _sniffed(
    service: Service, port: ServicePort, ranges: tuple[str, ...], tcp: tuple[FilterChain, ...]
) -> tuple[FilterChain, ...]:
    """HTTP to a route table, beside the chains for everything else.

    Where the listener itself speaks HTTP (a service without address, with no known endpoints) there is nothing to add.
    Chains that ask for a destination are doubled: once plain bytes are told from TLS, "plain bytes, but no HTTP" must
    be said too.
    """
    own_listener = any("/" not in address for address in service.addresses)
    route = placement(service, port).table
    speaks = HttpChain(stat_prefix=f"outbound_{service.host}_{port.number}", route=route)
    matches = _default_matches(service, ranges) if own_listener or ranges else ()
    http = tuple(
        FilterChain(route, msgspec.structs.replace(match, **_HTTP_FIELDS), speaks, origins=(service.origin,))
        for match in matches
    )
    plain = tuple(
        msgspec.structs.replace(chain, match=msgspec.structs.replace(chain.match, transport="raw_buffer"))
        for chain in tcp
        if chain.match.destination_ranges
    )
    return http + plain + tcp
