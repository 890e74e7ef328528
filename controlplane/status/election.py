"""Who of several replicas writes: a lease that is renewed, and taken over when it is not. Without I/O.

Two things must never happen: two who believe that they lead at a time, and a write of one who no longer does. Clocks of
machines differ by any amount, so no clock is compared with another machine's. A candidate waits until *it* has seen the
lease stand still for as long as it is good; a leader stops believing earlier than that, counted from before it *asked*
for the last renewal. Both by a clock that never goes back, so a process that was stopped and goes on finds its time
over. (What reaches the API server after all, a packet under way when its sender was stopped, is caught there: every
write names the version of the object that it was made for.)
"""

from datetime import datetime
from typing import Final

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """Seconds. A lease changes hands within `good` + `retry` + `answer`."""

    good: float = 8.0  # a lease that stands still for so long is nobody's
    trust: float = 5.0  # after which a leader that could not renew stops; the rest is for clocks that run unevenly
    renew: float = 1.5  # between renewals
    retry: float = 1.0  # between looks of a candidate
    answer: float = 1.5  # an API server that takes longer is asked again
    again: float = 0.5  # until then: one renewal may go wrong and a leader goes on


class Lease(msgspec.Struct, frozen=True):
    """As it stands in the API server."""

    holder: str  # "": nobody
    renewed: str  # says nothing here but that it changed
    epoch: int  # how often it changed hands
    version: str  # resourceVersion


class Hold(msgspec.Struct, frozen=True):
    """To be written if the lease still has this version."""

    holder: str
    renewed: datetime
    epoch: int
    version: str


class Election:
    """One replica's view of it. Times are monotonic seconds of its own clock."""

    def __init__(self, name: str, timing: Timing | None = None) -> None:
        """`name`: nobody else's, ever: a process that starts again is another one."""
        assert name
        self.name = name
        self.timing: Final = timing or Timing()
        self._lease: Lease | None = None
        self._since = 0.0  # when we first saw it so
        self._until: float | None = None  # we lead; None: not since we last lost
        self._epoch = 0

    def epoch(self, now: float) -> int | None:
        """Of our leadership; None if we do not lead. To be asked right before each write."""
        return self._epoch if self._until is not None and now < self._until else None

    @property
    def leader(self) -> str:
        """Who led when we last looked; "": nobody."""
        return self._lease.holder if self._lease is not None else ""

    def seen(self, lease: Lease, now: float) -> None:
        """The lease, as it was read; `now`: when the answer was there."""
        if self._lease is None or (lease.holder, lease.renewed, lease.epoch) != self._content(self._lease):
            self._since = now
        self._lease = lease
        if lease.holder != self.name:
            self._until = None

    @staticmethod
    def _content(lease: Lease) -> tuple[str, str, int]:
        return lease.holder, lease.renewed, lease.epoch

    def wants(self, now: float, wall: datetime) -> Hold | None:
        """What to write now. `wall` is for people to read."""
        lease = self._lease
        if lease is None:
            return None
        if lease.holder == self.name:
            # Lost meanwhile: as much a new term as anybody's, for somebody else might have come and gone unseen.
            return Hold(self.name, wall, lease.epoch + (self.epoch(now) is None), lease.version)
        if not lease.holder or now - self._since >= self.timing.good:
            return Hold(self.name, wall, lease.epoch + 1, lease.version)
        return None

    def took(self, hold: Hold, lease: Lease, asked: float) -> None:
        """It was written. `asked`: when we began to; from then on others may count."""
        self._lease = lease
        self._since = asked
        self._epoch = hold.epoch
        self._until = asked + self.timing.trust

    def lost(self) -> None:
        """Somebody else wrote: whatever we believed, look before the next step."""
        self._lease = None
        self._until = None

    def release(self, now: float, wall: datetime) -> Hold | None:
        """Gives it back, so that nobody has to wait; what to write, if it is ours. We do not lead from here on."""
        leads, self._until = self.epoch(now) is not None, None
        if not leads or self._lease is None:
            return None
        return Hold("", wall, self._lease.epoch, self._lease.version)

    def wait(self, now: float) -> float:
        """Seconds until the next step is due."""
        if self.epoch(now) is not None:
            return self.timing.renew
        if self._lease is None or not self._lease.holder:
            return self.timing.retry
        left = self._since + self.timing.good - now
        return max(0.05, min(self.timing.retry, left))
