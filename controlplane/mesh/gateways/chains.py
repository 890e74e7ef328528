"""The listeners of a gateway and their filter chains."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from controlplane.ir.cluster import Direction
from controlplane.ir.guard import UNGUARDED, WorkloadPolicy
from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, HttpChain, Listener
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import Destinations
from controlplane.mesh.gateways.attach import narrower
from controlplane.mesh.gateways.plan import ANY_ADDRESS, ListenerPlan
from controlplane.mesh.gateways.server import Kind, Server, ServerKey
from controlplane.mesh.guarding import guarded
from controlplane.mesh.hosts import UNIX
from controlplane.mesh.http.match import Place
from controlplane.mesh.l4routes import L4Place, tcp_chains, tls_chains, untaken
from controlplane.mesh.problems import ineffective
from controlplane.model.problem import Level, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService

PRIVILEGED = 1024


def listener(  # noqa: PLR0913  a plan, what is behind it, who may call, and where it stands
    plan: ListenerPlan,
    *,
    l4: Mapping[ServerKey, tuple[FilterChain, ...]],
    settings: Settings,
    policy: WorkloadPolicy = UNGUARDED,
    bind: str = "",
    offset: int = 0,
) -> Listener | None:
    """The listener of one address and port; None if nothing would answer there, as with TCP and no routes.

    `bind`: the address to use where the Gateway names none; `offset`: added to ports below 1024, for proxies that may
    not open them.
    """
    web = frozenset(server.table for server in plan.servers if server.grpc_web)
    found = (chain for server in plan.servers for chain in _chains(server, plan, l4.get(server.key, ()), settings, web))
    chains = tuple(_told_apart(found))
    if not chains:
        return None
    unix = plan.bind.startswith(UNIX)
    bare = Listener(
        name=plan.name,
        address=plan.bind or bind or ANY_ADDRESS,
        port=0 if unix else plan.port + (offset if plan.port < PRIVILEGED else 0),
        direction=Direction.OUTBOUND,
        chains=chains,
        inspect_tls=any(server.kind.by_sni for server in plan.servers),
        gateway=True,
        origins=tuple(server.origin for server in plan.servers),
    )
    return guarded(bare, policy)


def _told_apart(chains: Iterable[FilterChain]) -> Iterator[FilterChain]:
    """Envoy refuses a listener in which two chains match the same: each name belongs to the first that has it.

    Servers have no host in common, but one for "*" has all the names that the VirtualServices attached to it ask for.
    """
    taken: set[tuple[str, tuple[str, ...]]] = set()
    for chain in chains:
        match = untaken(chain.match, taken)
        if match is not None:
            yield msgspec.structs.replace(chain, match=match)


def server_chains(
    server: Server,
    vss: Sequence[VirtualService],
    *,
    caller: Caller,
    destinations: Destinations,
    settings: Settings,
) -> tuple[tuple[FilterChain, ...], tuple[Problem, ...]]:
    """The chains of a server that forwards connections, from the VirtualServices attached to it, oldest first."""
    place = Place(caller, server.port, frozenset({server.gateway}))
    at = L4Place(place, destinations, settings.cluster_domain)
    if server.kind is Kind.PASSTHROUGH:
        chains, problems = tls_chains(vss, at)
        return _within(chains, server, problems)
    chains, _, problems = tcp_chains(vss, at)
    if server.kind is Kind.TCP:
        return chains, problems
    names = _server_names(server.hosts)
    ending = (msgspec.structs.replace(chain.match, server_names=names) for chain in chains)
    return tuple(
        msgspec.structs.replace(chain, match=match, tls=server.tls) for chain, match in zip(chains, ending, strict=True)
    ), problems


def unopened(server: Server, chains: tuple[FilterChain, ...]) -> tuple[Problem, ...]:
    """A server that forwards connections, and nobody says where to."""
    if chains:
        return ()
    rules = "tls" if server.kind is Kind.PASSTHROUGH else "tcp"
    text = f"no VirtualService attached here has {rules} rules for port {server.port}: these hosts are not opened on it"
    return (ineffective(server.origin, text),)


def _chains(
    server: Server, plan: ListenerPlan, forwarding: tuple[FilterChain, ...], settings: Settings, web: frozenset[str]
) -> tuple[FilterChain, ...]:
    """`web`: the route tables where browsers' gRPC is translated."""
    if not server.kind.speaks_http:
        return forwarding
    speaks = HttpChain(
        stat_prefix=f"outbound_{plan.name}",
        route=server.table,
        use_remote_address=True,
        gateway=True,
        xff_trusted_hops=settings.num_trusted_proxies,
        grpc_web=server.table in web,
    )
    if server.kind is Kind.HTTP:  # all plain HTTP servers of a place have this one
        return (FilterChain(plan.name, MATCH_ALL, speaks, origins=(server.origin,)),)
    return tuple(
        FilterChain(name, ChainMatch(server_names=names), speaks, server.tls, (server.origin,))
        for name, names in _names_apart(server, plan)
    )


def _names_apart(server: Server, plan: ListenerPlan) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(chain, names): of one for "*" the names have a chain to themselves, lest another server's wildcard take them."""
    named = tuple(host for host in server.hosts if host != "*")
    if len(named) in {0, len(server.hosts)} or len(plan.servers) == 1:
        return ((server.table, _server_names(server.hosts)),)
    return ((server.table, named), (f"{server.table}.rest", ()))


def _server_names(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Envoy has no pattern for every name: then none is asked for."""
    return () if "*" in hosts else hosts


def _within(
    chains: tuple[FilterChain, ...], server: Server, problems: tuple[Problem, ...]
) -> tuple[tuple[FilterChain, ...], tuple[Problem, ...]]:
    """A tls rule speaks only for names the server has: each name becomes the narrower of the two."""
    kept: list[FilterChain] = []
    found = list(problems)
    for chain in chains:
        names = _common_names(chain.match.server_names or ("*",), server.hosts)
        if names is None:
            text = f"none of its sniHosts is served by {server.origin}"
            found.append(Problem("VirtualServiceHostNotFoundInGateway", Level.WARNING, chain.origins[0], text))
        else:
            kept.append(msgspec.structs.replace(chain, match=msgspec.structs.replace(chain.match, server_names=names)))
    return tuple(kept), tuple(found)


def _common_names(sni: tuple[str, ...], hosts: tuple[str, ...]) -> tuple[str, ...] | None:
    common = {name for one in sni for other in hosts if (name := narrower(one, other)) is not None}
    return _server_names(tuple(sorted(common))) if common else None
