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
from controlplane.mesh.destinations import Destinations, Reader, Target, TcpTimes, target
from controlplane.mesh.http.match import Place
from controlplane.mesh.problems import invalid
from controlplane.mesh.references import gateway_key
from controlplane.model.meta import origin_of
from controlplane.model.problem import Origin, Problem
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


class _Rule(msgspec.Struct, frozen=True):
    """A tcp or tls rule: where it leads, and where it stands."""

    route: tuple[RouteDestination, ...]
    origin: Origin
    vs: VirtualService
    invalid: bool


def tcp_chains(vss: Sequence[VirtualService], at: L4Place) -> tuple[tuple[FilterChain, ...], bool, Problems]:
    """Chains of tcp rules, oldest VirtualService first; whether one of them takes every connection; problems."""
    chains: dict[ChainMatch, FilterChain] = {}
    problems: list[Problem] = []
    for vs in vss:
        spec = origin_of(vs, "spec")
        for index, written in enumerate(vs.spec.tcp):
            subnets = _tcp_subnets(written.match, vs.meta.namespace, at.place)
            if subnets is None:
                continue
            rule = _Rule(written.route, spec.at(f"tcp[{index}]"), vs, written.invalid)
            match = ChainMatch(destination_ranges=subnets or at.ranges)
            if match not in chains:
                chains[match] = _chain(match, rule, at, problems)
            if not subnets:
                return tuple(chains.values()), True, tuple(problems)
    return tuple(chains.values()), False, tuple(problems)


def tls_chains(vss: Sequence[VirtualService], at: L4Place) -> tuple[tuple[FilterChain, ...], Problems]:
    """Chains of tls rules; each server name goes to the first rule that names it."""
    chains: list[FilterChain] = []
    problems: list[Problem] = []
    taken: set[tuple[str, tuple[str, ...]]] = set()
    for vs in vss:
        spec = origin_of(vs, "spec")
        for index, written in enumerate(vs.spec.tls):
            rule = _Rule(written.route, spec.at(f"tls[{index}]"), vs, written.invalid)
            for match in _tls_matches(written.match, vs.meta.namespace, at):
                fresh = untaken(match, taken)
                if fresh is not None:
                    chains.append(_chain(fresh, rule, at, problems))
    return tuple(chains), tuple(dict.fromkeys(problems))


def service_chain(
    found: Target, match: ChainMatch, origin: Origin, *, times: TcpTimes, hash_keys: Sequence[HashKey] = ()
) -> FilterChain:
    """The chain that forwards to one destination: what a service has without rules."""
    forwards = _forwards(found.cluster, (WeightedCluster(found.cluster),), times, hash_keys)
    return FilterChain(found.cluster, match, forwards, origins=(origin,))


def untaken(match: ChainMatch, taken: set[tuple[str, tuple[str, ...]]]) -> ChainMatch | None:
    """The part of a match that no chain before it has."""
    names_ = match.server_names or ("",)
    fresh = tuple(name for name in names_ if (name, match.destination_ranges) not in taken)
    taken.update((name, match.destination_ranges) for name in fresh)
    if not fresh:
        return None
    return match if fresh == names_ else msgspec.structs.replace(match, server_names=fresh)


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


def _applies(match: L4MatchAttributes | TLSMatchAttributes, namespace: str, place: Place) -> bool:
    if match.port and match.port != place.port:
        return False
    if match.gateways and all(gateway_key(name, namespace) not in place.gateways for name in match.gateways):
        return False
    if match.source_namespace and match.source_namespace != place.caller.namespace:
        return False
    return has_labels(place.caller.labels, match.source_labels)


def _chain(match: ChainMatch, rule: _Rule, at: L4Place, problems: list[Problem]) -> FilterChain:
    """A rule that cannot be carried out closes its connections."""
    found = [] if rule.invalid else _targets(rule, at, problems)
    if not found:
        nowhere = TcpChain(names.BLACK_HOLE_CLUSTER, (WeightedCluster(names.BLACK_HOLE_CLUSTER),))
        return FilterChain(names.BLACK_HOLE_CLUSTER, match, nowhere, origins=(rule.origin,))
    first = found[0][0]
    place = (first.host, first.port, first.subset)
    name = first.cluster if len(found) == 1 else f"{rule.vs.meta.name}.{rule.vs.meta.namespace}"
    shares = tuple(WeightedCluster(one.cluster, weight, origin=rule.origin) for one, weight in found)
    forwards = _forwards(name, shares, at.destinations.tcp_times(*place), at.destinations.hash_keys(*place))
    return FilterChain(name, match, forwards, origins=(rule.origin,))


def _forwards(
    name: str, shares: tuple[WeightedCluster, ...], times: TcpTimes, hash_keys: Sequence[HashKey]
) -> TcpChain:
    return TcpChain(
        stat_prefix=name,
        destinations=shares,
        idle_timeout=times.idle_timeout,
        max_connection_duration=times.max_connection_duration,
        hash_key=source_ip(hash_keys),
        tunnel=times.tunnel,
        by_name_at=times.by_name_at,
    )


def _targets(rule: _Rule, at: L4Place, problems: list[Problem]) -> list[tuple[Target, int]]:
    """The destinations that get anything: of several, those without weight get nothing."""
    reader = Reader(rule.vs.meta.namespace, at.domain, at.place.port, at.destinations)
    found: list[tuple[Target, int]] = []
    for index, share in enumerate(rule.route):
        weightless = len(rule.route) > 1 and (share.weight or 0) <= 0
        if share.destination is None or not share.destination.host or weightless:
            continue
        one, problem = target(share.destination, rule.origin.at(f"route[{index}].destination"), reader)
        problems += (problem,) if problem is not None else ()
        found.append((one, share.weight or 1))
    if not found:
        text = "no destination gets a share: connections that match this rule are closed"
        problems.append(invalid(rule.origin.at("route"), text))
    return found
