"""One stream machine and its socket.

Everything that happens to a stream goes through here, on the event loop: messages, revisions, timers. Revisions are
queued and applied before anything else happens to the stream, so that a fan-out over many streams may take turns with
other work without a stream ever seeing a view it was not told about.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import structlog

from controlplane.base.clock import Clock
from controlplane.model.proxy import Proxy
from controlplane.snapshot.view import Changes, View
from controlplane.xds.budget import LARGE, ByteBudget
from controlplane.xds.protocol.commands import Accepted, Close, Command, HoldEnded, Reason, Refused, Send, WakeAt
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.protocol.scope import Scope
from controlplane.xds.protocol.sotw import SotwStream
from controlplane.xds.proxies import Proxies

log = structlog.get_logger(__name__)


@contextmanager
def to_who_may_be_gone() -> Iterator[None]:
    """What gRPC cannot send to a client that has just left ends the stream as its leaving does: nothing is wrong."""
    try:
        yield
    except grpc.aio.InternalError as gone:
        raise asyncio.CancelledError from gone


class Connection:
    """Feeds a stream machine and performs its commands."""

    def __init__(  # noqa: PLR0913 - what one connection consists of
        self,
        number: int,
        proxy: Proxy,
        scope: Scope,
        stream: DeltaStream | SotwStream,
        *,
        proxies: Proxies,
        budget: ByteBudget,
        owner: Hashable,
        clock: Clock,
    ) -> None:
        """`owner`: in whose name its responses count in the budget."""
        self.number = number
        self.proxy = proxy
        self.scope = scope
        self.stream = stream
        self.since = clock.monotonic()
        self._proxies = proxies
        self._budget = budget
        self._owner = owner
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._behind: list[Changes] = []
        self._outbox: Send | None = None
        self._close: Close | None = None
        self._idle: asyncio.Future[None] | None = None  # the writer waits here
        self._timer: asyncio.TimerHandle | None = None
        self._writing_since: float | None = None
        self._writer: asyncio.Task[Any] | None = None

    # What happens to it

    def received(self, raw: bytes) -> None:
        """A message came."""
        if self._behind:
            self.catch_up()
        self._tell(self.stream.request_received, raw)

    def fall_behind(self, changes: Changes) -> bool:
        """There is a revision it has to be told of; whether it is the first one."""
        self._behind.append(changes)
        return len(self._behind) == 1

    @property
    def is_told(self) -> bool:
        """The stream knows of all revisions there are."""
        return not self._behind

    def own_changed(self, changes: Changes) -> bool:
        """The same, for what only this proxy sees."""
        return self.fall_behind(self.stream.own_changes(changes))

    def catch_up(self) -> None:
        """Tell it of the revisions it has not seen."""
        if self._behind:
            revisions, self._behind = self._behind, []
            self._tell(self.stream.view_changed, *revisions)

    def moved(self, scope: Scope, view: View) -> None:
        """It belongs to another scope."""
        self.catch_up()
        self.scope = scope
        self._tell(self.stream.view_replaced, scope, view)

    def close(self, reason: Reason, message: str) -> None:
        """End it once what is being written is out."""
        self._perform([Close(reason, message)])

    def cut(self) -> None:
        """End it now: the client takes nothing."""
        if self._writer is not None:
            self._writer.cancel()

    def stalled_for(self) -> float:
        """Seconds since the write under way began."""
        return 0.0 if self._writing_since is None else self._clock.monotonic() - self._writing_since

    # Writing and reading

    async def write_all(self, context: Any) -> Close | None:
        """Write what the stream wants written until it ends; why, if not because the client left."""
        self._writer = asyncio.current_task()
        while True:
            send, self._outbox = self._outbox, None
            if send is not None:
                await self._write(context, send)
                self._writing_since = None
                self.catch_up()
                self._tell(self.stream.write_finished)
            elif self._close is not None:
                return self._close
            else:
                self._idle = self._loop.create_future()
                await self._idle

    async def read_all(self, context: Any) -> None:
        """Feed it messages until the client has no more."""
        while True:
            raw = await context.read()
            if raw is grpc.aio.EOF:
                self.close(Reason.OK, "the client is done")
                return
            self.received(raw)
            del raw  # it may be a megabyte, and the next one may come in an hour

    def ended(self) -> None:
        """Let go of timers."""
        if self._timer is not None:
            self._timer.cancel()

    async def _write(self, context: Any, send: Send) -> None:
        if len(send.payload) < LARGE:
            self._writing_since = self._clock.monotonic()
            with to_who_may_be_gone():
                await context.write(send.payload)
            return
        async with self._budget.of(len(send.payload), self._owner):
            self._writing_since = self._clock.monotonic()
            with to_who_may_be_gone():
                await context.write(send.payload)

    # Commands

    def _tell(self, event: Callable[..., Iterable[Command]], *facts: Any) -> None:
        """Our own bug ends this stream, aloud, and no other: the proxy comes back to a fresh one."""
        try:
            self._perform(event(*facts))
        except Exception:
            log.exception("xds stream machine failed", proxy=self.proxy.id)
            self.close(Reason.UNAVAILABLE, "internal error")

    def _perform(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                self._outbox = command
                self._wake()
            elif isinstance(command, Accepted | Refused | HoldEnded):
                self._proxies.heard(self.number, command)
            elif isinstance(command, WakeAt):
                self._wake_at(command.deadline)
            elif self._close is None:
                self._close = command
                self._wake()

    def _wake(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _wake_at(self, deadline: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_later(max(0.0, deadline - self._clock.monotonic()), self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        self.catch_up()
        self._tell(self.stream.time_passed)
