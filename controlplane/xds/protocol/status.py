"""Where a stream stands, as plain data for `lateen proxy-status`."""

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    """How far the proxy is, worst first."""

    REFUSED = "NACKed"
    WAITING = "waiting"  # held back: for a cluster to be warm, for a secret, or kept because something still names it
    PENDING = "pending"  # to be sent, or not acknowledged yet
    SYNCED = "synced"


class TypeStatus(msgspec.Struct, frozen=True):
    """One type on one stream."""

    type_url: str
    standing: Standing
    nonce: str  # of the last response
    version: str  # of the last response, SotW only
    acked_at: float | None  # monotonic seconds
    error: str  # of the last NACK, until the next ACK
    waiting: tuple[str, ...]  # names held back
    is_behind: bool = False  # something is to be sent, or not acknowledged yet, or held back; refused or not


def standing_of(error: str, *, pending: bool, waiting: bool) -> Standing:
    """The worst of what is the case."""
    if error:
        return Standing.REFUSED
    if waiting:
        return Standing.WAITING
    return Standing.PENDING if pending else Standing.SYNCED
