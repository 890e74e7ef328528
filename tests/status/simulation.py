"""Replicas that elect and write, in a world where everything that can be late is late, without an event loop.

Coroutines are driven by hand: what they await goes to the world, which lets time pass. Requests and answers travel for
a while, some are lost, some arrive after whoever sent them gave up; replicas are stopped between any two of their
steps, with or without a clock that goes on meanwhile; no two clocks agree about the time or its pace.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from random import Random  # noqa: TID251  (seeded)
from typing import Any, NamedTuple

from controlplane.model.problem import ObjectRef
from controlplane.security.apiserver import NoAnswer
from controlplane.status.conditions import ACCEPTED, Condition, Truth, Wanted
from controlplane.status.election import Election, Hold, Lease, Timing
from controlplane.status.lease import Leadership
from controlplane.status.writer import Outcome, Pace, Standing, Writer

START = datetime(2026, 8, 1, tzinfo=UTC)
OBJECTS = [ObjectRef("networking.istio.io", "VirtualService", "shop", f"rule-{number}") for number in range(3)]


class Wait:
    """Something the world answers."""

    def __init__(self, what: float | Callable[[], Any]) -> None:
        self.what = what  # seconds to sleep, or what the API server does when the request is there

    def __await__(self) -> Generator["Wait", Any, Any]:
        return (yield self)


class Api:
    """The API server: each request is there at one moment."""

    def __init__(self) -> None:
        self.lease = Lease("", "", 0, "1")
        self.objects: dict[ObjectRef, tuple[int, Mapping[str, Any] | None]] = dict.fromkeys(OBJECTS, (1, None))
        self.written: list[tuple[float, ObjectRef, str, int]] = []  # when, of what, by whom, in which epoch
        self.hand_overs = 0
        self.checks_versions = True
        self.version = 1

    def hold(self, hold: Hold) -> Lease | None:
        if hold.version != self.lease.version:
            return None
        self.hand_overs += bool(hold.holder) and hold.holder != self.lease.holder
        self.version += 1
        self.lease = Lease(hold.holder, hold.renewed.isoformat(), hold.epoch, str(self.version))
        return self.lease

    def write(
        self, at: float, ref: ObjectRef, version: str, status: Mapping[str, Any], who: str, epoch: int
    ) -> Outcome:
        if self.checks_versions and version != str(self.objects[ref][0]):
            return Outcome.CONFLICT
        self.objects[ref] = (self.objects[ref][0] + 1, status)
        self.written.append((at, ref, who, epoch))
        return Outcome.WRITTEN

    def stale(self) -> list[tuple[float, ObjectRef, str, int]]:
        """Writes over what somebody of a later epoch had written."""
        newest: dict[ObjectRef, int] = {}
        found = []
        for written in self.written:
            _, ref, _, epoch = written
            if epoch < newest.get(ref, 0):
                found.append(written)
            newest[ref] = max(epoch, newest.get(ref, 0))
        return found


class Replica:
    """One of them, with a clock of its own."""

    def __init__(self, world: "World", name: str, *, rate: float, skew: float) -> None:
        self.world = world
        self.name = name
        self.rate = rate
        self.skew = skew
        self.frozen = 0.0  # seconds that its clock has missed
        self.stopped_until = 0.0
        self.cut_until = 0.0
        self.is_dead = False
        self.count = 0
        self.leadership = Leadership(Election(name), self, self, sleep=self.sleep)
        self.writer = Writer(
            self.statuses(), self.leadership, self, self.wanted, Pace(quiet=0.0, again=0.5, longest=0.5, events=0)
        )

    # A clock

    def monotonic(self) -> float:
        return (self.world.now - self.frozen) * self.rate + self.skew

    def now(self) -> datetime:
        return START + timedelta(seconds=self.world.now + self.skew)

    def sleep(self, seconds: float) -> Awaitable[None]:
        async def slept() -> None:
            await Wait(seconds / self.rate)

        return slept()

    # Leases

    async def read(self) -> Lease | None:
        found: Lease = await Wait(lambda: self.world.api.lease)
        return found

    async def write(self, hold: Hold) -> Lease | None:
        found: Lease | None = await Wait(lambda: self.world.api.hold(hold))
        return found

    # What it writes: something else each time

    def wanted(self, _ref: ObjectRef) -> tuple[Wanted, ...]:
        self.count += 1
        return (Wanted(ACCEPTED, Truth.TRUE, "Accepted", f"{self.name} {self.count}"),)

    def statuses(self) -> "Objects":
        return Objects(self)

    async def work(self) -> None:
        while True:
            self.writer.due(OBJECTS)
            await self.writer.step()
            await self.sleep(0.6)


class Objects:
    """Statuses as one replica asks for them."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica

    async def read(self, ref: ObjectRef) -> Standing | None:
        version, status = await Wait(lambda: self.replica.world.api.objects[ref])
        return Standing(str(version), 1, "uid", status, is_current=True)

    async def write(self, ref: ObjectRef, version: str, status: Mapping[str, Any]) -> Outcome:
        epoch = self.replica.leadership.epoch()
        assert epoch is not None, "asked right before"
        world, name = self.replica.world, self.replica.name
        found: Outcome = await Wait(lambda: world.api.write(world.now, ref, version, status, name, epoch))
        return found

    async def tell(self, ref: ObjectRef, uid: str, condition: Condition, now: datetime) -> None:
        raise AssertionError


