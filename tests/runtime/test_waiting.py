"""Backoff, debounce, merging queues and the lag meter, on a clock the tests turn."""

import asyncio

import pytest

from controlplane.runtime.backoff import Backoff, BackoffPolicy
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.lag import LagMeter
from controlplane.runtime.merging import Debounce, MergingQueue, Overflow
from tests.runtime.turning import TurningClock, settle

POLICY = BackoffPolicy(first=1, factor=2, longest=8, healthy_after=10)


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(POLICY, randomness=lambda: 1.0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 8, 8]


def test_jitter_spreads_over_the_upper_half_only() -> None:
    assert Backoff(POLICY, randomness=lambda: 0.0).next() == 0.5


def test_a_healthy_run_forgets_old_failures_and_a_short_one_does_not() -> None:
    backoff = Backoff(POLICY, randomness=lambda: 1.0)
    backoff.next(), backoff.next()
    backoff.ran(9.9)
    assert backoff.next() == 4
    backoff.ran(10)
    assert backoff.next() == 1


def test_failing_for_years_does_not_overflow() -> None:
    backoff = Backoff(POLICY, randomness=lambda: 1.0)
    backoff.failures = 10**9
    assert backoff.next() == 8


async def test_debounce_waits_for_quiet() -> None:
    clock = TurningClock()
    debounce = Debounce(clock, quiet=0.1, longest=1)
    assert debounce.wait() == float("inf")
    debounce.event()
    await clock.turn(0.09)
    debounce.event()
    assert debounce.wait() == pytest.approx(0.1)
    await clock.turn(0.1)
    assert debounce.pending
    assert debounce.wait() <= 0


async def test_debounce_never_starves_under_a_continuous_stream() -> None:
    clock = TurningClock()
    debounce = Debounce(clock, quiet=0.1, longest=1)
    for _ in range(20):
        debounce.event()
        await clock.turn(0.05)
    assert debounce.wait() == pytest.approx(0)
    debounce.done()
    assert not debounce.pending


async def test_a_thousand_flaps_of_one_key_are_one_entry() -> None:
    queue: MergingQueue[str, int] = MergingQueue(limit=2)
    for value in range(1000):
        queue.put("endpoint", value)
    assert await queue.take() == {"endpoint": 999}
    assert len(queue) == 0


async def test_values_of_one_key_are_merged_by_the_owners_rule_and_keep_their_place() -> None:
    queue: MergingQueue[str, int] = MergingQueue(limit=9, merge=lambda old, new: old + new)
    for key, value in (("a", 1), ("b", 2), ("a", 3)):
        queue.put(key, value)
    assert list((await queue.take()).items()) == [("a", 4), ("b", 2)]


def test_one_key_too_many_overflows_and_changes_nothing() -> None:
    queue: MergingQueue[str, int] = MergingQueue(limit=1)
    queue.put("a", 1)
    with pytest.raises(Overflow):
        queue.put("b", 2)
    queue.put("a", 3)
    assert len(queue) == 1


async def test_a_cancelled_reader_loses_nothing() -> None:
    queue: MergingQueue[str, int] = MergingQueue(limit=1)
    reader = asyncio.ensure_future(queue.take())
    await settle()
    queue.put("a", 1)
    reader.cancel()
    await settle()
    assert await asyncio.wait_for(queue.take(), 1) == {"a": 1}


async def test_lag_is_how_late_the_loop_woke_us() -> None:
    clock = TurningClock()

    async def late_sleep(seconds: float) -> None:
        await clock.sleep(seconds + 0.5 * (meter.beats == 3))

    meter = LagMeter(clock, interval=0.1, sleep=late_sleep)
    assert meter.quantile(0.5) == 0
    running = asyncio.ensure_future(meter.run())
    await clock.turn(2.05)
    running.cancel()
    assert meter.beats == 15
    assert meter.quantile(0.5) == pytest.approx(0)
    assert meter.quantile(1) == pytest.approx(0.5)
    meter.reset()
    assert meter.quantile(1) == 0


def test_the_system_clock_goes_forward_and_knows_its_zone() -> None:
    clock = SystemClock()
    earlier = clock.monotonic()
    assert clock.monotonic() >= earlier
    assert clock.now().utcoffset() is not None
