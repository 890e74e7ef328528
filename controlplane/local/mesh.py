"""The running mesh: makes what runs equal to the plan, and tells the control plane.

Replicas are never changed, only started and ended; a changed Deployment is new replicas beside old ones. The old ones
stay until the new ones are ready, are then taken out of the endpoints, get a moment to finish, and end.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from controlplane.local import envoys
from controlplane.local.busyports import BusyPorts
from controlplane.local.lateenfile import NAME, LateenFile
from controlplane.local.manifests import Manifest
from controlplane.local.objects import Health
from controlplane.local.plan import GatewayProxy, Inputs, Plan, Replica
from controlplane.local.planner import plan as make_plan
from controlplane.local.ports import PORT_IN_USE, ControlPlane, SyncState
from controlplane.local.processes import Machine, ProxyProcess
from controlplane.local.publishing import Publisher, world
from controlplane.local.running import RunningGateway, RunningReplica
from controlplane.local.traffic import TrafficMeter
from controlplane.model.decode import decode
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.runtime.tasks import Supervisor, Work
from controlplane.sources.files.parser import Place
from controlplane.sources.source import Batch, Changes, Object, worst_first

DRAIN = 1.0  # seconds between leaving the endpoints and ending: what was begun is finished
WAIT_FOR_SUCCESSORS = 30.0
_SAMPLE_EVERY = 1.0

log = structlog.get_logger(__name__)


class _Work(msgspec.Struct, eq=False):
    """Something that runs, and the task that runs it."""

    task: "asyncio.Task[None]"
    retiring: bool = False


class Files(Protocol):
    """Where manifests come from."""

    def place_of(self, ref: ObjectRef) -> Place | None:
        """Where an object stands in them."""
        ...

    async def is_current(self, ref: ObjectRef | None, version: str) -> bool:
        """Whether all they say was read, and taken. Files have no versions."""
        ...


class Mesh:
    """All that runs on this machine, and what it should be."""

    def __init__(
        self,
        inputs: Inputs,
        machine: Machine,
        control: ControlPlane,
        tasks: Supervisor,
        files: Files,
    ) -> None:
        """`inputs` without manifests: these come by `take`."""
        self.is_current = files.is_current
        self.plan = Plan()
        self.traffic = TrafficMeter()
        self.changed = asyncio.Event()  # set whenever there is something new to show
        self._inputs = inputs
        self._machine = machine
        self._control = control
        self._tasks = tasks
        self._publisher = Publisher(decode)
        self._place_of = files.place_of
        self._values: dict[ObjectRef, Object] = {}
        self._source_problems: tuple[Problem, ...] = ()
        self._file_problems: tuple[Problem, ...] = ()
        self._ports = BusyPorts(control, machine.clock)
        self._replicas: dict[tuple[str, str], RunningReplica] = {}
        self._gateways: dict[tuple[str, str], RunningGateway] = {}
        self._work: dict[tuple[str, str], _Work] = {}
        self._health_news = asyncio.Event()
        self._workload_names: dict[str, str] = {}  # address -> workload, of everything that ever ran

    # --- what comes in ---------------------------------------------------------------------------------------------

    async def follow(self, batches: AsyncIterator[Batch], first: Callable[[Plan, tuple[Problem, ...]], None]) -> None:
        """Take batch after batch. `first` judges the first plan, and what is wrong in the files, before anything is
        started (it may raise).
        """
        batch = await anext(batches)
        self._accept(batch)
        first(self.plan, batch.problems)
        self._apply(batch.changes)
        self._control.start_serving()
        self._reconcile()
        async for later in batches:
            self.take(later)

    def take(self, batch: Batch) -> None:
        """Files changed."""
        self._accept(batch)
        self._apply(batch.changes)
        self._reconcile()

    @property
    def file(self) -> LateenFile:
        """The last good `Lateenfile`."""
        return self._inputs.file

    async def configure(self, config: Mapping[str, Any]) -> None:
        """Other mesh-wide settings."""
        await self._control.set_mesh_config(config)
        self.changed.set()

    def use(self, file: LateenFile) -> None:
        """`Lateenfile` changed. A broken one changes nothing, and is told."""
        self._file_problems = tuple(map(_broken_lateenfile, file.problems))
        if file.problems:
            self.changed.set()
            return
        self._inputs = msgspec.structs.replace(self._inputs, file=file)
        self._replan()
        self._apply({})
        self._reconcile()

    def _accept(self, batch: Batch) -> None:
        manifests: dict[ObjectRef, Manifest] = {**self._inputs.manifests}
        for ref, manifest in batch.manifests.items():
            if manifest is None:
                manifests.pop(ref, None)
            else:
                manifests[ref] = manifest
        self._inputs = msgspec.structs.replace(self._inputs, manifests=manifests)
        self._source_problems = batch.problems
        self._replan()

    def _replan(self) -> None:
        try:
            self.plan = make_plan(self._inputs)
        except Exception as error:  # the boundary: our bug keeps the last plan, and is told
            log.exception("our own bug: the last plan stays")
            origin = Origin(ObjectRef("", "File", "", "lateen"))
            bug = Problem(
                "InternalError", Level.ERROR, origin, f"a bug in lateen keeps the last plan running: {error!r}"
            )
            self.plan = msgspec.structs.replace(self.plan, problems=(*self.plan.problems, bug))

    # --- what the control plane is told ----------------------------------------------------------------------------

    def _apply(self, changes: Changes) -> None:
        """The user's objects and ours, of one moment, in one revision."""
        hidden = self.plan.withheld
        users = {ref: None if ref in hidden else value for ref, value in changes.items()}
        leaving = [running.replica for running in self._replicas.values()]
        health = {key: running.health for key, running in self._replicas.items()}
        objects = world(self.plan, leaving, health)
        merged = {**users, **self._publisher.news(objects, leaving)}
        if merged:
            self._control.apply(merged)
        self.changed.set()

    def _noticed(self) -> None:
        """Somebody's health may have changed."""
        self._apply({})
        self._health_news.set()
        self._health_news = asyncio.Event()

    # --- what runs -------------------------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        for replica in self.plan.replicas:
            self._workload_names[replica.address] = replica.workload.name
            running = self._replicas.get(replica.key)
            if running is None:
                self._start_replica(replica)
            elif running.replica.identity != replica.identity:
                self._retire_replica(replica.key, None)  # the same name anew: it starts when the old one is gone
            else:
                running.replica = replica
        planned = {replica.key for replica in self.plan.replicas}
        for key, running in self._replicas.items():
            if key not in planned:
                self._retire_replica(key, running.replica.workload)
        self._reconcile_gateways()
        self.changed.set()

    def _reconcile_gateways(self) -> None:
        wanted = {proxy.key: proxy for proxy in self.plan.gateways}
        for key, running in tuple(self._gateways.items()):
            if key not in wanted or _other_identity(running.proxy, wanted[key]):
                self._retire(key, lambda key=key: self._end_gateway(key))  # type: ignore[misc]
            else:
                running.proxy = wanted[key]
        for key, proxy in wanted.items():
            if key not in self._gateways:
                running = self._gateways[key] = RunningGateway(proxy, self._machine, self._noticed)
                self._work[key] = _Work(self._tasks.once(f"gateway {proxy.name}", running.run))

    def _start_replica(self, replica: Replica) -> None:
        running = self._replicas[replica.key] = RunningReplica(replica, self._machine, self._noticed)
        self._work[replica.key] = _Work(self._tasks.once(f"replica {replica.name}", running.run))

    def _retire_replica(self, key: tuple[str, str], wait_for: ObjectRef | None) -> None:
        self._retire(key, lambda: self._end_replica(key, wait_for))

    def _retire(self, key: tuple[str, str], end: Work) -> None:
        """Once: it may be found unwanted again while it is ending."""
        if not self._work[key].retiring:
            self._work[key].retiring = True
            self._tasks.once(f"end {key[1]}", end)

    async def _end_replica(self, key: tuple[str, str], workload: ObjectRef | None) -> None:
        running = self._replicas[key]
        if workload is not None:
            await self._successors_ready(workload)
        was_ready = running.health is Health.READY
        running.terminating = True
        self._noticed()
        if was_ready:
            await asyncio.sleep(DRAIN)
        await _cancelled(self._work[key].task)
        del self._replicas[key], self._work[key]
        self._reconcile()  # its name may be wanted again
        self._noticed()

    async def _successors_ready(self, workload: ObjectRef) -> None:
        """Until the planned replicas of the workload are ready, or that took too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_FOR_SUCCESSORS):
                while not self._all_ready(workload):
                    await self._health_news.wait()

    def _all_ready(self, workload: ObjectRef) -> bool:
        planned = [replica for replica in self.plan.replicas if replica.workload == workload]
        found = [self._replicas.get(replica.key) for replica in planned]
        return all(running is not None and running.health is Health.READY for running in found)

    async def _end_gateway(self, key: tuple[str, str]) -> None:
        await _cancelled(self._work[key].task)
        del self._gateways[key], self._work[key]
        self._reconcile()  # its name may be wanted again

    # --- what can be seen ------------------------------------------------------------------------------------------

    def replicas(self) -> tuple[RunningReplica, ...]:
        """In order of name."""
        return tuple(self._replicas[key] for key in sorted(self._replicas))

    def gateways(self) -> tuple[RunningGateway, ...]:
        """In order of name."""
        return tuple(self._gateways[key] for key in sorted(self._gateways))

    def _envoys(self) -> tuple[ProxyProcess, ...]:
        return (*(one.envoy for one in self.replicas()), *(one.envoy for one in self.gateways()))

    def is_settled(self) -> bool:
        """Whether everything that can run does, is ready and known to all proxies, and nothing is on its way out."""
        planned = {replica.key for replica in self.plan.replicas}
        return (
            self._replicas.keys() == planned
            and self._gateways.keys() == {proxy.key for proxy in self.plan.gateways}
            and all(running.health is Health.READY or running.replica.missing for running in self._replicas.values())
            and all(running.envoy.ready for running in self._gateways.values())
            and not any(
                each.state is SyncState.STALE for proxy in self._control.proxies() for each in proxy.types.values()
            )
        )

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong, worst first."""
        others = (problem for problem in self._control.problems() if problem.code != PORT_IN_USE)
        return worst_first(
            (
                *self._file_problems,
                *self._source_problems,
                *self.plan.problems,
                *others,
                *self._ports.problems(),
                *self._not_running(),
            )
        )

    def place_of(self, problem: Problem) -> str:
        """Where the object of a problem stands; empty for objects that stand in no file."""
        place = self._place_of(problem.origin.ref)
        return str(place) if place is not None else ""

    def _not_running(self) -> Iterator[Problem]:
        for running in self.replicas():
            if running.note and not running.replica.missing:
                origin = Origin(ObjectRef("", "Pod", *running.replica.key))
                yield Problem("NotReady", Level.WARNING, origin, running.note)
        for gateway in self.gateways():
            if gateway.note:
                origin = Origin(ObjectRef("", "Pod", *gateway.proxy.key))
                yield Problem("NotReady", Level.ERROR, origin, gateway.note)

    def objects(self) -> Mapping[ObjectRef, Manifest]:
        """All that the control plane was told: the user's objects and ours. `lateen compile` of these is what runs."""
        users = {ref: one for ref, one in self._inputs.manifests.items() if ref not in self.plan.withheld}
        return {**users, **self._publisher.told}

    def folder_of(self, proxy: str) -> Path | None:
        """What the agent of a proxy ("bill-v1-0.shop") keeps."""
        name, _, namespace = proxy.rpartition(".")
        return next((envoy.admin.parent for envoy in self._envoys() if envoy.name == f"{namespace}.{name}"), None)

    def workload_of(self, address: str) -> str | None:
        """Whose address this is, or was."""
        return self._workload_names.get(address)

    async def measure(self) -> None:
        """Ask all Envoys, once a second, where their calls went."""
        while True:
            await asyncio.sleep(_SAMPLE_EVERY)
            await self.sample()
            await self._ports.look()

    async def sample(self) -> None:
        """Ask all Envoys now."""
        admins = {envoy.name: envoy.admin for envoy in self._envoys() if envoy.ready}
        reports = await asyncio.gather(*(envoys.calls(admin) for admin in admins.values()))
        self.traffic.sample(dict(zip(admins, reports, strict=True)))
        self.changed.set()


def _other_identity(running: GatewayProxy, wanted: GatewayProxy) -> bool:
    """Ports may change while it runs; who it is may not."""
    return (running.address, running.labels, running.service_account) != (
        wanted.address,
        wanted.labels,
        wanted.service_account,
    )


def _broken_lateenfile(said: str) -> Problem:
    """`said`: "dir/Lateenfile:3:1: what is wrong"."""
    origin = Origin(ObjectRef("", "File", "", said.partition(f"{NAME}:")[0] + NAME))
    return Problem("UnreadableFile", Level.ERROR, origin, f"{said}; what it said before still holds")


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
