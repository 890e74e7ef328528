"""Each primitive by itself: what it holds, and what a change does to it."""

from typing import Any

import pytest

from controlplane.store import Change, Fetch, GraphError, Index, Input, Query, Store, StoreError


def test_a_derived_entry_follows_its_source():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    doubles = store.derive("Doubles", numbers, lambda _fetch, _key, value: value * 2)
    store.output(doubles)

    created = store.apply([Change(numbers, "a", 1), Change(numbers, "b", 2)])
    assert created.changes[doubles] == {"a": (None, 2), "b": (None, 4)}

    changed = store.apply([Change(numbers, "a", 5)])
    assert changed.changes[doubles] == {"a": (2, 10)}

    deleted = store.apply([Change(numbers, "a", None)])
    assert deleted.changes[doubles] == {"a": (10, None)}
    assert dict(store.items(doubles)) == {"b": 4}


def test_a_function_that_answers_none_has_no_entry():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    odd = store.derive("Odd", numbers, lambda _fetch, _key, value: value if value % 2 else None)
    store.apply([Change(numbers, "a", 1), Change(numbers, "b", 2)])
    assert dict(store.items(odd)) == {"a": 1}
    store.apply([Change(numbers, "a", 4)])
    assert dict(store.items(odd)) == {}


def test_of_two_changes_of_one_key_the_later_counts():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    store.output(numbers)
    revision = store.apply([Change(numbers, "a", 1), Change(numbers, "a", 2)])
    assert revision.changes[numbers] == {"a": (None, 2)}


def test_equal_is_silent():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    parity = store.derive("Parity", numbers, lambda _fetch, _key, value: value % 2)
    words = store.derive("Words", parity, lambda _fetch, _key, value: ("even", "odd")[value])
    store.output(words)
    store.apply([Change(numbers, "a", 1)])
    runs: list[tuple[str, Any]] = []
    store.trace = runs

    assert not store.apply([Change(numbers, "a", 3)]).changes
    assert runs == [("Parity", "a")]

    runs.clear()
    before = store.revision
    assert store.apply([Change(numbers, "a", 3)]).number == before
    assert runs == []


def test_an_expand_emits_many_entries():
    store = Store()
    words: Input[str, str] = store.input("Words")
    letters = store.expand("Letters", words, lambda _fetch, key, value: {(key, letter): True for letter in value})
    store.output(letters)
    store.apply([Change(words, "a", "xy")])
    revision = store.apply([Change(words, "a", "yz")])
    assert revision.changes[letters] == {("a", "x"): (True, None), ("a", "z"): (None, True)}
    assert store.apply([Change(words, "a", None)]).changes[letters].keys() == {("a", "y"), ("a", "z")}


def test_an_expand_gives_a_contested_key_to_the_smallest_source():
    store = Store()
    claims: Input[str, tuple[str, ...]] = store.input("Claims")
    owners = store.expand("Owners", claims, lambda _fetch, key, hosts: dict.fromkeys(hosts, key))
    store.output(owners)
    store.apply([Change(claims, "b", ("host",)), Change(claims, "c", ("host", "other"))])
    assert store.get(owners, "host") == "b"
    assert store.apply([Change(claims, "a", ("host",))]).changes[owners] == {"host": ("b", "a")}
    assert store.apply([Change(claims, "b", None)]).changes[owners] == {}
    assert store.apply([Change(claims, "a", None)]).changes[owners] == {"host": ("a", "c")}
    assert store.apply([Change(claims, "c", ("other",))]).changes[owners] == {"host": ("c", None)}


def test_an_index_files_keys_under_index_keys():
    store = Store()
    rules: Input[str, tuple[str, ...]] = store.input("Rules")
    by_host: Index[str, str, tuple[str, ...]] = store.index("RulesByHost", rules, lambda _key, hosts: hosts)
    store.apply([Change(rules, "r2", ("x", "y")), Change(rules, "r1", ("x", "x"))])
    assert store.entry(by_host, "x") == ("r1", "r2")
    assert store.entry(by_host, "y") == ("r2",)
    assert store.entry(by_host, "z") == ()
    store.apply([Change(rules, "r2", ("z",))])
    assert [store.entry(by_host, host) for host in "xyz"] == [("r1",), (), ("r2",)]


def test_keys_change_only_when_an_entry_becomes_empty_or_stops_being_so():
    store = Store()
    rules: Input[str, str] = store.input("Rules")
    by_host: Index[str, str, str] = store.index("RulesByHost", rules, lambda _key, host: (host,))
    hosts = store.keys("Hosts", by_host)
    store.output(hosts)
    assert store.apply([Change(rules, "r1", "x")]).changes[hosts] == {"x": (None, True)}
    assert store.apply([Change(rules, "r2", "x")]).changes[hosts] == {}
    assert store.apply([Change(rules, "r1", "y")]).changes[hosts] == {"y": (None, True)}
    assert store.apply([Change(rules, "r2", None)]).changes[hosts] == {"x": (True, None)}


