"""VirtualService tcp and tls rules: connections that are forwarded without a look inside.

Each rule becomes filter chains: what it asks about the connection (destination subnets, server names) is the chain's
match, what it asks about the proxy (port, gateways, source labels and namespace) decides whether the chain is made.
Unlike in HTTP matches, `gateways` and the labels must both hold (as Istio).

Envoy refuses a listener in which two chains match the same, so of two rules that do the first wins.
"""

from collections.abc import Iterator, Sequence

import msgspec

from controlplane.ir import names
from controlplane.ir.listener import ChainMatch, FilterChain, TcpChain
from controlplane.ir.policy import HashKey, HashSourceIp
from controlplane.ir.route import WeightedCluster
from controlplane.mesh.caller import has_labels
from controlplane.mesh.destinations import Destinations, Reader, Target, TcpTimes, fitting, target
from controlplane.mesh.http.match import Place
from controlplane.mesh.references import gateway_key
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.virtualservice import L4MatchAttributes, RouteDestination, TLSMatchAttributes, VirtualService

Problems = tuple[Problem, ...]


class L4Place(msgspec.Struct, frozen=True):
    """Where chains are made for."""

    place: Place
    destinations: Destinations
    domain: str
    ranges: tuple[str, ...] = ()  # addresses the service has, where the listener's own address does not say it


def applies_l4(vs: VirtualService) -> bool:
    """Whether it says anything about connections."""
    return not vs.invalid and bool(vs.spec.tcp or vs.spec.tls)


def tcp_chains(vss: Sequence[VirtualService], at: L4Place) -> tuple[tuple[FilterChain, ...], bool, Problems]:
    """Chains of tcp rules, oldest VirtualService first; whether one of them takes every connection; problems."""
    chains: list[FilterChain] = []
    problems: list[Problem] = []
    for vs in vss:
        spec = origin_of(vs, "spec")
        for index, rule in enumerate(vs.spec.tcp):
            origin = spec.at(f"tcp[{index}]")
            subnets = _tcp_subnets(rule.match, vs.meta.namespace, at.place)
            if subnets is None:
                continue
            match = ChainMatch(destination_ranges=subnets or at.ranges)
            if all(chain.match != match for chain in chains):
                chains.append(_chain(match, rule.route, origin, vs, at, problems, invalid=rule.invalid))
            if not subnets:
                return tuple(chains), True, tuple(problems)
    return tuple(chains), False, tuple(problems)


def tls_chains(vss: Sequence[VirtualService], at: L4Place) -> tuple[tuple[FilterChain, ...], Problems]:
    """Chains of tls rules; each server name goes to the first rule that names it."""
    chains: list[FilterChain] = []
    problems: list[Problem] = []
    taken: set[tuple[str, tuple[str, ...]]] = set()
    for vs in vss:
        spec = origin_of(vs, "spec")
        for index, rule in enumerate(vs.spec.tls):
            for match in _tls_matches(rule.match, vs.meta.namespace, at):
                fresh = _untaken(match, taken)
                if fresh is not None:
                    origin = spec.at(f"tls[{index}]")
                    chains.append(_chain(fresh, rule.route, origin, vs, at, problems, invalid=rule.invalid))
    return tuple(chains), tuple(problems)


def service_chain(  # noqa: PLR0913  a destination and how it is called
    target_: Target,
    match: ChainMatch,
    origin: Origin,
    *,
    times: TcpTimes,
    hash_keys: Sequence[HashKey] = (),
    name: str = "",
) -> FilterChain:
    """The chain that forwards to one destination: what a service has without rules."""
    return FilterChain(
        name=name,
        match=match,
        network=TcpChain(
            stat_prefix=target_.cluster,
            destinations=(WeightedCluster(target_.cluster),),
            idle_timeout=times.idle_timeout,
            max_connection_duration=times.max_connection_duration,
            hash_key=source_ip(hash_keys),
        ),
        origins=(origin,),
    )


def source_ip(keys: Sequence[HashKey]) -> HashKey | None:
    """Of all keys a connection has only its source address."""
    return next((key for key in keys if isinstance(key, HashSourceIp)), None)


