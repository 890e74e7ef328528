"""The table of `lateen proxy-config secrets`: a line for each certificate, then what a person should know."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import typer

from controlplane.cli.output import print_table

_COLUMNS: Final = (
    "name", "type", "status", "subject", "valid from", "valid until", "serial", "issuer", "sha-256", "source",
    "used by",
)  # fmt: skip
_MOST_ROOTS: Final = 4  # of one bundle that are listed one by one; the machine's own has more than a hundred
_SHORT: Final = 12  # characters of a serial number or a digest; -o json has them whole
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86_400, 365 * 86_400


def print_secrets(found: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """As the debug socket tells them; see `local.secrets.ProxySecret`."""
    print_table(_COLUMNS, [row for secret in found for row in rows(secret, now)])
    if told := [(secret["name"], secret["status"], secret["why"]) for secret in found if secret["why"]]:
        typer.echo("")
        print_table(("name", "status", "why"), told)


def rows(secret: Mapping[str, Any], now: datetime) -> Iterator[Sequence[str]]:
    """A line for each root, or for a certificate without its chain; what was given instead follows what is used."""
    first = (secret["name"], secret["type"])
    last = (secret["source"], _used_by(secret["usedBy"]))
    for each in _lines(secret["certificates"], secret["type"], now) or [("-",) * 6]:
        yield (*first, secret["status"], *each, *last)
    for each in _lines(secret["given"], secret["type"], now):
        yield (*first, "given", *each, *last)


def _lines(certificates: Sequence[Mapping[str, Any]], kind: str, now: datetime) -> list[Sequence[str]]:
    if len(certificates) > _MOST_ROOTS and kind == "roots":
        return [(f"{len(certificates)} roots", "-", "-", "-", "-", "-")]
    listed = certificates if kind == "roots" else certificates[:1]
    return [_line(one, now) for one in listed]


def _line(one: Mapping[str, Any], now: datetime) -> Sequence[str]:
    names = one["subject"]
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    return (
        f"{names[0]}{more}" if names else "-",
        _time(one["validFrom"]) or "-",
        f"{_time(one['validUntil'])} ({left(one['validUntil'], now)})" if one["validUntil"] else "-",
        _short(one["serial"]),
        one["issuer"] or "-",
        _short(one["sha256"]),
    )


def _time(text: str | None) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%SZ}" if text else ""


def left(end: str, now: datetime) -> str:
    """From now to a time: "in 11h", "3m ago"."""
    seconds = int((datetime.fromisoformat(end) - now).total_seconds())
    words = _span(abs(seconds))
    return f"in {words}" if seconds > 0 else f"{words} ago"


def _span(seconds: int) -> str:
    """Rounded down, and in a unit that leaves at least two of it."""
    for unit, sign in ((_YEAR, "y"), (_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= 2 * unit:
            return f"{seconds // unit}{sign}"
    return f"{seconds}s"


def _short(digits: str) -> str:
    return digits[:_SHORT] or "-"


def _used_by(users: Mapping[str, Sequence[str]]) -> str:
    kinds = ((users["listeners"], "listener"), (users["clusters"], "cluster"))
    return ", ".join(_counted(names, word) for names, word in kinds if names) or "-"


def _counted(names: Sequence[str], word: str) -> str:
    return f"{word} {names[0]}" if len(names) == 1 else f"{len(names)} {word}s"
