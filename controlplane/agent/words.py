"""Finds what was said for a flag, as the kind of value it has to be, and says which flag was wrong."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from controlplane.agent.flags import FLAGS
from controlplane.agent.http.client import Address
from controlplane.agent.misuse import Misuse

T = TypeVar("T")
Read = Callable[[Path], str]

_UNITS: Final = {"ms": 0.001, "us": 1e-6, "ns": 1e-9, "h": 3600.0, "m": 60.0, "s": 1.0}  # longer spellings first
_MOST_SECONDS: Final = 366 * 86_400
_PORTS: Final = 65_535
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


class Words:
    """A flag that was used, else its environment variable, else its default. Every method raises Misuse."""

    def __init__(self, given: Mapping[str, str], environment: Mapping[str, str], read: Read) -> None:
        self._given = given
        self._environment = environment
        self._read = read
        self._flags = {flag.name: flag for flag in FLAGS}

    def text(self, name: str) -> str:
        flag = self._flags[name]
        if name in self._given:
            return self._given[name]
        return self._environment.get(flag.env, "") or flag.default

    def needed(self, name: str) -> str:
        return self.text(name) or self.wrong(name, "is not said")

    def path(self, name: str) -> Path | None:
        """As seen from here, wherever we go; None for ""."""
        return Path(self.text(name)).absolute() if self.text(name) else None

    def ip(self, name: str) -> str:
        return self.parsed(name, lambda text: str(ip_address(text)))

    def address(self, name: str) -> Address:
        host, _, port = self.needed(name).rpartition(":")
        if not host or not _is_number(port, _PORTS):
            self.wrong(name, f"{self.text(name)} is not HOST:PORT")
        return Address(host.strip("[]"), int(port))

    def number(self, name: str, otherwise: int = 0, most: int = _PORTS) -> int:
        text = self.text(name) or str(otherwise)
        if not _is_number(text, most):
            self.wrong(name, f"{text} is no number from 0 to {most}")
        return int(text)

    def truth(self, name: str) -> bool:
        found = _TRUTHS.get(self.text(name).lower())
        return self.wrong(name, f"{self.text(name)} is neither true nor false") if found is None else found

    def seconds(self, name: str, otherwise: str = "") -> float | None:
        """A duration; None when nothing says one."""
        text = self.text(name) or otherwise
        return self.parsed(name, parse_duration, text) if text else None

    def json(self, name: str, kind: type[T]) -> T:
        return self.parsed(name, lambda text: msgspec.json.decode(text.encode(), type=kind))

    def parsed(self, name: str, parse: Callable[[str], T], text: str | None = None) -> T:
        """By whatever raises ValueError; `text` instead of what the flag itself says."""
        try:
            return parse(self.needed(name) if text is None else text)
        except (ValueError, RecursionError) as error:
            self.wrong(name, str(error))

    def content(self, name: str) -> str | None:
        """Of the file it names; None when that cannot be read."""
        try:
            return self._read(Path(self.text(name)))
        except (OSError, UnicodeDecodeError):
            return None

    def environment(self, parse: Callable[[Mapping[str, str]], dict[str, Any]]) -> dict[str, Any]:
        """What variables without a flag say."""
        try:
            return parse(self._environment)
        except ValueError as error:
            raise Misuse(str(error)) from error

    def wrong(self, name: str, what: str) -> NoReturn:
        flag = self._flags[name]
        variable = f" ({flag.env})" if flag.env else ""
        raise Misuse(f"{flag.option}{variable}: {what}")


def parse_duration(text: str) -> float:
    """Seconds, from "5s", "1.5s", "1h30m": Go's syntax. Raises ValueError."""
    if text == "0":
        return 0.0
    wrong = ValueError(f'"{text}" is no duration up to a year, such as "5s" or "1m30s"')
    rest, total = text, 0.0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = next((unit for unit in _UNITS if rest.startswith(unit, len(number))), "")
        if not unit or not number.replace(".", "", 1).isdigit() or len(number) > 20:
            raise wrong
        total += float(number) * _UNITS[unit]
        rest = rest[len(number) + len(unit) :]
    if not text or total > _MOST_SECONDS:
        raise wrong
    return total


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most
