"""Who sees an object: `exportTo`, with "." spelled out, so that nobody after this needs to know where it stood."""

from collections.abc import Iterable

EVERYONE = ("*",)


def visibility(export_to: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Whom an object of `namespace` is exported to: "*" alone, or names, sorted. `~` stays: it is nobody, () is all."""
    named: set[str] = set()
    for entry in export_to:
        if entry == "*":
            return EVERYONE
        if entry:
            named.add(namespace if entry == "." else entry)
    return tuple(sorted(named))
