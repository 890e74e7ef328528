"""From a document to a value and its problems.

A good document takes msgspec's typed path, in microseconds. A document with a fault, or in one of protobuf JSON's
other spellings, is walked instead (`walk`), which finds all faults and keeps all good parts. Either way the value is
then validated, and what is wrong is taken out (`units`). Nothing here raises for what a document holds.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec

from controlplane.model.durations import parse_duration
from controlplane.model.kinds import (
    BY_NAME,
    MESH_GROUPS,
    REPLACED,
    SECURITY_GROUP,
    Kind,
    MeshObject,
    Object,
)
from controlplane.model.meta import Meta
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.model.text import printable
from controlplane.model.units import take_out
from controlplane.model.unsupported import UnsupportedObject
from controlplane.model.validate import validate
from controlplane.model.value import Duration
from controlplane.model.walk import UNREADABLE, Walker

MAX_BYTES: Final = 8 * 1024 * 1024  # an API server takes 3 MiB
DEFAULT_NAMESPACE: Final = "default"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"  # a copy of the object, of no use to us
_ENVELOPE = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_NOT_READABLE = (msgspec.DecodeError, UnicodeError, RecursionError, ArithmeticError)

O = TypeVar("O", bound=MeshObject)  # noqa: E741


class Decoded(msgspec.Struct, frozen=True):
    """What a document says, as far as it can be understood, and what is wrong with it."""

    value: Object | None  # None: nothing of it can be used, the problems say why
    problems: tuple[Problem, ...] = ()


class _Head(msgspec.Struct):
    api_version: str = msgspec.field(default="", name="apiVersion")
    kind: str = ""


def decode(raw: bytes | Mapping[str, Any], *, kind: Kind | None = None, namespace: str = DEFAULT_NAMESPACE) -> Decoded:
    """Decode and validate one object, from JSON or from the mapping a JSON or YAML parser made.

    `kind` names the kind of documents that do not say it themselves (the items of a Kubernetes list); `namespace`
    is where an object without one belongs.
    """
    if not isinstance(raw, bytes):
        return _decode_mapping(raw, kind, namespace)
    if len(raw) > MAX_BYTES:
        return _refused("DocumentTooLarge", f"the document has {len(raw)} bytes; at most {MAX_BYTES} are read")
    try:
        known = kind or _lookup(_HEAD.decode(raw))
        if known is not None:
            return _finished(known, _from_json(known, raw), namespace)
    except _NOT_READABLE:
        pass  # the slow way says what is wrong
    return _parsed(raw, kind, namespace)


def checked(obj: O) -> tuple[O, tuple[Problem, ...]]:
    """Validate an object made in code: what is left of it, and its problems. `decode` has done this already."""
    problems = validate(obj)
    return take_out(obj, _bad_paths(problems)), problems


def _parsed(raw: bytes, kind: Kind | None, namespace: str) -> Decoded:
    try:
        document = _ANY.decode(raw)
    except RecursionError:
        return _refused("NestedTooDeep", "the document is nested deeper than any Kubernetes object")
    except (msgspec.DecodeError, UnicodeError) as error:
        return _refused("NotJSON", f"the document is not valid JSON: {error}")
    return _decode_mapping(document, kind, namespace)


def _decode_mapping(document: object, kind: Kind | None, namespace: str) -> Decoded:
    if not isinstance(document, Mapping):
        return _refused("NotAnObject", f"a Kubernetes object is a mapping; this is a {type(document).__name__}")
    head = _Head(_text(document.get("apiVersion")), _text(document.get("kind")))
    known = kind or _lookup(head)
    if known is None:
        return _not_served(head, document, namespace)
    try:
        if known.mesh and not document.keys() <= _ENVELOPE:
            return _walked(known, document, namespace)
        obj = msgspec.convert(document, _reader(known).type, dec_hook=_from_text)
        if known.mesh and not _has_string_keys(document["spec"]):
            return _walked(known, document, namespace)
    except (*_NOT_READABLE, TypeError, ValueError):
        return _walked(known, document, namespace)
    return _finished(known, _unwrapped(known, obj), namespace)


def _has_string_keys(document: object) -> bool:
    """YAML has keys of any type; msgspec passes over what is no field name. (Types have bounded the depth already.)"""
    rest = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, Mapping):
            if not all(isinstance(key, str) for key in value):
                return False
            rest.extend(value.values())
        elif isinstance(value, list | tuple):
            rest.extend(value)
    return True


# The fast way.


class _Reader(msgspec.Struct):
    """What decodes a kind: a mesh kind through an envelope that forbids what is not one of its parts."""

    type: Any
    json: Any


@cache
def _reader(kind: Kind) -> _Reader:
    read: Any = kind.type
    if kind.mesh:
        hints = msgspec.structs.fields(kind.type)
        spec = next(field.type for field in hints if field.name == "spec")
        fields = [("apiVersion", str, ""), ("kind", str, ""), ("status", msgspec.Raw, msgspec.Raw())]
        read = msgspec.defstruct(
            f"{kind.kind}Envelope", [("metadata", Meta), ("spec", spec), *fields], forbid_unknown_fields=True
        )
    return _Reader(read, msgspec.json.Decoder(read, dec_hook=_from_text))


def _from_json(kind: Kind, raw: bytes) -> Any:
    return _unwrapped(kind, _reader(kind).json.decode(raw))


def _unwrapped(kind: Kind, obj: Any) -> Any:
    return kind.type(meta=obj.metadata, spec=obj.spec) if kind.mesh else obj


def _from_text(kind: type, value: object) -> timedelta:
    if kind is Duration and isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"not a {kind.__name__}")  # msgspec makes a ValidationError of it


_HEAD = msgspec.json.Decoder(_Head)
_ANY = msgspec.json.Decoder()


# The slow way.


def _walked(kind: Kind, document: Mapping[str, Any], namespace: str) -> Decoded:
    ref = _ref(kind.group, kind.kind, document, namespace)
    walker = Walker(ref)
    body = {key: value for key, value in document.items() if key not in _ENVELOPE - {"metadata", "spec"}}
    if not kind.mesh:
        body = dict(document)
    elif document.get("spec") is None:
        walker.report("RequiredField", "spec", "spec is required")
    value = walker.read(kind.type, body)
    if value is UNREADABLE:
        return Decoded(None, walker.all_problems())
    return _finished(kind, value, namespace, walker)


# What both ways end with.


def _finished(kind: Kind, obj: Any, namespace: str, walker: Walker | None = None) -> Decoded:
    problems = walker.all_problems() if walker else ()
    meta = _settled(obj.meta, namespace if kind.namespaced else "", kind)
    if not meta.name:
        nameless = Origin(ObjectRef(kind.group, kind.kind, meta.namespace, ""), "metadata.name")
        return Decoded(None, (*problems, Problem("RequiredField", Level.ERROR, nameless, "metadata.name is required")))
    if meta is not obj.meta:
        obj = msgspec.structs.replace(obj, meta=meta)
    if not kind.mesh:
        return Decoded(take_out(obj, walker.bad) if walker and walker.bad else obj, problems)
    found = validate(obj)
    bad = walker.bad if walker else []
    found = tuple(problem for problem in found if not _explained(problem, bad))
    return Decoded(take_out(obj, [*bad, *_bad_paths(found)]), (*problems, *found))


def _settled(meta: Meta, namespace: str, kind: Kind) -> Meta:
    """The namespace an object is in, and no annotation nobody reads."""
    if LAST_APPLIED in meta.annotations:
        del cast("dict[str, str]", meta.annotations)[LAST_APPLIED]  # decoding made this mapping, nobody else has it
    if kind.namespaced and meta.namespace:
        return meta
    return meta if meta.namespace == namespace else msgspec.structs.replace(meta, namespace=namespace)


def _bad_paths(problems: Sequence[Problem]) -> list[str]:
    return [problem.origin.path for problem in problems if problem.level is Level.ERROR]


def _explained(problem: Problem, bad: Sequence[str]) -> bool:
    """It follows from a part that could not be read, which has been said already."""
    path = problem.origin.path
    return any(path == part or _below(path, part) or _is_field(part, path) for part in bad)


def _below(path: str, part: str) -> str:
    """What of `path` leads below `part`: ".uri.regex", "[3]", or "" when it does not."""
    rest = path.removeprefix(part) if path.startswith(part) else ""
    return rest if rest[:1] in {".", "["} else ""


def _is_field(path: str, of: str) -> bool:
    """`path` is a field right in `of`: its absence is what a rule about `of` would complain of."""
    rest = _below(path, of)
    return rest[:1] == "." and "." not in rest[1:]


# Documents that are no object of a kind we decode.


def _lookup(head: _Head) -> Kind | None:
    group, _, version = head.api_version.rpartition("/")
    kind = BY_NAME.get((group, head.kind))
    return kind if kind and version in kind.versions else None


def _not_served(head: _Head, document: Mapping[str, Any], namespace: str) -> Decoded:
    group, _, version = head.api_version.rpartition("/")
    if not head.kind or not head.api_version:
        missing = "kind" if head.api_version else "apiVersion"
        return _refused("NotAnObject", f"a Kubernetes object has apiVersion and kind; {missing} is missing here")
    ref = _ref(group, head.kind, document, namespace)
    known = BY_NAME.get((group, head.kind))
    if known is not None:
        served = ", ".join(f"{group}/{one}".removeprefix("/") for one in known.versions)
        message = printable(f"{head.kind} has no version {version or head.api_version}; use one of {served}")
        return Decoded(None, (Problem("VersionNotServed", Level.ERROR, Origin(ref, "apiVersion"), message),))
    if (group, head.kind) in REPLACED:
        message = printable(f"{head.kind} has no effect: {REPLACED[group, head.kind]}")
        return Decoded(None, (Problem("KindReplaced", Level.INFO, Origin(ref), message),))
    if group not in MESH_GROUPS:
        message = printable(f"{head.api_version} {head.kind} has nothing to do with traffic and is not read")
        return Decoded(None, (Problem("KindIgnored", Level.INFO, Origin(ref), message),))
    return _unsupported(ref, document)


def _unsupported(ref: ObjectRef, document: Mapping[str, Any]) -> Decoded:
    problem = _unsupported_problem(ref)
    if not ref.name:
        return Decoded(None, (problem,))
    created = Walker(ref).read(Meta, {"creationTimestamp": _metadata(document).get("creationTimestamp")})
    return Decoded(UnsupportedObject(ref=ref, created=created.created), (problem,))


def _unsupported_problem(ref: ObjectRef) -> Problem:
    secures = ref.group == SECURITY_GROUP
    says = "is not enforced yet: what it forbids is allowed" if secures else "is not supported yet: no effect"
    level = Level.ERROR if secures else Level.WARNING
    return Problem("KindNotSupportedYet", level, Origin(ref), printable(f"{ref.kind} {says}"))


def _ref(group: str, kind: str, document: Mapping[str, Any], namespace: str) -> ObjectRef:
    meta = _metadata(document)
    known = BY_NAME.get((group, kind))
    clusterwide = known is not None and not known.namespaced
    where = "" if clusterwide else _text(meta.get("namespace")) or namespace
    return ObjectRef(group, kind, where, _text(meta.get("name")))


def _metadata(document: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = document.get("metadata")
    return meta if isinstance(meta, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _refused(code: str, message: str) -> Decoded:
    return Decoded(None, (Problem(code, Level.ERROR, Origin(ObjectRef("", "", "", "")), message),))
