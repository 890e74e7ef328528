"""Status of a cluster's objects: what happens here, on its way to the one replica that writes, and from there out.

Every replica keeps count of its own proxies. The one that leads writes; the others forget what they would have written,
for who comes to lead works everything out anew, and writes what differs.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from socket import gethostname
from typing import Any, Final

import msgspec

from controlplane.app.control import ControlPlane
from controlplane.base.clock import Clock
from controlplane.compile.layers import Layer
from controlplane.compile.view import Touched
from controlplane.install.lateend import APP
from controlplane.install.names import LEASE, Place
from controlplane.model import core
from controlplane.model.kinds import MESH_KINDS
from controlplane.model.problem import ObjectRef, Problem
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.turns import Turn
from controlplane.sources.source import Changes
from controlplane.status.conditions import Wanted, conditions
from controlplane.status.election import Election, Timing
from controlplane.status.lease import KubernetesLease, Leadership
from controlplane.status.objects import KubernetesStatuses
from controlplane.status.reach import Reach
from controlplane.status.reports import Report, Reports, Union
from controlplane.status.writer import Lead, Statuses, Writer

_TICK: Final = 0.5  # seconds
_STUCK: Final = 3.0  # seconds after which a change that is not everywhere is worth a word
_RECOUNT: Final = 5.0  # seconds between looks at objects that concerned nobody
_OURS: Final = frozenset((kind.group, kind.kind) for kind in MESH_KINDS)
# What is made of these names them. What the others do shows in what is made of yet others, so nobody is counted.
COUNTED: Final = frozenset({"VirtualService", "DestinationRule", "Gateway", "ServiceEntry"})
_Problems = dict[ObjectRef, frozenset[Problem]]


class Who(msgspec.Struct, frozen=True):
    """One replica."""

    pod: str
    name: str  # nobody else's, ever: a process that starts again in a Pod is another one

    @classmethod
    def here(cls) -> "Who":
        """A Pod is called as its host is."""
        pod = gethostname()
        return cls(pod, f"{pod}_{token_hex(4)}")


class StatusKeeper:
    """Of one replica. See `control.Follower`."""

    def __init__(  # noqa: PLR0913  (everything it needs comes in here)
        self,
        control: ControlPlane,
        leadership: Lead,
        statuses: Statuses,
        problems: Callable[[], Iterable[Problem]],
        clock: Clock,
        *,
        namespace: str,
        pod: str,
    ) -> None:
        """`problems`: all there are now. `namespace` and `pod`: ours, among those of the other replicas."""
        self._control = control
        self._leadership = leadership
        self._problems_now = problems
        self._clock = clock
        self._namespace = namespace
        self._pod = pod
        self.reach: Reach[Layer] = Reach(control, lambda ref: ref.kind in COUNTED and is_ours(ref))
        self.reports = Reports()
        self.writer = Writer(statuses, leadership, clock, self.wanted)
        self._epoch: int | None = None
        self._news = -1
        self._problems: _Problems = {}
        self._changed: set[ObjectRef] = set()
        self._waiting: dict[ObjectRef, float] = {}  # since when a change of it is not everywhere; inf: it was said
        self._lonely: set[ObjectRef] = set()  # objects that concerned nobody when they were written about
        self._unsure: set[ObjectRef] = set()  # objects that were written about while replicas were missing
        self._missing: tuple[str, ...] = ()
        self._counted_at = clock.monotonic()
        self._replicas: set[str] = set()  # the other ones, by Pod
        control.follow(self)

    # What happens: called for every change

    def applied(self, changes: Changes) -> None:
        for ref, value in changes.items():
            if is_ours(ref):
                self._changed.add(ref)
            elif ref.kind == core.Pod.KIND and ref.namespace == self._namespace:
                self._note_replica(ref.name, value)

    def published(self, touched: Touched) -> None:
        self.reach.published(touched)

    def left(self, connection: int) -> None:
        self.reach.gone(connection)

    def _note_replica(self, name: str, pod: core.Pod | None) -> None:
        there = pod is not None and pod.meta.labels.get("app") == APP and pod.status.phase == "Running"
        if there and name != self._pod:
            self._replicas.add(name)
        else:
            self._replicas.discard(name)

    # What an object is to say

    def wanted(self, ref: ObjectRef) -> tuple[Wanted, ...] | None:
        """None: it is not here any more."""
        if served(self._control, ref) is None and ref not in self._problems:
            return None
        union = self._union(ref)
        if union is not None and not union.progress.concerned:
            self._lonely.add(ref)
        if union is not None and union.missing:
            self._unsure.add(ref)
        return conditions(self._problems.get(ref, ()), union)

    def _union(self, ref: ObjectRef) -> Union | None:
        if ref.kind not in COUNTED:
            return None
        others = self.reports.of(ref, self._replicas, self._clock.monotonic())
        return Union(others.progress + self.reach.progress(ref), others.missing)

    def report(self, number: int) -> Report:
        """For the one that leads."""
        return Report(self._pod, number, self.reach.progresses())

    # What is to be written

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(_TICK)

    async def write(self) -> None:
        """Until cancelled. An API server that is slow keeps nobody from counting."""
        while True:
            await self.write_some()
            await asyncio.sleep(_TICK)

    async def write_some(self) -> None:
        """Nothing before we have looked at everything as the leader that we are now."""
        if self._epoch is not None and self._epoch == self._leadership.epoch():
            await self.writer.step()

    async def step(self) -> None:
        """Looks at what happened since the last time."""
        turn = Turn()
        for _ in self.reach.count():
            if turn.is_over():
                await turn.next()
        settled = self.reach.look()
        epoch = self._leadership.epoch()
        if epoch is None:
            self._resign()
            return
        if epoch != self._epoch:
            self._epoch = epoch
            self._changed.update(self._all())
        self._look_at_problems()
        self.writer.due(settled)
        self.writer.due(self._stuck())
        # Where proxies are still on their way to it, there will be more to say in a moment.
        self.writer.due(self._changed - set(self.reach.unsettled))
        self._changed.clear()
        self._look_at_replicas()
        self._count_anew()

    def _resign(self) -> None:
        self._epoch = None
        self._news = -1
        self._problems = {}
        self._changed.clear()
        self._waiting.clear()
        self._lonely.clear()
        self._unsure.clear()
        self.writer.forget()

    def _all(self) -> Iterable[ObjectRef]:
        store, inputs = self._control.graph.store, self._control.graph.inputs
        for kind in MESH_KINDS:
            collection = inputs.of(kind.group, kind.kind)
            if collection is not None:
                for (namespace, name), _ in store.items(collection):
                    yield ObjectRef(kind.group, kind.kind, namespace, name)

    def _look_at_problems(self) -> None:
        if self._control.news == self._news:
            return
        self._news = self._control.news
        before, self._problems = self._problems, _by_object(self._problems_now())
        others = [ref for ref in {*before, *self._problems} if before.get(ref) != self._problems.get(ref)]
        self.writer.due(others, urgent=True)

    def _look_at_replicas(self) -> None:
        """Who is missing now: what was not known of some objects may be, and the other way round."""
        missing = self.reports.missing(self._replicas, self._clock.monotonic())
        if missing != self._missing:
            self._missing = missing
            unsure, self._unsure = self._unsure, set()
            self.writer.due(unsure)

    def _stuck(self) -> list[ObjectRef]:
        """Each once. That it is there in the end is said when it is."""
        now, unsettled = self._clock.monotonic(), self.reach.unsettled
        self._waiting = {ref: self._waiting.get(ref, now) for ref in unsettled}
        found = [ref for ref, since in self._waiting.items() if now - since >= _STUCK]
        self._waiting.update(dict.fromkeys(found, float("inf")))
        return found

    def _count_anew(self) -> None:
        """Somebody may have come whom an object concerns that concerned nobody."""
        now = self._clock.monotonic()
        if now - self._counted_at < _RECOUNT:
            return
        self._counted_at = now
        for ref in [ref for ref in self._lonely if self.reach.progress(ref).concerned]:
            self._lonely.discard(ref)
            self.reach.mark(ref)


def served(control: ControlPlane, ref: ObjectRef) -> Any | None:
    """The value of an object that proxies are served from."""
    collection = control.graph.inputs.of(ref.group, ref.kind)
    return None if collection is None else control.graph.store.get(collection, (ref.namespace, ref.name))


def is_ours(ref: ObjectRef) -> bool:
    """Whether objects of this kind are told anything."""
    return (ref.group, ref.kind) in _OURS


def _by_object(problems: Iterable[Problem]) -> _Problems:
    found: defaultdict[ObjectRef, set[Problem]] = defaultdict(set)
    for problem in problems:
        if is_ours(problem.origin.ref):
            found[problem.origin.ref].add(problem)
    return {ref: frozenset(each) for ref, each in found.items()}


@asynccontextmanager
async def open_status(  # noqa: PLR0913, PLR0917  everything it needs comes in here
    control: ControlPlane,
    client: Any,
    place: Place,
    who: "Who",
    problems: Callable[[], Iterable[Problem]],
    clock: Clock,
    tasks: Supervisor,
) -> AsyncIterator[StatusKeeper]:
    """Until left, or until `tasks` end. `client`: of the API server."""
    from kubernetes.aio.client import CoordinationV1Api, CoreV1Api, CustomObjectsApi  # noqa: PLC0415  half a second

    timing = Timing()
    lease = KubernetesLease(CoordinationV1Api(client), place.namespace, LEASE, good=timing.good, patience=timing.answer)
    leadership = Leadership(Election(who.name, timing), lease, clock)
    statuses = KubernetesStatuses(CustomObjectsApi(client), CoreV1Api(client), partial(served, control), who.pod)
    keeper = StatusKeeper(control, leadership, statuses, problems, clock, namespace=place.namespace, pod=who.pod)
    tasks.restarted("leader election", leadership.run)
    tasks.restarted("status", keeper.run)
    tasks.restarted("status writer", keeper.write)
    try:
        yield keeper
    finally:
        await leadership.release()
