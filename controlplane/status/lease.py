"""The election, on a Lease of the API server."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any, Final, Protocol

import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.security.apiserver import NoAnswer, answered
from controlplane.status.election import Election, Hold, Lease

log = structlog.get_logger(__name__)

_MERGE: Final = "application/merge-patch+json"


class Leases(Protocol):
    """Where the lease stands."""

    async def read(self) -> Lease | None:
        """None: there is none. Raises NoAnswer."""
        ...

    async def write(self, hold: Hold) -> Lease | None:
        """None: it has another version by now. Raises NoAnswer: it may be written or not."""
        ...


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Lease(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec | None = None


class KubernetesLease:
    """See `Leases`. It is installed with the control plane, which has no right to make one."""

    def __init__(self, api: Any, namespace: str, name: str, *, good: float, patience: float) -> None:
        """`api`: `kubernetes.aio.client.CoordinationV1Api`. `good` and `patience` in seconds."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._good = max(1, round(good))
        self._patience = patience

    async def read(self) -> Lease | None:
        status, body = await self._asked("read")
        return None if status == 404 else self._lease(status, body)

    async def write(self, hold: Hold) -> Lease | None:
        """A merge patch: labels that others put on it stay."""
        spec = {
            "holderIdentity": hold.holder,
            "leaseDurationSeconds": self._good,
            "renewTime": hold.renewed.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "leaseTransitions": hold.epoch,
        }
        patch = {"metadata": {"resourceVersion": hold.version}, "spec": spec}
        status, body = await self._asked("patch", patch, _content_type=_MERGE)
        return None if status in (404, 409) else self._lease(status, body)

    async def _asked(self, verb: str, *what: Any, **how: Any) -> tuple[int, bytes]:
        ask = getattr(self._api, f"{verb}_namespaced_lease_without_preload_content")
        return await answered(ask(self._name, self._namespace, *what, **how), seconds=self._patience)

    def _lease(self, status: int, body: bytes) -> Lease:
        where = f"Lease {self._namespace}/{self._name}"
        if status != 200:
            may_not = ": we may not (get and patch are needed)" if status in (401, 403) else ""
            raise NoAnswer(f"{where}: the API server answers with status {status}{may_not}")
        try:
            found = msgspec.json.decode(body, type=_Lease)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NoAnswer(f"{where}: the API server's answer is none: {error}") from error
        spec = found.spec or _Spec()
        version = found.metadata.resource_version
        return Lease(spec.holder_identity or "", spec.renew_time or "", spec.lease_transitions or 0, version)


class Leadership:
    """Runs the election of one replica, and says whether it leads."""

    def __init__(
        self,
        election: Election,
        leases: Leases,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._election = election
        self._leases = leases
        self._clock = clock
        self._sleep = sleep
        self._is_over = False
        self._said = ""

    @property
    def name(self) -> str:
        return self._election.name

    def epoch(self) -> int | None:
        """Of our leadership, as far as we know without asking; None if we do not lead."""
        return self._election.epoch(self._clock.monotonic())

    async def confirmed(self, epoch: int) -> bool:
        """Whether the lease is ours in this epoch, asked of the API server now. Raises NoAnswer.

        No clock is believed here: whoever takes over has written the lease before anything else. So what was read
        before this, and is written with the version that it had, was written by nobody of a later epoch in between.
        """
        lease = await self._leases.read()
        if lease is None:
            return False
        self._election.seen(lease, self._clock.monotonic())
        return (lease.holder, lease.epoch, self.epoch()) == (self.name, epoch, epoch)

    async def run(self) -> None:
        """Until cancelled."""
        while not self._is_over:
            was_answered = await self.step()
            wait = self._election.wait(self._clock.monotonic())
            await self._sleep(wait if was_answered else min(wait, self._election.timing.again))

    async def step(self) -> bool:
        """Looks, and takes or renews if it is time; whether the API server answered."""
        try:
            self._tell(await self._step())
        except NoAnswer as error:
            self._tell(str(error))
            return False
        return True

    async def _step(self) -> str:
        lease = await self._leases.read()
        if lease is None:
            self._election.lost()
            return "there is no Lease: nobody writes status (lateen install makes it)"
        self._election.seen(lease, self._clock.monotonic())
        asked = self._clock.monotonic()
        hold = self._election.wants(asked, self._clock.now())
        if hold is None or self._is_over:
            return ""
        taken = await self._leases.write(hold)
        if taken is None:
            self._election.lost()
        else:
            self._election.took(hold, taken, asked)
        return ""

    async def release(self) -> None:
        """The process ends: gives the lease back, so that nobody has to wait for it."""
        self._is_over = True
        hold = self._election.release(self._clock.monotonic(), self._clock.now())
        if hold is None:
            return
        try:
            await self._leases.write(hold)
        except NoAnswer as error:
            log.warning("the lease could not be given back", why=str(error))

    def _tell(self, trouble: str) -> None:
        """What changed, once."""
        said = trouble or ("we lead" if self.epoch() is not None else f"{self._election.leader or 'nobody'} leads")
        if said != self._said:
            (log.warning if trouble else log.info)("leader election", state=said)
        self._said = said


__all__ = ["KubernetesLease", "Leadership", "Leases"]
