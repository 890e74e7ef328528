"""Reports stand beside values; a match joins two indexes pair by pair."""

from typing import Any

import pytest

from controlplane.store import Change, Fetch, GraphError, Input, Store


def reporting_store():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")

    def half(fetch, _key, value):
        if value % 2:
            fetch.report("odd", "odd")
        return value // 2

    halves = store.derive("Halves", numbers, half)
    store.output(halves)
    return store, numbers, halves


def reports(store):
    return {(handle.name, key): found for handle, key, found in store.reports()}


def test_a_report_is_kept_once_until_the_node_runs_again():
    store, numbers, halves = reporting_store()
    store.apply([Change(numbers, "a", 3), Change(numbers, "b", 2)])
    assert reports(store) == {("Halves", "a"): ("odd",)}
    revision = store.apply([Change(numbers, "a", 2)])
    assert reports(store) == {}
    assert halves not in revision.changes  # 3 // 2 == 2 // 2: a report is no part of the value


def test_a_report_goes_with_its_node():
    store, numbers, _ = reporting_store()
    store.apply([Change(numbers, "a", 3)])
    store.apply([Change(numbers, "a", None)])
    assert reports(store) == {}


def test_a_nested_query_keeps_its_own_reports():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")

    def inner_of(fetch, _key):
        fetch.report("inner")
        return 1

    inner = store.query("Inner", inner_of)

    def outer_of(fetch, _key, _value):
        fetch.report("before")
        found = fetch(inner, "x")
        fetch.report("after")
        return found

    store.derive("Outer", numbers, outer_of)
    store.apply([Change(numbers, "a", 1)])
    assert reports(store) == {("Inner", "x"): ("inner",), ("Outer", "a"): ("before", "after")}


def test_a_fork_reports_for_itself():
    store, numbers, _ = reporting_store()
    store.apply([Change(numbers, "a", 3)])
    fork = store.fork()
    fork.apply([Change(numbers, "a", 2), Change(numbers, "b", 5)])
    assert reports(fork) == {("Halves", "b"): ("odd",)}
    assert reports(store) == {("Halves", "a"): ("odd",)}


def test_reporting_outside_of_a_run_is_refused():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    kept: list[Fetch] = []
    store.derive("Kept", numbers, lambda fetch, _k, _v: kept.append(fetch))
    store.apply([Change(numbers, "a", 1)])
    with pytest.raises(GraphError):
        kept[0].report("late")


def matching_store():
    store = Store()
    left: Input[str, Any] = store.input("Left")
    right: Input[str, Any] = store.input("Right")
    by_left = store.index("ByLeft", left, lambda _key, value: value)
    by_right = store.index("ByRight", right, lambda _key, value: value[0])
    pairs = store.match("Pairs", by_left, by_right)
    store.output(pairs)
    return store, left, right, pairs


def test_members_of_one_index_key_are_paired():
    store, left, right, pairs = matching_store()
    store.apply([Change(left, "l", ("x", "y")), Change(right, "r", (("x", "y"), 1)), Change(right, "s", (("z",), 2))])
    assert dict(store.items(pairs)) == {("l", "r"): (("x", "y"), 1)}
    revision = store.apply([Change(right, "s", (("y",), 3))])
    assert dict(revision.changes[pairs]) == {("l", "s"): (None, (("y",), 3))}


def test_a_pair_lasts_while_one_shared_key_is_left():
    store, left, right, pairs = matching_store()
    store.apply([Change(left, "l", ("x", "y")), Change(right, "r", (("x", "y"), 1))])
    revision = store.apply([Change(left, "l", ("y",))])
    assert pairs not in revision.changes
    revision = store.apply([Change(left, "l", ("z",))])
    assert dict(revision.changes[pairs]) == {("l", "r"): ((("x", "y"), 1), None)}


def test_a_new_member_touches_its_own_pairs_only():
    store, left, right, pairs = matching_store()
    store.apply(
        [Change(left, f"l{i}", ("x",)) for i in range(3)] + [Change(right, f"r{i}", (("x",), i)) for i in range(50)]
    )
    revision = store.apply([Change(right, "new", (("x",), 7))])
    assert set(revision.changes[pairs]) == {(f"l{i}", "new") for i in range(3)}


def test_value_changes_and_deletes_reach_the_pairs():
    store, left, right, pairs = matching_store()
    store.apply([Change(left, "l", ("x",)), Change(right, "r", (("x",), 1))])
    store.apply([Change(right, "r", (("x",), 2))])
    assert store.get(pairs, ("l", "r")) == (("x",), 2)
    store.apply([Change(right, "r", None)])
    assert dict(store.items(pairs)) == {}
