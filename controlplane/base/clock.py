"""Time comes in as an argument, so that tests can move it."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """What tells the time. `controlplane.runtime` has the real one; tests bring one they can turn."""

    def now(self) -> datetime:
        """Wall-clock time, timezone-aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...
