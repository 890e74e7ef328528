"""The slow way to read a document: keeps going after a fault and keeps every good part.

msgspec decodes a good document in microseconds and stops at the first fault of a bad one. Then this walks the same
type descriptions: it names every fault with its field path, reads what msgspec does not (protobuf JSON's aliases,
enum numbers, integers as strings, `null` for absent), and leaves a stand-in where nothing could be read, so that
indexes still mean what the author's do until `units.take_out` has used them.

Types are finite trees and documents are followed only where a type leads, so depth and cycles of a document cannot
hurt; a document is never walked outside of what is read.
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from controlplane.model.durations import parse_duration
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.model.text import printable
from controlplane.model.units import NARROWING, unreadable
from controlplane.model.value import Duration, Mark

MAX_PROBLEMS: Final = 100  # of one object; a generated file of nonsense must not fill a status
MAX_BAD: Final = 1000  # parts of one object, each by itself; then what holds them is bad as a whole
_SHOWN: Final = 40  # characters of a bad value that a message repeats


class _Unreadable:
    """The one value that stands for "reported, nothing could be read"."""


UNREADABLE: Final = _Unreadable()


class Walker:
    """Reads one object; `problems` says what was wrong with it, `bad` where."""

    def __init__(self, ref: ObjectRef) -> None:
        self._ref = ref
        self.problems: list[Problem] = []
        self.bad: list[str] = []
        self._unlisted = 0

    def read(self, kind: type, document: object, path: str = "") -> Any:
        """`document` as a value of the struct `kind`, or UNREADABLE."""
        return self._struct(_described(kind), document, path)

    def report(self, code: str, path: str, message: str, level: Level = Level.ERROR) -> None:
        """Note a problem; an error also makes the part at `path` bad."""
        if level is Level.ERROR:
            self.bad.append(path)
        if self._is_listing:
            self.problems.append(Problem(code, level, Origin(self._ref, path), message))
        else:
            self._unlisted += 1

    @property
    def _is_listing(self) -> bool:
        return len(self.problems) < MAX_PROBLEMS

    def _is_hopeless(self, path: str) -> bool:
        """Whether it is not worth looking at more of what is at `path`."""
        if len(self.bad) < MAX_BAD:
            return False
        self.bad.append(path)
        self._unlisted += 1
        return True

    def all_problems(self) -> tuple[Problem, ...]:
        """What was found, and how much more there is than is listed."""
        if not self._unlisted:
            return tuple(self.problems)
        message = f"{self._unlisted} more problems in this object are not listed; mend the first {MAX_PROBLEMS}"
        return (*self.problems, Problem("TooManyProblems", Level.ERROR, Origin(self._ref), message))

    # One method per kind of type. Each returns the value, or reports and returns UNREADABLE.

    def _any(self, node: inspect.Type, value: object, path: str) -> Any:
        reader = _READERS.get(type(node))
        assert reader is not None, f"the walker does not know {node}"
        return reader(self, node, value, path)

    def _struct(self, node: inspect.StructType, value: object, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self._invalid(path, "a mapping of fields", value)
        fields = _fields(node)
        known = {key: fields.get(key) for key in value if isinstance(key, str)}
        if node.forbid_unknown_fields:
            self._unknown(node, value, known, path)
        values: dict[str, Any] = {}
        complete = True
        for key, field in known.items():
            if field is not None:
                complete &= self._struct_field(field, value[key], key, path, values)
        for field in node.fields:
            if field.required and field.name not in values:
                if complete:
                    self.report("RequiredField", _at(path, field.encode_name), f"{field.encode_name} is required")
                complete = False
        return node.cls(**values) if complete else UNREADABLE

    def _struct_field(self, field: inspect.Field, value: object, key: str, path: str, values: dict[str, Any]) -> bool:
        """Read one field into `values`; False when the struct cannot be made without it."""
        at = _at(path, field.encode_name)
        if value is None:
            return True  # protobuf JSON: null is absent
        if field.name in values:
            self.report("ConflictingFields", at, f"{field.encode_name} is written twice, once as {key}; keep one")
            return True
        read = self._any(field.type, value, at)
        if read is UNREADABLE:
            read = _stand_in(field.type)
        if read is not UNREADABLE:
            values[field.name] = read
        return read is not UNREADABLE or not field.required

    def _unknown(
        self,
        node: inspect.StructType,
        value: Mapping[Any, object],
        known: Mapping[str, inspect.Field | None],
        path: str,
    ) -> None:
        level = Level.ERROR if node.cls in NARROWING else Level.WARNING
        names = [field.encode_name for field in node.fields if not _is_mark(field.type)]
        for key in value:
            if self._is_hopeless(path):
                return
            if not isinstance(key, str):
                self.report("UnknownField", _at(path, _shown(key)), f"a field name must be a string, not {_found(key)}")
            elif known[key] is None:
                message = _no_such_field(key, names) if self._is_listing else ""
                self.report("UnknownField", _at(path, _cut(key)), message, level)

    def _union(self, node: inspect.UnionType, value: object, path: str) -> Any:
        options = [option for option in node.types if not isinstance(option, inspect.NoneType)]
        for option in options[1:]:  # `int | str`: the string must not be read as a number
            if isinstance(option, inspect.StrType) and isinstance(value, str):
                return value
        return self._any(options[0], value, path)

    def _tuple(self, node: inspect.VarTupleType, value: object, path: str) -> Any:
        if not isinstance(value, list | tuple):
            return self._invalid(path, "a list", value)
        items: list[Any] = []
        for i, item in enumerate(value):
            if self._is_hopeless(path):
                return UNREADABLE
            read = self._any(node.item_type, item, f"{path}[{i}]")
            items.append(_stand_in(node.item_type, in_list=True) if read is UNREADABLE else read)
        return tuple(items)

    def _dict(self, node: inspect.DictType, value: object, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self._invalid(path, "a mapping", value)
        entries: dict[str, Any] = {}
        for key, item in value.items():
            if self._is_hopeless(path):
                return UNREADABLE
            at = f"{path}[{_cut(key) if isinstance(key, str) else _shown(key)}]"
            if not isinstance(key, str):
                self.report("InvalidValue", at, f"the key must be a string, not {_found(key)}: put it in quotes")
                continue
            read = self._any(node.value_type, item, at)
            if read is not UNREADABLE:
                entries[key] = read
        return entries

    def _str(self, _node: inspect.StrType, value: object, path: str) -> Any:
        if isinstance(value, str):
            return value
        hint = ": put it in quotes" if isinstance(value, bool | int | float | datetime) else ""
        return self._invalid(path, "a string", value, hint)

    def _int(self, node: inspect.IntType, value: object, path: str) -> Any:
        number = _integer(value)
        if number is None:
            return self._invalid(path, "a whole number", value)
        low, high = node.ge, node.le
        if (low is not None and number < low) or (high is not None and number > high):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            self.report("InvalidValue", path, f"must be {bounds}; found {_shown(value)}")
            return UNREADABLE
        return number

    def _float(self, _node: inspect.FloatType, value: object, path: str) -> Any:
        number = _number(value)
        return self._invalid(path, "a number", value) if number is None else number

    def _bool(self, _node: inspect.BoolType, value: object, path: str) -> Any:
        return value if isinstance(value, bool) else self._invalid(path, "true or false", value)

    def _bytes(self, _node: inspect.BytesType, value: object, path: str) -> Any:
        try:
            return base64.b64decode(value, validate=True) if isinstance(value, str) else value
        except (binascii.Error, ValueError):
            self.report("InvalidValue", path, "must be base64")  # never repeat it: it may be a secret
            return UNREADABLE

    def _enum(self, node: inspect.EnumType, value: object, path: str) -> Any:
        for member in node.cls:
            if value == member.value or (
                _integer(value) == getattr(member, "number", None) and not isinstance(value, str)
            ):
                return member
        names = [str(member.value) for member in node.cls]
        close = get_close_matches(str(value)[:_SHOWN].upper(), names, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return self._invalid(path, f"one of {', '.join(names)}", value, hint)

    def _custom(self, node: inspect.CustomType, value: object, path: str) -> Any:
        assert node.cls is Duration
        if isinstance(value, timedelta):
            return value
        if not isinstance(value, str):
            return self._invalid(path, 'a duration such as "1.5s"', value)
        try:
            return parse_duration(value)
        except ValueError as error:
            self.report("InvalidDuration", path, f'{error}; found "{_cut(value)}"')
            return UNREADABLE

    def _datetime(self, _node: inspect.DateTimeType, value: object, path: str) -> Any:
        if isinstance(value, datetime):
            return value
        try:
            return msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            return self._invalid(path, 'a time such as "2026-01-31T12:00:00Z"', value)

    def _invalid(self, path: str, expected: str, value: object, hint: str = "") -> Any:
        self.report("InvalidValue", path, f"must be {expected}; found {_found(value)}{hint}")
        return UNREADABLE


_READERS: Final[dict[type, Callable[[Walker, Any, object, str], Any]]] = {
    inspect.StructType: Walker._struct,  # noqa: SLF001  (the table of the class's own methods)
    inspect.UnionType: Walker._union,  # noqa: SLF001
    inspect.VarTupleType: Walker._tuple,  # noqa: SLF001
    inspect.DictType: Walker._dict,  # noqa: SLF001
    inspect.StrType: Walker._str,  # noqa: SLF001
    inspect.IntType: Walker._int,  # noqa: SLF001
    inspect.FloatType: Walker._float,  # noqa: SLF001
    inspect.BoolType: Walker._bool,  # noqa: SLF001
    inspect.BytesType: Walker._bytes,  # noqa: SLF001
    inspect.EnumType: Walker._enum,  # noqa: SLF001
    inspect.CustomType: Walker._custom,  # noqa: SLF001
    inspect.DateTimeType: Walker._datetime,  # noqa: SLF001
}


@cache
def _described(kind: type) -> inspect.StructType:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described


def _fields(node: inspect.StructType) -> Mapping[str, inspect.Field]:
    return _fields_of(node.cls)


@cache
def _fields_of(kind: type) -> Mapping[str, inspect.Field]:
    """Fields by every name a document may use: camelCase, and the protobuf name for the kinds that come from one."""
    described = _described(kind)
    fields = [field for field in described.fields if not _is_mark(field.type)]
    names = {field.name: field for field in fields if described.forbid_unknown_fields and not field.name.endswith("_")}
    return names | {field.encode_name: field for field in fields}


def _is_mark(node: inspect.Type) -> bool:
    return isinstance(node, inspect.CustomType) and node.cls is Mark


def _stand_in(node: inspect.Type, *, in_list: bool = False) -> Any:
    """What holds the place of a value that could not be read."""
    if isinstance(node, inspect.UnionType):
        return _stand_in(node.types[0]) if isinstance(node.types[0], inspect.StructType) else UNREADABLE
    if isinstance(node, inspect.StructType):
        optional = not any(field.required for field in node.fields)
        return unreadable(node.cls) if optional else (None if in_list else UNREADABLE)
    if isinstance(node, inspect.VarTupleType):
        return ()
    if isinstance(node, inspect.DictType):
        return {}
    if in_list:
        return "" if isinstance(node, inspect.StrType) else 0
    return UNREADABLE


def _integer(value: object) -> int | None:
    """A whole number in any of protobuf JSON's spellings: 10, "10", 10.0, 1e1."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and (not value.removeprefix("-").isdecimal() or len(value) > _SHOWN):
        return None
    number = _number(value)
    if number is None or not number.is_integer():
        return None
    return int(value) if isinstance(value, str) else int(number)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)[:99]) > _SHOWN:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _no_such_field(key: str, names: list[str]) -> str:
    key = key[:_SHOWN]
    close = get_close_matches(key, names, 1) or [name for name in names if name.lower() == key.lower()]
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(names))}"
    return f'there is no field "{_cut(key)}"; {hint}'


def _found(value: object) -> str:
    """A value as a message names it, never longer than a line."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    names = {str: "the string", bool: "", int: "the number", float: "the number", type(None): "null"}
    name = names.get(type(value), f"a {type(value).__name__}")
    return name if value is None else f"{name} {_shown(value)}".strip()


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 256:
        return "with too many digits"  # str() of it may take minutes, or refuse
    return f'"{_cut(value)}"' if isinstance(value, str) else _cut(str(value))


def _cut(text: str) -> str:
    return printable(text, _SHOWN)
