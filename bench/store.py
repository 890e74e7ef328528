"""What the incremental engine costs by itself, with functions that do nothing.

    python -m bench.store [--small] [--json]

Times are CPU seconds of this process, median of five runs; memory is what Python allocated for the nodes alone.
The bars are the project's own: a node with three fetches about 2 µs and at most 600 bytes, one change through six
collections tens of microseconds at any size, publishing a change of 50,000 nodes under 20 ms.
"""

import argparse
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from bench import report
from controlplane.store import Change, Collection, Fetch, Index, Input, Query, Store

RUNS = 5
KEYS = 7_000
DEPTH = 6
LAYERS = 16_667
"""Six collections of this size make 100,000 nodes."""
WIDE = 50_000
REPEAT = 200
"""Changes in one run."""
STEP = 0.005
"""Seconds between two yields that the budget asks for."""


class Figure(NamedTuple):
    name: str
    value: float
    unit: str
    bar: float | None = None


def cpu(run: Callable[[], Any]) -> float:
    """CPU seconds of one call, without the collector."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        run()
        return time.process_time() - start
    finally:
        gc.enable()


def median(once: Callable[[], float]) -> float:
    return statistics.median(once() for _ in range(RUNS))


# --- a node -------------------------------------------------------------------------------------------------------


class Flat:
    """`KEYS` nodes with `fetches` fetches each, and nothing else."""

    def __init__(self, fetches: int) -> None:
        self.store = store = Store()
        self.source: Input[tuple[str, str], Any] = store.input("Source")
        self.read: list[Input[tuple[str, str], Any]] = [store.input(f"Read{number}") for number in range(fetches)]
        store.derive("Nodes", self.source, self.node)
        self.keys = [("default", f"service-{number}") for number in range(KEYS)]
        store.apply([Change(read, key, key) for read in self.read for key in self.keys])
        self.changes = [Change(self.source, key, key) for key in self.keys]

    def node(self, fetch: Fetch, key: tuple[str, str], value: Any) -> Any:
        for read in self.read:
            fetch(read, key)
        return value

    def build(self) -> None:
        self.store.apply(self.changes)


class Bare(Flat):
    """The source alone, to be taken off."""

    def __init__(self) -> None:
        self.store = store = Store()
        self.source = store.input("Source")
        self.keys = [("default", f"service-{number}") for number in range(KEYS)]
        store.freeze()
        self.changes = [Change(self.source, key, key) for key in self.keys]


def allocated(flat: Flat) -> int:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    flat.build()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


def node_figures() -> list[Figure]:
    bare, none, three = (
        median(lambda make=make: cpu(make().build)) / KEYS * 1e6  # type: ignore[misc]
        for make in (Bare, lambda: Flat(0), lambda: Flat(3))
    )
    size = (allocated(Flat(3)) - allocated(Bare())) / KEYS
    return [
        Figure("input entry", bare, "µs"),
        Figure("node, no fetch", none - bare, "µs"),
        Figure("node, three fetches", three - bare, "µs", 3.0),
        Figure("each fetch, edge included", (three - none) / 3, "µs", 0.5),
        Figure("node, three fetches", size, "bytes", 600),
    ]


# --- one change ---------------------------------------------------------------------------------------------------


class Chain:
    """`DEPTH` collections, each made from the one before and reading a neighbour; an index, a query, an output."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.store = store = Store()
        self.source: Input[int, int] = store.input("Source")
        by_ten: Index[int, int, int] = store.index("ByTen", self.source, lambda key, _: (key // 10,))
        memo: Query[int, int] = store.query("Memo", lambda fetch, ten: len(fetch.keys(by_ten, ten)))
        stage: Collection[int, Any] = self.source
        for number in range(DEPTH):
            stage = store.derive(f"Stage{number}", stage, self._stage(stage, memo))
        store.output(stage)
        store.apply([Change(self.source, key, 0) for key in range(size)])
        self.number = 0

    @staticmethod
    def _stage(before: Collection[int, Any], memo: Query[int, int]) -> Callable[[Fetch, int, int], int]:
        return lambda fetch, key, value: value + 0 * (fetch(memo, key // 10) or 0) + 0 * (fetch(before, key) or 0)

    def change(self, store: Store | None = None) -> None:
        self.number += 1
        (store or self.store).apply([Change(self.source, self.size // 2, self.number)])


def change_figures(large: int) -> list[Figure]:
    small, big = _change_times(Chain(100)), _change_times(Chain(large))
    nodes = f"{large * DEPTH:,} nodes"
    gc.collect()
    return [
        Figure(f"one change, {DEPTH} deep, {100 * DEPTH} nodes", small.change, "µs", 100),
        Figure(f"one change, {DEPTH} deep, {nodes}", big.change, "µs", 100),
        Figure("the same, large to small", big.change / small.change, "times", 1.5),
        Figure(f"a fork of {nodes}", big.fork, "µs"),
        Figure("a fork and one change in it", big.fork_and_change, "µs", 500),
        Figure(f"full collection, {nodes}", big.collection / 1e3, "ms"),
    ]


class ChangeTimes(NamedTuple):
    """In µs."""

    change: float
    fork: float
    fork_and_change: float
    collection: float


def _change_times(chain: Chain) -> ChangeTimes:
    def each(run: Callable[[], Any], count: int = REPEAT) -> float:
        def repeat() -> None:
            for _ in range(count):
                run()

        return median(lambda: cpu(repeat)) / count * 1e6

    return ChangeTimes(
        change=each(chain.change),
        fork=each(chain.store.fork),
        fork_and_change=each(lambda: chain.change(chain.store.fork())),
        collection=each(gc.collect, count=1),
    )


# --- a big change -------------------------------------------------------------------------------------------------


class Wide:
    """One setting that `size` nodes read."""

    def __init__(self, size: int) -> None:
        self.store = store = Store()
        self.settings: Input[str, int] = store.input("Settings")
        self.source: Input[int, int] = store.input("Source")
        nodes: Collection[int, tuple[Any, ...]] = store.derive(
            "Nodes", self.source, lambda fetch, key, _: (key, fetch(self.settings, "all"))
        )
        store.output(nodes)
        self.changes = [Change(self.source, key, 0) for key in range(size)]
        self.setting = 0

    def set(self) -> list[Change[Any, Any]]:
        self.setting += 1
        return [Change(self.settings, "all", self.setting)]


class Budget:
    """Says so when a step has taken its time. CPU time: what others do on this machine is no fault of a step."""

    def __init__(self) -> None:
        self.since = time.process_time()

    def __call__(self) -> bool:
        return time.process_time() - self.since > STEP


def drain(steps: Generator[None, None, Any], budget: Budget) -> float:
    """The longest step, in seconds."""
    longest = 0.0
    while True:
        budget.since = time.process_time()
        try:
            next(steps)
        except StopIteration:
            return max(longest, time.process_time() - budget.since)
        longest = max(longest, time.process_time() - budget.since)


def wide_figures(size: int) -> list[Figure]:
    wide = Wide(size)
    build = cpu(lambda: wide.store.apply(wide.changes))
    whole = median(lambda: cpu(lambda: wide.store.apply(wide.set())))
    steps, publishing, settling, total = [], [], [], []
    gc.collect()
    gc.freeze()
    for _ in range(RUNS):
        budget = Budget()
        start = time.process_time()
        steps.append(drain(wide.store.apply_steps(wide.set(), budget), budget))
        total.append(time.process_time() - start)
        settling.append(drain(wide.store.settle(budget), budget))
        publishing.append(_publish_alone(wide))
    gc.unfreeze()
    return [
        Figure(f"first build of {size:,} nodes", build * 1e3, "ms"),
        Figure(f"one setting, {size:,} readers, at once", whole * 1e3, "ms"),
        Figure("the same in steps, in all", statistics.median(total) * 1e3, "ms"),
        Figure(f"longest step (asked for: {STEP * 1e3:g} ms)", statistics.median(steps) * 1e3, "ms", 20),
        Figure("publishing alone", statistics.median(publishing) * 1e3, "ms", 20),
        Figure("longest step of settling", statistics.median(settling) * 1e3, "ms", 20),
    ]


def _publish_alone(wide: Wide) -> float:
    """The last of the finest steps: nothing runs in it."""
    steps = wide.store.apply_steps(wide.set(), lambda: True)
    while True:
        start = time.process_time()
        try:
            next(steps)
        except StopIteration:
            return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the size, to see that it runs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    scale = 10 if arguments.small else 1
    figures = [*node_figures(), *change_figures(LAYERS // scale), *wide_figures(WIDE // scale)]
    found = [figure._asdict() for figure in figures]
    print(json.dumps(found) if arguments.json else report.of_store(found))


if __name__ == "__main__":
    main()
