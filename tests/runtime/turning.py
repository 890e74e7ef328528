"""A clock that tests turn, and a sleep that waits for it."""

import asyncio
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

START = datetime(2026, 8, 1, tzinfo=UTC)


class TurningClock:
    """Time passes in `turn` only; sleepers wake in order of their time."""

    def __init__(self) -> None:
        self._now = 0.0
        self._count = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        waking = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (self._now + seconds, self._count, waking))
        await waking

    async def turn(self, seconds: float) -> None:
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, waking = heappop(self._sleepers)
            if not waking.done():
                waking.set_result(None)
            await settle()
        self._now = end


async def settle() -> None:
    """Let everything that can run without time passing run."""
    for _ in range(20):
        await asyncio.sleep(0)
