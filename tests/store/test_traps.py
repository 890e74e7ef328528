"""Where incremental programs usually go wrong, one test for each."""

import math
from typing import Any

import pytest

from controlplane.store import Change, Collection, Fetch, GraphError, Index, Input, Query, Store
from controlplane.store.engine import Engine


class Lookup:
    """Readers that look up names: by value, by presence, and in an index."""

    def __init__(self) -> None:
        self.store = store = Store()
        self.numbers: Input[str, int] = store.input("Numbers")
        self.readers: Input[str, str] = store.input("Readers")
        self.by_size: Index[str, str, int] = store.index(
            "BySize", self.numbers, lambda _, n: ("big" if n > 9 else "small",)
        )
        self.values: Collection[str, Any] = store.derive(
            "Values", self.readers, lambda fetch, _, n: (fetch(self.numbers, n),)
        )
        self.presence = store.derive("Presence", self.readers, lambda fetch, _, n: (fetch.has(self.numbers, n),))
        self.members = store.derive("Members", self.readers, lambda fetch, _, n: fetch.keys(self.by_size, n))
        self.runs: list[tuple[str, Any]] = []

    def apply(self, *changes: Change[Any, Any]) -> list[tuple[str, Any]]:
        """The runs it took, without those of the index."""
        self.store.trace = self.runs = []
        self.store.apply(changes)
        return [run for run in self.runs if run[0] != "BySize"]


def test_a_fetch_that_finds_nothing_is_woken_by_a_later_create():
    world = Lookup()
    world.apply(Change(world.readers, "r", "n"))
    assert world.store.get(world.values, "r") == (None,)
    assert world.apply(Change(world.numbers, "n", 1)) == [("Values", "r"), ("Presence", "r")]
    assert world.store.get(world.values, "r") == (1,)


def test_a_delete_is_a_change_like_others():
    world = Lookup()
    world.apply(Change(world.readers, "r", "n"), Change(world.numbers, "n", 1))
    assert world.apply(Change(world.numbers, "n", None)) == [("Values", "r"), ("Presence", "r")]
    assert world.store.get(world.values, "r") == (None,)


def test_a_reader_of_presence_sleeps_through_a_changed_value():
    world = Lookup()
    world.apply(Change(world.readers, "r", "n"), Change(world.numbers, "n", 1))
    assert world.apply(Change(world.numbers, "n", 2)) == [("Values", "r")]


def test_an_empty_index_entry_wakes_its_reader_when_it_gets_a_member():
    world = Lookup()
    world.apply(Change(world.readers, "r", "big"))
    assert world.apply(Change(world.numbers, "n", 10)) == [("Members", "r")]
    assert world.store.get(world.members, "r") == ("n",)


def test_a_move_wakes_the_readers_of_the_old_and_of_the_new_index_key():
    world = Lookup()
    world.apply(Change(world.readers, "b", "big"), Change(world.readers, "s", "small"), Change(world.numbers, "n", 1))
    assert world.apply(Change(world.numbers, "n", 10)) == [("Members", "s"), ("Members", "b")]
    assert world.store.get(world.members, "s") == ()
    assert world.store.get(world.members, "b") == ("n",)


def test_a_change_within_an_index_entry_does_not_wake_readers_of_membership():
    world = Lookup()
    world.apply(Change(world.readers, "r", "small"), Change(world.numbers, "n", 1))
    assert world.apply(Change(world.numbers, "n", 2)) == []


def test_edges_that_were_not_read_again_are_dropped():
    world = Lookup()
    world.apply(Change(world.readers, "r", "old"), Change(world.numbers, "old", 1), Change(world.numbers, "new", 2))
    world.apply(Change(world.readers, "r", "new"))
    assert world.apply(Change(world.numbers, "old", 3)) == []
    assert world.apply(Change(world.numbers, "new", 4)) == [("Values", "r")]


def test_a_deleted_node_leaves_no_edges():
    world = Lookup()
    world.apply(Change(world.readers, "r", "n"))
    world.apply(Change(world.readers, "r", None))
    assert world.apply(Change(world.numbers, "n", 1)) == []


def test_a_node_runs_once_however_many_ways_a_change_reaches_it():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    plus = store.derive("Plus", numbers, lambda _fetch, _key, n: n + 1)
    minus = store.derive("Minus", plus, lambda _fetch, _key, n: n - 1)
    total = store.derive("Total", numbers, lambda fetch, key, n: (n, fetch(plus, key), fetch(minus, key)))
    store.apply([Change(numbers, "a", 1)])
    runs: list[tuple[str, Any]] = []
    store.trace = runs
    store.apply([Change(numbers, "a", 5)])
    assert runs == [("Plus", "a"), ("Minus", "a"), ("Total", "a")]
    assert store.get(total, "a") == (5, 6, 5)


