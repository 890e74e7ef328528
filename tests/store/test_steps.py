"""Big changes in steps: nothing is seen before the end, small changes run between, nothing is lost.

(`test_incremental.py` mixes them at random.)
"""

from typing import Any

import pytest

from controlplane.store import Change, Fetch, Input, StaleForkError, Store, StoreError
from controlplane.store.store import STEP_BATCH
from tests.store.state import drain, structure, visible

BIG = 200


class World:
    """Every number is scaled by one setting: changing it is a big change."""

    def __init__(self) -> None:
        self.store = store = Store()
        self.settings: Input[str, Any] = store.input("Settings")
        self.numbers: Input[int, int] = store.input("Numbers")
        self.scaled = store.derive("Scaled", self.numbers, self.scale)
        store.output(self.scaled)
        self.runs: list[tuple[str, Any]] = []
        store.trace = self.runs

    def scale(self, fetch: Fetch, _key: int, number: int) -> int:
        return number * int(fetch(self.settings, "factor") or 1)

    def fill(self) -> None:
        self.store.apply([Change(self.numbers, key, key) for key in range(BIG)])

    def scale_by(self, factor: int) -> Any:
        return self.store.apply_steps([Change(self.settings, "factor", factor)], lambda: True)


def test_nothing_is_seen_before_it_is_finished():
    world = World()
    world.fill()
    before, number = visible(world.store), world.store.revision
    steps = world.scale_by(3)
    yields = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            revision = end.value
            break
        yields += 1
        assert visible(world.store) == before
        assert world.store.revision == number
    assert yields >= BIG / STEP_BATCH
    assert revision.number == world.store.revision == number + 1
    assert revision.changes[world.scaled] == {key: (key, 3 * key) for key in range(1, BIG)}


def test_a_step_runs_a_bounded_number_of_functions():
    world = World()
    world.fill()
    world.runs.clear()
    for _ in world.scale_by(3):
        assert len(world.runs) <= STEP_BATCH
        world.runs.clear()


def test_steps_yield_only_when_the_budget_says_so():
    world = World()
    world.fill()
    assert list(world.store.apply_steps([Change(world.settings, "factor", 3)], lambda: False)) == []
    assert world.store.get(world.scaled, 7) == 21


def test_a_small_change_between_steps_is_published_at_once_and_kept():
    world = World()
    world.fill()
    steps = world.scale_by(3)
    for _ in range(10):
        next(steps)
    small = world.store.apply([Change(world.numbers, 7, 100), Change(world.numbers, BIG, 1)])
    assert small.changes[world.scaled] == {7: (7, 100), BIG: (None, 1)}
    assert world.store.get(world.scaled, 7) == 100
    big = drain(steps)
    assert big.number == small.number + 1
    assert big.changes[world.scaled][7] == (100, 300)
    assert big.changes[world.scaled][BIG] == (1, 3)
    assert world.store.get(world.scaled, 7) == 300
    structure(world.store)


def test_a_small_change_that_arrives_at_the_same_result_is_not_reported_again():
    world = World()
    world.fill()
    steps = world.scale_by(3)
    next(steps)
    world.store.apply([Change(world.settings, "factor", 3)])
    assert drain(steps).changes[world.scaled] == {}


def test_a_change_that_comes_back_before_the_end_is_not_reported():
    world = World()
    world.fill()
    steps = world.scale_by(3)
    for _ in range(BIG // STEP_BATCH):
        next(steps)
    world.store.apply([Change(world.settings, "factor", 1)])
    assert drain(steps).changes[world.scaled] == {}
    assert world.store.get(world.scaled, 7) == 7


def test_a_failure_that_is_over_before_the_end_is_not_reported():
    world = World()
    world.fill()
    steps = world.store.apply_steps([Change(world.settings, "factor", "not a number")], lambda: True)
    for _ in range(BIG // STEP_BATCH):
        next(steps)
    world.store.apply([Change(world.settings, "factor", 2)])
    revision = drain(steps)
    assert not revision.failures
    assert not world.store.failures
    assert world.store.get(world.scaled, 7) == 14


def test_the_first_build_in_steps_needs_no_settling():
    world = World()
    steps = world.store.apply_steps([Change(world.numbers, key, key) for key in range(BIG)], lambda: True)
    next(steps)
    early = world.store.apply([Change(world.numbers, BIG, 5)])
    assert early.changes[world.scaled] == {BIG: (None, 5)}
    revision = drain(steps)
    assert len(revision.changes[world.scaled]) == BIG
    assert world.store.get(world.scaled, BIG) == 5
    assert list(world.store.settle(lambda: True)) == []


def test_settling_moves_everything_down_and_changes_nothing():
    world = World()
    world.fill()
    revision = drain(world.scale_by(3))
    before = visible(world.store)
    fork = world.store.fork()
    list(world.store.settle(lambda: True))
    assert world.store._top is world.store._base
    assert visible(world.store) == visible(fork) == before
    assert world.store.revision == revision.number
    structure(world.store)


def test_later_applies_settle_by_and_by():
    world = World()
    world.fill()
    drain(world.scale_by(3))
    assert world.store._top is not world.store._base
    for number in range(5):
        world.store.apply([Change(world.numbers, 0, number)])
    assert world.store._top is world.store._base
    assert world.store.get(world.scaled, 7) == 21


def test_a_change_that_is_given_up_leaves_no_trace():
    world = World()
    world.fill()
    before = visible(world.store)
    steps = world.scale_by(3)
    for _ in range(10):
        next(steps)
    world.store.apply([Change(world.numbers, 7, 7)])
    steps.close()
    assert visible(world.store) == before
    drain(world.scale_by(2))
    assert world.store.get(world.scaled, 7) == 14


def test_one_big_change_at_a_time():
    world = World()
    world.fill()
    steps = world.scale_by(3)
    next(steps)
    with pytest.raises(StoreError, match="in steps"):
        drain(world.scale_by(5))
    drain(steps)
    assert world.store.get(world.scaled, 7) == 21


def test_a_stream_of_small_changes_does_not_keep_a_big_one_from_ending():
    world = World()
    world.fill()
    steps = world.scale_by(3)
    for number in range(2000):
        try:
            next(steps)
        except StopIteration:
            break
        world.store.apply([Change(world.numbers, key, number) for key in range(0, BIG, 10)])
    else:
        pytest.fail("still working")
    assert world.store.get(world.scaled, 7) == 21


def test_a_fork_can_take_steps_and_notices_that_its_parent_moved():
    world = World()
    world.fill()
    fork = world.store.fork()
    drain(fork.apply_steps([Change(world.settings, "factor", 3)], lambda: True))
    assert fork.get(world.scaled, 7) == 21
    assert world.store.get(world.scaled, 7) == 7
    steps = fork.apply_steps([Change(world.settings, "factor", 4)], lambda: True)
    next(steps)
    world.store.apply([Change(world.numbers, 7, 8)])
    with pytest.raises(StaleForkError):
        drain(steps)
