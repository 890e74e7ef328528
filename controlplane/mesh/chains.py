"""The filter chains of service ports in outbound listeners, and how those of several services share one.

Envoy looks for a chain by destination, then server name, then transport, then application protocol, and never goes
back a step. What is to catch the rest of a listener is therefore its default chain, not a chain that matches
everything; and a chain beside a sniffed one must say everything the sniffed one says, but the protocol.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, HttpChain
from controlplane.ir.policy import HashKey
from controlplane.ir.service import Protocol, Resolution, Service, ServicePort
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import Destinations, Target
from controlplane.mesh.http.match import Place
from controlplane.mesh.l4routes import L4Place, service_chain, tcp_chains, tls_chains
from controlplane.mesh.placement import placement
from controlplane.mesh.references import IN_MESH
from controlplane.model.problem import Level, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService

MAX_HEADLESS_CHAINS = 64

# What Envoy's HTTP inspector finds in plain bytes.
PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")
HTTP_BYTES = ChainMatch(transport="raw_buffer", application_protocols=PLAIN_HTTP)


class Member(msgspec.Struct, frozen=True):
    """The chains one service port brings into a listener. Members come oldest service first."""

    service: Service
    port: ServicePort
    chains: tuple[FilterChain, ...]


def service_chains(  # noqa: PLR0913  a service port, who calls, what exists, and where the listener stands
    service: Service,
    port: ServicePort,
    *,
    caller: Caller,
    destinations: Destinations,
    settings: Settings,
    vs: Sequence[VirtualService] = (),
    hash_keys: tuple[HashKey, ...] = (),
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
        complete = bool(chains)
    else:
        chains, complete, problems = tcp_chains(vs, at)
    if not complete and not (listener_port is None and _is_only_a_name(service, port)):
        sni = _needed_sni(service) if port.protocol.is_tls else ()
        match = ChainMatch(destination_ranges=ranges, server_names=sni)
        chains += (_default_chain(service, port, match, destinations, hash_keys),)
    if service.headless:
        chains = tuple(_each_endpoint(chains, ranges))
    if port.protocol is Protocol.AUTO:
        chains = _sniffed(service, port, chains)
    return chains, problems


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
            winner = taken.setdefault(fitted.match, member)
            if winner is not member:
                problems.append(_conflict(member, winner))
            elif fitted.match == MATCH_ALL:
                default = fitted
            else:
                chains.append(fitted)
    return tuple(chains), default, tuple(dict.fromkeys(problems))


def on_address(member: Member) -> Member:
    """The same where the listener's own address already says which service is called: blocks need not be asked for."""
    blocks = _blocks(member.service)
    if not blocks:
        return member
    chains = (_without_ranges(chain) if chain.match.destination_ranges == blocks else chain for chain in member.chains)
    return Member(member.service, member.port, tuple({chain.match: chain for chain in chains}.values()))


def _without_ranges(chain: FilterChain) -> FilterChain:
    stripped: FilterChain = msgspec.structs.replace(
        chain, match=msgspec.structs.replace(chain.match, destination_ranges=())
    )
    return stripped


def _told_apart(chain: FilterChain, member: Member) -> FilterChain:
    """Among several services a TLS service that asks for nothing asks for its own name."""
    if chain.match != MATCH_ALL or not member.port.protocol.is_tls:
        return chain
    return msgspec.structs.replace(chain, match=ChainMatch(server_names=(member.service.host,)))


def _conflict(loser: Member, winner: Member) -> Problem:
    which = f"port {loser.port.number} ({loser.port.protocol}) of {loser.service.host}"
    if loser.service.headless and winner.service.headless:
        text = f"{which} has endpoints of {winner.service.host}, which is older: calls to these follow its rules"
        return Problem("Conflicted", Level.INFO, loser.service.origin, text)
    text = (
        f"{which} cannot be told from that of {winner.service.host} ({winner.service.origin}), which is older and "
        f"keeps it; give it an address of its own"
    )
    return Problem("Conflicted", Level.ERROR, loser.service.origin, text)


def _blocks(service: Service) -> tuple[str, ...]:
    return tuple(address for address in service.addresses if "/" in address)


def _ranges(service: Service, addresses: Sequence[str]) -> tuple[str, ...]:
    """Destinations that mean this service, where the listener's address does not say it."""
    if service.headless:
        return tuple(sorted(addresses)) if len(addresses) <= MAX_HEADLESS_CHAINS else ()
    return _blocks(service)


def _needed_sni(service: Service) -> tuple[str, ...]:
    """A TLS service with no address of its own is known by its name alone; a headless one by its endpoints."""
    has_own = any("/" not in address for address in service.addresses)
    return () if has_own or service.headless else (service.host,)


def _is_only_a_name(service: Service, port: ServicePort) -> bool:
    """Whether bytes for it look like any others: an ExternalName has neither an address nor, for bytes, a server name.

    They go where the DNS led, as without a mesh. Taking them would take all calls to the port from everybody else.
    """
    return bool(service.alias_of) and not port.protocol.is_tls


def _default_chain(
    service: Service,
    port: ServicePort,
    match: ChainMatch,
    destinations: Destinations,
    hash_keys: tuple[HashKey, ...],
) -> FilterChain:
    times = destinations.tcp_times(service.host, port.number, "")
    return service_chain(Target(service.host, port.number), match, service.origin, times=times, hash_keys=hash_keys)


def _each_endpoint(chains: Iterable[FilterChain], ranges: tuple[str, ...]) -> Iterator[FilterChain]:
    """One chain for each endpoint of a headless service, so that an endpoint comes and goes without the others."""
    for chain in chains:
        if not ranges or chain.match.destination_ranges != ranges:
            yield chain
            continue
        for address in ranges:
            match = msgspec.structs.replace(chain.match, destination_ranges=(address,))
            yield msgspec.structs.replace(chain, match=match)


def _sniffed(service: Service, port: ServicePort, tcp: tuple[FilterChain, ...]) -> tuple[FilterChain, ...]:
    """HTTP to a route table, beside the chains for everything else.

    A service without an address and without known endpoints lives in a listener that speaks HTTP already. Chains that
    ask for a destination are doubled: "plain bytes, but no HTTP" must be said too.
    """
    route = placement(service, port).table
    speaks = HttpChain(
        stat_prefix=f"outbound_{service.host}_{port.number}",
        route=route,
        dynamic_dns=service.resolution is Resolution.DYNAMIC_DNS,
    )
    places = dict.fromkeys(chain.match.destination_ranges for chain in tcp)
    if all("/" in address for address in service.addresses):
        places.pop((), None)
    http = tuple(
        FilterChain(
            route, msgspec.structs.replace(HTTP_BYTES, destination_ranges=place), speaks, origins=(service.origin,)
        )
        for place in places
    )
    return http + tuple(plain for chain in tcp if (plain := _plain(chain)) is not None) + tcp


def _plain(chain: FilterChain) -> FilterChain | None:
    if not chain.match.destination_ranges:
        return None
    plain: FilterChain = msgspec.structs.replace(
        chain, match=msgspec.structs.replace(chain.match, transport="raw_buffer")
    )
    return plain
