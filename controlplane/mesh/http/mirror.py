"""Mirrors: who gets copies of requests, and of how many. An explicit zero turns a mirror off."""

from collections.abc import Iterator

from controlplane.model.problem import Origin
from controlplane.model.virtualservice import Destination, HTTPMirrorPolicy, HTTPRoute

ALL = 100.0


def mirrors(rule: HTTPRoute, origin: Origin) -> Iterator[tuple[Destination, float, Origin]]:
    """(destination, per cent, the field it stands in), the single `mirror` first."""
    if rule.mirror is not None and (share := _percent_of_rule(rule)) > 0:
        yield rule.mirror, share, origin.at("mirror")
    for index, policy in enumerate(rule.mirrors):
        if policy.destination is not None and (share := _percent_of_policy(policy)) > 0:
            yield policy.destination, share, origin.at(f"mirrors[{index}].destination")


def _percent_of_rule(rule: HTTPRoute) -> float:
    if rule.mirror_percentage is not None:
        return rule.mirror_percentage.value or 0.0
    return float(rule.mirror_percent) if rule.mirror_percent is not None else ALL


def _percent_of_policy(policy: HTTPMirrorPolicy) -> float:
    return (policy.percentage.value or 0.0) if policy.percentage is not None else ALL