def _tcp_subnets(matches: Sequence[L4MatchAttributes], namespace: str, place: Place) -> tuple[str, ...] | None:
    """Destinations a rule takes: () = all, as one match without subnets does; None = the rule is not for this place."""
    if not matches:
        return ()
    ours = [match for match in matches if not match.invalid and _applies(match, namespace, place)]
    if not ours:
        return None
    if any(not match.destination_subnets for match in ours):
        return ()
    return tuple(dict.fromkeys(subnet for match in ours for subnet in match.destination_subnets))


def _tls_matches(matches: Sequence[TLSMatchAttributes], namespace: str, at: L4Place) -> Iterator[ChainMatch]:
    for match in matches:
        if not match.invalid and match.sni_hosts and _applies(match, namespace, at.place):
            yield ChainMatch(
                destination_ranges=match.destination_subnets or at.ranges,
                server_names=_server_names(match.sni_hosts),
            )


def _server_names(sni_hosts: Sequence[str]) -> tuple[str, ...]:
    """ "*" asks for no name at all: Envoy knows no such pattern, an empty list says it."""
    return () if "*" in sni_hosts else tuple(sorted({name.lower() for name in sni_hosts}))


def _untaken(match: ChainMatch, taken: set[tuple[str, tuple[str, ...]]]) -> ChainMatch | None:
    """The part of a match that no chain before it has."""
    names_ = match.server_names or ("",)
    fresh = tuple(name for name in names_ if (name, match.destination_ranges) not in taken)
    taken.update((name, match.destination_ranges) for name in fresh)
    if not fresh:
        return None
    return match if fresh == names_ else msgspec.structs.replace(match, server_names=fresh)


def _applies(match: L4MatchAttributes | TLSMatchAttributes, namespace: str, place: Place) -> bool:
    if match.port and match.port != place.port:
        return False
    if match.gateways and all(gateway_key(name, namespace) not in place.gateways for name in match.gateways):
        return False
    if match.source_namespace and match.source_namespace != place.caller.namespace:
        return False
    return has_labels(place.caller.labels, match.source_labels)


def _chain(  # noqa: PLR0913, PLR0917  one rule, and where it is read
    match: ChainMatch,
    route: Sequence[RouteDestination],
    origin: Origin,
    vs: VirtualService,
    at: L4Place,
    problems: list[Problem],
    *,
    invalid: bool,
) -> FilterChain:
    """A rule that cannot be carried out closes its connections."""
    found = [] if invalid else _targets(route, origin, vs, at, problems)
    if not found:
        return FilterChain(
            name="",
            match=match,
            network=TcpChain(names.BLACK_HOLE_CLUSTER, (WeightedCluster(names.BLACK_HOLE_CLUSTER),)),
            origins=(origin,),
        )
    first = found[0][0]
    times = at.destinations.tcp_times(first.host, first.port, first.subset)
    keys = at.destinations.hash_keys(first.host, first.port, first.subset)
    weights = fitting([weight for _, weight in found])
    network = TcpChain(
        stat_prefix=first.cluster if len(found) == 1 else f"{vs.meta.name}.{vs.meta.namespace}",
        destinations=tuple(
            WeightedCluster(target_.cluster, weight, origin=origin)
            for (target_, _), weight in zip(found, weights, strict=True)
        ),
        idle_timeout=times.idle_timeout,
        max_connection_duration=times.max_connection_duration,
        hash_key=source_ip(keys),
    )
    return FilterChain(name="", match=match, network=network, origins=(origin,))


def _targets(
    route: Sequence[RouteDestination], origin: Origin, vs: VirtualService, at: L4Place, problems: list[Problem]
) -> list[tuple[Target, int]]:
    reader = Reader(vs.meta.namespace, at.domain, at.place.port, at.destinations)
    found: list[tuple[Target, int]] = []
    for index, share in enumerate(route):
        if share.destination is None or not share.destination.host or (len(route) > 1 and (share.weight or 0) <= 0):
            continue
        target_, problem = target(share.destination, origin.at(f"route[{index}].destination"), reader)
        problems += (problem,) if problem is not None else ()
        found.append((target_, share.weight or 1))
    if not found:
        text = "no destination gets a share: connections that match this rule are closed"
        problems.append(Problem("InvalidAction", Level.ERROR, origin.at("route"), text))
    return found
