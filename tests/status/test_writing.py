"""Writes over real HTTP: only what changed, never over what somebody else wrote, and never in a hurry."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from kubernetes.aio.client import CoreV1Api, CustomObjectsApi

from controlplane.model.problem import ObjectRef
from controlplane.status.conditions import ACCEPTED, Truth, Wanted
from controlplane.status.objects import KubernetesStatuses
from controlplane.status.writer import Pace, Writer
from tests.runtime.turning import TurningClock
from tests.security.apiservers import api_server
from tests.status.apiserver import Objects

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bill, namespace: shop}
spec: {hosts: [bill], http: [{route: [{destination: {host: bill}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart}}]}]}
"""
BILL = ObjectRef("networking.istio.io", "VirtualService", "shop", "bill")
CART = ObjectRef("networking.istio.io", "VirtualService", "shop", "cart")
WELL = (Wanted(ACCEPTED, Truth.TRUE, "Accepted", "all is well"),)
WRONG = (Wanted(ACCEPTED, Truth.FALSE, "InvalidRegex", "spec.http[0]: close the bracket"),)


class Lead:
    """We lead, until we do not."""

    def __init__(self) -> None:
        self.now: int | None = 1
        self.stands = 1  # in the API server

    def epoch(self) -> int | None:
        return self.now

    async def confirmed(self, epoch: int) -> bool:
        return epoch == self.stands == self.now


class World:
    """A writer and what it writes to."""

    def __init__(self, server: Objects, statuses: KubernetesStatuses) -> None:
        self.server = server
        self.clock = TurningClock()
        self.lead = Lead()
        self.wanted: dict[ObjectRef, Sequence[Wanted] | None] = {BILL: WELL, CART: WELL}
        self.writer = Writer(statuses, self.lead, self.clock, self.wanted.get, Pace(events=3))

    async def later(self, seconds: float = 1.0) -> int:
        await self.clock.turn(seconds)
        return await self.writer.step()


@asynccontextmanager
async def writing() -> AsyncIterator[World]:
    server = Objects(RULE)
    served = server.everything()
    async with api_server(server) as client:
        statuses = KubernetesStatuses(CustomObjectsApi(client), CoreV1Api(client), served.get, "lateend-1")
        yield World(server, statuses)


async def test_status_is_written_once() -> None:
    async with writing() as world:
        world.writer.due([BILL])
        assert await world.writer.step() == 0, "more of it will come in a moment"
        world.writer.due([BILL])
        assert await world.later() == 1
        assert world.server.conditions(BILL)["Accepted"]["status"] == "True"
        assert world.server.conditions(BILL)["Accepted"]["observedGeneration"] == 1
        for _ in range(3):
            world.writer.due([BILL])
            assert await world.later() == 0
        assert len(world.server.patches) == 1
        assert len(world.writer) == 0


async def test_who_does_not_lead_writes_nothing_and_asks_nothing() -> None:
    async with writing() as world:
        world.writer.due([BILL])
        world.lead.now = None
        assert await world.later() == 0
        assert world.server.reads == 0
        world.lead.now, world.lead.stands = 1, 2
        assert await world.later() == 0
        assert not world.server.patches, "somebody else has the lease"
        world.lead.now = 2
        assert await world.later() == 1


async def test_an_object_that_changes_meanwhile_is_written_about_anew() -> None:
    async with writing() as world:
        world.writer.due([BILL])
        document = {**world.server.objects[BILL], "metadata": {"name": "bill", "namespace": "shop", "labels": {}}}
        world.server.between.append(lambda: world.server.put(document))
        assert await world.later() == 0
        assert world.writer.conflicts == 1
        assert await world.later() == 1


async def test_what_is_not_served_yet_is_not_spoken_of() -> None:
    async with writing() as world:
        other = {**world.server.objects[BILL], "spec": {"hosts": ["other"]}}
        world.server.put({**other, "metadata": {"name": "bill", "namespace": "shop"}})
        world.writer.due([BILL])
        assert await world.later() == 0
        assert not world.server.patches


async def test_an_object_that_is_gone_is_dropped() -> None:
    async with writing() as world:
        world.writer.due([BILL, CART])
        del world.server.objects[BILL]
        world.wanted[CART] = None
        assert await world.later() == 0
        assert len(world.writer) == 0


async def test_one_that_goes_while_it_is_written_about_is_dropped() -> None:
    async with writing() as world:
        world.writer.due([BILL])
        world.server.between.append(lambda: world.server.objects.pop(BILL))
        assert await world.later() == 0
        assert len(world.writer) == 0


async def test_what_we_may_not_write_is_tried_less_and_less_and_holds_up_nothing() -> None:
    async with writing() as world:
        world.server.broken = web.json_response({"kind": "Status"}, status=403)
        world.writer.due([BILL])
        assert await world.later() == 0
        reads = world.server.reads
        assert await world.later() == 0
        assert world.server.reads == reads, "not tried again at once"
        world.server.broken = None
        world.writer.due([CART])
        assert await world.later() == 1
        assert await world.later(5) == 1


async def test_an_api_server_that_wants_rest_is_left_alone() -> None:
    async with writing() as world:
        details = {"kind": "Status", "details": {"retryAfterSeconds": 7}}
        world.server.broken = web.json_response(details, status=429)
        world.writer.due([BILL, CART])
        assert await world.later() == 0
        reads, world.server.broken = world.server.reads, None
        assert await world.later(6) == 0
        assert world.server.reads == reads
        assert await world.later(20) == 2


async def test_events_tell_what_goes_wrong_and_are_counted_up() -> None:
    async with writing() as world:
        for wanted in (WELL, WRONG, WELL, WRONG):
            world.wanted[BILL] = wanted
            world.writer.due([BILL])
            assert await world.later() == 1
        found = {(each["reason"], each["type"]): each["count"] for each in world.server.events.values()}
        assert found == {("InvalidRegex", "Warning"): 2, ("Accepted", "Normal"): 1}
        world.wanted[BILL] = WELL
        world.writer.due([BILL])
        assert await world.later() == 1
        assert world.writer.events_left_out == 1, "so many a minute"
        (wrong,) = [each for each in world.server.events.values() if each["type"] == "Warning"]
        assert wrong["involvedObject"]["uid"] == "uid-bill"
        assert "close the bracket" in wrong["message"]


async def test_what_is_urgent_goes_first() -> None:
    async with writing() as world:
        world.writer.due([BILL])
        world.writer.due([CART], urgent=True)
        assert await world.later() == 2
        assert [ref for ref, _ in world.server.patches] == [CART, BILL]
