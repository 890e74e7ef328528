"""Bytes in flight are bounded, first come first served."""

import asyncio

from controlplane.xds.budget import ByteBudget


async def hold(budget: ByteBudget, size: int, log: list[str], name: str, release: asyncio.Event) -> None:
    async with budget.of(size, name):
        log.append(name)
        await release.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_does_not_fit_waits_its_turn():
    budget, log = ByteBudget(100), list[str]()
    first, second = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for size, name, release in ((60, "a", first), (60, "b", second), (10, "c", second)):
            tasks.create_task(hold(budget, size, log, name, release))
        await settle()
        assert log == ["a"]  # c would fit, but b came first
        first.set()
        await settle()
        assert log == ["a", "b", "c"]
        assert budget.taken == 70
        second.set()
    assert budget.taken == 0


async def test_what_is_larger_than_the_budget_passes_alone():
    budget, log, release = ByteBudget(100), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(budget, 1000, log, "big", release))
        tasks.create_task(hold(budget, 1, log, "small", release))
        await settle()
        assert log == ["big"]
        release.set()
    assert log == ["big", "small"]


async def test_who_leaves_while_waiting_blocks_nobody():
    budget, log = ByteBudget(100), list[str]()
    first, last = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(budget, 100, log, "a", first))
        leaving = tasks.create_task(hold(budget, 100, log, "b", last))
        tasks.create_task(hold(budget, 100, log, "c", last))
        await settle()
        leaving.cancel()
        first.set()
        await settle()
        assert log == ["a", "c"]
        last.set()
    assert budget.taken == 0


async def test_who_holds_its_share_holds_up_nobody_else():
    budget, log, release = ByteBudget(100), list[str](), asyncio.Event()

    async def hold_for(owner: str, name: str) -> None:
        async with budget.of(20, owner):
            log.append(name)
            await release.wait()

    async with asyncio.TaskGroup() as tasks:
        for owner, name in (("greedy", "a"), ("greedy", "b"), ("greedy", "c"), ("other", "d"), ("other", "e")):
            tasks.create_task(hold_for(owner, name))
        await settle()
        assert log == ["a", "d"]  # a quarter each: 20 of 25
        release.set()
    assert sorted(log) == ["a", "b", "c", "d", "e"]
    assert budget.taken == 0
