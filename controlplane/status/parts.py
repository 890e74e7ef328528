"""What replicas know of an object: each of its own proxies, added up by the one that writes status.

Each replica serves some of the proxies, so what it knows of an object is a part. A part that is missing makes the sum
unknown, never smaller: "all 12 run it" must not be said while 3 others have not been asked. Nor may a part be of what
the object was a moment ago, which all proxies ran: so each says which content of the object it is of.

Nobody tells everything it knows. The leader asks for the objects that it is about to speak of, and again for as long as
somebody waits for one of them; so what replicas say to each other grows with what changes, not with the mesh.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from controlplane.base.digest import digest
from controlplane.model.problem import ObjectRef, Problem

MOST_NAMED: Final = 5  # proxies of an object that one replica names
MOST_ASKED: Final = 150  # objects in one question, so that the longest names make less than 64 KiB of it
MOST_REFUSALS: Final = 200


class Progress(msgspec.Struct, frozen=True):
    """How far one object is with the proxies that it concerns."""

    concerned: int = 0
    waiting: int = 0  # of these, those that have not acknowledged all that was made of it
    behind: tuple[str, ...] = ()  # names of some of these, sorted

    def __add__(self, other: "Progress") -> "Progress":
        """Of two replicas."""
        behind = tuple(sorted({*self.behind, *other.behind})[:MOST_NAMED])
        return Progress(self.concerned + other.concerned, self.waiting + other.waiting, behind)


NOTHING: Final = Progress()


class Content(msgspec.Struct, frozen=True):
    """Which content of an object a count is of.

    Replicas may know one content by different generations (a change that makes no difference is not taken over), and
    replicas of different versions may read one generation differently. Either says that it is the same.
    """

    generation: str = ""  # with the uid; "" where there is none
    digest: str = ""

    def is_same(self, other: "Content") -> bool:
        """Whether counts of the one are counts of the other."""
        return self.digest == other.digest or (bool(self.generation) and self.generation == other.generation)


def content_of(value: Any) -> Content:
    """`value`: an object as `model` has it."""
    meta = value.meta
    plain = msgspec.structs.replace(
        value, meta=msgspec.structs.replace(meta, uid="", resource_version="", generation=0)
    )
    generation = f"{meta.uid}/{meta.generation}" if meta.uid else ""
    return Content(generation, digest(msgspec.json.encode(plain, order="deterministic")))


class Part(msgspec.Struct, frozen=True):
    """What one replica knows of one object."""

    ref: ObjectRef
    content: Content
    progress: Progress


class Report(msgspec.Struct, frozen=True):
    """An answer. Objects that were asked for and are not in here: not known right now."""

    parts: tuple[Part, ...] = ()
    refusals: tuple[Problem, ...] = ()  # what its proxies made of anything


class Union(msgspec.Struct, frozen=True):
    """All parts of one object together."""

    progress: Progress = NOTHING
    missing: tuple[str, ...] = ()  # replicas that are there and do not say; sorted


class _Replica(msgspec.Struct, eq=False):
    """Another one, as we know it."""

    since: float
    heard: float | None = None
    parts: dict[ObjectRef, Part] = {}
    again: set[ObjectRef] = set()  # to be asked for although it has said
    refusals: tuple[Problem, ...] = ()


class _Interest(msgspec.Struct, eq=False):
    """An object that is to be spoken of."""

    content: Content
    since: float  # of this content
    used: float


class Parts:
    """The leader's book. All times are monotonic seconds of its own clock; replicas go by their names."""

    def __init__(self, patience: float = 2.0, interest: float = 5.0) -> None:
        """`patience`: for an answer; who gives none for so long is missing. `interest`: in an object that is well."""
        self._patience = patience
        self._interest = interest
        self._replicas: dict[str, _Replica] = {}
        self._open: dict[ObjectRef, _Interest] = {}
        self.news = 0  # grows whenever `refusals` may say something else

    def know(self, names: Collection[str], now: float) -> set[ObjectRef]:
        """These are all others there are; the objects of which there is more to say: who is gone waits for nothing."""
        if self._replicas.keys() == set(names):
            return set()
        gone = [replica for name, replica in self._replicas.items() if name not in names]
        self._replicas = {name: self._replicas.get(name) or _Replica(now) for name in sorted(names)}
        self.news += 1
        return {ref for replica in gone for ref, part in replica.parts.items() if part.progress.waiting}

    def forget(self) -> None:
        """We do not lead."""
        self._replicas.clear()
        self._open.clear()

    # Asking

    def questions(self, now: float) -> dict[str, tuple[ObjectRef, ...]]:
        """Whom to ask, and for what: first for what it has not said yet. Nobody who is silent is asked for much."""
        self._close(now)
        return {name: self._question(replica, now) for name, replica in self._replicas.items()}

    def _question(self, replica: _Replica, now: float) -> tuple[ObjectRef, ...]:
        if not self._is_good(replica, now):
            return ()
        said = {ref: self._said(replica, ref) for ref in self._open}
        fresh = [ref for ref, part in said.items() if part is None]
        more = [
            ref for ref, part in said.items() if part is not None and (part.progress.waiting or ref in replica.again)
        ]
        return tuple([*fresh, *more][:MOST_ASKED])

    def _said(self, replica: _Replica, ref: ObjectRef) -> Part | None:
        part = replica.parts.get(ref)
        return part if part is not None and part.content.is_same(self._open[ref].content) else None

    def heard(self, name: str, report: Report, now: float) -> set[ObjectRef]:
        """What it answered; the objects of which there is more to say now."""
        replica = self._replicas.get(name)
        if replica is None:
            return set()
        replica.heard = now
        if report.refusals != replica.refusals:
            replica.refusals = report.refusals[:MOST_REFUSALS]
            self.news += 1
        told = {part.ref: part for part in report.parts if part.ref in self._open}
        more = {ref for ref, part in told.items() if _is_more(part, replica.parts.get(ref))}
        replica.parts.update(told)
        replica.again.difference_update(told)
        return more

    def recount(self, ref: ObjectRef, content: Content, now: float) -> None:
        """Ask for it again: more proxies may be concerned by now."""
        self._use(ref, content, now)
        for replica in self._replicas.values():
            replica.again.add(ref)

    def _close(self, now: float) -> None:
        """Of what nobody spoke for a while, and nobody waits for."""
        for ref in [ref for ref, one in self._open.items() if now - one.used > self._interest]:
            if all(self._is_settled(replica, ref, now) for replica in self._replicas.values()):
                del self._open[ref]
                for replica in self._replicas.values():
                    replica.parts.pop(ref, None)
                    replica.again.discard(ref)

    def _is_settled(self, replica: _Replica, ref: ObjectRef, now: float) -> bool:
        """Nothing more is to be expected. Of one that says nothing only what it said."""
        part = self._said(replica, ref)
        return not part.progress.waiting if part is not None else not self._is_good(replica, now)

    # What is known

    def of(self, ref: ObjectRef, content: Content, now: float) -> Union | None:
        """All others' together; None: there will be more to say in a moment."""
        one = self._use(ref, content, now)
        found, missing, is_young = NOTHING, [], now - one.since < self._patience
        for name, replica in self._replicas.items():
            part = self._said(replica, ref)
            if part is not None and self._is_good(replica, now):
                found += part.progress
            elif is_young or now - replica.since < self._patience:
                return None
            else:
                missing.append(name)
        return None if found.waiting and is_young else Union(found, tuple(missing))

    def _use(self, ref: ObjectRef, content: Content, now: float) -> _Interest:
        one = self._open.setdefault(ref, _Interest(content, now, now))
        if not one.content.is_same(content):
            one.since = now
        one.content, one.used = content, now
        return one

    def missing(self, now: float) -> tuple[str, ...]:
        """Who does not answer."""
        return tuple(
            name
            for name, replica in self._replicas.items()
            if not self._is_good(replica, now) and now - replica.since >= self._patience
        )

    def refusals(self) -> Iterable[Problem]:
        """What the proxies of all others refused; of one that does not answer, what it said last."""
        return (problem for replica in self._replicas.values() for problem in replica.refusals)

    def _is_good(self, replica: _Replica, now: float) -> bool:
        return replica.heard is not None and now - replica.heard <= self._patience


def _is_more(part: Part, before: Part | None) -> bool:
    """That one proxy after the other gets there is not worth a word each."""
    if before is None or not part.content.is_same(before.content):
        return True
    now, then = part.progress, before.progress
    return (now.waiting == 0) != (then.waiting == 0) or (now.concerned == 0) != (then.concerned == 0)
