"""One virtual host of one route table of a gateway."""

from collections.abc import Iterator, Sequence

import msgspec

from controlplane.ir.listener import RouteTable
from controlplane.ir.route import DirectResponse, Route, RouteMatch, VirtualHost
from controlplane.mesh import hosts
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import Destinations
from controlplane.mesh.gateways.attach import admits, narrower
from controlplane.mesh.gateways.plan import TablePlan
from controlplane.mesh.gateways.server import Age, Server
from controlplane.mesh.http.rule import Rule
from controlplane.mesh.virtualservice import gateways_of, http_routes, order
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings, Tenancy
from controlplane.model.virtualservice import VirtualService

EVERY_HOST = "*"
MISDIRECTED_REQUEST = 421


class Attached(msgspec.Struct, frozen=True):
    """A VirtualService with its delegates taken in."""

    vs: VirtualService
    rules: tuple[Rule, ...]


class Contributed(msgspec.Struct, frozen=True):
    """Routes of a domain that another front end made."""

    routes: tuple[Route, ...]
    age: Age  # of the oldest object that has a part in them
    origin: Origin  # that object
    beyond: tuple[Route, ...] = ()  # for names that the domain covers and they do not, if nobody else is attached


def route_table(table: TablePlan) -> RouteTable:
    """The table without its virtual hosts."""
    return RouteTable(table.name, gateway=True, origins=tuple(server.origin for server in table.servers))


def table_domains(table: TablePlan) -> tuple[str, ...]:
    """Domains that exist whatever is attached: redirects to HTTPS, misdirected requests, everything else."""
    named = (host for server in table.servers if server.https_redirect or table.has_neighbours for host in server.hosts)
    return tuple(sorted({*named, *table.misdirected, EVERY_HOST}))


def virtual_host(  # noqa: PLR0913  a table, a domain, who is attached, and what exists
    table: TablePlan,
    domain: str,
    attached: Sequence[Attached],
    *,
    caller: Caller,
    destinations: Destinations,
    settings: Settings,
    contributed: Contributed | None = None,
) -> tuple[VirtualHost | None, tuple[Problem, ...]]:
    """What a domain answers, from the VirtualServices attached to it, oldest first, and what is `contributed`.

    None: no rule of theirs is for this gateway, and the table has nothing of its own to say.
    """
    servers = [server for server in table.servers if any(narrower(host, domain) == domain for host in server.hosts)]
    servers, contributed, disputes = _claimed(servers, domain, contributed, settings)
    redirects = any(
        server.https_redirect and (attached or contributed is None or domain in server.hosts) for server in servers
    )
    merged, found = _merged(servers, table, domain, attached, contributed, caller, destinations, settings)
    problems = (*disputes, *found)
    if merged is not None or redirects:
        origins = tuple(server.origin for server in servers)
        name = f"{domain}:{table.port}"
        domains = (hosts.in_authority(domain),)
        return VirtualHost(name, domains, merged or (), require_tls=redirects, origins=origins), problems
    return _own_host(table, domain), problems


def unjudged_claims(host: VirtualHost) -> tuple[Problem, ...]:
    """Rules that ask for claims, where nobody looks at tokens."""
    text = (
        "no RequestAuthentication is for the gateway's pods, so no token is looked at there: "
        "a claim is never found, and withoutHeaders always holds"
    )
    asking = dict.fromkeys(route.origin for route in host.routes if route.match.claims)
    return tuple(Problem("JwtClaimBasedRoutingWithoutRequestAuthN", Level.ERROR, origin, text) for origin in asking)


def _own_host(table: TablePlan, domain: str) -> VirtualHost | None:
    """What a domain answers that nobody attached to: 421 if another server of the port has it, else 404."""
    if domain not in table_domains(table):
        return None
    origins = tuple(server.origin for server in table.servers)
    own = any(domain in server.hosts for server in table.servers)
    if domain in table.misdirected or (table.has_neighbours and not own):
        route = Route(RouteMatch(), DirectResponse(MISDIRECTED_REQUEST), origins[0], name="misdirected")
        name = f"misdirected:{table.port}" if domain == EVERY_HOST else f"misdirected:{domain}:{table.port}"
        return VirtualHost(name, (domain,), (route,), origins=origins)
    name = f"blackhole:{table.port}" if domain == EVERY_HOST else f"blackhole:{domain}:{table.port}"
    return VirtualHost(name, (domain,), (), origins=origins)


