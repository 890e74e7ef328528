"""How many bytes may be on their way to all proxies together.

gRPC copies a message when it is written and keeps it until the peer's flow control lets it go. 500 proxies that connect
at once want 15 MB each; written all at once that is 7.5 GB. So big responses take their size from a budget first.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

LARGE: Final = 64 * 1024  # bytes; smaller responses are not counted: a change must not queue behind first syncs


class ByteBudget:
    """A semaphore in bytes, first come first served."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """Bytes on their way."""
        return self._taken

    @asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes of it. One response larger than the whole budget passes alone."""
        await self._take(size)
        try:
            yield
        finally:
            self._taken -= size
            self._admit()

    async def _take(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # admitted in the moment it was cancelled
                self._taken -= size
                self._admit()
            raise

    def _fits(self, size: int) -> bool:
        return self._taken == 0 or self._taken + size <= self._limit

    def _admit(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if turn.done():  # cancelled while it waited
                self._waiting.popleft()
                continue
            if not self._fits(size):
                return
            self._waiting.popleft()
            self._taken += size
            turn.set_result(None)
