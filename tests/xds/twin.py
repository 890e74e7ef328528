"""Two delta streams that hear the same: one takes short cuts, the other decides everything. They must say the same."""

import msgspec
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.base.clock import Clock
from controlplane.snapshot.view import Changes, View
from controlplane.xds.protocol.commands import Accepted, Command, Refused, Send
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.protocol.ledger import NO_DOUBTS, Doubts
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.scope import Scope
from controlplane.xds.protocol.status import TypeStatus


class Careful(DeltaStream):
    """Never takes a short cut: it is never quiet."""

    @property
    def _quiet(self) -> bool:
        return False

    @_quiet.setter
    def _quiet(self, _: bool) -> None:
        pass


class Counting(DeltaStream):
    """Counts its short cuts: a test that never sees one proves nothing."""

    passed_on = 0

    def _pass_on(self, *revisions: Changes) -> Send | None:
        send = super()._pass_on(*revisions)
        Counting.passed_on += send is not None
        return send


class Twin:
    """Has what `Link` uses of a `DeltaStream`."""

    protocol = DeltaStream.protocol

    def __init__(
        self,
        scope: Scope,
        view: View,
        clock: Clock,
        quarantine: Quarantine,
        envoy: str,
        doubts: Doubts = NO_DOUBTS,
    ) -> None:
        self._quick = Counting(scope, view, clock, quarantine, envoy, doubts)
        self._careful = Careful(scope, view, clock, quarantine, envoy, doubts)
        self._nonces: dict[str, str] = {}  # of the one's responses -> of the other's

    def view_changed(self, *revisions: Changes) -> list[Command]:
        return self._same(self._quick.view_changed(*revisions), self._careful.view_changed(*revisions))

    def write_finished(self) -> list[Command]:
        return self._same(self._quick.write_finished(), self._careful.write_finished())

    def time_passed(self) -> list[Command]:
        return self._same(self._quick.time_passed(), self._careful.time_passed())

    def request_received(self, raw: bytes) -> list[Command]:
        message = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
        message.response_nonce = self._nonces.get(message.response_nonce, message.response_nonce)
        return self._same(
            self._quick.request_received(raw), self._careful.request_received(message.SerializeToString())
        )

    def doubts(self) -> Doubts:
        assert self._quick.doubts() == self._careful.doubts()
        return self._quick.doubts()

    def status(self) -> tuple[TypeStatus, ...]:
        return self._quick.status()

    @property
    def extent(self) -> int:
        assert self._quick.extent == self._careful.extent
        return self._quick.extent

    def _same(self, quick: list[Command], careful: list[Command]) -> list[Command]:
        assert list(map(_plain, quick)) == list(map(_plain, careful))
        for one, other in zip(quick, careful, strict=True):
            if isinstance(one, Send) and isinstance(other, Send):
                self._nonces[one.response.nonce] = other.response.nonce
        return quick


def _plain(command: Command) -> object:
    """A command without nonces, which are numbers of responses."""
    if isinstance(command, Send):
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(command.payload)
        message.nonce = ""
        return message.SerializeToString(deterministic=True)
    return msgspec.structs.replace(command, nonce="") if isinstance(command, Accepted | Refused) else command
