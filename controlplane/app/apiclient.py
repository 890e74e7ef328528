"""A client of the API server that may be kept for as long as the control plane runs.

The `kubernetes` package reads authorities, client certificates, and what a plugin or a kubeconfig says once; only a
Pod's token is read again. Each of these ends one day. So everything is read anew every few minutes, and when the API
server does not know us any more. Who is in the middle of a question ends it over the client it began with.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from controlplane.base.clock import Clock
from controlplane.sources.kubernetes.access import Credentials, Unreachable, client_of

log = structlog.get_logger(__name__)

_EVERY: Final = 300.0  # seconds
_AT_MOST_EVERY: Final = 10.0  # seconds, whatever is wrong


@asynccontextmanager
async def open_client(who: Credentials, clock: Clock, every: float = _EVERY) -> AsyncIterator[Any]:
    """Used as a `kubernetes.aio.client.ApiClient` is, by the package's own classes. Raises Unreachable."""
    client = RenewedClient(await client_of(who), who, clock, every)
    try:
        yield client
    finally:
        await client.close()


class RenewedClient:
    """What is not here is the current client's."""

    def __init__(self, first: Any, who: Credentials, clock: Clock, every: float) -> None:
        """`every`: seconds between two readings of the credentials."""
        self._current = first
        self._before: Any = None  # it may still be asked; no question takes as long as credentials are used
        self._who = who
        self._clock = clock
        self._every = every
        self._made = clock.monotonic()
        self._due = self._made + every
        self._loading = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current, name)

    async def param_serialize(self, *arguments: Any, **named: Any) -> Any:
        """Every question begins with this."""
        async with self._loading:
            if self._clock.monotonic() >= self._due:
                await self._renew()
        return await self._current.param_serialize(*arguments, **named)

    async def call_api(self, *arguments: Any, **named: Any) -> Any:
        """And goes on with this."""
        response = await self._current.call_api(*arguments, **named)
        if response.status == 401:
            self._due = min(self._due, self._made + _AT_MOST_EVERY)
        return response

    async def close(self) -> None:
        """Nothing is asked any more."""
        await self._current.close()
        if self._before is not None:
            await self._before.close()

    async def _renew(self) -> None:
        """What cannot be read is not worse than what was."""
        self._made = self._clock.monotonic()
        try:
            renewed = await client_of(self._who)
        except Unreachable as error:
            self._due = self._made + _AT_MOST_EVERY
            log.warning("credentials for the API server cannot be read anew", why=str(error))
            return
        over, self._before, self._current = self._before, self._current, renewed
        self._due = self._made + self._every
        if over is not None:
            await over.close()
