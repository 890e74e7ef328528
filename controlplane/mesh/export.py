"""Who sees an object: `exportTo`, with "." spelled out, so that nobody after this needs to know where it stood."""

from collections.abc import Iterable

EVERYONE = ("*",)


def visibility(export_to: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Namespaces an object of `namespace` is exported to: "*" alone, or names, sorted. `~` exports to nobody."""
    named: set[str] = set()
    for entry in export_to:
        if entry == "*":
            return EVERYONE
        if entry and entry != "~":
            named.add(namespace if entry == "." else entry)
    return tuple(sorted(named))


def is_visible(export_to: tuple[str, ...], namespace: str) -> bool:
    """Whether callers of `namespace` see what is exported so."""
    return export_to == EVERYONE or namespace in export_to
