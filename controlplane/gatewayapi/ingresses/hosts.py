"""Where the hosts of Ingresses are served, and by which of them.

A request is first held against hosts, the most particular first, and only then against the paths of that host: what
`shop.example.com` does not match is not asked of `*.example.com`. So each domain of a route table has one host's rules.
"""

from collections.abc import Iterator, Sequence

from controlplane.gatewayapi.ingresses import names
from controlplane.gatewayapi.ingresses.rules import HostRules
from controlplane.gatewayapi.ingresses.servers import HTTP_PORT
from controlplane.ir.names import gateway_http_route
from controlplane.mesh.gateways.plan import GatewayPlan
from controlplane.mesh.problems import ineffective
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings, Tenancy


def places(host: str, namespace: str, plan: GatewayPlan) -> tuple[tuple[str, str], ...]:
    """(route table, domain) of every virtual host that rules for a host, of a namespace, take part in."""
    plain = gateway_http_route(HTTP_PORT)
    found = [(plain, host)] if plain in plan.tables else []
    return (*found, *_certified(host, plan, namespace))


def _certified(host: str, plan: GatewayPlan, namespace: str) -> Iterator[tuple[str, str]]:
    """On the servers for TLS of its namespace: a name is served where its nearest certificate is."""
    tables = plan.certified.get(namespace, {})
    if (nearest := next((one for one in _above(host) if one in tables), None)) is not None:
        yield tables[nearest], host
    if host.startswith("*"):
        yield from ((table, one) for one, table in tables.items() if one != host and names.covers(host, one))


def _above(host: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((host, *((each,) if (each := names.one_label_above(host)) else ()), names.EVERY_HOST)))


def unplaced(rules: HostRules, found: Sequence[tuple[str, str]]) -> tuple[Problem, ...]:
    """That no port of a gateway could carry them."""
    if found:
        return ()
    text = f"a Gateway has port {HTTP_PORT} for something else than HTTP, and there is no certificate for {rules.host}"
    return (ineffective(Origin(rules.ref, "spec.rules"), text),)


def serving(found: Sequence[HostRules], domain: str) -> list[HostRules]:
    """Of rules for several hosts that meet in one domain, those of the most particular host, oldest first."""
    best = max((one.host for one in found), key=lambda host: (host == domain, len(host)), default="")
    return sorted((one for one in found if one.host == best), key=lambda one: one.order)


def of_namespace_first(
    found: Sequence[HostRules], domain: str, settings: Settings
) -> tuple[list[HostRules], tuple[Problem, ...]]:
    """A host that several namespaces claim is the oldest's; both are told. `found`: oldest first."""
    if settings.tenancy is Tenancy.ISTIO:
        return list(found), ()
    kept = [one for one in found if one.namespace == found[0].namespace]
    lost = [one for one in found if one.namespace != found[0].namespace]
    return kept, tuple(problem for one in lost for problem in _conflict(one, found[0], domain))


def _conflict(loser: HostRules, winner: HostRules, domain: str) -> Iterator[Problem]:
    text = f"host {domain} is claimed by two namespaces: {winner.ref} is older and keeps it, {loser.ref} does without"
    yield Problem("Conflicted", Level.ERROR, Origin(loser.ref, "spec.rules"), text)
    yield Problem("Conflicted", Level.WARNING, Origin(winner.ref, "spec.rules"), text)
