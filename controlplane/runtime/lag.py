"""How long the event loop keeps its guests waiting.

Every stream, probe and push of the process shares one loop; a function that computes for 200 ms stalls them all and
no other metric shows it. The meter asks to be woken at a fixed interval and records how late that happens.
"""

import asyncio
from collections import deque

from controlplane.base.clock import Clock
from controlplane.runtime.tasks import Sleep


class LagMeter:
    """Lateness of the loop over the last `samples` intervals."""

    def __init__(
        self, clock: Clock, *, interval: float = 0.02, samples: int = 5000, sleep: Sleep = asyncio.sleep
    ) -> None:
        """`interval` in seconds; with the defaults the meter remembers 100 s."""
        self._clock = clock
        self._interval = interval
        self._sleep = sleep
        self._lags: deque[float] = deque(maxlen=samples)
        self.beats = 0  # grows while the loop is alive: what liveness looks at

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock.monotonic() + self._interval
            await self._sleep(self._interval)
            self._lags.append(max(0.0, self._clock.monotonic() - due))
            self.beats += 1

    def quantile(self, q: float) -> float:
        """Seconds, e.g. `quantile(0.999)`; 0 before the first beat."""
        lags = sorted(self._lags)
        return lags[min(len(lags) - 1, int(q * len(lags)))] if lags else 0.0

    def reset(self) -> None:
        """Forget what was measured: the start of a measurement of its own."""
        self._lags.clear()
