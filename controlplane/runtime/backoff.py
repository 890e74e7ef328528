"""How long to wait before trying again.

Everybody who lost the same server comes back at the same time. So the wait grows with each failure, is capped, and is
spread at random over its upper half; it starts over once something ran well for a while.
"""

from collections.abc import Callable
from random import random as system_randomness  # noqa: TID251  (the one place that reads it; everybody else is given it)

import msgspec


class BackoffPolicy(msgspec.Struct, frozen=True):
    """Seconds."""

    first: float = 0.1
    factor: float = 2.0
    longest: float = 30.0
    healthy_after: float = 10.0  # having run this long counts as success: the next failure waits `first` again


class Backoff:
    """The waits of one thing that is tried again and again."""

    def __init__(self, policy: BackoffPolicy, randomness: Callable[[], float] = system_randomness) -> None:
        """`randomness` gives floats in [0, 1)."""
        self._policy = policy
        self._randomness = randomness
        self.failures = 0

    def ran(self, seconds: float) -> None:
        """It ran for `seconds` before it failed."""
        if seconds >= self._policy.healthy_after:
            self.failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        # The exponent is bounded so that years of failures don't overflow a float.
        wait = min(self._policy.longest, self._policy.first * self._policy.factor ** min(self.failures, 64))
        self.failures += 1
        return wait * (1 + self._randomness()) / 2
