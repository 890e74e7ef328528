"""Overlays against plain dictionaries: any operations, three layers high, some of them sinking on the way."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.store.maps import MapOverlay, Multimap, MultimapOverlay
from tests.store.state import _members

KEYS = st.integers(0, 3)
OPERATIONS = st.lists(st.tuples(st.sampled_from(["add", "drop", "fork", "sink", "sort"]), KEYS, KEYS), max_size=60)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_a_stack_of_maps_is_a_dictionary(operations: list[tuple[str, int, int]]):
    layers: list[Any] = [{}]
    model: dict[int, int] = {}
    for operation, key, value in operations:
        top = layers[-1]
        if operation == "add":
            top[key] = model[key] = value
        elif operation == "drop":
            assert top.pop(key, "absent") == model.pop(key, "absent")
        elif operation == "fork" and len(layers) < 4:
            layers.append(MapOverlay(top))
        elif operation == "sink" and len(layers) > 1:
            layers[1 + key % (len(layers) - 1)].sink(value)
        top = layers[-1]
        assert dict(top.items()) == model == {key: top.get(key) for key in top}
        assert len(top) == len(model)
        assert [key in top for key in range(4)] == [key in model for key in range(4)]


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_a_stack_of_multimaps_is_a_dictionary_of_sets(operations: list[tuple[str, int, int]]):
    layers: list[Any] = [Multimap()]
    model: dict[int, set[int]] = {key: set() for key in range(4)}
    for operation, key, value in operations:
        top = layers[-1]
        if operation == "add":
            top.add(key, value)
            model[key].add(value)
        elif operation == "drop":
            top.discard(key, value)
            model[key].discard(value)
        elif operation == "fork" and len(layers) < 4:
            layers.append(MultimapOverlay(top))
        elif operation == "sink" and len(layers) > 1:
            layers[1 + key % (len(layers) - 1)].sink(value)
        elif operation == "sort":
            top.sorted(key)
        top = layers[-1]
        assert _members(top) == {key: members for key, members in model.items() if members}
        assert [top.sorted(key) for key in model] == [tuple(sorted(members)) for members in model.values()]
        assert bool(top) or not any(model.values())


def test_a_layer_does_not_change_the_one_below():
    below = Multimap()
    for member in range(3):
        below.add("key", member)
    layer = MultimapOverlay(below)
    layer.add("key", 9)
    layer.discard("key", 1)
    assert below.sorted("key") == (0, 1, 2)
    assert layer.sorted("key") == (0, 2, 9)


def test_a_change_and_its_reverse_leave_no_difference():
    below = Multimap()
    below.add("key", 1)
    layer = MultimapOverlay(below)
    layer.discard("key", 1)
    layer.add("key", 2)
    assert layer.size() == 2
    layer.add("key", 1)
    layer.discard("key", 2)
    assert layer.size() == 0


def test_sinking_is_bounded_and_tells_how_much_it_moved():
    base: dict[int, int] = {}
    layer = MapOverlay(base)
    for key in range(5):
        layer[key] = key
    assert [layer.sink(3), len(base), layer.sink(3), len(base)] == [3, 3, 2, 5]


def test_one_member_is_kept_without_a_container():
    multimap = Multimap()
    multimap.add("key", "member")
    multimap.add("key", "other")
    multimap.discard("key", "other")
    assert multimap._bags == {"key": "member"}
    multimap.discard("key", "member")
    assert multimap._bags == {}
