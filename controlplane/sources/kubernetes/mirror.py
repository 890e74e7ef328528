"""What an API server has of one resource, as far as we were told.

Told it is in pieces: pages of a list, events one by one, some of them unreadable. Everything is kept per object, so
that what is said of one changes one, and what is said again changes nothing. An object that cannot be read keeps its
last good version, with a problem.
"""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from controlplane.model.decode import Decoded
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.sources.kubernetes.resource import Resource
from controlplane.sources.kubernetes.wire import Garbage, read_head
from controlplane.sources.source import Changes, Object, worth_saying


class Known(NamedTuple):
    """One object."""

    value: Object | None  # the last good one; None: there was none yet
    problems: tuple[Problem, ...]
    version: str  # the newest one, good or not


class Mirror:
    """The objects of one resource, and what of them changed since somebody asked."""

    def __init__(self, resource: Resource, decode: Callable[[bytes], Decoded] | None = None) -> None:
        self._resource = resource
        self._decode = decode or resource.decode
        self._known: dict[ObjectRef, Known] = {}
        self._wrong: set[ObjectRef] = set()  # of these, those with problems
        self._changes: dict[ObjectRef, Object | None] = {}
        self._noted: set[ObjectRef] = set()
        self.findings = 0  # grows when something else is wrong with an object

    def __len__(self) -> int:
        return len(self._known)

    @property
    def refs(self) -> AbstractSet[ObjectRef]:
        return self._known.keys()

    @property
    def has_changes(self) -> bool:
        return bool(self._changes)

    def awaits(self, ref: ObjectRef) -> bool:
        """Whether a change of it was not taken yet."""
        return ref in self._changes

    def version_of(self, ref: ObjectRef) -> str | None:
        """Its newest version; None for what is not there."""
        known = self._known.get(ref)
        return known.version if known is not None else None

    def note(self) -> AbstractSet[ObjectRef]:
        """What we are told of from now on, as it grows, until this is asked again."""
        self._noted = set()
        return self._noted

    def values(self) -> Iterator[tuple[ObjectRef, Any]]:
        """What can be used."""
        return ((ref, known.value) for ref, known in self._known.items() if known.value is not None)

    def put(self, raw: bytes) -> ObjectRef:
        """An object is so, now. Raises Garbage: nobody can tell which one."""
        decoded = self._decode(raw)
        ref, version = self._named(decoded, raw)
        before = self._known.get(ref)
        problems = tuple(_attributed(problem, ref) for problem in worth_saying(decoded.problems))
        # An object nothing of which can be used keeps its last good version.
        keeps = decoded.value is None and before is not None
        value = before.value if keeps and before is not None else decoded.value
        self._known[ref] = Known(value, problems, version)
        self._noted.add(ref)
        self._judge(ref, before.problems if before else (), problems)
        if value != (before.value if before else None):
            self._changes[ref] = value
        return ref

    def remove(self, refs: Iterable[ObjectRef]) -> None:
        """These are gone."""
        for ref in refs:
            known = self._known.pop(ref, None)
            self._noted.add(ref)
            if known is not None:
                self._judge(ref, known.problems, ())
                if known.value is not None:
                    self._changes[ref] = None

    def take(self) -> Changes:
        """What changed since this was asked last."""
        changes, self._changes = self._changes, {}
        return changes

    def problems(self) -> Iterator[Problem]:
        """What is wrong with single objects, in order of their names."""
        for ref in sorted(self._wrong):
            yield from self._known[ref].problems

    def _judge(self, ref: ObjectRef, before: tuple[Problem, ...], now: tuple[Problem, ...]) -> None:
        (self._wrong.add if now else self._wrong.discard)(ref)
        self.findings += now != before

    def _named(self, decoded: Decoded, raw: bytes) -> tuple[ObjectRef, str]:
        if decoded.value is not None and self._resource.known is not None:
            meta = decoded.value.meta
            return self._resource.ref(meta.namespace, meta.name), meta.resource_version
        head = read_head(raw)
        if not head.name:
            raise Garbage("an object without a name")
        return self._resource.ref(head.namespace, head.name), head.version


def _attributed(problem: Problem, ref: ObjectRef) -> Problem:
    """Of a document that is none, decoding cannot say whose it is."""
    return problem if problem.origin.ref.kind else Problem(problem.code, problem.level, Origin(ref), problem.message)


def unreadable(resource: Resource, count: int) -> Problem:
    """What is said of objects nobody can tell apart."""
    message = f"{count} of {resource} cannot be read, not even by name; nothing is removed until they can be"
    return resource.problem("UnreadableObject", Level.ERROR, message)
