"""YAML and JSON text -> plain values, the way an API server would read them.

Three things are wrong with handing a user's file to a YAML library. A file of a few hundred bytes can expand to
gigabytes (aliases of aliases) or recurse past any stack, so events are counted before anything is built. YAML 1.1
reads `12:30` as 750 and `2024-01-01` as a date; Kubernetes reads strings there (its YAML is JSON with comments), so
only JSON's scalars are resolved. And a key written twice silently loses its first value; here that is an error.
"""

import json
import re  # noqa: TID251  (fixed patterns of ours for scalars; they are linear)
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import yaml

MAX_DEPTH: Final = 100
MAX_VALUES: Final = 1_000_000  # in one file, aliases counted as what they expand to

Parent: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):  # noqa: N818  (the author's mistake, caught in `parser`, never our error)
    """The text is not YAML or JSON that can be used. Line and column count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.message = message


class Reading(msgspec.Struct, frozen=True):
    """One document of a text."""

    value: Any
    line: int
    column: int = 1
    item_lines: tuple[int, ...] = ()  # of a List: the line of each of its items


def read(text: str, *, as_json: bool = False) -> tuple[Reading, ...]:
    """All documents of a text, empty ones left out. Raises `Unreadable`.

    `as_json` for files that say they are JSON; other text that happens to be JSON is read faster as such.
    """
    if as_json or text.lstrip()[:1] in ("{", "["):
        try:
            return _read_json(text)
        except Unreadable:
            if as_json:
                raise
    return tuple(_read_yaml(text))


# --- JSON ----------------------------------------------------------------------------------------------------------


def _read_json(text: str) -> tuple[Reading, ...]:
    try:
        value = json.loads(text, object_pairs_hook=_unique_pairs, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Unreadable(error.lineno, error.colno, error.msg) from error
    except RecursionError:
        raise _too_deep(1, 1) from None
    _check_depth(value)
    if "\\u" in text:  # only an escape can write one
        _check_characters(value)
    return () if value is None else (Reading(value, 1),)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Unreadable(1, 1, f"the key {twice!r} appears twice in one mapping")
    return mapping


def _refuse_constant(name: str) -> None:
    raise Unreadable(1, 1, f"{name} is not a value in JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise _too_deep(1, 1)


def _check_characters(value: Any) -> None:
    """Half a character (`"\\ud800"`) is a string to Python's JSON and to nobody else: it has no UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start]).strip("'")
        raise Unreadable(1, 1, f"{half} is half of a character: it has no other half beside it") from None


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


# --- YAML ----------------------------------------------------------------------------------------------------------


