"""What a stream machine asks of whoever holds the socket."""

from enum import StrEnum

import msgspec

from controlplane.snapshot.resource import Resource


class Reason(StrEnum):
    """Why a stream ends, named by who is at fault: the gRPC status follows from it."""

    OK = "the client is done"
    INVALID_ARGUMENT = "the client broke the protocol"
    UNAUTHENTICATED = "the client did not say who it is"
    PERMISSION_DENIED = "the client may not have this"
    RESOURCE_EXHAUSTED = "the client asks for more than we keep for one"
    DEADLINE_EXCEEDED = "the client said nothing"
    UNAVAILABLE = "come back, here or to another replica"


class Response(msgspec.Struct, frozen=True, eq=False):
    """What a response says about itself once its bytes are gone: kept until it is acknowledged, shared by streams."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...]  # in it
    names: tuple[str, ...]  # of these
    removed: tuple[str, ...] = ()
    version: str = ""  # of the whole type, SotW only
    size: int = 0  # bytes
    ack: bytes = b""  # the exact bytes of its plain ACK, delta only


class Send(msgspec.Struct, frozen=True, eq=False):
    """Write these bytes, then say `write_finished`. There is never a second one before."""

    payload: bytes
    response: Response


class Accepted(msgspec.Struct, frozen=True):
    """The proxy acknowledged a response: for a CDS response, all its clusters are warm."""

    type_url: str
    nonce: str
    names: tuple[str, ...]
    removed: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """The proxy refused resources. `culprits` are (name, version); empty while they are still being looked for."""

    type_url: str
    nonce: str
    error: str
    culprits: tuple[tuple[str, str], ...] = ()


class HoldEnded(msgspec.Struct, frozen=True):
    """A resource was sent although a cluster it names was not acknowledged in time; its object should say so."""

    type_url: str
    name: str
    waiting_for: tuple[str, ...]


class WakeAt(msgspec.Struct, frozen=True):
    """Say `time_passed` at this monotonic time; replaces the one asked for before. None: no need any more."""

    deadline: float | None


class Close(msgspec.Struct, frozen=True):
    """End the stream."""

    reason: Reason
    message: str


Command = Send | Accepted | Refused | HoldEnded | WakeAt | Close
