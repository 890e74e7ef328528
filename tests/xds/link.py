"""A model client and a stream machine, with a wire between them that can be slow and can break."""

from collections import deque
from collections.abc import Iterable

import pytest

from controlplane.snapshot.view import Changes
from controlplane.xds.protocol import commands
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.protocol.ledger import Doubts
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.scope import Scope
from controlplane.xds.protocol.sotw import SotwStream
from tests.xds.model_client import ModelClient
from tests.xds.protocol.trace import TurnableClock
from tests.xds.twin import Twin
from tests.xds.views import MemoryView

_ENDLESS = 2000  # messages


class Link:
    """One proxy and its stream, if it has one now."""

    def __init__(
        self,
        view: MemoryView,
        scope: Scope,
        clock: TurnableClock,
        quarantine: Quarantine,
        dns: set[str],
        *,
        delta: bool,
        twins: bool = False,
    ) -> None:
        """`twins`: have one beside each delta stream that takes no short cuts."""
        self._kind = SotwStream if not delta else Twin if twins else DeltaStream
        self._view, self._scope, self._clock, self._quarantine = view, scope, clock, quarantine
        self.client = ModelClient(clock.monotonic, delta=delta, dns=dns)
        self.stream: DeltaStream | SotwStream | Twin | None = None
        self._to_client: deque[tuple[bytes, frozenset[str]]] = deque()
        self._excused: set[str] = set()  # clusters the next response need not wait for
        self._to_server: deque[bytes] = deque()
        self._writing = False
        self._stalled = False
        self._wake: float | None = None
        self._doubts: Doubts = {}
        self.sent = 0
        self.bytes = 0
        self.news: list[commands.Command] = []

    def connect(self) -> None:
        about = (self._scope, self._view, self._clock, self._quarantine, "1.40.0")
        self.stream = self._kind(*about, self._doubts)
        self._to_client.clear()
        self._to_server.clear()
        self._writing, self._stalled, self._wake = False, False, None
        self.client.connect()

    def disconnect(self) -> None:
        if self.stream is not None:
            self._doubts = self.stream.doubts()
        self.stream = None
        self._to_client.clear()
        self.client.disconnect()

    def tell(self, changes: Changes) -> None:
        if self.stream is not None:
            self._take(self.stream.view_changed(changes))

    def stall(self) -> None:
        self._stalled = True

    def drain(self) -> None:
        self._stalled = False
        self._written()

    def deliver(self) -> bool:
        """One response reaches the client."""
        if not self._to_client:
            return False
        self.client.receive(*self._to_client.popleft())
        return True

    def answer(self) -> bool:
        """One request reaches the server."""
        raw = self.client.take_request() if self.stream is not None else None
        if raw is None or self.stream is None:
            return False
        self._take(self.stream.request_received(raw))
        return True

    def time_passed(self) -> None:
        self.client.tick()
        if self.stream is not None and self._wake is not None and self._wake <= self._clock.time:
            self._wake = None
            self._take(self.stream.time_passed())

    def settle(self) -> bool:
        """Deliver and answer all there is; whether there was anything."""
        moved = 0
        while self.deliver() or self.answer():
            moved += 1
            assert moved < _ENDLESS, "proxy and server answer each other without an end"
        return bool(moved)

    def _take(self, out: Iterable[commands.Command]) -> None:
        for command in out:
            if isinstance(command, commands.Send):
                assert not self._writing
                self._to_client.append((command.payload, frozenset(self._excused)))
                self._excused.clear()
                self.sent += 1
                self.bytes += len(command.payload)
                self._writing = True
            elif isinstance(command, commands.WakeAt):
                self._wake = command.deadline
            elif isinstance(command, commands.Close):
                pytest.fail(f"closed: {command}")
            elif isinstance(command, commands.HoldEnded):
                self._excused.update(command.waiting_for)
            elif not isinstance(command, commands.Accepted):
                self.news.append(command)
        if not self._stalled:
            self._written()

    def _written(self) -> None:
        if self._writing and self.stream is not None:
            self._writing = False
            self._take(self.stream.write_finished())
