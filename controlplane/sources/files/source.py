"""A directory of manifests as a source of objects.

The thin part: looks, reads, and tells what changed. What a file means is `parser`'s, who speaks for an object is
`folder`'s, what an object means is the decoder's.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from watchfiles import awatch

from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.sources.files.folder import Folder, unreadable
from controlplane.sources.files.parser import Broken, Place, parse
from controlplane.sources.files.scanning import (
    Look,
    Roots,
    Stamp,
    is_hidden,
    look,
    read_file,
    reason,
    watched_directories,
)
from controlplane.sources.source import Batch, Decode, Object, worth_saying

SECOND_LOOK_AFTER: Final = 0.15  # seconds; longer than any editor needs between "remove" and "create"
LOOK_AT_LEAST_EVERY: Final = 2.0  # seconds; for file systems that send no notifications

log = structlog.get_logger(__name__)

Wakeups = Callable[[], AsyncIterator[object]]


class _Known(msgspec.Struct, frozen=True):
    """One object as it was last decoded; `value` is the last good one."""

    value: Object | None
    problems: tuple[Problem, ...]


class FilesSource:
    """All manifests below some paths."""

    def __init__(
        self,
        roots: Roots,
        decode: Decode,
        *,
        wakeups: Wakeups | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._roots = roots
        self._decode = decode
        self._wakeups = wakeups or (lambda: _notifications(roots))
        self._sleep = sleep
        self._folder = Folder()
        self._stamps: dict[str, Stamp] = {}
        self._known: dict[ObjectRef, _Known] = {}
        self._wrong: set[ObjectRef] = set()  # of `_known`, those with problems
        self._missing: tuple[str, ...] = ()
        self._under_way = True  # something was found, or may have been, that nobody has taken yet

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Everything first; then, whenever files changed, what that changed."""
        yield await asyncio.to_thread(self._take, look(self._roots))
        self._under_way = False
        async for _ in self._wakeups():
            batch = await self._step()
            if batch is not None:
                yield batch
                self._under_way = False

    async def is_current(self, _ref: ObjectRef | None = None, _version: str = "") -> bool:
        """Whether the files say what they said when they were last read, and whoever follows took that."""
        seen = await asyncio.to_thread(look, self._roots)
        return not self._under_way and seen.files == self._stamps and seen.missing == self._missing

    def place_of(self, ref: ObjectRef) -> Place | None:
        """Where the document that speaks for an object stands."""
        document = self._folder.document(ref)
        return document.place if document else None

    async def _step(self) -> Batch | None:
        seen = await asyncio.to_thread(look, self._roots)
        if self._is_suspicious(seen):
            await self._sleep(SECOND_LOOK_AFTER)
            seen = await asyncio.to_thread(look, self._roots)
        if seen.files == self._stamps and seen.missing == self._missing:
            return None
        self._under_way = True
        return await asyncio.to_thread(self._take, seen)

    def _is_suspicious(self, seen: Look) -> bool:
        """Files that vanished or are empty all of a sudden: half of somebody's save, as likely as not."""
        gone = self._stamps.keys() - seen.files.keys()
        emptied = (path for path, stamp in seen.files.items() if stamp.size == 0 and self._folder.holds_objects(path))
        return bool(gone) or any(emptied)

    def _take(self, seen: Look) -> Batch:
        """Read what changed. Runs in a thread: a large directory must not stall the loop."""
        touched: set[ObjectRef] = set()
        for path in sorted(self._stamps.keys() - seen.files.keys()):
            if not _below(path, seen.missing):  # a whole directory that vanished is no request to remove its objects
                touched |= self._folder.drop(path)
                del self._stamps[path]
        for path, stamp in seen.files.items():
            if self._stamps.get(path) != stamp:
                touched |= self._read(path)
                self._stamps[path] = stamp
        self._missing = seen.missing
        return self._batch(touched)

    def _read(self, path: str) -> frozenset[ObjectRef]:
        try:
            text = read_file(path)
        except (OSError, ValueError) as error:
            return self._folder.put(path, unreadable(Broken(Place(path), f"cannot be read: {reason(error)}")))
        return self._folder.put(path, parse(text, path))

    def _batch(self, touched: Iterable[ObjectRef]) -> Batch:
        changes: dict[ObjectRef, Object | None] = {}
        manifests: dict[ObjectRef, Mapping[str, Any] | None] = {}
        for ref in sorted(touched):
            before = self._known.get(ref)
            after = self._decoded(ref, before)
            manifests[ref] = document.manifest if (document := self._folder.document(ref)) else None
            if (after.value if after else None) != (before.value if before else None):
                changes[ref] = after.value if after else None
        return Batch(changes, tuple(self._problems()), manifests)

    def _decoded(self, ref: ObjectRef, before: _Known | None) -> _Known | None:
        document = self._folder.document(ref)
        self._wrong.discard(ref)
        if document is None:
            self._known.pop(ref, None)
            return None
        decoded = self._decode(document.manifest)
        # An object nothing of which can be used keeps its last good version.
        problems = worth_saying(decoded.problems)
        value = decoded.value if decoded.value is not None or not before or not decoded.problems else before.value
        self._known[ref] = _Known(value, problems)
        if problems:
            self._wrong.add(ref)
        return self._known[ref]

    def _problems(self) -> Iterable[Problem]:
        yield from map(_missing, self._missing)
        yield from self._folder.problems()
        for ref in sorted(self._wrong):
            yield from self._known[ref].problems


def _missing(path: str) -> Problem:
    """What is said of a directory that holds objects, or should."""
    origin = Origin(ObjectRef("", "File", "", path))
    message = f"{path} is not there, or cannot be listed; its objects stay as they were"
    return Problem("MissingDirectory", Level.ERROR, origin, message)


def _below(path: str, roots: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(root) for root in roots)


async def _notifications(roots: Roots) -> AsyncIterator[object]:
    """Wakes after the file system was quiet for 50 ms, and now and then without a reason."""
    directories = watched_directories(roots)

    def is_ours(_change: object, path: str) -> bool:
        return not any(
            is_hidden(Path(path).relative_to(directory))
            for directory in directories
            if Path(path).is_relative_to(directory)
        )

    try:
        async for change in awatch(
            *(directory for directory in directories if directory.exists()),
            watch_filter=is_ours,
            step=50,
            debounce=500,
            recursive=roots.recursive,
            rust_timeout=int(LOOK_AT_LEAST_EVERY * 1000),
            yield_on_timeout=True,
        ):
            yield change
    except (OSError, RuntimeError) as error:  # no watches left on this machine, or a file system that has none
        log.warning("files are looked at every few seconds: the system tells nothing of them", error=str(error))
    while True:
        yield None
        await asyncio.sleep(LOOK_AT_LEAST_EVERY)
