"""The routes of one host, from all Ingresses that have rules for it.

Envoy takes the first route that matches; the specification's order is made here once. An exact path that matches is as
long as the path of the request, so no prefix that matches is longer: exact paths come first, then prefixes by length.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec
import re2

from controlplane.gatewayapi.ingresses import names
from controlplane.gatewayapi.ingresses.rules import Backend, HostRules, PathRule
from controlplane.ir.names import outbound_cluster
from controlplane.ir.policy import HashKey
from controlplane.ir.route import (
    Action,
    DirectResponse,
    Forward,
    HeaderMatch,
    MatchKind,
    Route,
    RouteMatch,
    StringMatch,
    WeightedCluster,
)
from controlplane.mesh.destinations import missing
from controlplane.mesh.hosts import service_host
from controlplane.mesh.http.answer import BROKEN_RULE
from controlplane.mesh.http.retry import retry
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings

_AUTHORITY: Final = ":authority"
_UNAVAILABLE: Final = DirectResponse(503)  # what a cluster answers that does not exist


class Backends(Protocol):
    """What a gateway can reach. Hosts are fully qualified."""

    def ports(self, host: str) -> tuple[int, ...] | None:
        """The port numbers of a host, or None if the gateway sees no such host."""

    def port_named(self, host: str, name: str) -> int | None:
        """The number of a port of a host that there is."""

    def stands_for(self, host: str) -> str:
        """The host that another name for it (an ExternalName) stands for; every other host stands for itself."""

    def hash_keys(self, host: str, port: int, subset: str) -> tuple[HashKey, ...]:
        """What requests are hashed by, if the balancer of that destination hashes."""


def routes(
    found: Sequence[HostRules], domain: str, backends: Backends, settings: Settings
) -> tuple[tuple[Route, ...], tuple[Problem, ...]]:
    """Of all that is said of one host, oldest first, at one domain of a route table."""
    problems: list[Problem] = []
    asks = _one_label(domain) if found and names.is_one_label(domain) and found[0].host == domain else ()
    made: list[Route] = []
    for rule in _in_order(found, problems):
        path = rule.match
        action, operation = _action(rule.backend, path, backends, settings, problems)
        made.append(Route(RouteMatch(path, asks), action, rule.origin, name=rule.origin.ref.name, operation=operation))
    return tuple(made), tuple(dict.fromkeys(problems))


def beyond_one_label(wider: Sequence[Route], domain: str) -> tuple[Route, ...]:
    """What the next wider host answers, for names that `domain` covers in Envoy's tables and not in an Ingress."""
    beyond = tuple(msgspec.structs.replace(one, invert=True) for one in _one_label(domain))
    return tuple(
        msgspec.structs.replace(
            route, match=msgspec.structs.replace(route.match, headers=(*route.match.headers, *beyond))
        )
        for route in wider
    )


def _one_label(domain: str) -> tuple[HeaderMatch, ...]:
    """The name in a request may be written in any case, and a port may follow."""
    pattern = f"(?i)[^.]+{re2.escape(domain.removeprefix('*'))}(:[0-9]+)?"
    return (HeaderMatch(_AUTHORITY, StringMatch(MatchKind.REGEX, pattern)),)


def _in_order(found: Sequence[HostRules], problems: list[Problem]) -> Iterator[PathRule]:
    """The specification's order; of those that match the same, the oldest."""
    kept: dict[StringMatch | None, PathRule] = {}
    for rule in (rule for one in found for rule in one.paths):
        first = kept.setdefault(rule.match, rule)
        if first is not rule:
            problems += _conflict(rule.origin, first.origin, "the same path")
    yield from sorted(kept.values(), key=_precedence)
    if None not in kept:
        yield from _rest(found, problems)


def _rest(found: Sequence[HostRules], problems: list[Problem]) -> Iterator[PathRule]:
    backed = [one for one in found if one.default is not None]
    for one in backed[:1]:
        assert one.default is not None
        yield PathRule(None, one.default, one.default.origin)
    for one in backed[1:]:
        problems += _conflict(one.default.origin, backed[0].default.origin, "a default backend")  # type: ignore[union-attr]  # they have one


def _precedence(rule: PathRule) -> tuple[bool, int, bool]:
    if rule.match is None:
        return True, 0, True
    return rule.match.kind is not MatchKind.EXACT, -len(rule.match.value), rule.match.kind is MatchKind.PREFIX


def _conflict(loser: Origin, winner: Origin, what: str) -> Iterator[Problem]:
    if winner.ref == loser.ref:
        text = f"{winner.path} has {what} of this host already; this one is never asked"
        yield Problem("Conflicted", Level.WARNING, loser, text)
        return
    text = f"{winner} is older and has {what} of this host, so {loser} is never asked"
    yield Problem("Conflicted", Level.ERROR, loser, text)
    yield Problem("Conflicted", Level.WARNING, winner, text)


def _action(
    backend: Backend, path: StringMatch | None, backends: Backends, settings: Settings, problems: list[Problem]
) -> tuple[Action, str]:
    """What is done with a request, and what traces call it."""
    if not backend.service:
        return BROKEN_RULE, ""
    host = service_host(backend.service, backend.origin.ref.namespace, settings.cluster_domain)
    port = _port(backend, host, backends, problems)
    if port is None:
        return _UNAVAILABLE, ""
    host = backends.stands_for(host)
    keys = backends.hash_keys(host, port, "")
    to = WeightedCluster(outbound_cluster(host, port), origin=backend.origin)
    forward = Forward((to,), retry=retry(None, settings, hashed=bool(keys)), hash_keys=keys)
    return forward, f"{host}:{port}{_shown(path)}"


def _port(backend: Backend, host: str, backends: Backends, problems: list[Problem]) -> int | None:
    """The number; one that the Service does not have leads to a cluster that answers 503, once it has it to that."""
    ports = backends.ports(host)
    at = backend.origin.at("service")
    if ports is None:
        problems.append(missing(at.at("name"), f"there is no Service {host} that can be seen; requests get 503"))
        return backend.port or None
    if backend.port_name:
        number = backends.port_named(host, backend.port_name)
        if number is None:
            text = f'{host} has no port "{backend.port_name}"; requests get 503'
            problems.append(missing(at.at("port.name"), text))
        return number
    if backend.port not in ports:
        have = ", ".join(map(str, ports)) or "none"
        text = f"{host} has no port {backend.port} (it has {have}); requests get 503"
        problems.append(missing(at.at("port.number"), text))
    return backend.port


def _shown(path: StringMatch | None) -> str:
    if path is None:
        return "/*"
    return path.value if path.kind is MatchKind.EXACT else f"{path.value}*"
