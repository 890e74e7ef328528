"""From a profile, files and `--set` to values: later ones win, field by field, and everything wrong is said at once.

What `--set` gives is read by the type of the field it is for: `image.tag=1.10` is text where text is wanted, and a
number where a number is.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

import msgspec
import yaml
from msgspec import inspect

from controlplane.install.profiles import PROFILES
from controlplane.install.values import Values
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Level, ObjectRef, Problem
from controlplane.model.settings import Settings
from controlplane.model.walk import UNREADABLE, Walker
from controlplane.webhooks.injection.settings import InjectionSettings
from controlplane.webhooks.injection.settings import decode as injected

Document = Mapping[str, Any]

_MESH: Final = "meshConfig"
_INJECTION: Final = "injection"
_REF: Final = ObjectRef("", "Values", "", "values")


class BadValuesError(Exception):
    """What was asked for cannot be read; one line each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


class Read(NamedTuple):
    """Values, and what is odd about them though they can be used."""

    values: Values
    warnings: tuple[str, ...]


def read_values(profile: str, documents: Sequence[Document] = (), sets: Sequence[str] = ()) -> Read:
    """Raises BadValuesError."""
    return checked(combined(profile, documents, sets))


def combined(profile: str, documents: Sequence[Document] = (), sets: Sequence[str] = ()) -> Document:
    """One document of all of it. Raises BadValuesError."""
    if profile not in PROFILES:
        raise BadValuesError([f"there is no profile {profile!r}; there are: {', '.join(PROFILES)}"])
    merged: Document = PROFILES[profile].values
    for document in documents:
        merged = merge(merged, document)
    wrong: list[str] = []
    for text in sets:
        try:
            merged = merge(merged, parse_set(text))
        except ValueError as error:
            wrong.append(f"--set {text}: {error}")
    if wrong:
        raise BadValuesError(wrong)
    return merged


def checked(document: Document) -> Read:
    """On top of the defaults: one request that is set does not unset the others. Raises BadValuesError."""
    fields = merge(dump(Values()), document)
    mesh, injection = (_mapping(fields.pop(name, None), name) for name in (_MESH, _INJECTION))
    walker = Walker(_REF)
    values = walker.read(Values, fields)
    wrong = [_line(problem) for problem in walker.all_problems()]
    settings, odd = _mesh_problems(mesh)
    wrong += [_line(problem, f"{_MESH}.") for problem in settings]
    wrong += _injection_problems(injection, mesh)
    if wrong or values is UNREADABLE:
        raise BadValuesError(wrong)
    warnings = tuple(_line(problem, f"{_MESH}.") for problem in odd)
    return Read(msgspec.structs.replace(values, mesh_config=mesh, injection=injection), warnings)


def dump(values: Values) -> dict[str, Any]:
    """As a file could say it, defaults and all."""
    found: dict[str, Any] = _plainly(values)
    return found


def _plainly(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        found = {name: _plainly(getattr(value, field)) for name, field in fields}
        return {name: item for name, item in found.items() if item is not None}
    if isinstance(value, Mapping):
        return {key: _plainly(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plainly(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _mapping(found: object, name: str) -> dict[str, Any]:
    if found is not None and not isinstance(found, Mapping):
        raise BadValuesError([f"{name} must be a mapping of fields"])
    return dict(found or {})


def _injection_problems(injection: Document, mesh: Document) -> list[str]:
    """`defaultConfig` is a ProxyConfig, which injection itself reads."""
    walker = Walker(_REF)
    walker.read(InjectionSettings, {key: value for key, value in injection.items() if key != "defaultConfig"})
    found = [_line(problem, f"{_INJECTION}.") for problem in walker.all_problems()]
    try:
        injected(injection, mesh)
    except ValueError as error:
        return found or [f"{_INJECTION}: {error}"]
    return found


def _mesh_problems(mesh: Document) -> tuple[list[Problem], list[Problem]]:
    """Errors, and warnings. A field that nobody knows is an error here: somebody sits there and can mend it."""
    _, problems = decode_settings(mesh)
    errors = [one for one in problems if one.level is Level.ERROR or one.code == "UnknownField"]
    return errors, [one for one in problems if one not in errors]


def _line(problem: Problem, below: str = "") -> str:
    return f"{below}{problem.origin.path}: {problem.message}".removeprefix(": ")


def merge(below: Document, above: Document) -> dict[str, Any]:
    """`above` wins, mapping by mapping; lists are taken whole."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


# --set

_ROOTS: Final[Mapping[str, type]] = {_MESH: Settings, _INJECTION: InjectionSettings}


def parse_set(text: str) -> dict[str, Any]:
    r"""`a.b=c` as a document; a dot that belongs to a key is written `\.`. Raises ValueError."""
    path, equals, written = text.partition("=")
    if not equals or not path:
        raise ValueError("KEY=VALUE was expected")
    keys = list(_keys(path))
    if "" in keys:
        raise ValueError("a part of the key is empty")
    value = _value(keys, written)
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _keys(path: str) -> Iterator[str]:
    key = ""
    for part in path.split("."):
        key += part
        if key.endswith("\\"):
            key = f"{key[:-1]}."
            continue
        yield key
        key = ""
    if key:
        yield key


def _value(keys: list[str], written: str) -> Any:
    wanted = _type_at(keys)
    if isinstance(wanted, inspect.StrType | inspect.EnumType | inspect.CustomType):
        return written
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise ValueError("the value is no YAML") from error


def _type_at(keys: list[str]) -> inspect.Type | None:
    """None: something of MeshConfig that we do not read. Raises ValueError."""
    root = _ROOTS.get(keys[0])
    node: inspect.Type = inspect.type_info(root or Values)
    for place, key in enumerate(keys[root is not None :], start=root is not None):
        found = _below(node, key, ".".join(keys[:place]), strict=root is not Settings)
        if found is None:
            return None
        node = found
    return node


def _below(node: inspect.Type, key: str, at: str, *, strict: bool) -> inspect.Type | None:
    if isinstance(node, inspect.DictType):
        return _plain(node.value_type)
    if not isinstance(node, inspect.StructType):
        raise ValueError(f"{at} has no fields, so there is no {key!r} in it")  # noqa: TRY004  (of a user's text)
    fields = {field.encode_name: field.type for field in node.fields}
    if key in fields:
        return _plain(fields[key])
    if not strict:
        return None
    name, bracket, _ = key.partition("[")
    if bracket and name in fields:
        raise ValueError(f"{name} is set as a whole list, as in --set '{name}=[a, b]', or by a file (-f)")
    close = get_close_matches(key, fields, 1) or [name for name in fields if name.lower() == key.lower()]
    hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(fields))}"
    raise ValueError(f"there is no field {key!r}{f' in {at}' if at else ''}; {hint}")


def _plain(node: inspect.Type) -> inspect.Type:
    """Without "or absent"."""
    if isinstance(node, inspect.UnionType):
        return next(option for option in node.types if not isinstance(option, inspect.NoneType))
    return node
