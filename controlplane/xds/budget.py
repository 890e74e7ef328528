"""How many bytes may be on their way to all proxies together.

gRPC copies a message when it is written and keeps it until the peer's flow control lets it go. 500 proxies that connect
at once want 15 MB each; written all at once that is 7.5 GB. So big responses take their size from a budget first. Who
takes nothing off its connections holds what was written to them, so nobody may have more than a share of it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

LARGE: Final = 64 * 1024  # bytes; smaller responses are not counted: a change must not queue behind first syncs
_SHARE: Final = 4  # one owner may hold a quarter


class _Turn(NamedTuple):
    size: int
    owner: Hashable
    come: asyncio.Future[None]


class ByteBudget:
    """A semaphore in bytes, first come first served among those whose own share has room."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._held: Counter[Hashable] = Counter()  # of that, by owner
        self._waiting: list[_Turn] = []

    @property
    def taken(self) -> int:
        """Bytes on their way."""
        return self._taken

    @asynccontextmanager
    async def of(self, size: int, owner: Hashable) -> AsyncIterator[None]:
        """Hold `size` bytes of it. One response larger than the whole budget, or than a share, passes alone."""
        await self._take(size, owner)
        try:
            yield
        finally:
            self._give_back(size, owner)

    async def _take(self, size: int, owner: Hashable) -> None:
        turn = _Turn(size, owner, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._admit()
        try:
            await turn.come
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:  # admitted in the moment it was cancelled
                self._give_back(size, owner)
            raise

    def _give_back(self, size: int, owner: Hashable) -> None:
        self._taken -= size
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]
        self._admit()

    def _admit(self) -> None:
        """In the order in which they came; who has used up its share holds up nobody else."""
        waiting, self._waiting = self._waiting, []
        for place, turn in enumerate(waiting):
            if not _fits(turn.size, self._held[turn.owner], self._limit // _SHARE):
                self._waiting.append(turn)
            elif not _fits(turn.size, self._taken, self._limit):
                self._waiting += waiting[place:]
                return
            else:
                self._taken += turn.size
                self._held[turn.owner] += turn.size
                if not turn.come.done():
                    turn.come.set_result(None)


def _fits(size: int, held: int, limit: int) -> bool:
    return held == 0 or held + size <= limit
