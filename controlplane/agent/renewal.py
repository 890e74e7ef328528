"""When to ask for the next certificate. Arithmetic only: who waits is in `identity`.

At half of a life, so that as much again is left to get through a control plane that is down; spread at random, because
workloads that started together would come back together for ever.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

Random = Callable[[], float]  # in [0, 1)
Sleep = Callable[[float], Awaitable[None]]

_HALF: Final = 0.5
_SPREAD: Final = 0.1  # of a life: between 45 and 55 %
_FASTEST: Final = 1.0  # seconds
_SHARE: Final = 0.1  # of what is left of a life: at least ten tries before its end
_MOST_PATIENT: Final = 300.0  # seconds that a server may make us wait


def renew_at(issued: datetime, not_after: datetime, random: float) -> datetime:
    """The moment. `issued`: when we got it, by our clock; `random`: in [0, 1)."""
    life = max(timedelta(0), not_after - issued)
    return issued + max(timedelta(seconds=_FASTEST), life * (_HALF + _SPREAD * (random - _HALF)))


def retry_in(backoff: float, left: float | None = None, asked: float | None = None) -> float:
    """Seconds until the next try, after one that failed.

    `backoff`: what the back-off says; it yields when only `left` seconds of a life are, but not once that is over: then
    there is nothing to save, and everybody may be asking. `asked`: what the server said (Retry-After), which does not
    yield: it would only say so again.
    """
    if asked is not None:
        return min(max(asked, backoff), _MOST_PATIENT)
    if left is None or left <= 0:
        return backoff
    return min(backoff, max(_FASTEST, left * _SHARE))
