"""The real clock: the one place that reads the machine's time."""

import time
from datetime import UTC, datetime


class SystemClock:
    """`controlplane.base.clock.Clock`, as this machine tells it."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
