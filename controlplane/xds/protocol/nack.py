"""Who is at fault in a refused response.

Envoy names the culprits when it applies a response item by item (CDS, LDS): `Error adding/updating cluster(s) a: why,
b: why`. Otherwise it says only why, and the culprit is found by halves: the resources of the response are sent again in
two groups, a refused group is halved again, and after log2(n) rounds each culprit stands alone.
"""

from collections.abc import Iterable
from typing import Final

_LOCAL: Final = (
    "cannot bind",
    "Address already in use",
    "Permission denied",
    "Too many open files",
    "Cannot assign requested address",
)
_LISTED: Final = "(s) "  # "Error adding/updating cluster(s) …", "… listener(s) …"


def culprits(error: str, names: Iterable[str]) -> tuple[str, ...]:
    """Names of the response that the error text lists as `name: why`, separated by commas or line ends."""
    listed = error.partition(_LISTED)[2]
    return tuple(name for name in names if _lists(listed, f"{name}: ")) if listed else ()


def _lists(listed: str, entry: str) -> bool:
    return listed.startswith(entry) or f", {entry}" in listed or f"\n{entry}" in listed


def is_local(error: str) -> bool:
    """Whether the machine of this proxy is the reason: a port in use says nothing about other proxies."""
    return any(sign in error for sign in _LOCAL)


def halves(names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The two groups to try next."""
    middle = (len(names) + 1) // 2
    return tuple(group for group in (names[:middle], names[middle:]) if group)
