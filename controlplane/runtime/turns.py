"""Turns on the event loop, for work that takes longer than others should wait."""

import asyncio
from typing import Final

STEP: Final = 0.005  # seconds


class Turn:
    """How long a large piece of work may keep the event loop before others get a turn."""

    def __init__(self, step: float = STEP) -> None:
        """`step` in seconds."""
        self._loop = asyncio.get_running_loop()
        self._step = step
        self._end = self._loop.time() + step

    def is_over(self) -> bool:
        return self._loop.time() >= self._end

    async def next(self) -> None:
        """Let others run, then begin anew."""
        await asyncio.sleep(0)
        self._end = self._loop.time() + self._step
