"""A patch makes one document the other, and speaks of nothing else."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from controlplane.webhooks.jsonpatch import diff
from tests.webhooks.patching import applied

_LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b"]) | st.just(1.0)
_KEYS = st.sampled_from(["a", "b", "name", "a/b", "~", "0"])
_DOCUMENTS = st.recursive(
    _LEAVES, lambda below: st.lists(below, max_size=4) | st.dictionaries(_KEYS, below, max_size=4), max_leaves=12
)


def _patch(before, after):
    return msgspec.json.decode(msgspec.json.encode(diff(before, after)))


@given(_DOCUMENTS, _DOCUMENTS)
def test_it_makes_one_the_other(before, after):
    made = applied({"of": before}, _patch({"of": before}, {"of": after}))
    assert msgspec.json.encode(made) == msgspec.json.encode({"of": made["of"]})
    assert repr(_sorted(made["of"])) == repr(_sorted(after))  # repr: true is not 1


@given(_DOCUMENTS)
def test_the_same_is_no_patch(document):
    assert _patch(document, document) == []


def test_what_came_is_put_in_and_what_stayed_is_not_mentioned():
    before = {"containers": [{"name": "a", "image": "1"}, {"name": "b"}], "volumes": None}
    after = {"containers": [{"name": "p"}, {"name": "a", "image": "2"}, {"name": "b"}, {"name": "q"}], "volumes": None}
    assert _patch(before, after) == [
        {"op": "add", "path": "/containers/0", "value": {"name": "p"}},
        {"op": "replace", "path": "/containers/1/image", "value": "2"},
        {"op": "add", "path": "/containers/3", "value": {"name": "q"}},
    ]


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value
