"""From one rule and one of its matches to a route."""

import msgspec

from controlplane.ir.policy import HashKey
from controlplane.ir.route import (
    NO_HEADER_OPS,
    Action,
    Cors,
    Fault,
    Forward,
    HeaderOps,
    MatchKind,
    Mirror,
    Rewrite,
    Route,
    RouteMatch,
    WeightedCluster,
)
from controlplane.mesh.destinations import Reader, Target, target
from controlplane.mesh.http.answer import BROKEN_RULE, direct_response, redirect
from controlplane.mesh.http.cors import cors
from controlplane.mesh.http.fault import fault
from controlplane.mesh.http.headers import header_ops, join
from controlplane.mesh.http.match import MATCH_ALL, route_match
from controlplane.mesh.http.mirror import mirrors
from controlplane.mesh.http.retry import retry
from controlplane.mesh.http.rewrite import rewrite
from controlplane.mesh.http.rule import Rule
from controlplane.mesh.problems import invalid
from controlplane.model.problem import Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import HTTPMatchRequest, HTTPRoute, HTTPRouteDestination

_NO_TIMEOUT = Forward(destinations=()).timeout


class Draft(msgspec.Struct, frozen=True):
    """What all matches of one rule share: a rule is read once, however many matches it has."""

    rule: Rule
    action: Action  # without a rewrite, which depends on the match
    authority: str | None  # the host that header operations ask for
    headers: HeaderOps
    fault: Fault | None
    cors: Cors | None
    single: Target | None  # the destination, when there is just one: it names the operation


def draft(rule: Rule, reader: Reader, settings: Settings, *, tls: bool, problems: list[Problem]) -> Draft:
    """Everything about a rule but its matches. A broken rule answers 500 and does nothing else: anything may be bad."""
    http = rule.http
    headers, authority = header_ops(http.headers)
    single: Target | None = None
    action: Action | None
    if rule.broken or http.invalid:
        action = BROKEN_RULE  # whoever found it broken has said so
    elif http.redirect is not None:
        action = redirect(http.redirect, port=reader.listener_port, tls=tls)
        action = action or _broken(rule, "redirect", "Envoy redirects with 301, 302, 303, 307 or 308 only", problems)
    elif http.direct_response is not None:
        action = direct_response(http.direct_response)
        action = action or _broken(rule, "directResponse", "a status of 200 to 599 and a base64 body", problems)
    else:
        shares = _shares(rule, reader, problems)
        if shares:
            action = _forward(rule, shares, reader, settings, problems)
            if len(shares) == 1:
                single = shares[0].target
                headers = join(headers, shares[0].headers)
                authority = authority or shares[0].authority
        else:
            action = BROKEN_RULE
    if action is BROKEN_RULE:
        return Draft(rule, action, None, NO_HEADER_OPS, None, None, None)
    return Draft(rule, action, authority, headers, fault(http.fault), cors(http.cors_policy), single)


def route(found: Draft, match: HTTPMatchRequest | None, vs_name: str, port: int) -> Route:
    """The route for one match of a rule, or for all requests."""
    matched = MATCH_ALL if match is None else route_match(match)
    action = found.action
    http = found.rule.http
    if type(action) is Forward and (http.rewrite is not None or found.authority):
        action = _rewritten(action, rewrite(http.rewrite, matched, found.authority))
    return Route(
        match=matched,
        action=action,
        origin=found.rule.origin,
        name=f"{http.name}.{match.name}" if match is not None and match.name else http.name,
        operation=_operation(found.single, matched, vs_name, port),
        headers=found.headers,
        fault=found.fault,
        cors=found.cors,
        stat_prefix=(match.stat_prefix or "") if match is not None else "",
    )


class _Share(msgspec.Struct, frozen=True):
    target: Target
    weight: int
    headers: HeaderOps
    authority: str | None
    origin: Origin


def _shares(rule: Rule, reader: Reader, problems: list[Problem]) -> list[_Share]:
    """The destinations that get anything: of several, those without weight get nothing."""
    routes = rule.http.route
    if not routes:
        _broken(rule, "route", "a rule needs a route, a redirect or a directResponse", problems)
        return []
    shares: list[_Share] = []
    for index, share in enumerate(routes):
        if len(routes) > 1 and (share.weight or 0) <= 0:
            continue
        found = _share(share, rule.origin.at(f"route[{index}]"), reader, problems)
        if found is None:
            _broken(rule, f"route[{index}].destination", "a destination needs a host", problems)
            return []
        shares.append(found)
    if not shares:
        _broken(rule, "route", "no destination has a weight above 0", problems)
    return shares


def _share(share: HTTPRouteDestination, origin: Origin, reader: Reader, problems: list[Problem]) -> _Share | None:
    if share.destination is None or not share.destination.host:
        return None
    found, problem = target(share.destination, origin.at("destination"), reader)
    if problem is not None:
        problems.append(problem)
    headers, authority = header_ops(share.headers)
    return _Share(found, share.weight or 1, headers, authority, origin)


def _forward(rule: Rule, shares: list[_Share], reader: Reader, settings: Settings, problems: list[Problem]) -> Forward:
    keys = _hash_keys(shares, reader)
    http = rule.http
    copies = http.mirror is not None or http.mirrors
    return Forward(
        destinations=_weighted(shares),
        timeout=http.timeout if http.timeout is not None else _NO_TIMEOUT,
        retry=retry(http.retries, settings, hashed=bool(keys) and len(shares) == 1),
        mirrors=_mirrors(http, rule.origin, reader, problems) if copies else (),
        hash_keys=keys,
    )


def _weighted(shares: list[_Share]) -> tuple[WeightedCluster, ...]:
    """A single destination's headers and host move to the route, where Envoy can apply them."""
    if len(shares) == 1:
        return (WeightedCluster(shares[0].target.cluster, 1, NO_HEADER_OPS, shares[0].origin),)
    return tuple(
        WeightedCluster(share.target.cluster, share.weight, share.headers, share.origin, share.authority)
        for share in shares
    )


def _hash_keys(shares: list[_Share], reader: Reader) -> tuple[HashKey, ...]:
    """Keys of all destinations: which of them a request goes to is decided before it is hashed."""
    keys: dict[HashKey, None] = {}
    for share in shares:
        for key in reader.destinations.hash_keys(share.target.host, share.target.port, share.target.subset):
            keys[key] = None
    return tuple(keys)


def _mirrors(http: HTTPRoute, origin: Origin, reader: Reader, problems: list[Problem]) -> tuple[Mirror, ...]:
    copies: list[Mirror] = []
    for destination, percent, where in mirrors(http, origin):
        found, problem = target(destination, where, reader)
        if problem is not None:
            problems.append(problem)
        copies.append(Mirror(found.cluster, percent))
    return tuple(copies)


def _rewritten(forward: Forward, change: Rewrite | None) -> Forward:
    return msgspec.structs.replace(forward, rewrite=change) if change is not None else forward


def _operation(single: Target | None, match: RouteMatch, vs_name: str, port: int) -> str:
    """What traces call a request, in Istio's words: "reviews.default.svc.cluster.local:9080/api*"."""
    if match.path is None:
        path = "/*"
    else:
        path = match.path.value + "*" if match.path.kind is MatchKind.PREFIX else match.path.value
    if single is not None:
        return f"{single.host}:{single.port}{path}"
    return f"{vs_name}:{port}{path}"


def _broken(rule: Rule, field: str, need: str, problems: list[Problem]) -> Action:
    problems.append(invalid(rule.origin.at(field), f"{need}; requests that match this rule get 500"))
    return BROKEN_RULE
