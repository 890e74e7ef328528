"""Where a running mesh's roots come from: a store that keeps the mesh's own, or files of somebody else's authority.

A source has the state that counts, and changes it only if the change is kept.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.security.authority import PrivateKey, new_root
from controlplane.security.bundles import BundleWriter
from controlplane.security.keeping import AuthorityError, Kept, RootStore, encode
from controlplane.security.plugged import fingerprint, plugged_in
from controlplane.security.refusal import Refusal, Why
from controlplane.security.rotation import Roots

log = structlog.get_logger(__name__)

Step = Callable[[Roots], Roots | Refusal]


class Secrets(msgspec.Struct, frozen=True):
    """Where what nobody can guess comes from."""

    key: Callable[[], PrivateKey]
    serial: Callable[[], int]  # 128 bits, positive


class RootSource(Protocol):
    """See above. `str()` of it says where, for people."""

    is_ours: bool  # whether roots are made, and changed in steps, here

    async def open(self, writers: Sequence[BundleWriter]) -> Roots:
        """The roots to start with. Raises AuthorityError, StoreError."""
        ...

    async def look(self) -> Roots | None:
        """Others, if somebody else changed them; None: nothing new. Raises AuthorityError, StoreError."""
        ...

    async def change(self, step: Step) -> Roots | Refusal:
        """Takes a step and keeps it. Raises AuthorityError, StoreError."""
        ...

    def new_root(self) -> Roots | Refusal:
        """A root of our own that nobody knows yet."""
        ...


class OwnRoots:
    """The mesh's own, in a store that other control planes may share."""

    is_ours = True

    def __init__(self, store: RootStore, trust_domain: str, secrets: Secrets, clock: Clock) -> None:
        self._store = store
        self._trust_domain = trust_domain
        self._secrets = secrets
        self._clock = clock
        self._kept: Kept | None = None

    def __str__(self) -> str:
        return str(self._store)

    async def open(self, writers: Sequence[BundleWriter]) -> Roots:
        self._kept = await self._store.load() or await self._first(writers)
        return self._kept.roots

    async def look(self) -> Roots | None:
        """A store that was emptied while we run gets back what we know: the root is not lost yet."""
        assert self._kept is not None
        found = await self._store.load()
        if found is None:
            log.warning("the roots are gone from where they are kept, and are put back", where=str(self))
            found = await self._store.create(self._kept.roots)
        if found is None or found.revision == self._kept.revision:
            return None
        changed = found.roots if encode(found.roots) != encode(self._kept.roots) else None
        self._kept = found
        return changed

    async def change(self, step: Step) -> Roots | Refusal:
        """Judged by what is kept: a step that somebody else took meanwhile is not taken twice, or undone."""
        assert self._kept is not None
        after = step(self._kept.roots)
        if isinstance(after, Refusal):
            return after
        kept = await self._store.replace(after, self._kept)
        if kept is None:  # somebody else wrote there: roots, or only a label
            found = await self._store.load()
            if found is not None and encode(found.roots) == encode(self._kept.roots):
                kept = await self._store.replace(after, found)
        if kept is None:
            return Refusal(Why.STEP, "another control plane changed the roots at the same time: look at them again")
        self._kept = kept
        return kept.roots

    def new_root(self) -> Roots:
        now, serial = self._clock.now(), self._secrets.serial()
        return Roots(new_root(self._trust_domain, self._secrets.key(), now=now, serial=serial))

    async def _first(self, writers: Sequence[BundleWriter]) -> Kept:
        """The first root there ever was. Of several control planes that start at once, one makes it."""
        told = [str(writer) for writer in writers if await writer.published()]
        kept = (
            await self._store.load() if told else await self._store.create(self.new_root()) or await self._store.load()
        )
        if kept is not None:
            return kept
        if told:
            raise AuthorityError(
                f"{told[0]} says that there is a root, but {self._store} with its key is gone: bring it back from a "
                f"backup, or remove {told[0]} to start with a new root (who trusts the old one is then cut off)"
            )
        raise AuthorityError(f"{self._store} was there and is gone again: somebody removes it")


class PluggedRoots:
    """Somebody else's, in files that may change while we run."""

    is_ours = False

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._seen = ""

    def __str__(self) -> str:
        return str(self._folder)

    async def open(self, writers: Sequence[BundleWriter]) -> Roots:
        del writers  # who plugs in an authority has said that this one counts
        return await asyncio.to_thread(self._read)

    async def look(self) -> Roots | None:
        if await asyncio.to_thread(fingerprint, self._folder) == self._seen:
            return None
        return await asyncio.to_thread(self._read)

    async def change(self, step: Step) -> Roots | Refusal:
        del step
        return self.new_root()

    def new_root(self) -> Refusal:
        return Refusal(
            Why.STEP,
            f"the authority is plugged in: its root changes with the files in {self._folder}. First let root-cert.pem "
            "hold both roots, then change the others, then let it hold the new root alone",
        )

    def _read(self) -> Roots:
        """The fingerprint first: what changes in between is seen at the next look."""
        seen = fingerprint(self._folder)
        found = Roots(plugged_in(self._folder, self._clock.now()))
        self._seen = seen
        return found
