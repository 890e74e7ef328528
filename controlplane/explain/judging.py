"""HTTP filters that judge a request before anything else is done with it, in the order in which they stand."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from controlplane.explain import rbac, tokens
from controlplane.explain.call import Call
from controlplane.explain.outcome import Connection, Failure
from controlplane.explain.request import Request
from controlplane.explain.tokens import Judged
from controlplane.model.problem import Origin

Judge = Callable[[bytes, Request, Call, Connection], Judged]


class Judgement(NamedTuple):
    """What all of them make of a request."""

    request: Request  # as it goes on
    routed: Request  # as routes are chosen for it
    failure: Failure | None = None
    filter: str = ""  # which one refused it
    doubts: tuple[str, ...] = ()
    why: str = ""
    origins: tuple[Origin, ...] = ()


def judge(manager: Any, request: Request, call: Call, connection: Connection) -> Judgement:
    """Up to the first that refuses it."""
    current = routed = request
    doubts: tuple[str, ...] = ()
    client = connection.remote._replace(ip=rbac.client_address(manager, request, connection))
    connection = msgspec.structs.replace(connection, remote=client)
    for one in manager.http_filters:
        judging = _JUDGES.get(one.typed_config.type_url)
        if judging is None:
            continue
        found = judging(one.typed_config.value, current, call, connection)
        current, doubts = found.request, (*doubts, *found.doubts)
        routed = current if found.reroutes else routed
        if found.failure is not None:
            why = found.why or found.failure.details
            return Judgement(current, routed, found.failure, one.name, doubts, why, found.origins)
    return Judgement(current, routed, doubts=doubts)


def _by_rules(packed: bytes, request: Request, _: Call, connection: Connection) -> Judged:
    found = rbac.judge(rbac.HTTP, packed, rbac.Subject(connection, request))
    after = rbac.noted(rbac.HTTP, found.notes, request)
    if found.refusal is None:
        return Judged(after)
    return Judged(after, found.refusal.failure, why=found.refusal.why, origins=found.refusal.origins)


def _by_another(packed: bytes, request: Request, _: Call, __: Connection) -> Judged:
    asked = rbac.asks(packed, request)
    return Judged(request, doubts=(f"{asked} is asked whether the request may pass; taken to agree",) if asked else ())


_JUDGES: Final[Mapping[str, Judge]] = {
    tokens.TYPE_URL: lambda packed, request, call, _: tokens.judge(packed, request, call),
    rbac.HTTP: _by_rules,
    rbac.ASKING: _by_another,
}
