"""One replica writes at a time, whatever happens to any of them, and another one soon does."""

import asyncio
from random import Random  # noqa: TID251  (seeded)

import pytest
import structlog

from controlplane.security.apiserver import NoAnswer
from controlplane.status.election import Election, Hold, Lease, Timing
from controlplane.status.lease import Leadership
from tests.conftest import Proved, Size
from tests.runtime.turning import TurningClock
from tests.status.simulation import START, World


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """A thousand leaders have little to say. (`conftest` undoes this.)"""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def troubled(seed: int, hand_overs: int, *, checks_versions: bool = True) -> World:
    random = Random(seed)
    world = World(random, random.choice((2, 3)))
    world.api.checks_versions = checks_versions
    while world.api.hand_overs < hand_overs:
        world.run(world.now + random.uniform(0.5, 20))
        world.trouble()
    return world


@pytest.mark.point
def test_nobody_writes_over_what_a_later_leader_wrote(size: Size, proved: Proved) -> None:
    asked = size(1_000, 10_000)
    worlds = [troubled(seed, asked // 20) for seed in range(20)]
    stale = [written for world in worlds for written in world.api.stale()]
    hand_overs = sum(world.api.hand_overs for world in worlds)
    writes = sum(len(world.api.written) for world in worlds)
    assert writes > 3 * hand_overs
    proved(
        "kubernetes 6",
        "writes of status over what a later leader wrote (pauses, partitions, late packets, clocks that disagree)",
        bound="0",
        figure=f"{len(stale)} of {writes:,} writes",
        holds=not stale,
        cases=hand_overs,
        asked=asked,
    )


def test_the_simulation_finds_stale_writes_where_versions_are_not_checked() -> None:
    assert any(troubled(seed, 50, checks_versions=False).api.stale() for seed in range(20))


@pytest.mark.point
def test_another_replica_writes_soon_after_the_leader_is_killed(size: Size, proved: Proved) -> None:
    gaps = []
    for seed in range(size(100, 1_000)):
        world = World(Random(seed), 2, calm=True)
        world.run(30 + Random(seed).uniform(0, 5))
        killed = next(each for each in world.replicas if each.name == world.api.lease.holder)
        killed.is_dead, at = True, world.now
        world.run(at + 20)
        gaps.append(next((when for when, _, who, _ in world.api.written if when > at and who != killed.name), 99) - at)
    proved(
        "kubernetes 6",
        "seconds from a killed leader to the first write of another (simulated network)",
        bound="15",
        figure=f"at most {max(gaps):.1f}",
        holds=max(gaps) <= 15,
        cases=len(gaps),
        asked=size(100, 1_000),
    )


def test_a_leader_that_was_stopped_does_not_believe_that_it_leads() -> None:
    election = Election("one", Timing(good=10, trust=6))
    election.seen(Lease("", "", 3, "7"), 100.0)
    hold = election.wants(100.0, START)
    assert hold is not None
    election.took(hold, Lease("one", "x", hold.epoch, "8"), 100.0)
    assert election.epoch(105.9) == 4
    assert election.epoch(106.0) is None


def test_a_lease_that_stands_still_is_taken_when_we_have_seen_it_stand_still() -> None:
    election = Election("two", Timing(good=10))
    election.seen(Lease("one", "long ago", 1, "1"), 50.0)
    assert election.wants(59.9, START) is None, "what it says about the time is another clock's"
    election.seen(Lease("one", "later", 1, "2"), 59.9)
    assert election.wants(69.0, START) is None
    hold = election.wants(69.9, START)
    assert hold is not None
    assert (hold.epoch, hold.version) == (2, "2")


class Stumbling:
    """A lease of an API server that now and then does not answer in time."""

    def __init__(self, clock: TurningClock) -> None:
        self.clock = clock
        self.lease = Lease("", "", 0, "1")
        self.lost = 0  # requests that are lost from here on

    async def read(self) -> Lease | None:
        if self.lost:
            self.lost -= 1
            await self.clock.sleep(Timing().answer)
            raise NoAnswer("late")
        return self.lease

    async def write(self, hold: Hold) -> Lease | None:
        self.lease = Lease(hold.holder, str(hold.renewed), hold.epoch, str(int(self.lease.version) + 1))
        return self.lease


@pytest.mark.parametrize(("lost", "leads_on"), [(1, True), (4, False)])
async def test_a_leader_stands_one_request_that_is_lost(lost: int, *, leads_on: bool) -> None:
    clock = TurningClock()
    leases = Stumbling(clock)
    leadership = Leadership(Election("one"), leases, clock, sleep=clock.sleep)
    running = asyncio.get_running_loop().create_task(leadership.run())
    for begin in range(10):  # wherever in its round it happens
        await clock.turn(10 + begin / 7)
        assert leadership.epoch() is not None
        leases.lost = lost
        led = []
        for _ in range(60):
            await clock.turn(0.1)
            led.append(leadership.epoch() is not None)
        assert all(led) is leads_on
    running.cancel()


def test_who_leaves_gives_the_lease_back() -> None:
    election = Election("one")
    election.seen(Lease("", "", 0, "1"), 0.0)
    hold = election.wants(0.0, START)
    assert hold is not None
    election.took(hold, Lease("one", "x", 1, "2"), 0.0)
    released = election.release(1.0, START)
    assert released is not None
    assert (released.holder, released.version) == ("", "2")
    assert election.epoch(1.0) is None
