"""The text of one file -> the objects it holds, and what is wrong with it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from controlplane.model.kinds import BY_NAME
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.model.validate.common import is_dns_label, is_object_name
from controlplane.sources.files.reading import Unreadable, read

DEFAULT_NAMESPACE: Final = "default"

# Cluster-wide kinds that manifests for a mesh bring along and the model does not read.
_CLUSTER_WIDE: Final = frozenset(
    {
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("gateway.networking.k8s.io", "GatewayClass"),
        ("", "PersistentVolume"),
        ("storage.k8s.io", "StorageClass"),
        ("scheduling.k8s.io", "PriorityClass"),
    }
)

_BUILT_IN: Final = frozenset({"", "apps", "batch"})
_ALLOWED: Final = 'use lower-case letters, digits and "-"'


class Place(msgspec.Struct, frozen=True, order=True):
    """Where in the files something stands. Lines and columns count from 1; 0 is the file as a whole."""

    path: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.path, *(str(number) for number in (self.line, self.column) if number)])


class Document(msgspec.Struct, frozen=True):
    """One object, as its author wrote it, with its namespace filled in."""

    ref: ObjectRef
    place: Place
    manifest: Mapping[str, Any]


class Broken(msgspec.Struct, frozen=True, order=True):
    """A part of a file that holds no object anybody could read."""

    place: Place
    message: str

    def problem(self) -> Problem:
        """As every room reports what a user got wrong. Its origin is the file: there is no object to blame."""
        origin = Origin(ObjectRef("", "File", "", self.place.path))
        return Problem("UnreadableFile", Level.ERROR, origin, f"{self.place}: {self.message}")


class Parsed(msgspec.Struct, frozen=True):
    """What one file says."""

    documents: tuple[Document, ...] = ()
    broken: tuple[Broken, ...] = ()


def parse(text: str, path: str) -> Parsed:
    """All objects of `text`, Lists unrolled. Never raises for what a user wrote.

    A syntax error breaks the whole file: what stands after it cannot be told apart. A document that is no Kubernetes
    object breaks alone.
    """
    try:
        readings = read(text, as_json=path.endswith(".json"))
    except Unreadable as wrong:
        return Parsed(broken=(Broken(Place(path, wrong.line, wrong.column), wrong.message),))
    documents: list[Document] = []
    broken: list[Broken] = []
    for reading in readings:
        for value, line in _unrolled(reading.value, reading.line, reading.item_lines):
            place = Place(path, line, reading.column)
            match _document(value, place):
                case Document() as document:
                    documents.append(document)
                case str() as message:
                    broken.append(Broken(place, message))
    return Parsed(tuple(documents), tuple(broken))


def _unrolled(value: Any, line: int, item_lines: tuple[int, ...]) -> Iterator[tuple[Any, int]]:
    """The items of a List (`kubectl get -o yaml` writes them), or the value itself."""
    if not _is_list(value):
        yield value, line
        return
    lines = item_lines or (line,) * len(value["items"])
    for item, item_line in zip(value["items"], lines, strict=False):
        yield from _unrolled(_typed_item(value, item), item_line, ())


def _is_list(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("kind"), str)
        and value["kind"].endswith("List")
        and isinstance(value.get("items"), list)
    )


def _typed_item(parent: Mapping[str, Any], item: Any) -> Any:
    """Items of a `ServiceList` need not repeat that they are Services."""
    if isinstance(item, dict) and "kind" not in item and parent["kind"] != "List":
        return {"apiVersion": parent.get("apiVersion"), "kind": parent["kind"].removesuffix("List"), **item}
    return item


def _document(value: Any, place: Place) -> Document | str:
    """The object, or what keeps it from being one."""
    if not isinstance(value, dict):
        return "not a Kubernetes object: a mapping with apiVersion, kind and metadata was expected"
    metadata = value.get("metadata")
    for field, found in (("apiVersion", value.get("apiVersion")), ("kind", value.get("kind"))):
        if not isinstance(found, str) or not found:
            return f"not a Kubernetes object: {field} is missing or not a string"
    if not isinstance(metadata, dict):
        return f"{value['kind']} without metadata"
    return _named(value, metadata, place)


def _named(value: Mapping[str, Any], metadata: Mapping[str, Any], place: Place) -> Document | str:
    """The object under its names, or what is wrong with them."""
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not name:
        return f"{value['kind']} without metadata.name"
    if namespace is not None and not isinstance(namespace, str):
        return f"{value['kind']} {name}: metadata.namespace is not a string"
    ref = _ref(value["apiVersion"], value["kind"], namespace, name)
    if wrong := _misnamed(ref):
        return f"{value['kind']} {name[:80]!a}: {wrong}"
    return Document(ref, place, {**value, "metadata": _in_namespace(metadata, ref.namespace)})


def _misnamed(ref: ObjectRef) -> str | None:
    """What an API server would have against its names: they become part of files, hosts and resources."""
    if ref.namespace and not is_dns_label(ref.namespace):
        return f"metadata.namespace is {ref.namespace[:80]!a}; {_ALLOWED}, at most 63 of them"
    checked = ref.group in _BUILT_IN or (ref.group, ref.kind) in BY_NAME  # others (RBAC) have rules of their own
    if checked and not is_object_name(ref.name):
        return f'metadata.name is no name: {_ALLOWED} and ".", at most 253 of them'
    return None


def _ref(api_version: str, kind: str, namespace: str | None, name: str) -> ObjectRef:
    group = api_version.rpartition("/")[0]
    known = BY_NAME.get((group, kind))
    cluster_wide = not known.namespaced if known else (group, kind) in _CLUSTER_WIDE
    return ObjectRef(group, kind, "" if cluster_wide else namespace or DEFAULT_NAMESPACE, name)


def _in_namespace(metadata: Mapping[str, Any], namespace: str) -> Mapping[str, Any]:
    own = {key: value for key, value in metadata.items() if key != "namespace"}
    return {**own, "namespace": namespace} if namespace else own
