"""Assert mode and audit find what they are there to find: each test breaks something."""

import dataclasses
from typing import Any

import msgspec
import pytest

from controlplane.store import Change, Collection, Fetch, InconsistencyError, Index, Input, Query, Store
from controlplane.store.frozen import mutable_part
from tests.store.state import drain


class World:
    def __init__(self) -> None:
        self.store = store = Store()
        self.factor = 1
        self.numbers: Input[str, Any] = store.input("Numbers")
        self.hidden: Collection[str, Any] = store.derive("Hidden", self.numbers, self.impure)
        self.emitted = store.expand("Emitted", self.numbers, lambda _fetch, key, number: {(key, number): True})
        self.by_number: Index[Any, str, Any] = store.index("ByNumber", self.numbers, lambda _key, number: (number,))
        self.memo: Query[str, Any] = store.query("Memo", lambda fetch, key: fetch(self.numbers, key))
        self.readers: Collection[str, Any] = store.derive(
            "Readers", self.numbers, lambda fetch, key, _: fetch(self.memo, key)
        )

    def impure(self, _fetch: Fetch, _key: str, number: Any) -> Any:
        return (number, self.factor)

    def audit(self) -> list[tuple[str, Any, str]]:
        return [(m.collection, m.key, m.what) for m in drain(self.store.audit(lambda: True))]


def test_a_sound_store_passes():
    world = World()
    world.store.assert_mode = True
    world.store.apply([Change(world.numbers, "a", 1), Change(world.numbers, "b", 2)])
    world.store.apply([Change(world.numbers, "a", None)])
    assert world.audit() == []


def test_an_impure_function_is_found():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1), Change(world.numbers, "b", 2)])
    world.factor = 2
    assert world.audit() == [("Hidden", "a", "value"), ("Hidden", "b", "value")]
    world.store.assert_mode = True
    with pytest.raises(InconsistencyError, match=r"Hidden 'b': value: found \(2, 1\), expected \(2, 2\)"):
        world.store.apply([Change(world.numbers, "a", 3)])


def test_a_mismatch_as_text_keeps_quiet_about_values():
    world = World()
    world.store.apply([Change(world.numbers, "a", "secret")])
    world.factor = 2
    (mismatch,) = drain(world.store.audit(lambda: True))
    assert str(mismatch) == "Hidden 'a': value"
    assert mismatch.found == ("secret", 1)


def test_a_function_whose_answer_depends_on_the_order_of_inputs_is_found():
    store = Store()
    seen: list[str] = []
    numbers: Input[str, int] = store.input("Numbers")

    def numbered(_fetch: Fetch, key: str, _number: int) -> int:
        seen.append(key)
        return len(seen)

    store.derive("Numbered", numbers, numbered)
    store.assert_mode = True
    with pytest.raises(InconsistencyError):
        store.apply([Change(numbers, "a", 1), Change(numbers, "b", 1)])


def test_a_stored_value_that_was_changed_in_place_is_found():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1)])
    world.store._serving().tables[world.hidden.slot].data["a"] = "something else"
    assert world.audit() == [("Hidden", "a", "value")]


def test_a_lost_edge_is_found():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1)])
    engine = world.store._serving()
    engine.tables[world.numbers.slot].readers.discard("a", (world.memo.slot, "a"))
    ((collection, key, what),) = world.audit()
    assert (collection, key) == ("Memo", "a")
    assert what.startswith("not known as a reader of Numbers")


def test_a_lost_index_entry_is_found():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1)])
    table: Any = world.store._serving().tables[world.by_number.slot]
    table.entries.discard(1, "a")
    assert world.audit() == [("ByNumber", 1, "value")]


def test_a_wrong_winner_is_found():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1)])
    world.store._serving().tables[world.emitted.slot].data.pop(("a", 1), None)
    assert world.audit() == [("Emitted", ("a", 1), "value")]


def test_a_missing_node_is_found():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1)])
    table = world.store._serving().tables[world.hidden.slot]
    table.data.pop("a", None)
    table.deps.pop("a", None)
    assert world.audit() == [("Hidden", "a", "value"), ("Hidden", "a", "reads")]


def test_an_audit_runs_beside_changes():
    world = World()
    world.store.apply([Change(world.numbers, str(number), number) for number in range(20)])
    steps = world.store.audit(lambda: True)
    for number in range(20):
        next(steps)
        world.store.apply([Change(world.numbers, str(number), None), Change(world.numbers, "new", number)])
    assert drain(steps) == ()


def test_an_audit_of_chosen_nodes_looks_at_no_others():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1), Change(world.numbers, "b", 2)])
    world.factor = 2
    found = drain(world.store.audit(lambda: False, [(world.hidden, "b")]))
    assert [(mismatch.collection, mismatch.key) for mismatch in found] == [("Hidden", "b")]


def test_an_audit_leaves_no_trace():
    world = World()
    world.store.apply([Change(world.numbers, "a", 1)])
    runs: list[tuple[str, Any]] = []
    world.store.trace = runs
    number = world.store.revision
    assert world.audit() == []
    assert runs == []
    assert world.store.revision == number


def test_parts_of_a_union_that_overlap_are_found():
    store = Store()
    first: Input[str, int] = store.input("First")
    second: Input[str, int] = store.input("Second")
    store.union("Both", first, second)
    store.assert_mode = True
    with pytest.raises(InconsistencyError, match="Both 'a': in more than one part"):
        store.apply([Change(first, "a", 1), Change(second, "a", 1)])


def test_a_fetch_against_the_order_is_an_error_in_assert_mode():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    store.derive("Early", numbers, lambda fetch, key, _value: fetch(late, key))
    late = store.derive("Late", numbers, lambda _fetch, _key, value: value)
    store.assert_mode = True
    with pytest.raises(InconsistencyError, match="Early may not read Late"):
        store.apply([Change(numbers, "a", 1)])


def test_failing_functions_are_no_inconsistency():
    """What was good last stays, in the recomputation as well."""
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    inverse = store.derive("Inverse", numbers, lambda _fetch, _key, number: 1 / number)
    store.assert_mode = True
    store.apply([Change(numbers, "a", 2)])
    store.apply([Change(numbers, "a", 0)])
    assert store.get(inverse, "a") == 0.5
    assert drain(store.audit(lambda: True)) == ()


class Frozen(msgspec.Struct, frozen=True):
    part: Any


class Thawed(msgspec.Struct):
    part: int


@dataclasses.dataclass
class Loose:
    part: int


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (1, None),
        (("a", frozenset({1})), None),
        (Frozen({"a": ("b",)}), None),
        ([1], "list"),
        (("a", [1]), "[1].list"),
        (Frozen({"a": {1}}), "part.['a'].set"),
        (Frozen((Thawed(1),)), "part.[0].Thawed"),
        (Loose(1), "Loose"),
    ],
)
def test_mutable_parts_are_named(value: Any, part: str | None):
    assert mutable_part(value) == part


def test_a_mutable_value_is_found_in_assert_mode():
    world = World()
    world.store.assert_mode = True
    with pytest.raises(InconsistencyError, match=r"Numbers 'a': can be changed in place: list"):
        world.store.apply([Change(world.numbers, "a", [1])])
