"""From what happens in a control plane to what an author reads: real xDS at one end, a model API server at the other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import msgspec
import yaml

from controlplane.app.control import ControlPlane, open_control_plane
from controlplane.app.status import StatusKeeper, Who, open_status
from controlplane.base.prometheus import page
from controlplane.install.names import Place
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.security.apiserver import NoAnswer
from controlplane.snapshot import types
from controlplane.status.conditions import Condition
from controlplane.status.parts import Report
from controlplane.status.peers import Replica
from controlplane.status.writer import Outcome, Standing
from tests.runtime.turning import TurningClock
from tests.security.apiservers import api_server
from tests.status.apiserver import Objects
from tests.xds.served import Client

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: bill, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{port: 80, name: http}]}
"""
RULES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bill, namespace: shop}
spec: {host: bill.shop.svc.cluster.local, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: nowhere, namespace: shop}
spec: {hosts: [bill], http: [{route: [{destination: {host: nowhere}}]}]}
"""
BILL = ObjectRef("networking.istio.io", "DestinationRule", "shop", "bill")
SOON = 4.0  # seconds: 2 on a machine that does nothing else
NOWHERE = ObjectRef("networking.istio.io", "VirtualService", "shop", "nowhere")


class World(Objects):
    """The API server, what reads it, and the control plane."""

    control: ControlPlane
    keeper: StatusKeeper
    others: "Others"
    socket: Path

    def apply(self, manifest: str) -> None:
        for document in yaml.safe_load_all(manifest):
            self.control.apply(self.put(document))

    async def until(self, holds: Callable[[], bool], seconds: float = 20.0) -> float:
        """How long it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110  (of the API server's contents, which are no event)
                await asyncio.sleep(0.02)
        return loop.time() - began

    def says(self, ref: ObjectRef, name: str) -> tuple[str, str]:
        found = self.conditions(ref).get(name, {})
        return found.get("status", ""), found.get("reason", "")


class Others:
    """The other replicas, by Pod. One that is not in here does not answer."""

    def __init__(self) -> None:
        self.keepers: dict[str, StatusKeeper] = {}
        self.slow: set[str] = set()
        self.asked: list[str] = []

    async def ask(self, replica: Replica, refs: Sequence[ObjectRef]) -> Report:
        self.asked.append(replica.pod)
        if replica.pod in self.slow:
            await asyncio.sleep(4)
        keeper = self.keepers.get(replica.pod)
        report = keeper.report(refs) if keeper is not None else None
        if report is None:
            raise NoAnswer("it cannot be asked")
        return msgspec.json.decode(msgspec.json.encode(report), type=Report)


@asynccontextmanager
async def keeping(folder: Path) -> AsyncIterator[World]:
    world = World(RULES)
    world.socket = folder / "xds.sock"
    world.others = Others()
    clock = SystemClock()
    async with (
        api_server(world) as client,
        open_control_plane({}, world.socket) as world.control,
        Supervisor(clock) as tasks,
        open_status(
            world.control,
            client,
            world.others,
            Place(),
            Who("lateend-1", "lateend-1_a"),
            world.control.problems,
            clock,
            tasks,
        ) as world.keeper,
    ):
        service: Any = decode(yaml.safe_load(SERVICE)).value
        world.control.apply({ref_of(service): service, **world.everything()})
        world.control.start_serving()
        yield world


class Sidecar:
    """Asks for clusters and listeners, and acknowledges all of them but those it is to hold."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.holds = ""  # type URL
        self.held: list[Any] = []

    async def run(self) -> None:
        await self.client.send(types.CLUSTER)
        await self.client.send(types.LISTENER)
        while True:
            response = await self.client.read()
            if response.type_url == self.holds:
                self.held.append(response)
            else:
                await self.client.ack(response)

    async def release(self) -> None:
        self.holds = ""
        while self.held:
            await self.client.ack(self.held.pop())

    async def refuse(self, why: str) -> None:
        response = self.held.pop()
        error = {"code": 13, "message": why}
        await self.client.send(response.type_url, response_nonce=response.nonce, error_detail=error)


@asynccontextmanager
async def sidecar(world: "World | Second") -> AsyncIterator[Sidecar]:
    async with grpc.aio.insecure_channel(f"unix:{world.socket}") as channel:
        found = Sidecar(Client(channel))
        running = asyncio.get_running_loop().create_task(found.run())
        try:
            yield found
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def test_an_author_reads_how_far_a_change_is_and_who_refuses_it(tmp_path: Path) -> None:
    async with keeping(tmp_path) as world:
        await world.until(lambda: world.says(NOWHERE, "ResolvedRefs")[0] == "False")
        await world.until(lambda: world.says(BILL, "Programmed") == ("Unknown", "NoProxies"))
        async with sidecar(world) as proxy:
            await world.until(lambda: world.says(BILL, "Programmed")[0] == "True")
            assert world.conditions(BILL)["Programmed"]["message"] == "1 of 1 proxy run it"
            writes = len(world.patches)
            await asyncio.sleep(1.5)
            assert len(world.patches) == writes, "nothing happens, nothing is written"
            figures = page(world.keeper.families()).decode().splitlines()
            assert {"lateen_status_leader 1", f"lateen_status_writes_total {writes}"} <= set(figures)

            proxy.holds = types.CLUSTER
            world.apply(RULES.partition("---")[0].replace("7", "8"))
            await world.until(lambda: world.says(BILL, "Programmed") == ("False", "Pending"))
            assert world.conditions(BILL)["Programmed"]["observedGeneration"] == 2
            assert "web-1.shop" in world.conditions(BILL)["Programmed"]["message"]

            await proxy.refuse("too few")
            took = await world.until(lambda: world.says(BILL, "Programmed") == ("False", "RefusedByProxy"))
            assert took < SOON
            assert "too few" in world.conditions(BILL)["Programmed"]["message"]
            await world.until(lambda: any(each["reason"] == "RefusedByProxy" for each in world.events.values()))

            await world.until(lambda: bool(proxy.held))  # the last good version again
            await proxy.release()
            world.apply(RULES.partition("---")[0].replace("7", "9"))
            await world.until(lambda: world.says(BILL, "Programmed")[0] == "True")


def pod(name: str) -> Any:
    """A replica's."""
    return decode(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "lateen-system", "labels": {"app": "lateend"}},
            "status": {"phase": "Running", "podIP": "10.0.0.2"},
        }
    ).value


