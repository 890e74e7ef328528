"""The difference of two JSON documents as a JSON Patch (RFC 6902): the only form in which a webhook may change a Pod.

What was not changed is not mentioned, so that a patch can be read, and does not undo what another webhook does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

_ABSENT: Any = object()


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="op", tag=str.lower):
    """One line of a patch. `path` is a JSON Pointer (RFC 6901)."""

    path: str


class Add(Operation, frozen=True, kw_only=True):
    """Into an object under a new key, or into a list before the element that stands there."""

    value: Any


class Replace(Operation, frozen=True, kw_only=True):
    """What is there, by this."""

    value: Any


class Remove(Operation, frozen=True, kw_only=True):
    """What is there."""


class Test(Operation, frozen=True, kw_only=True):
    """Nothing of the patch counts unless this is there."""

    value: Any


Patch = tuple[Add | Replace | Remove | Test, ...]


def diff(before: Any, after: Any, path: str = "") -> Patch:
    """What makes `before` into `after`; the steps count on each other, in this order."""
    return tuple(_steps(before, after, path))


def _steps(before: Any, after: Any, path: str) -> Iterator[Add | Replace | Remove]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _of_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list) and _is_grown(before, after):
        yield from _of_lists(before, after, path)
    elif type(before) is not type(after) or before != after:  # True == 1 in Python, and not in JSON
        yield Replace(path=path, value=after)


def _of_objects(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[Add | Replace | Remove]:
    for key in sorted(before.keys() - after.keys()):
        yield Remove(path=f"{path}/{_escaped(key)}")
    for key, value in after.items():
        below = f"{path}/{_escaped(key)}"
        if key not in before:
            yield Add(path=below, value=value)
        else:
            yield from _steps(before[key], value, below)


def _of_lists(before: Sequence[Any], after: Sequence[Any], path: str) -> Iterator[Add | Replace | Remove]:
    """Elements came, none went: those that have names may have changed, too."""
    left = list(before)
    for index, value in enumerate(after):
        below = f"{path}/{index}"
        if left and _same_one(left[0], value):
            yield from _steps(left.pop(0), value, below)
        else:
            yield Add(path=below, value=value)


def _is_grown(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Whether all elements of `before` are in `after`, in the same order."""
    left = iter(after)
    return all(any(_same_one(mine, other) for other in left) for mine in before)


def _same_one(mine: Any, other: Any) -> bool:
    """Containers, volumes and variables are known by their names, everything else by what it is."""
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        mine_is, other_is = mine.get("name", _ABSENT), other.get("name", _ABSENT)
        if mine_is is not _ABSENT or other_is is not _ABSENT:
            return bool(mine_is == other_is)
    return type(mine) is type(other) and bool(mine == other)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