def _claimed(
    servers: list[Server], domain: str, contributed: Contributed | None, settings: Settings
) -> tuple[list[Server], Contributed | None, tuple[Problem, ...]]:
    """A domain that a server of one namespace and a contribution of another both name is the older's alone."""
    if contributed is None or settings.tenancy is Tenancy.ISTIO:
        return servers, contributed, ()
    namespace = contributed.origin.ref.namespace
    rivals = [server for server in servers if domain in server.hosts and server.key[0] != namespace]
    older = min((server for server in rivals if server.age < contributed.age), key=_age, default=None)
    if older is not None:
        return servers, None, tuple(_dispute(contributed.origin, older.origin, domain))
    disputes = (problem for rival in rivals for problem in _dispute(rival.origin, contributed.origin, domain))
    return [server for server in servers if server not in rivals], contributed, tuple(disputes)


def _age(server: Server) -> Age:
    return server.age


def _dispute(loser: Origin, winner: Origin, domain: str) -> Iterator[Problem]:
    text = f"host {domain} is claimed by two namespaces: {winner} is older and keeps it, {loser} does without"
    yield Problem("Conflicted", Level.ERROR, loser, text)
    yield Problem("Conflicted", Level.WARNING, winner, text)


def _merged(  # noqa: PLR0913, PLR0917  the same as its only caller has
    servers: Sequence[Server],
    table: TablePlan,
    domain: str,
    attached: Sequence[Attached],
    contributed: Contributed | None,
    caller: Caller,
    destinations: Destinations,
    settings: Settings,
) -> tuple[tuple[Route, ...] | None, tuple[Problem, ...]]:
    """All routes, the oldest object's first, catch-alls last; None if none is for this place."""
    parts: list[tuple[Age, object, tuple[Route, ...]]] = []
    problems: list[Problem] = []
    for one in attached:
        gateways = _gateways(servers, one.vs, domain)
        if not gateways:
            continue  # an older object of another namespace has the domain
        routes, complaints = http_routes(
            one.rules,
            vs=one.vs,
            caller=caller,
            listener_port=table.port,
            gateway=gateways,
            destinations=destinations,
            settings=settings,
            tls=table.tls,
        )
        problems += complaints
        if routes is not None:
            parts.append((order(one.vs), one.vs, routes))
    if contributed is not None:
        parts.append((contributed.age, contributed, contributed.routes))
        parts.sort(key=lambda part: part[0])
    found = [(route, owner) for _, owner, routes in parts for route in routes]
    if len(parts) > 1:
        return _in_order(found, problems), tuple(problems)
    beyond = contributed.beyond if contributed is not None else ()
    return ((*(route for route, _ in found), *beyond) if parts else None), tuple(problems)


def _gateways(servers: Sequence[Server], vs: VirtualService, domain: str) -> frozenset[str]:
    """The Gateways through which a VirtualService is attached to a domain: what its matches may ask for."""
    bound = {f"{namespace}/{name}" for namespace, name in gateways_of(vs)}
    return frozenset(
        server.gateway
        for server in servers
        if server.gateway in bound
        and any(admits(one, vs.meta.namespace) and hosts.covers(one.host, domain) for one in server.admits)
    )


def _in_order(found: Sequence[tuple[Route, object]], problems: list[Problem]) -> tuple[Route, ...]:
    """Catch-alls move to the end. What an older object matches as well is shadowed, and says so."""
    kept: dict[RouteMatch, tuple[Route, object]] = {}
    for route, owner in found:
        first, winner = kept.setdefault(route.match, (route, owner))
        if winner is not owner:
            problems.append(_shadowed(route.origin, first.origin))
    routes = [route for route, _ in kept.values()]
    return (
        *(route for route in routes if not route.match.is_catch_all),
        *(route for route in routes if route.match.is_catch_all),
    )


def _shadowed(loser: Origin, winner: Origin) -> Problem:
    text = f"{winner} is older and has a rule for the same requests of this host; this one is never asked"
    return Problem("Conflicted", Level.WARNING, loser, text)
