"""What the server needs from the rest of the control plane, and what it tells it."""

from typing import Protocol

import msgspec

from controlplane.model.proxy import Proxy
from controlplane.snapshot.view import View
from controlplane.xds.caller import Caller
from controlplane.xds.protocol.commands import Accepted, HoldEnded, Reason, Refused
from controlplane.xds.protocol.wire import Peer


class Denied(msgspec.Struct, frozen=True):
    """Why a proxy is not served."""

    reason: Reason
    message: str


class Admission(Protocol):
    """Who may connect, as which proxy."""

    def knows(self, caller: Caller) -> Denied | None:
        """Asked before anything a caller says is read: None if it may speak."""
        ...

    def __call__(self, caller: Caller, peer: Peer) -> Proxy | Denied:
        """The proxy this is, its claims corrected by its identity, or why not."""
        ...


class Proxies(Protocol):
    """The control plane as the server sees it. `app` implements it."""

    async def connected(self, connection: int, proxy: Proxy) -> View | Denied:
        """A proxy is here. What it sees; may wait up to 2 s for late platform events about it."""
        ...

    def disconnected(self, connection: int) -> None:
        """It is gone. Called once for each `connected` that was begun."""
        ...

    def heard(self, connection: int, news: Accepted | Refused | HoldEnded) -> None:
        """What a proxy made of what it was sent. Called often: must be cheap."""
        ...