class _Loader(Parent):  # type: ignore[misc]
    """Composes nodes; resolves JSON's scalars only."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (yaml's own way)


_BOOL: Final = "tag:yaml.org,2002:bool"
_INT: Final = "tag:yaml.org,2002:int"
_FLOAT: Final = "tag:yaml.org,2002:float"
_NULL: Final = "tag:yaml.org,2002:null"
_MERGE: Final = "tag:yaml.org,2002:merge"

_TRUE: Final = ("true", "yes", "on")
for _tag, _pattern, _first in (
    (_BOOL, r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", "yYnNtTfFoO"),
    (_INT, r"^[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)$", "-+0123456789"),
    (_FLOAT, r"^[-+]?(?:[0-9][0-9_]*)?(?:\.[0-9]+|[0-9]\.|[0-9])(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    (_NULL, r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    (_MERGE, r"^(?:<<)$", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def _read_yaml(text: str) -> Iterator[Reading]:
    try:
        _count(text)
        for node in yaml.compose_all(text, Loader=_Loader):
            reading = _reading(node) if node is not None else None
            if reading is not None and reading.value is not None:
                yield reading
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise Unreadable(line, column, error.problem or error.context or "not YAML") from error
    except yaml.reader.ReaderError as error:
        line, column = _line_and_column(text, error.position)
        raise Unreadable(line, column, error.reason) from error


def line_of(text: str, *keys: str) -> int:
    """Where the value below these keys begins, as far as they lead. For text that `read` has read."""
    line = 1
    try:
        node = next(iter(yaml.compose_all(text, Loader=_Loader)), None)
    except yaml.YAMLError:
        return line  # JSON that is no YAML
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        found = next(((name, value) for name, value in pairs if name.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _line_and_column(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _count(text: str) -> None:
    """Refuse what would expand or nest without bound. Reads events only: builds nothing, never recurses."""
    counter = _Counter()
    for event in yaml.parse(text, Loader=_Loader):
        counter.count(event)
        if len(counter.open) > MAX_DEPTH:
            raise _too_deep(*_position(event))
        if counter.total > MAX_VALUES:
            raise Unreadable(*_position(event), f"expands to more than {MAX_VALUES:,} values")


class _Counter:
    """How many values a stream of events stands for, aliases expanded."""

    def __init__(self) -> None:
        self.total = 0
        self.open: list[tuple[str | None, int]] = []  # the collections we are in: anchor, and the total before them
        self._sizes: dict[str | None, int] = {}  # anchor -> how many values it stands for

    def count(self, event: Any) -> None:
        match event:
            case yaml.AliasEvent():
                self.total += self._size_of(event)
            case yaml.ScalarEvent():
                self.total += 1
                self._sizes[event.anchor] = 1
            case yaml.CollectionStartEvent():
                self._sizes.pop(event.anchor, None)  # until it is closed it stands for nothing
                self.open.append((event.anchor, self.total))
                self.total += 1
            case yaml.CollectionEndEvent():
                anchor, before = self.open.pop()
                self._sizes[anchor] = self.total - before
            case yaml.DocumentStartEvent():
                self._sizes.clear()

    def _size_of(self, alias: Any) -> int:
        if alias.anchor not in self._sizes:
            message = f"the alias *{alias.anchor} stands for nothing, or for what it is part of"
            raise Unreadable(*_position(alias), message)
        return self._sizes[alias.anchor]


def _position(at: Any) -> tuple[int, int]:
    return at.start_mark.line + 1, at.start_mark.column + 1


def _too_deep(line: int, column: int) -> Unreadable:
    return Unreadable(line, column, f"nested deeper than {MAX_DEPTH} levels")


def _reading(node: Any) -> Reading:
    mark = node.start_mark
    return Reading(_value(node), mark.line + 1, mark.column + 1, _item_lines(node))


def _item_lines(node: Any) -> tuple[int, ...]:
    if not isinstance(node, yaml.MappingNode):
        return ()
    items = next((value for key, value in node.value if key.value == "items"), None)
    return tuple(item.start_mark.line + 1 for item in items.value) if isinstance(items, yaml.SequenceNode) else ()


def _value(node: Any) -> Any:
    """Recursion is bounded: `_count` saw at most `MAX_DEPTH` levels."""
    if isinstance(node, yaml.MappingNode):
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    return _scalar(node)


def _mapping(node: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            for source in _merge_sources(value_node):
                merged = {**source, **merged}  # of several, the first wins
            continue
        key = _key(key_node)
        if key in own:
            raise _at(key_node, f"the key {key!r} appears twice in one mapping")
        own[key] = _value(value_node)
    return {**merged, **own} if merged else own


def _merge_sources(node: Any) -> list[dict[str, Any]]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(each, yaml.MappingNode) for each in nodes):
        raise _at(node, "<< needs a mapping, or a list of mappings")
    return [_mapping(each) for each in nodes]


def _key(node: Any) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _at(node, "a key must be a string")
    key = _scalar(node)
    return key if isinstance(key, str) else json.dumps(key)  # 80: and true: are "80" and "true", as in Kubernetes


def _scalar(node: Any) -> Any:
    text: str = node.value
    match node.tag:
        case "tag:yaml.org,2002:str":
            return text
        case "tag:yaml.org,2002:int":
            return _integer(node, text)
        case "tag:yaml.org,2002:bool":
            return text.lower() in _TRUE
        case "tag:yaml.org,2002:null":
            return None
        case "tag:yaml.org,2002:float":
            return _float(node, text)
        case "tag:yaml.org,2002:binary" | "tag:yaml.org,2002:merge":
            return text  # Kubernetes carries bytes as base64 text, which is what !!binary holds
        case tag:
            raise _at(node, f"the tag {tag!r} is not allowed: only strings, numbers, true, false and null")


def _integer(node: Any, text: str) -> int | str:
    digits = text.replace("_", "")
    if len(digits) > 40:  # no 64-bit number; int() of a megabyte of digits would take long
        raise _at(node, "a number with more than 40 digits")
    unsigned = digits.lstrip("+-")
    octal = len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1].isdigit()  # YAML 1.1: 0644 is octal
    try:
        return int(digits, 8 if octal else 0)
    except ValueError:
        return text  # 089: no octal number, so it is a string


def _float(node: Any, text: str) -> float:
    value = float(text.replace("_", ""))
    if value in (float("inf"), float("-inf")):
        raise _at(node, "a number too large")
    return value


def _at(node: Any, message: str) -> Unreadable:
    return Unreadable(*_position(node), message)
