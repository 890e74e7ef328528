"""Who this workload is, proved afresh: a certificate before Envoy starts, and the next long before it ends.

Three things go on beside one another, and none waits for another: certificates are renewed, the file with the trust
bundle is followed, and what came of both is reported. Each change is one new generation (`generations`), so that
Envoy sees key, chain and roots that belong together.

The control plane may be away for as long as it likes: what is held stays, it is asked again and again, and this is
said once. Only a workload without any certificate waits for it.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from controlplane.agent import certificate, renewal
from controlplane.agent.authority import (
    AskError,
    AuthorityClient,
    BadAnswer,
    Node,
    Refused,
    Unreachable,
    Wanted,
)
from controlplane.agent.bundle import BundleFile
from controlplane.agent.certificate import Facts, Roots, Unusable
from controlplane.agent.generations import BOOTSTRAP, Held, IdentityWriter, Staged, Stored
from controlplane.agent.keys import Key, NoKey, new_key
from controlplane.agent.logs import Log
from controlplane.agent.renewal import Random, Sleep
from controlplane.agent.reporting import InUse, ReportRunner
from controlplane.base.clock import Clock
from controlplane.runtime.backoff import Backoff, BackoffPolicy

_TICK: Final = 1.0  # seconds: how late a changed bundle, or an end that came while the machine slept, is seen
_POLICY: Final = BackoffPolicy(first=0.5, longest=15.0)  # seconds


class NotKept(AskError):  # noqa: N818  (the machine's fault)
    """There is a certificate, and it cannot be written."""


class Trouble(NamedTuple):
    """There is no new certificate, since when and why."""

    since: datetime
    error: AskError

    def __str__(self) -> str:
        return f"no new certificate since {_time(self.since)}: {self.error}"


class IdentityRunner:
    """Keeps the workload's identity. `first` is set as soon as there is one to start Envoy with.

    `in_use` says whether Envoy has a generation: nothing else is reported.
    """

    def __init__(  # noqa: PLR0913  (what it works with, what it is, and what time it is)
        self,
        client: AuthorityClient,
        writer: IdentityWriter,
        bundle: BundleFile,
        *,
        node: Node,
        seconds: int | None,
        expected: str,
        in_use: InUse,
        log: Log,
        clock: Clock,
        random: Random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client = client
        self._writer = writer
        self._bundle = bundle
        self._node = node
        self._seconds = seconds
        self._expected = expected
        self._log = log
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._due = clock.now()
        self.reports = ReportRunner(client, node.id, in_use, log=log, random=random, sleep=sleep)
        self.first = asyncio.Event()
        self._key: Key | None = None
        self.held: Held | None = None
        self.trouble: Trouble | None = None
        self._running: str | None = None
        self.outdated = False  # the bootstrap Envoy runs with
        self.issued = 0
        self.failed = 0

    async def run(self) -> None:
        """Until cancelled."""
        while self._bundle.read() is None:
            await self._sleep(_TICK)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew(), name="renew")
            tasks.create_task(self._follow_bundle(), name="bundle")
            tasks.create_task(self.reports.run(), name="report")

    def envoy_starts(self) -> None:
        """With the bootstrap that is there now."""
        self._running = self._writer.document(BOOTSTRAP)

    @property
    def lacks(self) -> str:
        """Why there is no certificate yet; "" when there is one."""
        if self.held is not None:
            return ""
        return str(self.trouble or self._bundle.trouble or "waiting for the first certificate")

    @property
    def _roots(self) -> Roots:
        """Read before anything else starts, and never lost."""
        assert self._bundle.roots is not None
        return self._bundle.roots

    async def _renew(self) -> None:
        backoff = Backoff(_POLICY, self._random)
        while True:
            await self._until_due()
            try:
                self._succeeded(await self._obtain())
            except AskError as error:
                self._failed(error)
                wait = renewal.retry_in(backoff.next(), self._left(), error.retry_after)
                self._due = self._clock.now() + timedelta(seconds=wait)
            else:
                backoff = Backoff(_POLICY, self._random)

    async def _obtain(self) -> Facts:
        """One try. Raises AskError."""
        key = await self._next_key()
        wanted = Wanted(key.request.decode(), self._seconds, self._node)
        granted = await self._client.certificate(wanted, self._roots, renewing=self.held is not None)
        roots = self._roots
        try:
            facts = self._take(Stored(key.secret, granted.chain.encode(), roots.pem), roots, granted.files)
        except Unusable as error:
            raise BadAnswer(str(error)) from error
        except OSError as error:
            raise NotKept(f"the certificate cannot be written: {error}") from error
        self._key = None
        return facts

    async def _next_key(self) -> Key:
        """A new one for each certificate; not for each try."""
        if self._key is None:
            try:
                self._key = await new_key()
            except NoKey as error:
                raise NotKept(str(error)) from error
        return self._key

    def _take(self, generation: Stored, roots: Roots, documents: Mapping[str, str]) -> Facts:
        """Looked at where it lies, and then shown to Envoy. Raises Unusable, OSError."""
        staged = self._writer.stage(generation, self._clock.now())
        try:
            facts = certificate.examine(staged.pair, roots)
            self._write(documents)
        except (Unusable, OSError):
            self._writer.drop(staged)
            raise
        self._show(staged, Held(generation, facts, roots))
        return facts

    def _write(self, documents: Mapping[str, str]) -> None:
        self._writer.write_documents(documents)
        bootstrap = self._writer.document(BOOTSTRAP)
        if bootstrap is None:
            raise Unusable("the control plane sent no bootstrap")
        outdated = self._running is not None and bootstrap != self._running
        if outdated and not self.outdated:
            self._log.info("the bootstrap changed: it counts when Envoy is started next")
        self.outdated = outdated

    def _show(self, staged: Staged, held: Held) -> None:
        self._writer.show(staged)
        self.held = held
        self.first.set()
        self.reports.tell(held)

    def _succeeded(self, facts: Facts) -> None:
        now = self._clock.now()
        self.issued += 1
        self._due = renewal.renew_at(now, facts.not_after, self._random())
        if self.trouble is not None:
            self._log.info("certificates are issued again", after=f"{(now - self.trouble.since).total_seconds():.0f} s")
            self.trouble = None
        if self._expected and self._expected not in facts.names:
            self._log.warning("the certificate is made out to somebody else", expected=self._expected)
        self._log.info("certificate", of=" ".join(facts.names), until=_time(facts.not_after), next=_time(self._due))

    def _failed(self, error: AskError) -> None:
        self.failed += 1
        if self.held is None and _is_about_them(error):
            self._go_on_with_stored()
        before = self.trouble
        self.trouble = Trouble(before.since if before else self._clock.now(), error)
        if before is None or _kind(before.error) != _kind(error):
            held = _time(self.held.facts.not_after) if self.held else "none"
            self._log.warning("no new certificate, trying on", error=str(error), held_until=held)

    def _go_on_with_stored(self) -> None:
        """An agent that is started again while the control plane is away has the certificate from before.

        Only then: what this workload is may have changed, and its token says so.
        """
        try:
            stored = self._writer.stored()
            self._take(stored._replace(roots=self._roots.pem), self._roots, {})
        except FileNotFoundError:
            pass
        except (OSError, Unusable) as error:
            self._log.warning("the certificate from before is of no use", error=str(error))

    async def _follow_bundle(self) -> None:
        said: Roots | None = None
        while True:
            await self._sleep(_TICK)
            roots = self._bundle.read()
            if self.held is None or roots is None or roots is self.held.roots:
                continue
            try:
                self._trust(roots, self.held)
            except OSError as error:  # and once more at the next tick
                if roots is not said:
                    self._log.warning("the new trust bundle cannot be written", error=str(error))
                said = roots

    def _trust(self, roots: Roots, held: Held) -> None:
        """A new bundle is a new generation at once, with the key and the chain that are held. Raises OSError.

        Whoever lost our trust must lose it now, even if we are of theirs: then we need another certificate, too.
        """
        generation = held.generation._replace(roots=roots.pem)
        staged = self._writer.stage(generation, self._clock.now())
        try:
            facts = certificate.examine(staged.pair, roots)
        except Unusable as error:
            facts, self._due = held.facts, self._clock.now()
            self._log.warning("our certificate is none of the new trust bundle's", error=str(error))
        self._show(staged, Held(generation, facts, roots))
        self._log.info("trust bundle", roots=len(roots.certificates))

    def _left(self) -> float | None:
        """Seconds of the life of what is held."""
        if self.held is None:
            return None
        return (self.held.facts.not_after - self._clock.now()).total_seconds()

    async def _until_due(self) -> None:
        """By the wall clock, looked at again and again: timers stand still while a laptop sleeps."""
        while (left := (self._due - self._clock.now()).total_seconds()) > 0:
            await self._sleep(min(left, _TICK))


def _is_about_them(error: AskError) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and error.for_now)


def _kind(error: AskError) -> object:
    return (type(error), error.status) if isinstance(error, Refused) else type(error)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
