"""What annotations hold: text that means ports, ranges, sizes, levels. Each of these raises ValueError with what is
wrong, in words that follow the annotation's name and come before the value's author.
"""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, Final

import msgspec
import re2

from controlplane.model.durations import format_duration, parse_duration
from controlplane.model.text import printable

ALL: Final = "*"
MODES: Final = ("REDIRECT", "TPROXY", "NONE")
LEVELS: Final = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")

_YES: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # as Go's ParseBool
_NO: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_MOST_PORTS: Final = 256  # in a list; each is a rule, twice
_YEAR: Final = timedelta(days=366)
_QUANTITY: Final = re2.compile(r"\+?(?:\d+\.?\d*|\.\d+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_INTERFACE: Final = re2.compile(r"[A-Za-z0-9_.@:-]{1,15}|[A-Za-z0-9_.@:-]{0,14}\+")
_IMAGE: Final = re2.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
_COMPONENT: Final = re2.compile(r"[a-z0-9_]+")


def boolean(text: str) -> bool:
    """As Go reads it."""
    if text in _YES:
        return True
    if text in _NO:
        return False
    raise ValueError(f"{_quoted(text)} is neither true nor false")


def number(text: str) -> int:
    """A count or seconds, from 0."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{_quoted(text)} is no whole number from 0 to 999999999")
    return int(text)


def positive(text: str) -> int:
    """From 1, where Kubernetes knows no less."""
    if number(text) == 0:
        raise ValueError("0 is too few: Kubernetes counts from 1 here")
    return number(text)


def port(text: str) -> int:
    """From 1."""
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536):
        raise ValueError(f"{_quoted(text)} is no port from 1 to 65535")
    return int(text)


def status_port(text: str) -> int:
    """0 means that there is none."""
    return 0 if text == "0" else port(text)


def ports(text: str) -> str:
    """A list, in the form that capture takes: sorted, without blanks."""
    found = {port(part) for part in _parts(text)}
    if len(found) > _MOST_PORTS:
        raise ValueError(f"names {len(found)} ports: at most {_MOST_PORTS} can be told apart")
    return ",".join(map(str, sorted(found)))


def ports_or_all(text: str) -> str:
    return ALL if text.strip() == ALL else ports(text)


def ranges(text: str) -> str:
    """A list of CIDR blocks."""
    return ",".join(dict.fromkeys(_block(part) for part in _parts(text)))


def ranges_or_all(text: str) -> str:
    return ALL if text.strip() == ALL else ranges(text)


def interfaces(text: str) -> str:
    """A list of names; one that ends in "+" means all that begin so."""
    found = _parts(text)
    for name in found:
        if not _INTERFACE.fullmatch(name):
            raise ValueError(f"{_quoted(name)} is no name of a network interface")
    return ",".join(dict.fromkeys(found))


def mode(text: str) -> str:
    """How traffic is captured."""
    if text not in MODES:
        raise ValueError(f"{_quoted(text)} is none of {', '.join(MODES)}")
    return text


def quantity(text: str) -> str:
    """Kubernetes' "100m", "128Mi"."""
    if len(text) > 64 or not _QUANTITY.fullmatch(text):
        raise ValueError(f'{_quoted(text)} is no quantity such as "100m" or "128Mi"')
    return text


def image(text: str) -> str:
    """Where an image is. Whether there is one, the node will know."""
    if not _IMAGE.fullmatch(text):
        raise ValueError(f"{_quoted(text)} is no name of an image")
    return text


def level(text: str) -> str:
    """Of Envoy's log."""
    if text not in LEVELS:
        raise ValueError(f"{_quoted(text)} is none of {', '.join(LEVELS)}")
    return text


def levels(text: str) -> str:
    """Of parts of Envoy: "misc:error,upstream:debug"."""
    for part in _parts(text):
        component, _, wanted = part.partition(":")
        if not _COMPONENT.fullmatch(component):
            raise ValueError(f'{_quoted(part)} is not a part and a level, as in "upstream:debug"')
        level(wanted)
    return ",".join(_parts(text))


def duration(text: str) -> str:
    """From 0 to a year, in the plainest form."""
    found = parse_duration(text)
    if not timedelta(0) <= found <= _YEAR:
        raise ValueError(f"{_quoted(text)} is not from 0 to a year")
    return format_duration(found)


def named_items(text: str) -> tuple[Mapping[str, Any], ...]:
    """JSON: a list of objects that have names, or an object of such by their names (Istio takes the second)."""
    try:
        found = msgspec.json.decode(text.encode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error
    if isinstance(found, dict):
        found = [{"name": name, **value} if isinstance(value, dict) else value for name, value in found.items()]
    if not isinstance(found, list) or not all(isinstance(one, dict) and _is_name(one.get("name")) for one in found):
        raise ValueError('is not a list of objects with names, as in [{"name": "keys", …}]')
    return tuple(found)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != ""


def _parts(text: str) -> list[str]:
    """Nothing in it is no part: some generators end a list with a comma."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _block(text: str) -> str:
    try:
        block = str(ip_network(text, strict=False)) if "/" in text else ""
    except ValueError:
        block = ""
    if not block:
        raise ValueError(f'{_quoted(text)} is no range such as "10.0.0.0/8"')
    return block


def _quoted(text: str) -> str:
    return repr(printable(text, 80))
