"""Durations as the APIs write them: "1.5s", "100ms", "1h30m" (Go's syntax, of which protobuf JSON's is a part)."""

from datetime import timedelta
from functools import lru_cache

import re2

from controlplane.model.value import Duration

_MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "µs": 1, "ns": 0.001}
_PART = r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|ns)"
_WHOLE = re2.compile(rf"(-|\+)?(?:{_PART})+")
_PARTS = re2.compile(_PART)
MAX_LENGTH = 64  # characters; a year in nanoseconds has 20
_LIMIT = 9_223_372_036_000_000  # microseconds, 292 years: Envoy refuses so much, and Go a little more


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> timedelta:
    """From "1h30m" and the like; finer than a microsecond is cut off. Raises ValueError with what is expected."""
    if text == "0":
        return Duration(0)
    matched = len(text) <= MAX_LENGTH and _WHOLE.fullmatch(text)
    if not matched:
        raise ValueError('must be a duration such as "1.5s", "100ms" or "1h30m"')
    micros = sum(float(number) * _MICROSECONDS[unit] for number, unit in _PARTS.findall(text))
    if micros >= _LIMIT:
        raise ValueError("is a longer duration than can be kept: at most 2562047h47m15s")
    return Duration(microseconds=-micros if matched.group(1) == "-" else micros)


def format_duration(duration: timedelta) -> str:
    """As protobuf JSON writes it: seconds, with as many decimals as needed."""
    micros = duration // timedelta(microseconds=1)
    whole, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micros < 0 else ''}{whole}{fraction}s"
