"""What the status of an object says, from what is known of it.

A condition is read by people, by `kubectl wait` and by deployment tools, so it has to be true, stand still while
nothing happens, and say what to do. Three conditions answer the three questions an author has:

    Accepted      does all of it have an effect?
    ResolvedRefs  does all that it names exist, and may we read it?
    Programmed    do the proxies that it concerns run it?

and a fourth, Conflicted, is there only while the object and another one contradict each other.

Counting proxies is not watching them. `Programmed` says how far a *change* of the object is; once all proxies run it
that is said, and stays said until the object changes or something speaks against it: proxies that come, go or catch up
with something else are no news of the object, or every Pod that starts would rewrite every status of the mesh.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from controlplane.model.problem import Level, Problem
from controlplane.status.parts import Union


class Truth(StrEnum):
    """Of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


ACCEPTED: Final = "Accepted"
RESOLVED_REFS: Final = "ResolvedRefs"
PROGRAMMED: Final = "Programmed"
CONFLICTED: Final = "Conflicted"
OURS: Final = (ACCEPTED, RESOLVED_REFS, PROGRAMMED, CONFLICTED)

_TROUBLE: Final = dict.fromkeys(OURS, Truth.FALSE) | {CONFLICTED: Truth.TRUE}

# Problems that are not of what the author wrote, but of what it names.
_REFERENCES: Final = frozenset(
    {
        "ReferencedResourceNotFound",
        "VirtualServiceHostNotFoundInGateway",
        "InvalidGatewayCredential",
        "SecretAccessDenied",
        "CertificateExpired",
        "JwksUnavailable",
        "UnknownTargetPort",
    }
)
# And those of what proxies made of it.
_PROXIES: Final = frozenset({"RefusedByProxy", "WaitingForCluster", "PortInUse"})
_CONFLICTS: Final = frozenset({"Conflicted", "DelegateConflict", "DuplicateObject"})
_PENDING: Final = "Pending"  # a reason
_MOST: Final = 5  # problems that a message names
_LONGEST: Final = 2_000  # characters of a message; an API server takes 32,768
_GRAVITY: Final[Mapping[Level, int]] = {Level.ERROR: 0, Level.WARNING: 1, Level.INFO: 2}


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """As Kubernetes writes it; fields in the order in which they are written."""

    type: str
    status: Truth
    reason: str  # CamelCase
    message: str
    observed_generation: int
    last_transition_time: str  # RFC 3339: when `status` became what it is


class Wanted(msgspec.Struct, frozen=True):
    """A condition, without what depends on what was said before."""

    type: str
    status: Truth
    reason: str
    message: str


def conditions(problems: Iterable[Problem], union: Union | None) -> tuple[Wanted, ...]:
    """Of one object: what is wrong with it, and how far it is. The same facts give the same value.

    `union` is None for kinds whose proxies are not counted: nothing is said of them then, unless one has refused it.
    """
    found = sorted(set(problems), key=lambda problem: (_GRAVITY[problem.level], problem))
    proxies = [problem for problem in found if problem.code in _PROXIES]
    references = [problem for problem in found if problem.code in _REFERENCES]
    own = [problem for problem in found if problem.code not in _PROXIES and problem.code not in _REFERENCES]
    wanted = (_accepted(own), _resolved(references), *_programmed(proxies, union))
    conflicts = [problem for problem in own if problem.code in _CONFLICTS]
    return (*wanted, _conflicted(conflicts)) if conflicts else wanted


def _accepted(problems: Sequence[Problem]) -> Wanted:
    wrong = [problem for problem in problems if problem.level is Level.ERROR]
    if wrong:
        return Wanted(ACCEPTED, Truth.FALSE, wrong[0].code, _said(problems))
    if problems:
        return Wanted(ACCEPTED, Truth.TRUE, "AcceptedWithWarnings", _said(problems))
    return Wanted(ACCEPTED, Truth.TRUE, "Accepted", "all of it has an effect")


def _resolved(problems: Sequence[Problem]) -> Wanted:
    """A name that leads nowhere is never right, however little it does."""
    if problems:
        return Wanted(RESOLVED_REFS, Truth.FALSE, problems[0].code, _said(problems))
    return Wanted(RESOLVED_REFS, Truth.TRUE, "ResolvedRefs", "all that it names is there")


def is_refused(problems: Iterable[Problem]) -> bool:
    """A proxy will not have it: how many others do does not matter."""
    return any(problem.level is Level.ERROR and problem.code in _PROXIES for problem in problems)


def _programmed(problems: Sequence[Problem], union: Union | None) -> tuple[Wanted, ...]:
    if is_refused(problems):
        return (Wanted(PROGRAMMED, Truth.FALSE, problems[0].code, _said(problems)),)
    return () if union is None else (_counted(problems, union),)