def test_a_join_pairs_left_keys_with_the_members_of_their_entry():
    store = Store()
    layers: Input[str, str] = store.input("Layers")
    rules: Input[int, tuple[str, str]] = store.input("Rules")
    by_layer: Index[str, int, tuple[str, str]] = store.index("RulesByLayer", rules, lambda _key, rule: (rule[0],))
    pairs = store.join("LayerRules", layers, by_layer)
    store.output(pairs)

    store.apply([Change(layers, "base", "1"), Change(rules, 1, ("base", "a")), Change(rules, 2, ("top", "b"))])
    assert dict(store.items(pairs)) == {("base", 1): ("base", "a")}

    assert store.apply([Change(layers, "top", "1")]).changes[pairs] == {("top", 2): (None, ("top", "b"))}
    assert store.apply([Change(layers, "top", "2")]).changes[pairs] == {}
    assert store.apply([Change(rules, 2, ("base", "b"))]).changes[pairs] == {
        ("top", 2): (("top", "b"), None),
        ("base", 2): (None, ("base", "b")),
    }
    assert store.apply([Change(rules, 1, ("base", "c"))]).changes[pairs] == {
        ("base", 1): (("base", "a"), ("base", "c"))
    }
    assert store.apply([Change(layers, "base", None)]).changes[pairs].keys() == {("base", 1), ("base", 2)}


def test_a_union_has_the_entries_of_its_parts_and_the_first_wins():
    store = Store()
    first: Input[str, int] = store.input("First")
    second: Input[str, int] = store.input("Second")
    both = store.union("Both", first, second)
    store.output(both)
    store.apply([Change(first, "a", 1), Change(second, "a", 2), Change(second, "b", 3)])
    assert dict(store.items(both)) == {"a": 1, "b": 3}
    assert store.apply([Change(first, "a", None)]).changes[both] == {"a": (1, 2)}


def test_a_query_lives_as_long_as_somebody_reads_it():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    asked: Input[str, str] = store.input("Asked")
    squares: Query[str, int] = store.query("Squares", lambda fetch, key: (fetch(numbers, key) or 0) ** 2)
    answers = store.derive("Answers", asked, lambda fetch, _key, name: fetch(squares, name))
    store.output(squares)
    runs: list[tuple[str, Any]] = []
    store.trace = runs

    store.apply([Change(numbers, "n", 3)])
    assert runs == []

    revision = store.apply([Change(asked, "one", "n"), Change(asked, "two", "n")])
    assert runs.count(("Squares", "n")) == 1
    assert revision.changes[squares] == {"n": (None, 9)}
    assert dict(store.items(answers)) == {"one": 9, "two": 9}

    assert store.apply([Change(numbers, "n", -3)]).changes[squares] == {}
    assert store.apply([Change(asked, "one", None)]).changes[squares] == {}
    assert store.apply([Change(asked, "two", None)]).changes[squares] == {"n": (9, None)}
    runs.clear()
    store.apply([Change(numbers, "n", 4)])
    assert runs == []


def test_the_graph_refuses_what_it_cannot_order():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    memo: Query[str, int] = store.query("Memo", lambda _fetch, _key: 1)
    with pytest.raises(GraphError, match="the name is taken"):
        store.input("Numbers")
    with pytest.raises(GraphError, match="belongs to another store"):
        Store().derive("Other", numbers, lambda _fetch, _key, value: value)
    with pytest.raises(GraphError, match="fetch from it"):
        store.derive("FromMemo", memo, lambda _fetch, _key, value: value)  # type: ignore[arg-type]
    store.apply([])
    with pytest.raises(GraphError, match="fixed since the first apply"):
        store.input("Late")


def test_a_function_may_read_only_what_was_created_before_it():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    early = store.derive("Early", numbers, lambda fetch, key, _value: fetch(late, key))
    late = store.derive("Late", numbers, lambda _fetch, _key, value: value)
    store.apply([Change(numbers, "a", 1)])
    assert "Early may not read Late" in str(store.failures[early, "a"])
    assert store.get(late, "a") == 1


def test_fetch_is_of_no_use_after_its_run():
    store = Store()
    kept: list[Fetch] = []
    numbers: Input[str, int] = store.input("Numbers")
    store.derive("Leak", numbers, lambda fetch, _key, _value: kept.append(fetch))
    store.apply([Change(numbers, "a", 1)])
    with pytest.raises(GraphError, match="outside of a run"):
        kept[0](numbers, "a")


def test_a_function_cannot_read_the_store_behind_the_back_of_fetch():
    store = Store()
    numbers: Input[str, int] = store.input("Numbers")
    sneaky = store.derive("Sneaky", numbers, lambda _fetch, key, _value: store.get(numbers, key))
    store.apply([Change(numbers, "a", 1)])
    assert isinstance(store.failures[sneaky, "a"], StoreError)
