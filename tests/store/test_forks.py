"""Forks: what would be if, without touching what is. (`test_incremental.py` changes forks at random.)"""

import pytest

from controlplane.store import Change, Input, StaleForkError, Store
from tests.store.mesh import Mesh, Rule, Service
from tests.store.state import everything


class World:
    def __init__(self) -> None:
        self.store = store = Store()
        self.numbers: Input[str, int] = store.input("Numbers")
        self.doubles = store.derive("Doubles", self.numbers, lambda _fetch, _key, value: value * 2)
        store.output(self.doubles)
        store.apply([Change(self.numbers, "a", 1), Change(self.numbers, "b", 2)])


def test_a_fork_starts_as_its_parent_and_goes_its_own_way():
    world = World()
    fork = world.store.fork()
    assert dict(fork.items(world.doubles)) == {"a": 2, "b": 4}
    revision = fork.apply(
        [Change(world.numbers, "a", 5), Change(world.numbers, "b", None), Change(world.numbers, "c", 3)]
    )
    assert revision.changes[world.doubles] == {"a": (2, 10), "b": (4, None), "c": (None, 6)}
    assert revision.number == world.store.revision + 1
    assert dict(fork.items(world.doubles)) == {"a": 10, "c": 6}
    assert dict(world.store.items(world.doubles)) == {"a": 2, "b": 4}


def test_a_fork_of_a_fork_sees_both():
    world = World()
    fork = world.store.fork()
    fork.apply([Change(world.numbers, "a", None)])
    second = fork.fork()
    second.apply([Change(world.numbers, "a", 7)])
    assert [store.get(world.doubles, "a") for store in (world.store, fork, second)] == [2, None, 14]


def test_a_fork_is_stale_when_its_parent_moved():
    world = World()
    fork = world.store.fork()
    second = fork.fork()
    world.store.apply([Change(world.numbers, "a", 1)])
    assert fork.get(world.doubles, "a") == 2  # an equal change moves nothing
    world.store.apply([Change(world.numbers, "a", 9)])
    for stale in (fork, second):
        with pytest.raises(StaleForkError):
            stale.get(world.doubles, "a")
        with pytest.raises(StaleForkError):
            stale.apply([])


def test_a_fork_never_changes_its_parent():
    """Everything about the parent is compared: entries, index entries, recorded reads, readers, failures, reports."""
    mesh = Mesh(Store())
    mesh.store.apply(
        [
            Change(mesh.namespaces, "a", "dev"),
            Change(mesh.services, ("a", "a"), Service(("x.y",), 1)),
            Change(mesh.services, ("a", "b"), Service(("x.y",), 2)),
            Change(mesh.endpoints, "a.a", ("1", "2")),
            Change(mesh.rules, ("a", "r1"), Rule(("*.a", "a.b"), 1, ("a", "r2"), "red")),
            Change(mesh.rules, ("a", "r2"), Rule(("a.a",), 2, None, "red", "index")),
            Change(mesh.proxies, ("a", "p"), ("red", "blue")),
        ]
    )
    before = everything(mesh.store)
    for change in (
        Change(mesh.namespaces, "a", None),
        Change(mesh.services, ("a", "a"), None),
        Change(mesh.services, ("b", "b"), Service(("x.y",), 3)),
        Change(mesh.rules, ("a", "r1"), Rule(("*",), 5, None, "blue")),
        Change(mesh.rules, ("a", "r2"), Rule(("a.a",), 2, ("a", "r1"), "red")),
        Change(mesh.endpoints, "a.a", ("cluster",)),
        Change(mesh.proxies, ("a", "p"), None),
    ):
        fork = mesh.store.fork()
        assert fork.apply([change]).number == mesh.store.revision + 1
        assert everything(mesh.store) == before


def test_a_fork_is_no_copy():
    """It holds what differs: nothing at first, and no more than was touched after a change."""
    store = Store()
    numbers: Input[int, int] = store.input("Numbers")
    store.derive("Doubles", numbers, lambda fetch, key, value: (value, fetch(numbers, key - 1)))
    store.apply([Change(numbers, key, key) for key in range(1000)])
    fork = store.fork()
    assert _held(fork) == 0
    fork.apply([Change(numbers, 500, -1)])
    assert 0 < _held(fork) <= 10


def _held(fork: Store) -> int:
    engine = fork._serving()
    return sum(overlay.size() for table in engine.tables for overlay in table.overlays)


def test_assert_mode_holds_for_forks_too():
    world = World()
    world.store.assert_mode = True
    assert world.store.fork().assert_mode


def test_a_fork_has_its_own_trace_and_counts():
    world = World()
    runs: list[tuple[str, str]] = []
    fork = world.store.fork()
    fork.trace = runs
    before = world.store.counts()["Doubles"].runs
    fork.apply([Change(world.numbers, "a", 3)])
    assert runs == [("Doubles", "a")]
    assert fork.counts()["Doubles"].runs == 1
    assert world.store.counts()["Doubles"].runs == before