class _Event(NamedTuple):
    at: float
    order: int
    happens: Callable[[], None]


class World:
    """Time, the network and the API server."""

    def __init__(self, random: Random, replicas: int, *, calm: bool = False) -> None:
        self.random = random
        self.calm = calm
        self.now = 0.0
        self.api = Api()
        self._events: list[_Event] = []
        self._order = 0
        self.replicas = [
            Replica(self, f"lateend-{number}", rate=random.uniform(0.9, 1.1), skew=random.uniform(-1e6, 1e6))
            for number in range(replicas)
        ]
        for replica in self.replicas:
            for work in (replica.leadership.run(), replica.work()):
                self._at(random.uniform(0, 2), self._resuming(replica, work))

    def _at(self, delay: float, happens: Callable[[], None]) -> None:
        self._order += 1
        heappush(self._events, _Event(self.now + delay, self._order, happens))

    def run(self, until: float) -> None:
        while self._events and self._events[0].at <= until:
            self.now, _, happens = heappop(self._events)
            happens()
        self.now = until

    def _resuming(
        self, replica: Replica, work: Coroutine[Any, Any, None], answer: Any = None, error: NoAnswer | None = None
    ) -> Callable[[], None]:
        def resume() -> None:
            if replica.is_dead:
                return
            if replica.stopped_until > self.now:
                self._at(replica.stopped_until - self.now + self.random.uniform(0, 0.01), resume)
                return
            self._asked(replica, work, work.throw(error) if error is not None else work.send(answer))

        return resume

    def _asked(self, replica: Replica, work: Coroutine[Any, Any, None], wait: Wait) -> None:
        if not callable(wait.what):
            self._at(wait.what, self._resuming(replica, work))
            return
        request, there, back = wait.what, self._travel(), self._travel()
        is_cut = replica.cut_until > self.now
        patience = Timing().answer
        if there + back <= patience and not is_cut:
            self._at(there, lambda: self._at(back, self._resuming(replica, work, request())))
            return
        if not is_cut and self.random.random() < 0.7:  # it arrives, and nobody waits for the answer
            self._at(there, lambda: void(request()))
        self._at(patience, self._resuming(replica, work, error=NoAnswer("late")))

    def _travel(self) -> float:
        if self.calm or self.random.random() < 0.97:
            return self.random.uniform(0.001, 0.05)
        return self.random.choice((0.5, 1.5, 5.0, 20.0, 60.0))

    def trouble(self) -> None:
        """Something happens to one of them: mostly to who leads."""
        leading = [each for each in self.replicas if each.name == self.api.lease.holder]
        replica = self.random.choice(leading * 3 + self.replicas)
        seconds = self.random.choice((1.0, 5.0, 9.0, 12.0, 20.0, 60.0))
        kind = self.random.randrange(3)
        if kind == 0:
            replica.cut_until = self.now + seconds
            return
        replica.stopped_until = self.now + seconds
        if kind == 1:  # the machine was stopped, and its clock with it
            replica.frozen += seconds


def void(_value: object) -> None:
    """Nobody hears it."""
