"""HTTPRetry: when a failed request is tried again. Defaults are Istio's.

A rule without `retries` has the mesh's policy; a policy without `attempts` retries nothing, because that is what the
field's zero says, and `own_problems` of the rule says so.
"""

from http import HTTPStatus

from controlplane.ir.route import Retry
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import HTTPRetry

DEFAULT_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
STATUS_CODES = "retriable-status-codes"

# Under consistent hashing a retry must not wander off to another host.
DEFAULT = Retry(attempts=2, on=DEFAULT_ON)
DEFAULT_HASHED = Retry(attempts=2, on=DEFAULT_ON, ignore_previous_hosts=False)

_KNOWN_STATUS = frozenset(int(status) for status in HTTPStatus)


def retry(written: HTTPRetry | None, settings: Settings, *, hashed: bool) -> Retry | None:
    """The policy of a route; None retries nothing. `hashed`: the destination balances by consistent hash."""
    policy = written if written is not None else settings.default_http_retry_policy
    if policy is None:
        return DEFAULT_HASHED if hashed else DEFAULT
    if not policy.attempts or policy.attempts < 0:
        return None
    on, codes = _conditions(policy.retry_on) if policy.retry_on else (DEFAULT_ON, ())
    ignore = policy.retry_ignore_previous_hosts
    return Retry(
        attempts=policy.attempts,
        on=on,
        status_codes=codes,
        per_try_timeout=policy.per_try_timeout,
        backoff=policy.backoff,
        ignore_previous_hosts=not hashed if ignore is None else ignore,
        previous_priorities=bool(policy.retry_remote_localities),
    )


def _conditions(retry_on: str) -> tuple[str, tuple[int, ...]]:
    """ "5xx,418,reset" -> ("5xx,reset,retriable-status-codes", (418,)): numbers that are statuses are statuses."""
    words: list[str] = []
    codes: list[int] = []
    for part in map(str.strip, retry_on.split(",")):
        if part.isascii() and part.isdigit() and int(part) in _KNOWN_STATUS:
            codes.append(int(part))
        elif part:
            words.append(part)
    if codes and STATUS_CODES not in words:
        words.append(STATUS_CODES)
    return ",".join(words), tuple(codes)
