"""Tells the control plane what this workload trusts and has.

The rotation of a root waits for these words: nothing is issued from a new root before everybody trusts it. So a report
follows each generation once Envoy has taken it, is sent until the control plane has, and speaks of the newest only.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from controlplane.agent import renewal
from controlplane.agent.authority import AskError, AuthorityClient, Report
from controlplane.agent.generations import Held, Stored
from controlplane.agent.http.client import NoAnswer
from controlplane.agent.logs import Log
from controlplane.agent.renewal import Random, Sleep
from controlplane.runtime.backoff import Backoff, BackoffPolicy

_POLICY: Final = BackoffPolicy(first=0.5, longest=30.0)  # seconds
_LOOKS: Final = 20  # for Envoy to take a generation: milliseconds, as a rule
_LOOK_EVERY: Final = 0.05  # seconds

InUse = Callable[[Stored], Awaitable[bool]]


class NotTaken(AskError):  # noqa: N818  (Envoy's affair)
    """Envoy still has the generation before."""


class ReportRunner:
    """One report at a time; `wanted` is the generation that is to be told of."""

    def __init__(  # noqa: PLR0913  (what it works with)
        self, client: AuthorityClient, node_id: str, in_use: InUse, *, log: Log, random: Random, sleep: Sleep
    ) -> None:
        self._client = client
        self._node_id = node_id
        self._in_use = in_use
        self._log = log
        self._random = random
        self._sleep = sleep
        self._wake = asyncio.Event()
        self._wanted: Held | None = None
        self._told: Held | None = None
        self._trouble = ""

    def tell(self, held: Held) -> None:
        """As soon as possible, instead of what waited."""
        self._wanted = held
        self._wake.set()

    @property
    def pending(self) -> bool:
        """Whether something is not told yet."""
        return self._wanted is not self._told

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff(_POLICY, self._random)
        while True:
            await self._wake.wait()
            self._wake.clear()
            assert self._wanted is not None
            try:
                await self._send(self._wanted)
            except AskError as error:
                self._say(str(error))
                self._wake.set()
                await self._sleep(renewal.retry_in(backoff.next(), asked=error.retry_after))
            else:
                self._say("")
                backoff = Backoff(_POLICY, self._random)

    async def _send(self, held: Held) -> None:
        await self._until_used(held.generation)
        report = Report(
            node=self._node_id,
            roots=held.roots.digests,
            issued_by=held.facts.issued_by,
            not_after=f"{held.facts.not_after:%Y-%m-%dT%H:%M:%SZ}",
        )
        await self._client.report(report, held.roots)
        self._told = held

    async def _until_used(self, generation: Stored) -> None:
        for _ in range(_LOOKS):
            try:
                if await self._in_use(generation):
                    return
            except NoAnswer as error:
                raise NotTaken(f"Envoy does not say what it has: {error}") from error
            await self._sleep(_LOOK_EVERY)
        raise NotTaken("Envoy has not taken what was written for it")

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._log.warning("not reported, trying on", error=trouble)
        self._trouble = trouble
