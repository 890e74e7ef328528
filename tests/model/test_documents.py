"""Good documents: every field is read, comes back the same, and the CRDs agree."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from controlplane.model.durations import parse_duration
from controlplane.model.encode import to_mapping
from controlplane.model.kinds import BY_NAME, MESH_KINDS
from controlplane.model.problem import Level, ObjectRef
from controlplane.model.value import Mark
from controlplane.model.walk import Walker
from tests.model.documents import decode, documents

ALL = documents()
every_document = pytest.mark.parametrize("document", ALL, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")


@every_document
def test_a_good_document_has_no_problems(document):
    decoded = decode(document)
    assert decoded.problems == ()
    assert decoded.value is not None
    assert not decoded.value.invalid


@every_document
def test_json_and_mapping_give_the_same_value(document):
    assert decode(json.dumps(document).encode()) == decode(document)


@every_document
def test_all_served_versions_give_the_same_value(document):
    expected = decode(document).value
    group = document["apiVersion"].partition("/")[0]
    for version in BY_NAME[group, document["kind"]].versions:
        assert decode(document | {"apiVersion": f"{group}/{version}"}).value == expected


@every_document
def test_the_slow_way_reads_what_the_fast_way_reads(document):
    fast = decode(document).value
    body = {key: document[key] for key in ("metadata", "spec")}
    walker = Walker(ObjectRef("", "", "", ""))
    slow = walker.read(type(fast), body)
    assert walker.problems == []
    assert slow == fast


@every_document
def test_a_value_goes_back_to_its_document(document):
    again = to_mapping(decode(document).value)
    assert decode(again).value == decode(document).value
    assert _plain(again["spec"]) == _plain(document["spec"])


def _plain(document: Any) -> Any:
    """Without the spellings that mean the same: 1h and 3600s, 50 and 50.0, a field with its default and none."""
    if isinstance(document, dict):
        return {
            key: plain for key, value in document.items() if (plain := _plain(value)) not in ([], "") or key == "exact"
        }
    if isinstance(document, list):
        return [_plain(value) for value in document]
    if isinstance(document, str) and document[:1].isdigit() and document[-1:] in "smh":
        try:
            return parse_duration(document)
        except ValueError:
            return document
    return document


def test_the_documents_set_every_field_of_every_mesh_kind():
    """So that the tests above speak for all fields; a field added to the model must be added to a document."""
    seen: set[tuple[type, str]] = set()
    for document in ALL + documents(deprecated=True):
        seen |= set(_fields_set(decode(document).value))
    missing = {field for kind in MESH_KINDS for field in _fields_of(kind.type.__annotations__["spec"])} - seen
    never_good = {"http2_error", "source_subnet"}  # read only to be refused
    assert {name for _, name in missing} == never_good


def _fields_set(value: Any) -> Iterator[tuple[type, str]]:
    if isinstance(value, tuple):
        for item in value:
            yield from _fields_set(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _fields_set(item)
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            item = getattr(value, field.name)
            if item is not None and item not in ((), "", {}):
                yield (type(value), field.name)
                yield from _fields_set(item)


def _fields_of(kind: Any) -> Iterator[tuple[type, str]]:
    def walk(node: Any) -> Iterator[tuple[type, str]]:
        if isinstance(node, msgspec.inspect.StructType):
            for field in node.fields:
                if getattr(field.type, "cls", None) is not Mark:
                    yield (node.cls, field.name)
                    yield from walk(field.type)
        for part in ("item_type", "value_type"):
            if hasattr(node, part):
                yield from walk(getattr(node, part))
        for option in getattr(node, "types", ()):
            yield from walk(option)

    return walk(msgspec.inspect.type_info(kind))


@pytest.mark.parametrize("document", documents(deprecated=True), ids=lambda one: one["kind"])
def test_deprecated_fields_work_and_are_warned_about(document):
    decoded = decode(document)
    assert not decoded.value.invalid
    assert {problem.level for problem in decoded.problems} == {Level.WARNING}
    assert {problem.code for problem in decoded.problems} <= {"DeprecatedField", "NoEffect"}


@every_document
def test_noise_of_the_api_server_changes_nothing(document):
    noisy = deepcopy(document)
    noisy["metadata"] |= {
        "uid": "a-b-c",
        "resourceVersion": "12",
        "generation": 7,
        "managedFields": [{"manager": "kubectl"}],
        "creationTimestamp": None,
    }
    noisy["metadata"]["annotations"] = {
        **noisy["metadata"].get("annotations", {}),
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    noisy["status"] = {"conditions": [{"type": "Accepted", "status": "True"}]}
    assert decode(noisy) == decode(document)
    assert decode(noisy).value.meta.uid == "a-b-c"
