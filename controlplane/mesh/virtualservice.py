"""VirtualService: what it is about, and its HTTP rules as routes.

The same rules make different routes for different callers, ports and gateways, because a match may ask about these.
`source_selectors` says what a VirtualService asks about callers, so that callers who answer alike share their routes.

Several VirtualServices may name one host. In the mesh the oldest has it and the others are shadowed; on gateways their
routes are merged, oldest first. `order` is that order: age, then (namespace, name), which also decides between objects
without age, such as files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from controlplane.ir.route import Route
from controlplane.ir.service import Protocol, Service
from controlplane.mesh import hosts
from controlplane.mesh.caller import Caller, has_labels
from controlplane.mesh.destinations import Destinations, Reader, Target, TcpTimes
from controlplane.mesh.http.check import check
from controlplane.mesh.http.match import Place, applies, claims_of, is_usable
from controlplane.mesh.http.route import draft, route
from controlplane.mesh.http.rule import DelegateLookup, Rule, delegate_key, delegates, rules_of
from controlplane.mesh.problems import ineffective, outdoes
from controlplane.mesh.references import IN_MESH, MESH, gateway_key
from controlplane.model.meta import origin_of, ref_of
from controlplane.model.problem import Level, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService, VirtualServiceSpec

__all__ = [
    "MESH",
    "Caller",
    "DelegateLookup",
    "Destinations",
    "Rule",
    "Target",
    "TcpTimes",
    "binds_mesh",
    "delegates_of",
    "gateways_of",
    "has_labels",
    "hosts_of",
    "http_routes",
    "idle",
    "mesh_hosts_of",
    "order",
    "own_problems",
    "ports_named",
    "rules_of",
    "shadowed",
    "source_selectors",
]

_NO_AGE = datetime.max.replace(tzinfo=UTC)
_UNCONDITIONAL = (None,)


def order(vs: VirtualService) -> tuple[datetime, str, str]:
    """Sorts the oldest first; objects without age come last, by (namespace, name)."""
    return vs.meta.created or _NO_AGE, vs.meta.namespace, vs.meta.name


def hosts_of(vs: VirtualService, domain: str) -> tuple[str, ...]:
    """The names it is about: fully qualified, lower case, unique, in the author's order; a delegate has none."""
    if vs.invalid:
        return ()
    return tuple(dict.fromkeys(hosts.qualify(host.lower(), vs.meta.namespace, domain) for host in vs.spec.hosts))


def mesh_hosts_of(vs: VirtualService, domain: str) -> tuple[str, ...]:
    """The names it may be about in the mesh: `reviews.default` may be a service's short name as well as a host."""
    if vs.invalid:
        return ()
    names = (hosts.readings(host.lower(), vs.meta.namespace, domain) for host in vs.spec.hosts)
    return tuple(dict.fromkeys(name for readings in names for name in readings))


def binds_mesh(vs: VirtualService) -> bool:
    """Whether sidecars apply it: by default, and otherwise only if `mesh` is among its gateways."""
    return not vs.spec.gateways or MESH in vs.spec.gateways


def gateways_of(vs: VirtualService) -> tuple[tuple[str, str], ...]:
    """(namespace, name) of the gateways that apply it."""
    keys = dict.fromkeys(gateway_key(name, vs.meta.namespace) for name in vs.spec.gateways if name != MESH)
    return tuple((namespace, name) for namespace, _, name in (key.partition("/") for key in keys))


def delegates_of(vs: VirtualService) -> tuple[tuple[str, str], ...]:
    """(namespace, name) of the VirtualServices its rules delegate to."""
    found = (
        delegate_key(http.delegate, vs.meta.namespace) for http in vs.spec.http if http.delegate and delegates(http)
    )
    return tuple(dict.fromkeys(found))


def ports_named(rules: Sequence[Rule]) -> frozenset[int]:
    """The listener ports that matches ask for."""
    return frozenset(match.port for rule in rules for match in rule.http.match if match.port)


def source_selectors(
    rules: Sequence[Rule], vs: VirtualService | None = None
) -> tuple[tuple[str | None, Mapping[str, str]], ...]:
    """(namespace or None, labels) that its matches ask of callers; none means that all callers are alike.

    With `vs` its tcp and tls rules count too.
    """
    asked = [
        (match.source_namespace or "", match.source_labels)
        for match in (match for rule in rules for match in rule.http.match if not match.gateways)
    ]
    if vs is not None:
        asked += [(match.source_namespace or "", match.source_labels) for route in vs.spec.tcp for match in route.match]
        asked += [(match.source_namespace or "", match.source_labels) for route in vs.spec.tls for match in route.match]
    found = {(namespace, tuple(sorted(labels.items()))): labels for namespace, labels in asked if namespace or labels}
    return tuple((key[0] or None, found[key]) for key in sorted(found))


