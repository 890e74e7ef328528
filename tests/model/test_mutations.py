"""Whatever a document holds: never an exception, and what is not right is said."""

import json
from copy import deepcopy
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.codes import CODES
from controlplane.model.encode import to_mapping
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Level
from controlplane.model.value import Duration
from tests.model.documents import decode, documents
from tests.model.test_core import POD, SERVICE, SLICE

GOOD = [*documents(), *documents(deprecated=True), POD, SERVICE, SLICE]
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in _paths(item, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A good document with junk in one to three places."""
    document: dict[str, Any] = deepcopy(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in _paths(document) if path]))
        parent: Any = document
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = draw(JUNK)
    return document


@given(mutated())
def test_a_mutated_document_never_raises(document):
    decoded = decode(document)
    assert all(problem.code in CODES for problem in decoded.problems)
    assert all(problem.message.isprintable() and len(problem.message) < 1000 for problem in decoded.problems)


@given(mutated())
def test_taking_out_the_bad_parts_leaves_nothing_unread(document):
    """Front ends meet only values of the declared types."""
    value = decode(document).value
    if value is not None and hasattr(value, "invalid"):
        plain = msgspec.to_builtins(_unmarked(value), enc_hook=lambda duration: duration.total_seconds())
        again = msgspec.convert(plain, type(value), dec_hook=lambda _, seconds: Duration(seconds=seconds))
        assert again == _unmarked(value)


@given(mutated())
def test_what_is_left_is_valid(document):
    """A value without a mark, written out again, has no error left."""
    value = decode(document).value
    if value is not None and hasattr(value, "invalid") and "invalid=True" not in repr(value):
        left = decode(to_mapping(value)).problems
        errors = [problem for problem in left if problem.level is Level.ERROR and not _refers(problem.origin.path)]
        assert errors == []


def _refers(path: str) -> bool:
    """To a part that has been taken out: ports of endpoints name ports of the service, SNI hosts are among the hosts."""
    return ".ports[" in path or "sniHosts" in path


@given(st.binary(max_size=200) | JUNK | st.text().map(str.encode))
def test_junk_never_raises(raw):
    decoded = decode(raw)
    assert decoded.value is None
    assert decoded.problems


@given(st.sampled_from(GOOD), st.data())
def test_damaged_json_never_raises(document, data):
    raw = json.dumps(document).encode()
    at = data.draw(st.integers(0, len(raw) - 1))
    damaged = raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]
    assert decode(damaged) is not None


@given(
    st.dictionaries(
        st.sampled_from(["connectTimeout", "rootNamespace", "defaultConfig", "localityLbSetting", "x"]), JUNK
    )
    | JUNK
)
def test_junk_settings_never_raise(document):
    settings, problems = decode_settings(document)
    assert settings.connect_timeout.total_seconds() > 0
    assert all(problem.code in CODES for problem in problems)


def _unmarked(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_unmarked(item) for item in value)
    if isinstance(value, msgspec.Struct):
        fields = {name: _unmarked(getattr(value, name)) for name in value.__struct_fields__}
        return type(value)(**fields | ({"invalid": False} if "invalid" in fields else {}))
    return value
