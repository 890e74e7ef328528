"""How often somebody may: at once, then steadily, each for himself, and never more memory than was allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.runtime.buckets import Buckets, Rate
from tests.runtime.turning import TurningClock


async def test_a_burst_then_a_steady_rate():
    clock = TurningClock()
    buckets: Buckets[str] = Buckets(clock, Rate(burst=3, per_second=0.5))
    assert [buckets.take("a") for _ in range(3)] == [0.0] * 3
    assert buckets.take("a") == pytest.approx(2.0)
    assert buckets.take("b") == 0.0, "everybody has his own"
    await clock.turn(1.0)
    assert buckets.take("a") == pytest.approx(1.0)
    await clock.turn(1.0)
    assert buckets.take("a") == 0.0
    await clock.turn(1000.0)
    assert [buckets.take("a") for _ in range(3)] == [0.0] * 3, "no more than a burst is saved up"
    assert buckets.take("a") > 0


def test_what_is_given_back_can_be_taken_and_no_more():
    buckets: Buckets[str] = Buckets(TurningClock(), Rate(burst=2, per_second=0.1))
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.0]
    buckets.give_back("a")
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0
    for _ in range(5):
        buckets.give_back("b")
    assert [buckets.take("b") > 0 for _ in range(3)] == [False, False, True]


def test_keys_that_callers_choose_take_bounded_memory():
    buckets: Buckets[int] = Buckets(TurningClock(), Rate(burst=1, per_second=0.1), most=10)
    buckets.take(0)
    for key in range(1, 1000):
        buckets.take(key)
        assert buckets.take(0) > 0, "who asks again and again is not forgotten"
        assert len(buckets) <= 10


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 5)), max_size=60))
def test_nobody_ever_gets_more_than_the_rate(steps):
    """Against the definition: in any stretch of time no more than the burst and what flowed in meanwhile."""
    clock = TurningClock()
    buckets: Buckets[str] = Buckets(clock, Rate(burst=4, per_second=1.5))
    granted: list[tuple[str, float]] = []
    for key, seconds in steps:
        clock._now += seconds
        if buckets.take(key) == 0.0:
            granted.append((key, clock.monotonic()))
    for key in "ab":
        times = [at for who, at in granted if who == key]
        for first in range(len(times)):
            for last in range(first, len(times)):
                assert last - first + 1 <= 4 + 1.5 * (times[last] - times[first]) + 1e-6
