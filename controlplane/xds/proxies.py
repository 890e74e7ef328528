"""What the server needs from the rest of the control plane, and what it tells it."""

from datetime import datetime
from typing import Protocol

import msgspec

from controlplane.model.proxy import Proxy
from controlplane.snapshot.view import View
from controlplane.xds.protocol.commands import Accepted, HoldEnded, Reason, Refused
from controlplane.xds.protocol.wire import Peer


class Caller(msgspec.Struct, frozen=True):
    """Who is at the other end of a connection, as the transport proved it."""

    address: str  # "ipv4:10.0.0.7:41234", "unix:"
    identity: str = ""  # SPIFFE id of its certificate; "" on the Unix socket, where file permissions are the proof
    expires: datetime | None = None  # end of its certificate


class Denied(msgspec.Struct, frozen=True):
    """Why a proxy is not served."""

    reason: Reason
    message: str


class Admission(Protocol):
    """Who may connect, as which proxy."""

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
