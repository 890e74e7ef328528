"""Why something was not issued: a value, as all that callers do wrong is."""

from enum import StrEnum

import msgspec


class Why(StrEnum):
    """Stable names, for metrics and for tests."""

    MALFORMED = "malformed"  # no CSR, or more than one
    UNPROVEN = "unproven"  # its signature is not made with its own key
    KEY = "key"  # a kind of key, or a size, that is not issued for
    IDENTITY = "identity"  # the caller's name is none that can stand in a certificate
    AUTHORITY = "authority"  # the authority has expired, or nearly
    STEP = "step"  # a rotation that is not at this step, or may not take it yet
    UNAUTHENTICATED = "unauthenticated"  # nothing proves who calls
    FORBIDDEN = "forbidden"  # who calls is known, and may not have this
    BUSY = "busy"  # asked too often: later
    UNAVAILABLE = "unavailable"  # who would know whether the proof is good does not answer


class Refusal(msgspec.Struct, frozen=True):
    """Not done, and what to do about it."""

    why: Why
    message: str
    retry_after: float = 0.0  # seconds; 0: trying again does not help, or nobody knows when