async def test_a_replica_whose_proxies_are_not_known_makes_counts_unknown(tmp_path: Path) -> None:
    async with keeping(tmp_path) as world:
        other = pod("lateend-2")
        world.control.apply({ref_of(other): other})
        await world.until(lambda: world.says(BILL, "Programmed") == ("Unknown", "ReplicaMissing"))
        assert "lateend-2" in world.conditions(BILL)["Programmed"]["message"]

        world.control.apply({ref_of(other): None})
        await world.until(lambda: world.says(BILL, "Programmed") == ("Unknown", "NoProxies"))


async def test_a_replica_that_takes_its_time_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with keeping(tmp_path) as world:
        world.others.slow.add("lateend-3")
        asked = world.others.asked
        world.control.apply({ref_of(each): each for each in (pod("lateend-2"), pod("lateend-3"))})
        await world.until(lambda: asked.count("lateend-2") >= 5, seconds=10)
        assert asked.count("lateend-3") == 1


class Second:
    """Another replica, with proxies of its own: it leads nothing."""

    def __init__(self, control: ControlPlane, world: World, folder: Path) -> None:
        self.control = control
        self.socket = folder / "second.sock"
        self.leading = Leading()
        self.leading.now = None
        self.keeper = StatusKeeper(
            control,
            self.leading,
            Spoken(),
            world.others,
            control.problems,
            SystemClock(),
            namespace="lateen-system",
            pod="lateend-2",
        )


@asynccontextmanager
async def second(world: World, folder: Path) -> AsyncIterator[Second]:
    async with open_control_plane({}, folder / "second.sock") as control, Supervisor(SystemClock()) as tasks:
        found = Second(control, world, folder)
        tasks.restarted("status of another replica", found.keeper.run)
        service: Any = decode(yaml.safe_load(SERVICE)).value
        control.apply({ref_of(service): service, **world.everything()})
        control.start_serving()
        world.others.keepers["lateend-2"] = found.keeper
        found_pod = pod("lateend-2")
        world.control.apply({ref_of(found_pod): found_pod})
        yield found