def test_circles_in_the_data_end():
    store = Store()
    delegates: Input[str, str] = store.input("Delegates")

    def chain(fetch: Fetch, key: str, step: str) -> tuple[str, ...]:
        seen = [key]
        while step not in seen:
            seen.append(step)
            step = fetch(delegates, step) or key
        return tuple(seen)

    chains = store.derive("Chains", delegates, chain)
    store.apply([Change(delegates, "a", "b"), Change(delegates, "b", "c"), Change(delegates, "c", "b")])
    assert store.get(chains, "a") == ("a", "b", "c")
    store.apply([Change(delegates, "c", "d")])
    assert store.get(chains, "a") == ("a", "b", "c", "d")
    store.apply([Change(delegates, "b", None)])
    assert store.get(chains, "a") == ("a", "b")


def test_queries_in_queries_are_collected_together():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    asked: Input[str, str] = store.input("Asked")
    inner: Query[str, int] = store.query("Inner", lambda fetch, key: fetch(numbers, key))
    outer: Query[str, int] = store.query("Outer", lambda fetch, key: (fetch(inner, key) or 0) + 1)
    answers = store.derive("Answers", asked, lambda fetch, _, name: fetch(outer, name))
    store.output(inner)
    store.apply([Change(numbers, "n", 1), Change(asked, "q", "n")])
    assert store.get(answers, "q") == 2
    assert store.apply([Change(asked, "q", None)]).changes[inner] == {"n": (1, None)}
    assert dict(store.items(outer)) == {}


def test_a_query_that_moves_to_another_reader_is_kept():
    store = Store()
    asked: Input[str, str] = store.input("Asked")
    memo: Query[str, str] = store.query("Memo", lambda _fetch, key: key * 2)
    store.derive("Answers", asked, lambda fetch, _, name: fetch(memo, name))
    store.output(memo)
    store.apply([Change(asked, "one", "x")])
    runs: list[tuple[str, Any]] = []
    store.trace = runs
    revision = store.apply([Change(asked, "one", None), Change(asked, "two", "x")])
    assert revision.changes[memo] == {}
    assert runs == [("Answers", "two")]


class Poison:
    """A function that fails for negative numbers, and one that reads what it makes."""

    def __init__(self) -> None:
        self.store = store = Store()
        self.numbers: Input[str, int] = store.input("Numbers")
        self.roots = store.derive("Roots", self.numbers, self.root)
        self.shown = store.derive("Shown", self.roots, lambda _fetch, _key, root: f"<{root}>")
        store.output(self.shown)

    @staticmethod
    def root(_fetch: Fetch, _key: str, number: int) -> float:
        if number < 0:
            raise ValueError("negative")
        return math.sqrt(number)

    def apply(self, **numbers: int | None) -> Any:
        return self.store.apply([Change(self.numbers, key, value) for key, value in numbers.items()])


def test_an_exception_poisons_its_own_key_and_the_last_value_stays():
    world = Poison()
    world.apply(good=4, bad=4)
    revision = world.apply(good=9, bad=-1)
    assert revision.changes[world.shown] == {"good": ("<2.0>", "<3.0>")}
    assert world.store.get(world.shown, "bad") == "<2.0>"
    assert list(revision.failures) == list(world.store.failures) == [(world.roots, "bad")]
    with pytest.raises(ValueError, match="negative"):
        raise world.store.failures[world.roots, "bad"]


def test_a_failure_is_reported_once_and_cleared_when_the_function_succeeds():
    world = Poison()
    world.apply(bad=-1)
    assert world.store.get(world.roots, "bad") is None
    assert not world.apply(other=1).failures
    assert world.store.failures
    revision = world.apply(bad=16)
    assert revision.changes[world.shown] == {"bad": (None, "<4.0>")}
    assert not world.store.failures


def test_a_failure_goes_with_its_source_entry():
    world = Poison()
    world.apply(bad=-1)
    world.apply(bad=None)
    assert not world.store.failures


