"""Queues whose length is bounded by what they are about, not by how fast it changes.

A queue of events grows with the speed of the writer. A queue of *keys with their newest value* grows with the number
of keys: an endpoint that flaps a thousand times while the reader is busy is one entry when it looks.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from controlplane.base.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Overflow(Exception):  # noqa: N818  (a condition of the queue's owner to handle, not an error of ours)
    """More distinct keys are waiting than the queue may hold."""


def newest(_old: V, new: V) -> V:
    """The usual way to merge: the newest wins."""
    return new


class MergingQueue(Generic[K, V]):
    """Keys waiting with one merged value each, in the order in which they first came."""

    def __init__(self, limit: int, merge: Callable[[V, V], V] = newest) -> None:
        self._limit = limit
        self._merge = merge
        self._waiting: dict[K, V] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, key: K, value: V) -> None:
        """Never waits. `Overflow` when `limit` other keys wait already; nothing is changed then."""
        if key in self._waiting:
            self._waiting[key] = self._merge(self._waiting[key], value)
            return
        if len(self._waiting) >= self._limit:
            raise Overflow
        self._waiting[key] = value
        self._filled.set()

    async def take(self) -> Mapping[K, V]:
        """Everything that waits, at least one key. Cancelling loses nothing."""
        await self._filled.wait()
        taken, self._waiting = self._waiting, {}
        self._filled.clear()
        return taken


class Debounce:
    """When to act on a burst: once it is quiet, but never later than `longest` after its first event.

    Pure arithmetic on the clock, so that tests can turn it; the owner sleeps `wait()` seconds and asks again.
    """

    def __init__(self, clock: Clock, quiet: float, longest: float) -> None:
        """Seconds of silence that end a burst, and the longest a burst may hold things up."""
        self._clock = clock
        self._quiet = quiet
        self._longest = longest
        self._first: float | None = None
        self._last = 0.0

    @property
    def pending(self) -> bool:
        """Whether something happened since `done`."""
        return self._first is not None

    def event(self) -> None:
        """Something happened."""
        self._last = self._clock.monotonic()
        if self._first is None:
            self._first = self._last

    def wait(self) -> float:
        """Seconds until it is time to act; 0 or less means now. Infinity when nothing happened."""
        if self._first is None:
            return float("inf")
        due = min(self._last + self._quiet, self._first + self._longest)
        return due - self._clock.monotonic()

    def done(self) -> None:
        """The burst was acted on."""
        self._first = None
