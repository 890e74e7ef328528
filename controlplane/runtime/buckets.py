"""How often somebody may do something: a bucket of tokens each, refilled at a steady rate.

Callers choose their own keys (addresses, names), so the buckets are bounded in number: the one that was asked for
longest ago is forgotten, which is a full one again.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

from controlplane.base.clock import Clock

K = TypeVar("K", bound=Hashable)


class Rate(msgspec.Struct, frozen=True):
    """So many at once, and then so many a second."""

    burst: int
    per_second: float


class Buckets(Generic[K]):
    """One bucket for each key."""

    def __init__(self, clock: Clock, rate: Rate, most: int = 10_000) -> None:
        """`most`: buckets remembered at a time."""
        self._clock = clock
        self._rate = rate
        self._most = most
        self._levels: dict[K, tuple[float, float]] = {}  # tokens, and when there were so many; longest untouched first

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: K) -> float:
        """Takes a token; 0.0, or the seconds until there will be one."""
        level = self._level(key)
        self._put(key, level - 1 if level >= 1 else level)
        return 0.0 if level >= 1 else (1 - level) / self._rate.per_second

    def give_back(self, key: K) -> None:
        """A token that was taken is not used."""
        self._put(key, min(self._rate.burst, self._level(key) + 1))

    def _level(self, key: K) -> float:
        found = self._levels.get(key)
        if found is None:
            return self._rate.burst
        level, since = found
        return min(self._rate.burst, level + (self._clock.monotonic() - since) * self._rate.per_second)

    def _put(self, key: K, level: float) -> None:
        self._levels.pop(key, None)
        self._levels[key] = (level, self._clock.monotonic())
        if len(self._levels) > self._most:
            del self._levels[next(iter(self._levels))]
