"""Objects that a program puts there: tests, and what-if."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from controlplane.model.problem import ObjectRef
from controlplane.sources.source import Batch, Changes


class MemorySource:
    """Gives out what it was given: everything put before the first read as one batch, then put by put, merged."""

    def __init__(self) -> None:
        self._changes: dict[ObjectRef, Any] = {}
        self._manifests: dict[ObjectRef, Mapping[str, Any] | None] = {}
        self._news = asyncio.Event()
        self._news.set()  # the first batch is due at once, even when it is empty

    def put(self, changes: Changes, manifests: Mapping[ObjectRef, Mapping[str, Any] | None] | None = None) -> None:
        """Objects by name; `None` removes."""
        self._changes.update(changes)
        self._manifests.update(manifests or {})
        self._news.set()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """As `Source` promises."""
        while True:
            await self._news.wait()
            self._news.clear()
            changes, self._changes = self._changes, {}
            manifests, self._manifests = self._manifests, {}
            yield Batch(changes, (), manifests)
