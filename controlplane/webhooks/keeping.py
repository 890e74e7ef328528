"""Keeps a webhook configuration right: looks every few seconds, and at once when the roots change.

A wrong caBundle stops every Pod of the mesh from starting, whoever wrote it, so it is put right within seconds. All
replicas do this, for there may be no leader yet; the patch says what it expects to find, and the second one of two that
are written at once changes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import structlog

from controlplane.webhooks.configurations import repaired
from controlplane.webhooks.jsonpatch import Patch

log = structlog.get_logger(__name__)

_EVERY: Final = 3.0  # seconds


class NotKept(Exception):  # noqa: N818  (what happened; whose fault it is nobody here knows)
    """The configuration could not be read or patched; the message says why."""


class Configurations(Protocol):
    """Configurations of one kind, in the API server."""

    async def read(self, name: str) -> Mapping[str, Any] | None:
        """None: there is none of this name. Raises NotKept."""
        ...

    async def patch(self, name: str, patch: Patch) -> None:
        """Raises NotKept."""
        ...


class ConfigurationKeeper:
    """Of one configuration."""

    def __init__(
        self, configurations: Configurations, wanted: Callable[[], Mapping[str, Any]], every: float = _EVERY
    ) -> None:
        """`wanted`: as `configurations` makes it, with the roots that are trusted now."""
        self._configurations = configurations
        self._wanted = wanted
        self._every = every
        self._changed = asyncio.Event()
        self._said = ""
        self.attempts = 0  # patches that were sent: for metrics, as the next
        self.repairs = 0  # of these, those that were taken

    @property
    def is_troubled(self) -> bool:
        """Whether it is missing, unreadable or not as installed."""
        return bool(self._said)

    def changed(self) -> None:
        """Something else is wanted: look now."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            await self.look()
            try:
                await asyncio.wait_for(self._changed.wait(), self._every)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Once. What is not well is said when it begins."""
        wanted = self._wanted()
        name = wanted["metadata"]["name"]
        try:
            trouble = await self._put_right(name, wanted)
        except NotKept as error:
            trouble = str(error)
        if trouble != self._said:
            write = log.warning if trouble else log.info
            write("webhook configuration", name=name, state=trouble or "as it should be")
        self._said = trouble

    async def _put_right(self, name: str, wanted: Mapping[str, Any]) -> str:
        """What is still to be said of it."""
        current = await self._configurations.read(name)
        if current is None:
            return "there is none: nobody asks this control plane about Pods (lateen install)"
        repair = repaired(current, wanted)
        if repair.patch:
            self.attempts += 1
            await self._configurations.patch(name, repair.patch)
            self.repairs += 1
            log.info("webhook configuration put right", name=name, patch=[step.path for step in repair.patch])
        return f"not as installed: {', '.join(repair.drift)}" if repair.drift else ""
