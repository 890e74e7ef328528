"""What is wrong with rules by themselves, whoever calls and whatever exists: said once per VirtualService."""

from collections.abc import Iterator, Sequence

from controlplane.ir.route import MatchKind
from controlplane.mesh.http.fault import abort_percent, delay_percent, grpc_status
from controlplane.mesh.http.match import claims_of, is_usable, route_match
from controlplane.mesh.http.rule import Rule
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.virtualservice import HTTPFaultInjection, HTTPMatchRequest, HTTPRetry


def check(rules: Sequence[Rule]) -> Iterator[Problem]:
    """In the order of the rules."""
    ended_by: Rule | None = None
    for rule in rules:
        if ended_by is not None:
            yield _unreachable(rule, ended_by)
            continue
        yield from _check(rule)
        if not rule.http.match or any(_takes_everything(match) for match in rule.http.match):
            ended_by = rule


def _check(rule: Rule) -> Iterator[Problem]:
    for index, match in enumerate(rule.http.match):
        yield from _check_match(match, rule.origin.at(f"match[{index}]"))
    if rule.http.retries is not None:
        yield from _check_retries(rule.http.retries, rule.origin.at("retries"))
    if rule.http.fault is not None:
        yield from _check_fault(rule.http.fault, rule.origin.at("fault"))


def _takes_everything(match: HTTPMatchRequest) -> bool:
    """At every proxy, for every request."""
    asks_about_proxy = match.port or match.gateways or match.source_labels or match.source_namespace
    return not asks_about_proxy and is_usable(match) and route_match(match).is_catch_all


def _unreachable(rule: Rule, ended_by: Rule) -> Problem:
    text = f"{ended_by.origin} takes every request before this rule is asked"
    return Problem("VirtualServiceUnreachableRule", Level.WARNING, rule.origin, text)


def _check_match(match: HTTPMatchRequest, origin: Origin) -> Iterator[Problem]:
    for name in claims_of(match):
        text = f"matching on {name} is not supported yet: this match never matches"
        yield Problem("FieldNotSupportedYet", Level.ERROR, origin.at(f"headers[{name}]"), text)
    if match.gateways and (match.source_labels or match.source_namespace):
        text = "sourceLabels and sourceNamespace are not looked at where gateways are given"
        yield Problem("VirtualServiceIneffectiveMatch", Level.WARNING, origin.at("sourceLabels"), text)
    path = route_match(match).path if match.ignore_uri_case else None
    if path is not None and path.kind is MatchKind.REGEX:
        text = "ignoreUriCase has no effect on a regex; write (?i) into it"
        yield Problem("VirtualServiceIneffectiveMatch", Level.WARNING, origin.at("ignoreUriCase"), text)


def _check_retries(retries: HTTPRetry, origin: Origin) -> Iterator[Problem]:
    says_more = retries.retry_on or retries.per_try_timeout is not None or retries.backoff is not None
    if not retries.attempts and says_more:
        text = "attempts is 0 or absent, so nothing is retried and the other fields have no effect"
        yield Problem("IneffectiveField", Level.WARNING, origin.at("attempts"), text)


def _check_fault(fault: HTTPFaultInjection, origin: Origin) -> Iterator[Problem]:
    delay, abort = fault.delay, fault.abort
    if delay is not None and delay.fixed_delay is None:
        text = "only fixedDelay is implemented, here as in Istio; no request is delayed"
        yield Problem("FieldNotSupportedYet", Level.ERROR, origin.at("delay"), text)
    elif delay is not None and not delay_percent(delay):
        yield _never(origin.at("delay"), "delayed")
    if abort is not None and abort.http_status is None and grpc_status(abort) is None:
        text = "an abort needs httpStatus or a known grpcStatus; no request is aborted"
        yield Problem("FieldNotSupportedYet", Level.ERROR, origin.at("abort"), text)
    elif abort is not None and not abort_percent(abort):
        yield _never(origin.at("abort"), "aborted")


def _never(origin: Origin, what: str) -> Problem:
    text = f"percentage is 0 or absent, so no request is {what}; say percentage.value: 100 for all"
    return Problem("IneffectiveField", Level.WARNING, origin.at("percentage"), text)
