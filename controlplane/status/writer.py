"""Writes status: a few at a time, only of what changed, only while we lead.

A status is worked out when it is written, not when something happened: what happens to an object ten times within a
second is one write. Who leads now may not in a moment, and an object may change while it is being written about. So a
batch is three steps, each of which can only make it smaller: read the objects; ask whether the lease is ours *after*
that; write with the versions that were read. A write of somebody whose lease has been taken over either finds another
version, or was there before anything that the new one wrote.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from math import inf
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.model.problem import ObjectRef
from controlplane.security.apiserver import NoAnswer
from controlplane.status.addresses import Addresses
from controlplane.status.conditions import Condition, Wanted, status, transitions

log = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """An object, as the API server has it."""

    version: str
    generation: int
    uid: str
    status: Mapping[str, Any] | None
    is_current: bool  # what stands there means what we serve


class Outcome(Enum):
    """Of one write."""

    WRITTEN = auto()
    CONFLICT = auto()  # it has another version by now
    GONE = auto()
    REFUSED = auto()  # we may not


class Later(Enum):
    """Of what an object is to say."""

    LATER = auto()  # it is not known right now


class Busy(Exception):  # noqa: N818  (what happened)
    """The API server asks us to wait: `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the API server asks us to wait for {seconds:.0f} s")
        self.seconds = seconds


class Statuses(Protocol):
    """Objects and their status subresource. All raise NoAnswer and Busy."""

    async def read(self, ref: ObjectRef) -> Standing | None:
        """None: it is gone, or its kind is."""
        ...

    async def write(self, ref: ObjectRef, version: str, status: Mapping[str, Any]) -> Outcome: ...

    async def tell(self, ref: ObjectRef, uid: str, condition: Condition, now: datetime) -> None:
        """An Event; one of the same object and condition is counted up."""
        ...


class Lead(Protocol):
    """See `lease.Leadership`."""

    def epoch(self) -> int | None: ...

    async def confirmed(self, epoch: int) -> bool: ...


class Pace(msgspec.Struct, frozen=True):
    """How fast, and how many."""

    batch: int = 50  # objects at a time
    quiet: float = 0.5  # seconds after the first word of a change: more of it will come
    again: float = 5.0  # seconds until an object that could not be written is tried again
    longest: float = 60.0  # seconds, of that
    events: int = 20  # a minute, over all objects: a mass change is not told a thousand times


class Writer:
    """Of one replica. `due` is cheap and may be called for every change."""

    def __init__(
        self,
        statuses: Statuses,
        lead: Lead,
        clock: Clock,
        wanted: Callable[[ObjectRef], Sequence[Wanted] | Addresses | Later | None],
        pace: Pace | None = None,
    ) -> None:
        """`wanted`: what an object is to say now; None: there is no such object here."""
        self._statuses = statuses
        self._lead = lead
        self._clock = clock
        self._wanted = wanted
        self._pace = pace or Pace()
        self._due: OrderedDict[ObjectRef, float] = OrderedDict()  # -> monotonic time from which on
        self._failures: dict[ObjectRef, int] = {}
        self._resting = -inf  # until when the API server wants to be left alone
        self._told: list[float] = []  # when Events were told, of the last minute
        self.writes = self.conflicts = self.events = self.events_left_out = 0  # for metrics

    def __len__(self) -> int:
        return len(self._due)

    def due(self, refs: Iterable[ObjectRef], *, urgent: bool = False) -> None:
        """Something of these may be other than it says. `urgent`: before all that wait already."""
        at = self._clock.monotonic() + self._pace.quiet
        for ref in refs:
            self._due.setdefault(ref, at)
            if urgent:
                self._due.move_to_end(ref, last=False)

    def forget(self) -> None:
        """We do not lead: who does will work it out anew."""
        self._due.clear()
        self._failures.clear()

    async def step(self) -> int:
        """One batch; how many were written. Nothing raises but our own mistakes."""
        epoch, now = self._lead.epoch(), self._clock.monotonic()
        batch = self._batch(now) if epoch is not None and now >= self._resting else {}
        if not batch or epoch is None:
            return 0
        try:
            return await self._write_all(batch, epoch)
        except (NoAnswer, Busy) as error:
            rest = error.seconds if isinstance(error, Busy) else self._pace.again
            self._resting = self._clock.monotonic() + rest
            log.warning("status is written later", objects=len(self._due) + len(batch), why=str(error))
            return 0
        finally:
            self._put_back(batch)

    def _batch(self, now: float) -> dict[ObjectRef, float]:
        """The first that are due, taken out: what happens to them from here on makes them due anew."""
        found: dict[ObjectRef, float] = {}
        for ref, at in self._due.items():
            if at <= now:
                found[ref] = at
                if len(found) == self._pace.batch:
                    break
        for ref in found:
            del self._due[ref]
        return found

    def _put_back(self, left: Mapping[ObjectRef, float]) -> None:
        for ref, at in left.items():
            self._due.setdefault(ref, at)

    async def _write_all(self, batch: dict[ObjectRef, float], epoch: int) -> int:
        """Takes out of the batch what needs no other attempt."""
        made = []
        for ref in tuple(batch):
            self._failures[ref] = self._failures.get(ref, 0) + 1  # until it is known to be none
            batch[ref] = self._clock.monotonic() + self._backoff(ref)
            found = await self._made(ref)
            if found is None:
                self._done(ref, batch)
            elif isinstance(found, Later):
                self._failures.pop(ref, None)
                batch[ref] = self._clock.monotonic() + self._pace.quiet
            else:
                made.append(found)
                batch[ref] = self._clock.monotonic()
        if made and not await self._lead.confirmed(epoch):
            return 0
        written = 0
        for ref, standing, content in made:
            if self._lead.epoch() != epoch:
                break
            written += await self._write(ref, standing, content, batch)
        return written

    async def _made(self, ref: ObjectRef) -> tuple[ObjectRef, Standing, dict[str, Any]] | Later | None:
        """What is to be written, if anything is. What is not current has changed, and that change will come by."""
        wanted = self._wanted(ref)
        if wanted is None or isinstance(wanted, Later):
            return wanted
        if (standing := await self._statuses.read(ref)) is None:
            return None
        wanted = self._wanted(ref)  # as it is now: reading took a moment
        if isinstance(wanted, Later):
            return wanted
        if wanted is None or not standing.is_current:
            return None
        if isinstance(wanted, Addresses):
            content = wanted.status(standing.status)
        else:
            content = status(standing.status, wanted, standing.generation, self._clock.now())
        return None if content is None else (ref, standing, content)

    async def _write(
        self, ref: ObjectRef, standing: Standing, content: dict[str, Any], batch: dict[ObjectRef, float]
    ) -> int:
        outcome = await self._statuses.write(ref, standing.version, content)
        if outcome is Outcome.CONFLICT:
            self.conflicts += 1
            self._failures.pop(ref, None)
            batch[ref] = self._clock.monotonic()
            return 0
        if outcome is Outcome.REFUSED:
            batch[ref] = self._clock.monotonic() + self._backoff(ref)
            return 0
        self._done(ref, batch)
        if outcome is Outcome.GONE:
            return 0
        self.writes += 1
        await self._tell(ref, standing, content)
        return 1

    async def _tell(self, ref: ObjectRef, standing: Standing, content: dict[str, Any]) -> None:
        for condition in transitions(standing.status, content):
            now = self._clock.monotonic()
            self._told = [at for at in self._told if at > now - 60.0]
            if len(self._told) >= self._pace.events:
                self.events_left_out += 1
                continue
            self._told.append(now)
            self.events += 1
            try:
                await self._statuses.tell(ref, standing.uid, condition, self._clock.now())
            except (NoAnswer, Busy) as error:  # what it says stands in the status
                log.warning("an Event is lost", object=str(ref), why=str(error))

    def _done(self, ref: ObjectRef, batch: dict[ObjectRef, float]) -> None:
        del batch[ref]
        self._failures.pop(ref, None)

    def _backoff(self, ref: ObjectRef) -> float:
        return min(self._pace.longest, self._pace.again * float(2 ** min(self._failures.get(ref, 1) - 1, 10)))
