"""Attributes of calls: what `when[].key` of an AuthorizationPolicy names, with names in brackets where they belong.

A VirtualService asks for one of them, a claim, among the headers of its matches.
"""

from enum import StrEnum
from typing import Final, NamedTuple

import re2

_EXPERIMENTAL: Final = "experimental."
_BRACKETED = re2.compile(r"([^\[\]]+)((?:\[[^\[\]]+\])*)")
_NAME = re2.compile(r"\[([^\[\]]+)\]")
_NAMES = re2.compile(r"(?:\[[^\[\]]+\])+")
_FILTER = re2.compile(r"experimental\.envoy\.filters\.[^\[\]]+")


_ROUTING_CLAIM: Final = "@request.auth.claims"
_MOST_STEPS: Final = 16  # into a claim
_LONGEST: Final = 1024  # characters of a key


class Attribute(StrEnum):
    """What can be asked of a call."""

    SOURCE_IP = "source.ip"
    REMOTE_IP = "remote.ip"
    NAMESPACE = "source.namespace"
    SERVICE_ACCOUNT = "source.serviceAccount"
    PRINCIPAL = "source.principal"
    TRUST_DOMAIN = "source.trustDomain"
    HEADER = "request.headers"  # [name]
    REQUEST_PRINCIPAL = "request.auth.principal"
    AUDIENCE = "request.auth.audiences"
    PRESENTER = "request.auth.presenter"
    CLAIM = "request.auth.claims"  # [name], or [name][name of one within]
    DESTINATION_IP = "destination.ip"
    DESTINATION_PORT = "destination.port"
    SERVER_NAME = "connection.sni"
    METADATA = "experimental.envoy.filters"  # .name of a filter[key]


class Key(NamedTuple):
    """A key that was understood."""

    attribute: Attribute
    names: tuple[str, ...] = ()  # what stood in brackets
    filter: str = ""  # whose metadata


_BRACKETS: Final = {Attribute.HEADER: 1, Attribute.CLAIM: _MOST_STEPS, Attribute.METADATA: 1}  # most names in brackets


def parse_key(written: str) -> Key | None:
    """None where no attribute is called so."""
    found = _BRACKETED.fullmatch(written) if len(written) <= _LONGEST else None
    if found is None:
        return None
    name, names = found[1], tuple(_NAME.findall(found[2]))
    filter_name = name.removeprefix(_EXPERIMENTAL) if _FILTER.fullmatch(name) else ""
    if not filter_name and name not in _KEYS:
        return None
    attribute = Attribute.METADATA if filter_name else _KEYS[name]
    most = _BRACKETS.get(attribute, 0)
    fits = 1 <= len(names) <= most if most else not names
    return Key(attribute, names, filter_name) if fits else None


_KEYS: Final = {str(one): one for one in Attribute if one is not Attribute.METADATA}


def is_claim(header: str) -> bool:
    """Whether a header of a match means a claim of a token."""
    return header.lower().startswith(_ROUTING_CLAIM)


def claim_path(header: str) -> tuple[str, ...]:
    """The steps into a claim: `@request.auth.claims.a.b`, or `@request.auth.claims[a.com/b][c]`; () for others."""
    rest = header[len(_ROUTING_CLAIM) :]
    if len(rest) > _LONGEST:
        return ()
    if rest.startswith("."):
        steps = tuple(rest[1:].split("."))
    else:
        steps = tuple(_NAME.findall(rest)) if _NAMES.fullmatch(rest) else ()
    return steps if all(steps) and len(steps) <= _MOST_STEPS else ()
