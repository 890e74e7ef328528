"""A change costs what it changes: the same work at 100 entries as at 5,000, in calls and in memory.

Times depend on the machine, so they are for `bench/store.py`. Here calls are counted (of Python functions and of
built-in ones), which shows any loop over a whole collection, and the memory an apply takes at its height, which
shows any copy of one: at 5,000 entries the smallest dictionary takes 200 kB.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

from controlplane.store import Change, Collection, Fetch, Index, Input, Query, Store

SMALL, LARGE = 100, 5000
ENOUGH = 40_000
"""bytes"""


class Mesh:
    """A chain six deep over `size` services in one namespace, with every primitive on the way."""

    def __init__(self, size: int) -> None:
        self.store = store = Store()
        self.services: Input[int, int] = store.input("Services")
        self.rules: Input[int, tuple[int, int]] = store.input("Rules")
        self.layers: Input[str, int] = store.input("Layers")
        hosts: Collection[int, int] = store.expand("Hosts", self.services, lambda _fetch, key, value: {key * 2: value})
        self.rules_by_host: Index[int, int, Any] = store.index("RulesByHost", self.rules, lambda _key, rule: (rule[0],))
        ruled = store.keys("Ruled", self.rules_by_host)
        in_layer: Index[str, int, int] = store.index("HostsByLayer", hosts, lambda _key, _value: ("layer",))
        pairs = store.join("LayerHosts", self.layers, in_layer)
        cluster: Query[int, Any] = store.query("Cluster", lambda fetch, host: (host, fetch(hosts, host)))

        def route(fetch: Fetch, key: tuple[str, int], value: int) -> Any:
            host = key[1]
            return (value, fetch(cluster, host), fetch.values(self.rules_by_host, host), fetch.has(ruled, host))

        routes = store.derive("Routes", pairs, route)
        virtual_hosts = store.derive("VirtualHosts", routes, lambda _fetch, _key, route: (route,))
        everything = store.union("Everything", virtual_hosts)
        store.output(everything)
        store.output(cluster)
        store.apply([Change(self.layers, "layer", 1)])
        store.apply([Change(self.services, key, key) for key in range(size)])
        store.apply([Change(self.rules, key, (key * 2, key)) for key in range(0, size, 5)])

    def changes(self) -> list[Change[Any, Any]]:
        """One of each kind: value, weight, rename, index move, create, delete."""
        return [
            Change(self.services, 7, -1),
            Change(self.rules, 10, (20, -1)),
            Change(self.rules, 10, (22, -1)),
            Change(self.rules, 10, None),
            Change(self.services, -5, 1),
            Change(self.services, 7, None),
        ]


def apply_to_fork(store: Store, change: Change[Any, Any]) -> None:
    store.fork().apply([change])


def calls(run: Callable[[], Any]) -> int:
    count = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # it has callbacks of its own
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def peak(run: Callable[[], Any]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_one_change_takes_the_same_calls_at_any_size():
    counts = []
    for size in (SMALL, LARGE):
        mesh = Mesh(size)
        counts.append([calls(partial(mesh.store.apply, [change])) for change in mesh.changes()])
    small, large = counts
    assert small == large
    assert max(large) < 1000


def test_one_change_takes_no_copy_of_anything():
    mesh = Mesh(LARGE)
    for change in mesh.changes():
        assert peak(partial(mesh.store.apply, [change])) < ENOUGH, change


def test_a_fork_takes_the_same_calls_at_any_size():
    counts = []
    for size in (SMALL, LARGE):
        mesh = Mesh(size)
        counts.append([calls(partial(apply_to_fork, mesh.store, change)) for change in mesh.changes()])
    assert counts[0] == counts[1]


def test_a_fork_takes_no_copy_of_anything():
    mesh = Mesh(LARGE)
    for change in mesh.changes():
        assert peak(partial(apply_to_fork, mesh.store, change)) < 2 * ENOUGH, change


def step_count(size: int) -> int:
    mesh = Mesh(size)
    return len(list(mesh.store.apply_steps([Change(mesh.services, key, -key) for key in range(1, size)], lambda: True)))


def test_publishing_a_big_change_takes_the_same_calls_at_any_size():
    """The last step, after the last function has run."""
    counts = []
    for size in (SMALL, LARGE):
        mesh = Mesh(size)
        steps = mesh.store.apply_steps([Change(mesh.services, key, -key) for key in range(1, size)], lambda: True)
        for _ in range(step_count(size)):
            next(steps)
        counts.append(calls(partial(next, steps, None)))
        assert mesh.store.get(mesh.services, 7) == -7
    assert counts[0] == counts[1]


def test_the_measures_measure():
    """A loop over a collection shows in the calls, a copy of one in the memory."""
    mesh = Mesh(LARGE)
    assert calls(lambda: [abs(key) for key, _ in mesh.store.items(mesh.services)]) > LARGE
    assert peak(lambda: dict(mesh.store.items(mesh.services))) > 3 * ENOUGH
