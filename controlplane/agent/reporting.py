"""Tells the control plane what this workload trusts and has.

The rotation of a root waits for these words: nothing is issued from a new root before everybody trusts it. So a
report follows each generation, is sent until it was taken, and speaks of the newest only.
"""

import asyncio
from typing import Final, NamedTuple

from controlplane.agent import renewal
from controlplane.agent.authority import AskError, AuthorityClient, Report
from controlplane.agent.certificate import Facts, Roots
from controlplane.agent.renewal import Random, Sleep
from controlplane.runtime.backoff import Backoff, BackoffPolicy

_POLICY: Final = BackoffPolicy(first=0.5, longest=30.0)  # seconds


class Told(NamedTuple):
    """A generation, as far as it is told."""

    facts: Facts
    roots: Roots


class ReportRunner:
    """One report at a time; `wanted` is the generation that is to be told of."""

    def __init__(self, client: AuthorityClient, node_id: str, *, random: Random, sleep: Sleep) -> None:
        self._client = client
        self._node_id = node_id
        self._random = random
        self._sleep = sleep
        self._wake = asyncio.Event()
        self._wanted: Told | None = None
        self.told: Told | None = None

    def tell(self, told: Told) -> None:
        """As soon as possible, instead of what waited."""
        self._wanted = told
        self._wake.set()

    @property
    def pending(self) -> bool:
        """Whether something is not told yet."""
        return self._wanted is not self.told

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
                self._wake.set()
                await self._sleep(renewal.retry_in(backoff.next(), asked=error.retry_after))
            else:
                backoff = Backoff(_POLICY, self._random)

    async def _send(self, told: Told) -> None:
        report = Report(
            node=self._node_id,
            roots=told.roots.digests,
            issued_by=told.facts.issued_by,
            not_after=f"{told.facts.not_after:%Y-%m-%dT%H:%M:%SZ}",
        )
        await self._client.report(report, told.roots)
        self.told = told
