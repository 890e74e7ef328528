"""One virtual host of one route table of a gateway."""

from collections.abc import Sequence

import msgspec

from controlplane.ir.listener import RouteTable
from controlplane.ir.route import DirectResponse, Route, RouteMatch, VirtualHost
from controlplane.mesh import hosts
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import Destinations
from controlplane.mesh.gateways.attach import admits, narrower
from controlplane.mesh.gateways.plan import TablePlan
from controlplane.mesh.gateways.server import Server
from controlplane.mesh.http.rule import Rule
from controlplane.mesh.virtualservice import gateways_of, http_routes
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService

EVERY_HOST = "*"
MISDIRECTED_REQUEST = 421


class Attached(msgspec.Struct, frozen=True):
    """A VirtualService with its delegates taken in."""

    vs: VirtualService
    rules: tuple[Rule, ...]


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
) -> tuple[VirtualHost | None, tuple[Problem, ...]]:
    """What a domain answers, from the VirtualServices attached to it, oldest first.

    None: no rule of theirs is for this gateway, and the table has nothing of its own to say.
    """
    servers = [server for server in table.servers if any(narrower(host, domain) == domain for host in server.hosts)]
    redirects = any(server.https_redirect for server in servers)
    merged, problems = _merged(servers, table, domain, attached, caller, destinations, settings)
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


def _merged(  # noqa: PLR0913, PLR0917  the same as its only caller has
    servers: Sequence[Server],
    table: TablePlan,
    domain: str,
    attached: Sequence[Attached],
    caller: Caller,
    destinations: Destinations,
    settings: Settings,
) -> tuple[tuple[Route, ...] | None, tuple[Problem, ...]]:
    """The routes of all VirtualServices, oldest first, catch-alls last; None if none has any for this place."""
    found: list[tuple[Route, VirtualService]] = []
    problems: list[Problem] = []
    applies = False
    for one in attached:
        routes, complaints = http_routes(
            one.rules,
            vs=one.vs,
            caller=caller,
            listener_port=table.port,
            gateway=_gateways(servers, one.vs, domain),
            destinations=destinations,
            settings=settings,
            tls=table.tls,
        )
        problems += complaints
        applies = applies or routes is not None
        found += ((route, one.vs) for route in routes or ())
    if len(attached) > 1:
        return (_in_order(found, problems) if applies else None), tuple(problems)
    return (tuple(route for route, _ in found) if applies else None), tuple(problems)


def _gateways(servers: Sequence[Server], vs: VirtualService, domain: str) -> frozenset[str]:
    """The Gateways through which a VirtualService is attached to a domain: what its matches may ask for."""
    bound = {f"{namespace}/{name}" for namespace, name in gateways_of(vs)}
    return frozenset(
        server.gateway
        for server in servers
        if server.gateway in bound
        and any(admits(one, vs.meta.namespace) and hosts.covers(one.host, domain) for one in server.admits)
    )


def _in_order(found: Sequence[tuple[Route, VirtualService]], problems: list[Problem]) -> tuple[Route, ...]:
    """Catch-alls move to the end. What an older VirtualService matches as well is shadowed, and says so."""
    kept: dict[RouteMatch, tuple[Route, VirtualService]] = {}
    for route, vs in found:
        first, winner = kept.setdefault(route.match, (route, vs))
        if winner is not vs:
            problems.append(_shadowed(route.origin, first.origin))
    routes = [route for route, _ in kept.values()]
    return (
        *(route for route in routes if not route.match.is_catch_all),
        *(route for route in routes if route.match.is_catch_all),
    )


def _shadowed(loser: Origin, winner: Origin) -> Problem:
    text = f"{winner} is older and has a rule for the same requests of this host; this one is never asked"
    return Problem("Conflicted", Level.WARNING, loser, text)