async def test_proxies_of_all_replicas_count(tmp_path: Path) -> None:
    async with keeping(tmp_path) as world, second(world, tmp_path) as other, sidecar(other) as proxy:
        await world.until(lambda: world.says(BILL, "Programmed")[0] == "True")
        assert world.conditions(BILL)["Programmed"]["message"] == "1 of 1 proxy run it"

        proxy.holds = types.CLUSTER
        changed = RULES.partition("---")[0].replace("7", "8")
        world.apply(changed)  # the other replica has not read it yet
        await asyncio.sleep(1.5)
        assert world.conditions(BILL)["Programmed"]["observedGeneration"] == 1, "it is not known yet who runs it"
        other.control.apply(world.everything())
        await world.until(lambda: world.says(BILL, "Programmed") == ("False", "Pending"))
        assert world.conditions(BILL)["Programmed"]["message"] == "0 of 1 proxy run it; not yet: web-1.shop"
        assert world.conditions(BILL)["Programmed"]["observedGeneration"] == 2

        async with sidecar(world):
            await proxy.refuse("too few")
            took = await world.until(lambda: world.says(BILL, "Programmed") == ("False", "RefusedByProxy"))
            assert took < SOON, "wherever it was refused"
            assert "too few" in world.conditions(BILL)["Programmed"]["message"]

            await world.until(lambda: bool(proxy.held))  # the last good version again
            await proxy.release()
            world.apply(changed.replace("8", "9"))
            other.control.apply(world.everything())
            await world.until(lambda: world.says(BILL, "Programmed")[0] == "True")
            assert world.conditions(BILL)["Programmed"]["message"] == "2 of 2 proxies run it"


async def test_nobody_waits_for_the_proxies_of_a_replica_that_is_gone(tmp_path: Path) -> None:
    async with keeping(tmp_path) as world:
        async with second(world, tmp_path) as other, sidecar(other) as proxy:
            await world.until(lambda: world.says(BILL, "Programmed")[0] == "True")
            proxy.holds = types.CLUSTER
            for control in (world.control, other.control):
                control.apply(world.put(yaml.safe_load(RULES.partition("---")[0].replace("7", "8"))))
            await world.until(lambda: world.says(BILL, "Programmed") == ("False", "Pending"))
        gone = pod("lateend-2")
        world.control.apply({ref_of(gone): None})
        await world.until(lambda: world.says(BILL, "Programmed") == ("Unknown", "NoProxies"))


async def test_the_lease_is_given_back(tmp_path: Path) -> None:
    async with keeping(tmp_path) as world:
        await world.until(lambda: world.says(NOWHERE, "Accepted") != ("", ""))
        assert world.lease["spec"]["holderIdentity"] == "lateend-1_a"
    assert world.lease["spec"]["holderIdentity"] == ""


class Leading:
    """A leadership that a test gives and takes."""

    def __init__(self) -> None:
        self.now: int | None = 1

    def epoch(self) -> int | None:
        return self.now

    async def confirmed(self, epoch: int) -> bool:
        return epoch == self.now


class Spoken:
    """Statuses, as they are written."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, Any]] = []

    async def read(self, _ref: ObjectRef) -> Standing | None:
        return Standing("1", 1, "uid", None, is_current=True)

    async def write(self, _ref: ObjectRef, _version: str, status: Mapping[str, Any]) -> Outcome:
        self.written.append(status)
        return Outcome.WRITTEN

    async def tell(self, ref: ObjectRef, uid: str, condition: Condition, now: datetime) -> None: ...


async def test_who_leads_anew_looks_at_what_is_wrong_before_it_speaks() -> None:
    control, leading, spoken, clock = (
        ControlPlane(Settings(), SystemClock(), lambda: 0.5),
        Leading(),
        Spoken(),
        TurningClock(),
    )
    service: Any = decode(yaml.safe_load(SERVICE)).value
    control.apply({ref_of(service): service, **World(RULES).everything()})
    control.start_serving()
    where = {"namespace": "lateen-system", "pod": "lateend-1"}
    keeper = StatusKeeper(control, leading, spoken, Others(), control.problems, clock, **where)
    await keeper.step()
    leading.now = None
    await keeper.step()
    keeper.writer.due([NOWHERE])  # as a batch leaves it that was under way when the lease was lost
    await clock.turn(10)
    leading.now = 2
    await keeper.write_some()
    assert not spoken.written
    await keeper.step()
    await clock.turn(10)
    await keeper.write_some()
    resolved = [
        each["status"] for status in spoken.written for each in status["conditions"] if each["type"] == "ResolvedRefs"
    ]
    assert sorted(resolved) == ["False", "True"]
