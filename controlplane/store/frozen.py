"""Frozen as far as one can see: finds the part of a value that somebody could change in place.

A stored value that changes in place changes without a revision, and nothing that was made of it follows.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

_MUTABLE: Final = (list, set, bytearray)
_ATOMS: Final = (str, bytes, int, float, bool, type(None))


def mutable_part(value: Any) -> str | None:
    """Where a mutable part is, as a path, or None.

    Dictionaries pass: they are what decoding makes of a `Mapping` field. So does what is not known here.
    """
    if isinstance(value, _ATOMS):
        return None
    if isinstance(value, _MUTABLE) or _is_thawed(value):
        return type(value).__name__
    for name, part in _parts(value):
        if found := mutable_part(part):
            return f"{name}.{found}"
    return None


def _is_thawed(value: Any) -> bool:
    if isinstance(value, msgspec.Struct):
        return not value.__struct_config__.frozen
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return not value.__dataclass_params__.frozen  # type: ignore[attr-defined]  # not in the stubs
    return False


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        return ((name, getattr(value, name)) for name in value.__struct_fields__)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return ((f"[{key!r}]", part) for key, part in value.items())
    if isinstance(value, tuple | frozenset):
        return ((f"[{position}]", part) for position, part in enumerate(value))
    return ()
