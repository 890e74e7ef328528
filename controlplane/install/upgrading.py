"""What is installed, as it says itself, and whether it may become what we would make of it."""

import json
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from typing import Any, Final

import msgspec

from controlplane.install.api import Api
from controlplane.install.names import Place
from controlplane.install.objects import BY_NAME, to_yaml
from controlplane.install.planning import Step, essence

_CONTEXT: Final = 2  # lines


class Installed(msgspec.Struct, frozen=True):
    """An installation: by which version, from which values."""

    version: str
    values: Mapping[str, Any]


async def installed(api: Api, place: Place) -> Installed | None:
    """What stands at a place. Raises RefusedError, UnreachableError, ValueError."""
    found = await api.document(BY_NAME["ConfigMap"].path(place.namespace, place.settings))
    if found is None:
        return None
    data = found.get("data") or {}
    values = json.loads(data.get("values", "{}"))
    if not isinstance(values, dict):
        raise ValueError(f"ConfigMap {place.namespace}/{place.settings}: its values are no mapping")  # noqa: TRY004
    return Installed(data.get("version", "0"), values)


def skew(before: str, after: str) -> str:
    """Why a version may not follow another; "": it may. Control plane and proxies one minor version apart work."""
    old, new = _numbers(before), _numbers(after)
    if new < old:
        return f"{before} is installed, which is newer than this lateen ({after}): use that one"
    if new[0] == old[0] and new[1] - old[1] > 1:
        return f"{before} is installed: upgrade to {old[0]}.{old[1] + 1} first, then to {after}"
    return ""


def _numbers(version: str) -> tuple[int, int]:
    parts = [*version.split("."), "0", "0"]
    return _number(parts[0]), _number(parts[1])


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def difference(step: Step) -> Iterator[str]:
    """What changes in an object, line by line, as `diff -u` says it."""
    before, after = (to_yaml([found]) if (found := essence(obj)) else "" for obj in (step.before, step.after))
    lines = unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=_CONTEXT)
    yield from (line for number, line in enumerate(lines) if number > 1)