def _counted(problems: Sequence[Problem], union: Union) -> Wanted:
    progress = union.progress
    count = f"{progress.concerned - progress.waiting} of {_proxies(progress.concerned)}"
    if union.missing:
        text = f"nothing is known of the proxies of {', '.join(union.missing)}; of the others, {count} run it"
        return Wanted(PROGRAMMED, Truth.UNKNOWN, "ReplicaMissing", text[:_LONGEST])
    if progress.waiting:
        text = f"{count} run it; not yet: {', '.join(progress.behind)}"
        text += ", …" if progress.waiting > len(progress.behind) else ""
        return Wanted(PROGRAMMED, Truth.FALSE, _PENDING, "; ".join([text, *_sentences(problems)])[:_LONGEST])
    if not progress.concerned:
        text = "no connected proxy is concerned: nothing is made of it for any of them"
        return Wanted(PROGRAMMED, Truth.UNKNOWN, "NoProxies", text)
    return Wanted(PROGRAMMED, Truth.TRUE, "Programmed", f"{count} run it")


def _conflicted(problems: Sequence[Problem]) -> Wanted:
    return Wanted(CONFLICTED, Truth.TRUE, problems[0].code, _said(problems))


def _proxies(count: int) -> str:
    return "1 proxy" if count == 1 else f"{count} proxies"


def _said(problems: Sequence[Problem]) -> str:
    """The worst few, bounded."""
    more = len(problems) - _MOST
    text = "; ".join([*_sentences(problems[:_MOST]), *([f"and {more} more (lateen analyze)"] if more > 0 else [])])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _sentences(problems: Iterable[Problem]) -> list[str]:
    return [
        f"{problem.origin.path}: {problem.message}" if problem.origin.path else problem.message for problem in problems
    ]


# What is written


def status(
    before: Mapping[str, Any] | None, wanted: Iterable[Wanted], generation: int, now: datetime
) -> dict[str, Any] | None:
    """The `status` to write over `before`; None: what stands there says it.

    Conditions and fields of others stay. `now`: of a transition, if there is one.
    """
    stands = before or {}
    known = {str(each.get("type")): each for each in _listed(stands.get("conditions"))}
    others = [each for name, each in known.items() if name not in OURS]
    ours = [_condition(each, known.get(each.type), generation, now) for each in wanted]
    written = {**stands, "observedGeneration": generation, "conditions": [*map(msgspec.to_builtins, ours), *others]}
    return None if written == stands else written


def _condition(wanted: Wanted, before: Mapping[str, Any] | None, generation: int, now: datetime) -> Condition:
    same = before is not None and before.get("status") == wanted.status
    since = before.get("lastTransitionTime") if same and before is not None else None
    if before is not None and _stays(wanted, before, generation):
        wanted = Wanted(wanted.type, Truth.TRUE, str(before.get("reason")), str(before.get("message")))
        since = before.get("lastTransitionTime")
    since = since if isinstance(since, str) and since else now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Condition(wanted.type, wanted.status, wanted.reason, wanted.message, generation, since)


def _stays(wanted: Wanted, before: Mapping[str, Any], generation: int) -> bool:
    """All proxies ran it, and nothing speaks against it: other counts are no news of this object."""
    if wanted.type != PROGRAMMED or before.get("status") != Truth.TRUE:
        return False
    is_current = before.get("observedGeneration") == generation
    return is_current and (wanted.status is Truth.TRUE or wanted.reason in {"NoProxies", "ReplicaMissing"})


def _listed(conditions: object) -> list[Mapping[str, Any]]:
    """As others may have left them."""
    return [each for each in conditions if isinstance(each, dict)] if isinstance(conditions, list) else []


def transitions(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Condition]:
    """What is worth an Event: a condition that is as it should not be since now, or is well again.

    That a change is on its way, and then there, is what changes do.
    """
    known = {str(each.get("type")): each for each in _listed((before or {}).get("conditions"))}
    ours = [each for each in after.get("conditions", ()) if each["type"] in OURS]
    return [
        condition
        for condition in msgspec.convert(ours, list[Condition])
        if _is_news(condition, known.get(condition.type))
    ]


def _is_news(condition: Condition, before: Mapping[str, Any] | None) -> bool:
    if condition.status is Truth.UNKNOWN or condition.reason == _PENDING:
        return False
    was = before is not None and before.get("reason") != _PENDING and before.get("status") == _TROUBLE[condition.type]
    return is_trouble(condition) != was


def is_trouble(condition: Condition) -> bool:
    """Whether its author should look at it."""
    return condition.status is _TROUBLE[condition.type]


__all__ = ["Condition", "Truth", "Wanted", "conditions", "is_refused", "is_trouble", "status", "transitions"]
