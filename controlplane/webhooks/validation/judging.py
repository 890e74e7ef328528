"""What is said of an object that somebody wants to store.

The same decoder reads it that will read it when it is stored, so what is refused here is what would not take effect,
and what gets past (because nobody was there to ask) is contained and reported all the same. All errors are told at
once, each with its field; what is right and will have no effect is a warning.

An object that is stored already may be worse than one that would be taken now: checks are added, APIs change. Whoever
only labels it, or takes the last finalizer off, is not the one to mend it: only a change of what it says is refused.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.problem import Level, ObjectRef, Problem
from controlplane.model.text import printable
from controlplane.model.unsupported import UnsupportedObject
from controlplane.webhooks.admission import Asked, Verdict

# What would be reported of an object if it were in the mesh.
Consequences = Callable[[ObjectRef, Any], Iterable[Problem]]

_WRITES: Final = frozenset({"CREATE", "UPDATE"})
_MOST_LISTED: Final = 20
_LONGEST: Final = 8_192  # characters of all reasons together
# Errors that are no fault of the object's author: it is served, and we do not act on it.
_NOT_OURS_TO_REFUSE: Final = frozenset({"KindNotSupportedYet", "KindIgnored", "KindReplaced", "VersionNotServed"})


def judged(question: Asked, consequences: Consequences | None = None) -> Verdict:
    """`consequences`: asked of what is taken, where there is a mesh to ask."""
    if question.operation not in _WRITES or question.sub_resource:
        return Verdict()
    new, old = _read(question.object), _read(question.old_object)
    decoded = decode(new, namespace=question.namespace)
    errors = [one for one in decoded.problems if one.level is Level.ERROR and one.code not in _NOT_OURS_TO_REFUSE]
    milder = [one for one in decoded.problems if one not in errors and one.level is not Level.INFO]
    if errors and not (_is_leaving(new) or _says_the_same(new, old)):
        return Verdict(_refusal(_name(question, new), errors), warnings=_told(milder))
    foreseen = _foreseen(decoded.value, consequences)
    return Verdict(warnings=_told([*errors, *milder, *(one for one in foreseen if one not in decoded.problems)]))


def _read(raw: msgspec.Raw) -> dict[str, Any]:
    """An API server sends objects, or `null`."""
    found = msgspec.json.decode(raw) if bytes(raw) else None
    return found if isinstance(found, dict) else {}


def _is_leaving(new: dict[str, Any]) -> bool:
    """It is being deleted, and waits for its finalizers."""
    metadata = new.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("deletionTimestamp"))


def _says_the_same(new: dict[str, Any], old: dict[str, Any]) -> bool:
    return bool(old) and new.get("spec") == old.get("spec") and _annotations(new) == _annotations(old)


def _annotations(document: dict[str, Any]) -> Any:
    """They may mean something, as `istio.io/dry-run` does."""
    metadata = document.get("metadata")
    return metadata.get("annotations") if isinstance(metadata, dict) else None


def _foreseen(value: Any, consequences: Consequences | None) -> list[Problem]:
    if value is None or consequences is None or isinstance(value, UnsupportedObject):
        return []
    ref = ref_of(value)
    found = (one for one in consequences(ref, value) if one.origin.ref == ref and one.level is not Level.INFO)
    return sorted(dict.fromkeys(found), key=lambda one: (one.level is not Level.ERROR, one.origin.path, one.code))


def _name(question: Asked, new: dict[str, Any]) -> str:
    metadata = new.get("metadata")
    generated = metadata.get("generateName", "") if isinstance(metadata, dict) else ""
    name = question.name or f"{generated}…"
    where = f"{question.namespace}/{name}" if question.namespace else name
    return printable(f"{question.kind.kind} {where}")


def _refusal(name: str, errors: list[Problem]) -> str:
    """One line a reason, as kubectl prints it."""
    count = "an error" if len(errors) == 1 else f"{len(errors)} errors"
    lines = [f"{name} has {count}:"]
    room = _LONGEST
    for problem in errors[:_MOST_LISTED]:
        line = f"  {_line(problem)}"
        if (room := room - len(line)) < 0:
            break
        lines.append(line)
    if (left := len(errors) + 1 - len(lines)) > 0:
        lines.append(f"  and {left} more")
    return "\n".join(lines)


def _told(problems: Iterable[Problem]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_line(problem) for problem in problems))


def _line(problem: Problem) -> str:
    path = problem.origin.path
    return f"{path}: {problem.message} ({problem.code})" if path else f"{problem.message} ({problem.code})"
