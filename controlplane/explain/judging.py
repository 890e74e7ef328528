"""HTTP filters that judge a request before anything else is done with it, in the order in which they stand."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from controlplane.explain import tokens
from controlplane.explain.call import Call
from controlplane.explain.outcome import Failure
from controlplane.explain.request import Request
from controlplane.explain.tokens import Judged

Judge = Callable[[bytes, Request, Call], Judged]

_JUDGES: Final[Mapping[str, Judge]] = {tokens.TYPE_URL: tokens.judge}


class Judgement(NamedTuple):
    """What all of them make of a request."""

    request: Request  # as it goes on
    routed: Request  # as routes are chosen for it
    failure: Failure | None = None
    filter: str = ""  # which one refused it
    doubts: tuple[str, ...] = ()


def judge(manager: Any, request: Request, call: Call) -> Judgement:
    """Up to the first that refuses it."""
    current = routed = request
    doubts: tuple[str, ...] = ()
    for one in manager.http_filters:
        judging = _JUDGES.get(one.typed_config.type_url)
        if judging is None:
            continue
        found = judging(one.typed_config.value, current, call)
        current, doubts = found.request, (*doubts, *found.doubts)
        routed = current if found.reroutes else routed
        if found.failure is not None:
            return Judgement(current, routed, found.failure, one.name, doubts)
    return Judgement(current, routed, doubts=doubts)