def own_problems(vs: VirtualService, rules: Sequence[Rule]) -> tuple[Problem, ...]:
    """What is wrong with its rules whoever calls: ask once, not per caller."""
    if not rules or vs.invalid:
        return ()
    return (*check(rules), *(_claims_in_mesh(rules) if binds_mesh(vs) else ()))


def _claims_in_mesh(rules: Sequence[Rule]) -> Iterator[Problem]:
    text = "only gateways look at tokens before they choose a route: in the mesh this never matches"
    for rule in rules:
        for index, match in enumerate(rule.http.match):
            if claims_of(match) and (not match.gateways or MESH in match.gateways):
                origin = rule.origin.at(f"match[{index}]")
                yield Problem("VirtualServiceIneffectiveMatch", Level.ERROR, origin, text)


def idle(vs: VirtualService, service: Service) -> tuple[Problem, ...]:
    """That it has rules for the mesh, and none of them for what the ports of one of its hosts speak."""
    if gateways_of(vs) or any(_acts_on(vs.spec, port.protocol) for port in service.ports):
        return ()
    written = [name for name, rules in (("http", vs.spec.http), ("tls", vs.spec.tls), ("tcp", vs.spec.tcp)) if rules]
    spoken = ", ".join(f"{port.protocol} on {port.number}" for port in service.ports) or "nothing"
    text = f"{' and '.join(written)} rules are not for what {service.host} speaks ({spoken})"
    return tuple(ineffective(origin_of(vs, f"spec.{name}"), text) for name in written[:1])


def _acts_on(spec: VirtualServiceSpec, protocol: Protocol) -> bool:
    if protocol.is_tls:
        return bool(spec.tls)
    may_be_http = protocol.is_http or protocol is Protocol.AUTO
    return (may_be_http and bool(spec.http)) or (not protocol.is_http and bool(spec.tcp))


def shadowed(vs: VirtualService, winner: VirtualService, host: str) -> tuple[Problem, ...]:
    """Of two VirtualServices for one host of the mesh the oldest has it; both are told."""
    text = f"{ref_of(winner)} is older and has {host} already; nothing of this object applies to it in the mesh"
    loser = Problem("Conflicted", Level.ERROR, origin_of(vs, "spec.hosts"), text)
    return loser, outdoes(origin_of(winner, "spec.hosts"), f"{ref_of(vs)} has rules for {host} in the mesh")


def http_routes(  # noqa: PLR0913  the rules, the place they are read for, and what they may ask
    rules: Sequence[Rule],
    *,
    vs: VirtualService,
    caller: Caller,
    listener_port: int,
    gateway: str | frozenset[str] = IN_MESH,
    destinations: Destinations,
    settings: Settings,
    tls: bool = False,
) -> tuple[tuple[Route, ...] | None, tuple[Problem, ...]]:
    """The routes at one place, in order, up to the first that takes everything.

    None: no rule is for this caller, port and gateway, as if there were no VirtualService. An empty tuple: some are,
    and none of them can be used; requests get 404.
    """
    gateways = frozenset({gateway}) if isinstance(gateway, str) else gateway
    place = Place(caller, listener_port, gateways)
    read = _reader_of(settings.cluster_domain, listener_port, destinations)
    routes: list[Route] = []
    problems: list[Problem] = []
    is_for_us = False
    for rule in rules:
        matches = rule.http.match or _UNCONDITIONAL
        ours = [match for match in matches if match is None or applies(match, rule.namespace, place)]
        is_for_us = is_for_us or bool(ours)
        usable = [match for match in ours if match is None or is_usable(match, place)]
        if not usable:
            continue
        drawn = draft(rule, read(rule.namespace), settings, tls=tls, problems=problems)
        for match in usable:
            routes.append(route(drawn, match, vs.meta.name, listener_port))
            if routes[-1].match.is_catch_all:
                return tuple(routes), tuple(problems)
    return (tuple(routes) if is_for_us else None), tuple(problems)


def _reader_of(domain: str, port: int, destinations: Destinations) -> Callable[[str], Reader]:
    """Delegates read their short names in their own namespace; nearly always there is only one."""
    made: dict[str, Reader] = {}

    def read(namespace: str) -> Reader:
        if namespace not in made:
            made[namespace] = Reader(namespace, domain, port, destinations)
        return made[namespace]

    return read
