"""What is wrong with rules by themselves, whoever calls and whatever exists: said once per VirtualService.

Field by field the model has looked already; here is what only the meaning of a whole rule, or of several, shows.
"""

from collections.abc import Iterator, Sequence

from controlplane.mesh.http.fault import abort_percent, delay_percent
from controlplane.mesh.http.match import route_match
from controlplane.mesh.http.rule import Rule
from controlplane.mesh.problems import ineffective
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
    return not asks_about_proxy and not match.invalid and route_match(match).is_catch_all


def _unreachable(rule: Rule, ended_by: Rule) -> Problem:
    text = f"{ended_by.origin} takes every request before this rule is asked"
    return Problem("VirtualServiceUnreachableRule", Level.WARNING, rule.origin, text)


def _check_match(match: HTTPMatchRequest, origin: Origin) -> Iterator[Problem]:
    if match.gateways and (match.source_labels or match.source_namespace):
        text = "sourceLabels and sourceNamespace are not looked at where gateways are given"
        yield Problem("VirtualServiceIneffectiveMatch", Level.WARNING, origin, text)


def _check_retries(retries: HTTPRetry, origin: Origin) -> Iterator[Problem]:
    """`attempts: 0` says what it does; left out it means the same, and hardly anyone expects that."""
    if retries.attempts is None and retries != HTTPRetry():
        yield ineffective(origin, "without attempts nothing is retried; say attempts: 2 for Istio's usual number")


def _check_fault(fault: HTTPFaultInjection, origin: Origin) -> Iterator[Problem]:
    delay, abort = fault.delay, fault.abort
    if delay is not None and delay.fixed_delay is not None and not delay_percent(delay):
        yield ineffective(origin.at("delay.percentage"), "it is 0 or absent, so no request is delayed; 100 means all")
    if abort is not None and not abort_percent(abort):
        yield ineffective(origin.at("abort.percentage"), "it is 0 or absent, so no request is aborted; 100 means all")
