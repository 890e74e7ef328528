"""What is captured, read from flags: everything a rule is made of is a number, a network or a checked name."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

import msgspec

from controlplane.agent.misuse import Misuse

ALL: Final = "*"
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@:-")
_LONGEST_NAME: Final = 15  # of a network interface
_MOST_ID: Final = 2**32 - 2

Network = IPv4Network | IPv6Network


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """None, where lists are meant: all there are."""

    outbound_port: int = 15001
    inbound_port: int = 15006
    uid: int = 1337
    gid: int = 1337
    include_ranges: tuple[Network, ...] | None = None
    exclude_ranges: tuple[Network, ...] = ()
    include_inbound: tuple[int, ...] | None = None
    exclude_inbound: tuple[int, ...] = ()
    include_outbound: tuple[int, ...] = ()
    exclude_outbound: tuple[int, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()


def port(flag: str, text: str) -> int:
    """Raises Misuse, as all of these."""
    return _number(flag, text, 1, 65_535)


def owner(flag: str, text: str) -> int:
    """A user or a group; not root, who would let everything pass."""
    return _number(flag, text, 1, _MOST_ID)


def ports(flag: str, text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(port(flag, part) for part in _parts(text)))


def ports_or_all(flag: str, text: str) -> tuple[int, ...] | None:
    return None if text == ALL else ports(flag, text)


def ranges(flag: str, text: str) -> tuple[Network, ...]:
    try:
        return tuple(dict.fromkeys(ip_network(part, strict=False) for part in _parts(text)))
    except ValueError as error:
        raise Misuse(f"{flag}: {error}") from error


def ranges_or_all(flag: str, text: str) -> tuple[Network, ...] | None:
    return None if text == ALL else ranges(flag, text)


def interfaces(flag: str, text: str) -> tuple[str, ...]:
    """Names; "net+" is all that begin with "net"."""
    for name in _parts(text):
        if len(name) > _LONGEST_NAME or not _NAME.issuperset(name.removesuffix("+")) or name.startswith("-"):
            raise Misuse(f"{flag}: {name!r} is no name of a network interface")
    return tuple(dict.fromkeys(_parts(text)))


def _number(flag: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and least <= int(text) <= most):
        raise Misuse(f"{flag}: {text!r} is no number from {least} to {most}")
    return int(text)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
