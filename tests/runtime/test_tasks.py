"""No task dies unseen."""

import asyncio
import itertools

import pytest

from controlplane.runtime.backoff import BackoffPolicy
from controlplane.runtime.tasks import CriticalTaskEnded, Supervisor
from tests.runtime.turning import TurningClock, settle


async def raises() -> None:
    raise ValueError("broken")


async def returns() -> None:
    return


async def for_ever() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("work", [raises, returns])
async def test_a_critical_task_that_ends_in_any_way_ends_the_process(work) -> None:
    async with Supervisor(TurningClock()) as tasks:
        tasks.critical("push", work)
        with pytest.raises(CriticalTaskEnded) as ended:
            await tasks.wait()
    assert ended.value.name == "push"
    assert (ended.value.__cause__ is None) == (work is returns)


async def test_the_first_critical_end_is_the_one_reported() -> None:
    async with Supervisor(TurningClock()) as tasks:
        tasks.critical("first", raises)
        await settle()
        tasks.critical("second", raises)
        await settle()
        with pytest.raises(CriticalTaskEnded, match="first"):
            await tasks.wait()


async def test_leaving_the_supervisor_cancels_its_tasks_and_those_they_start_while_dying() -> None:
    cancelled: list[str] = []

    async def parent() -> None:
        try:
            await for_ever()
        finally:
            cancelled.append("parent")
            tasks.once("child", child)

    async def child() -> None:
        try:
            await for_ever()
        finally:
            cancelled.append("child")

    async with Supervisor(TurningClock()) as tasks:
        tasks.critical("parent", parent)
        await settle()
    assert cancelled == ["parent", "child"]
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_a_restarted_task_is_started_again_later_and_later_and_counted() -> None:
    clock, starts = TurningClock(), []

    async def flaky() -> None:
        starts.append(clock.monotonic())
        raise ValueError

    policy = BackoffPolicy(first=1, factor=10, longest=50)
    async with Supervisor(clock, sleep=clock.sleep, policy=policy) as tasks:
        tasks.restarted("watch", flaky)
        await clock.turn(61)
        assert tasks.restarts == {"watch": len(starts)}
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert len(waits) >= 3
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, [(0.5, 1), (5, 10), (25, 50)], strict=False))


async def test_a_restarted_task_that_returns_is_done() -> None:
    async with Supervisor(TurningClock()) as tasks:
        task = tasks.restarted("one shot", returns)
        await task
        assert tasks.restarts == {}


async def test_a_one_off_task_that_raises_harms_nobody() -> None:
    async with Supervisor(TurningClock()) as tasks:
        other = tasks.critical("other", for_ever)
        tasks.once("broken", raises)
        await settle()
        assert not other.done()
