"""Keys of token issuers, on their way into a control plane that asks for them itself."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from controlplane.base.clock import Clock
from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.model.settings import Settings
from controlplane.sources.keys.fetching import SECONDS, KeyFetcher
from controlplane.sources.keys.keeping import KeptKeys, NotKept
from controlplane.sources.keys.source import Fetch, KeysSource, Wanted

PATIENCE: Final = SECONDS + 1  # seconds the first proxies wait for keys that nobody has kept


class Asking(Protocol):
    """A control plane, as far as it wants keys."""

    keys_wanted: asyncio.Event

    async def serving(self) -> None: ...

    def current_settings(self) -> Settings: ...

    def wanted_keys(self) -> Iterable[Wanted]: ...

    def apply_keys(self, keys: Mapping[str, FetchedKeys | None]) -> None: ...


class Keys:
    """The source of one control plane."""

    def __init__(
        self,
        plane: Asking,
        folder: Path | None,
        clock: Clock,
        randomness: Callable[[], float],
        fetch: Fetch | None = None,
    ) -> None:
        """`folder` keeps good keys over restarts; None: nothing does."""
        self._plane = plane
        self._source = KeysSource(
            plane.wanted_keys,
            plane.keys_wanted,
            fetch or KeyFetcher(lambda: plane.current_settings().jwks_allowed_networks),
            NotKept() if folder is None else KeptKeys(folder),
            plane.apply_keys,
            clock,
            randomness,
        )
        self._settled = False

    async def run(self) -> None:
        """Until cancelled. Who is to be asked is known when all sources were read, and what was kept in vain, too."""
        await self._plane.serving()
        await self._source.run()

    async def settled(self) -> None:
        """Before the first proxy is answered: keys that were not asked for yet would be keys nobody holds.

        Once, and not for ever: an issuer that does not answer holds up nobody but its own tokens.
        """
        if self._settled:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._source.settled(), PATIENCE)
        self._settled = True
