"""Depth of JSON without parsing it, held against a parser."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.base.nesting import nests_deeper

TEXTS = st.text(alphabet='[]{}"\\,:ab\n\u00e9')
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=40,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.booleans())
def test_depth_is_a_parsers(value, plain):
    text = json.dumps(value, ensure_ascii=plain, indent=1 if plain else None).encode()
    deep = depth(value)
    assert not nests_deeper(text, deep)
    assert nests_deeper(text, deep - 1) == (deep > 0)


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_have_an_answer_and_what_passes_does_not_nest_deeper(content: bytes, limit: int):
    if nests_deeper(content, limit):
        return
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return
    assert depth(value) <= limit


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 6_000_000,
        b"[" * 3_000_000 + b"]" * 3_000_000,
        b"[[]" * 2_000_000,
        b'{"a":' * 1_000_000,
        b"]" * 1000,
        b"[",
    ],
    ids=["open", "balanced", "mixed", "objects", "closed", "one"],
)
def test_what_is_deep_or_unbalanced_is_told_in_no_time(text: bytes):
    assert nests_deeper(text, 64)


@pytest.mark.parametrize("text", [b"", b'"' * 1_000_000, b"\\" * 1_000_000, b'"[[[["', b'"\\"[["'])
def test_what_only_looks_deep_is_not(text: bytes):
    assert not nests_deeper(text, 1)
