"""The authority of a running mesh: who issues now, what everybody is to trust, and the steps from one root to the next.

There is one of these in a process, and whoever signs or verifies asks it. Each step of a rotation is kept before it
counts, so that a process that dies in between comes back on this side of the step or on that one; then it counts here,
then the bundle is told. A step that would cut somebody off is refused, and names whom.

What somebody else changes (another control plane in the shared store, or whoever answers for plugged-in files) is seen
by looking. A store is believed, since its steps were judged where they were taken. Files are not: they count from the
moment on when they cut nobody off, and until then the last good authority issues.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from controlplane.security.authority import Authority, roots_above
from controlplane.security.bundles import BundleWriter
from controlplane.security.holders import Holders, root_ids, signer_id
from controlplane.security.keeping import AuthorityError, StoreError
from controlplane.security.refusal import Refusal, Why
from controlplane.security.rotation import Roots, abandon, begin, finish, named, switch
from controlplane.security.sources import RootSource, Step

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 2.0  # seconds


class Authorities:
    """Constructed by `open_authorities`; `run` follows what others change."""

    def __init__(self, source: RootSource, roots: Roots, holders: Holders, writers: Sequence[BundleWriter]) -> None:
        self.roots = roots
        self.holders = holders
        self.source = source
        self.problem = ""  # why what should count does not, in words; "" when all is well
        self._writers = tuple(writers)
        self._waiting: Roots | None = None  # plugged in, and would cut somebody off
        self._followers: list[Callable[[], None]] = []
        self._turns = asyncio.Lock()

    @property
    def issuer(self) -> Authority:
        """Who signs now."""
        return self.roots.issuer

    @property
    def bundle(self) -> bytes:
        """What everybody is to trust now, PEM."""
        return self.roots.bundle

    def follow(self, changed: Callable[[], None]) -> None:
        """Call this whenever issuer or bundle are others, before the bundle is told."""
        self._followers.append(changed)

    # Steps

    async def begin(self) -> Roots | Refusal:
        """Trust a new root too. Raises AuthorityError, StoreError, as all steps."""
        coming = self.source.new_root()
        return coming if isinstance(coming, Refusal) else await self._step(lambda roots: begin(roots, coming.current))

    async def switch(self) -> Roots | Refusal:
        """Issue from the new root."""
        return await self._judged(lambda roots: switch(roots, self.lacking()))

    async def finish(self) -> Roots | Refusal:
        """Trust the old root no more."""
        return await self._judged(lambda roots: finish(roots, self.holding()))

    async def abandon(self) -> Roots | Refusal:
        """Back to the old root."""
        return await self._step(abandon)

    def lacking(self) -> list[str]:
        """Proxies that do not trust all that is to be trusted now."""
        return self.holders.lacking(root_ids(self.roots.trusted))

    def holding(self) -> list[str]:
        """Proxies whose certificate is not of whom issues now."""
        return self.holders.holding(signer_id(self.issuer))

    async def _judged(self, step: Step) -> Roots | Refusal:
        if wait := self.holders.unsettled():
            return Refusal(Why.STEP, f"proxies are still coming back after the start: ask again in {wait:.0f} s", wait)
        return await self._step(step)

    async def _step(self, step: Step) -> Roots | Refusal:
        async with self._turns:
            found = await self.source.change(step)
            if isinstance(found, Roots):
                log.info("the roots changed", step=found.step, trusted=len(found.trusted))
                await self._take(found)
            return found

    # What others change

    async def run(self) -> None:
        """Follow the source, and tell the bundle wherever it is not told yet, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Once."""
        async with self._turns:
            self.holders.look()
            self.holders.forget_ended()
            try:
                found = await self.source.look() or self._waiting
                wrong = await self._consider(found) if found is not None else ""
                await self.tell()
            except (AuthorityError, StoreError) as error:
                wrong = str(error)
            if wrong and wrong != self.problem:
                log.warning("the authority stays as it was", why=wrong)
            self.problem = wrong

    async def _consider(self, found: Roots) -> str:
        """Take it, or say why not yet."""
        wrong = "" if self.source.is_ours else self._cut_off(found)
        self._waiting = found if wrong else None
        if not wrong:
            log.info("the roots were changed by somebody else", where=str(self.source), step=found.step)
            await self._take(found)
        return wrong

    def _cut_off(self, found: Roots) -> str:
        """Whom files that took effect now would cut off, in words."""
        where = f"the authority in {self.source} is not used yet"
        if wait := self.holders.unsettled():
            return f"{where}: proxies are still coming back after the start, for {wait:.0f} s at most"
        if untrusting := self.holders.lacking(root_ids(roots_above(found.issuer, found.trusted))):
            return f"{where}: {named(untrusting)} must trust its root first; let root-cert.pem hold the old one and it"
        if set(self.roots.trusted) <= set(found.trusted):
            return ""  # whatever was issued so far is trusted on
        if holding := self.holders.holding(signer_id(found.issuer)):
            return f"{where}: {named(holding)} may have a certificate of the root that root-cert.pem drops"
        return ""

    async def _take(self, roots: Roots) -> None:
        """What is kept counts, told or not: `look` tells it again."""
        self.roots = roots
        self._waiting = None
        for changed in self._followers:
            changed()
        try:
            await self.tell()
        except StoreError as error:
            self.problem = str(error)
            log.warning("the trust bundle is not told yet", why=self.problem)

    async def tell(self) -> None:
        """Tell the bundle wherever another one stands. Raises StoreError."""
        for writer in self._writers:
            if await writer.published() != self.bundle:
                await writer.publish(self.bundle)
                log.info("the trust bundle is told", where=str(writer), roots=len(self.roots.trusted))


async def open_authorities(source: RootSource, holders: Holders, writers: Sequence[BundleWriter]) -> Authorities:
    """With the bundle told everywhere. Raises AuthorityError, StoreError: without its authority no mesh may start."""
    found = Authorities(source, await source.open(writers), holders, writers)
    await found.tell()
    return found