def test_what_a_failing_function_read_wakes_it():
    store = Store()
    limits: Input[str, int] = store.input("Limits")
    numbers: Input[str, int] = store.input("Numbers")
    ratio = store.derive("Ratio", numbers, lambda fetch, _key, number: number // (fetch(limits, "limit") or 0))
    store.apply([Change(numbers, "a", 6)])
    assert isinstance(store.failures[ratio, "a"], ZeroDivisionError)
    store.apply([Change(limits, "limit", 3)])
    assert store.get(ratio, "a") == 2
    assert not store.failures


@pytest.mark.parametrize("emitted", [None, ["a"], {"a": None}])
def test_an_expand_that_emits_what_it_must_not_fails_by_itself(emitted: Any):
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    bad = store.expand("Bad", numbers, lambda _fetch, _key, _number: emitted)
    store.apply([Change(numbers, "a", 1)])
    assert isinstance(store.failures[bad, "a"], TypeError)
    store.apply([Change(numbers, "a", None)])
    assert not store.failures


def test_an_index_function_that_fails_leaves_the_entry_where_it_was():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    inverse: Index[int, str, int] = store.index("Inverse", numbers, lambda _key, number: (10 // number,))
    store.apply([Change(numbers, "a", 5)])
    store.apply([Change(numbers, "a", 0)])
    assert store.entry(inverse, 2) == ("a",)
    assert list(store.failures) == [(inverse, "a")]


@pytest.mark.parametrize("ask", ["__call__", "has", "keys", "report"])
def test_a_question_that_cannot_be_asked_fails_by_itself(ask: str):
    """Unhashable keys: the function fails, the engine does not."""
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    inverse: Index[Any, str, int] = store.index("Inverse", numbers, lambda _key, number: (number,))
    asked: dict[str, tuple[Any, ...]] = {"keys": (inverse, []), "report": ([],)}

    def function(fetch: Fetch, key: str, number: int) -> int:
        fetch(numbers, key)
        if number < 0:
            getattr(fetch, ask)(*asked.get(ask, (numbers, [])))
        return number

    checked = store.derive("Checked", numbers, function)
    store.apply([Change(numbers, "good", 1), Change(numbers, "bad", -1)])
    assert isinstance(store.failures[checked, "bad"], TypeError)
    store.apply([Change(numbers, "bad", 2)])
    assert store.get(checked, "bad") == 2
    assert not store.failures


def test_members_without_an_order_fail_their_reader_until_they_have_one():
    store = Store()
    things: Input[Any, int] = store.input("Things")
    together: Index[str, Any, int] = store.index("Together", things, lambda _key, _value: ("all",))
    readers: Input[str, int] = store.input("Readers")
    lists = store.derive("Lists", readers, lambda fetch, _key, _: fetch.keys(together, "all"))
    store.apply([Change(readers, "r", 1), Change(things, 1, 1), Change(things, "a", 1)])
    assert isinstance(store.failures[lists, "r"], TypeError)
    store.apply([Change(things, "a", None)])
    assert store.get(lists, "r") == (1,)


def test_changes_of_a_collection_that_is_no_output_cannot_be_asked_for():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    revision = store.apply([Change(numbers, "a", 1)])
    with pytest.raises(GraphError, match="not an output"):
        revision.changes[numbers]


class Incomparable:
    """A value whose `__eq__` is broken."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        return 1


def test_values_that_cannot_be_compared_are_different():
    store = Store()
    things: Input[str, Any] = store.input("Things")
    same = store.derive("Same", things, lambda _fetch, _key, thing: type(thing).__name__)
    store.apply([Change(things, "a", Incomparable())])
    store.apply([Change(things, "a", Incomparable())])
    assert store.get(same, "a") == "Incomparable"


def test_source_keys_without_an_order_still_have_one_winner():
    store = Store()
    things: Input[Any, str] = store.input("Things")
    taken: Collection[str, str] = store.expand("Taken", things, lambda _fetch, _key, value: {"it": value})
    store.apply([Change(things, 1, "one"), Change(things, "a", "text")])
    assert store.get(taken, "it") == "text"  # its text is 'a' in quotes, before 1


def test_an_interrupted_apply_is_not_built_upon():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")

    def interrupt(_fetch: Fetch, _key: str, _number: int) -> None:
        raise KeyboardInterrupt

    store.derive("Interrupted", numbers, interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.apply([Change(numbers, "a", 1)])
    with pytest.raises(Exception, match="was interrupted"):
        store.get(numbers, "a")


def test_a_repeated_question_is_one_edge():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    sums = store.derive("Sums", numbers, lambda fetch, key, _: sum(fetch(numbers, key) or 0 for _ in range(100)))
    store.apply([Change(numbers, "a", 1)])
    assert store.get(sums, "a") == 100
    assert len(_engine(store).tables[sums.slot].deps.get("a")) == 2
    store.apply([Change(numbers, "a", 2)])
    assert store.get(sums, "a") == 200


def _engine(store: Store) -> Engine:
    return store._serving()
