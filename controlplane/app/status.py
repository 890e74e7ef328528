"""Status of a cluster's objects: what happens here, on its way to the one replica that writes, and from there out.

Every replica keeps count of its own proxies. The one that leads writes; the others forget what they would have written,
for who comes to lead works everything out anew, and writes what differs.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from secrets import token_hex
from socket import gethostname
from typing import Any, Final

import msgspec
import structlog

from controlplane.app.control import ControlPlane
from controlplane.app.ingressaddresses import INGRESS, IngressAddresses
from controlplane.base.clock import Clock
from controlplane.base.prometheus import Family
from controlplane.compile.layers import Layer
from controlplane.compile.view import Touched
from controlplane.install.lateend import APP
from controlplane.install.names import DEFAULT_REVISION, LEASE, REVISION, Place
from controlplane.model import core
from controlplane.model.ingress import IngressClass
from controlplane.model.kinds import MESH_KINDS
from controlplane.model.problem import ObjectRef, Problem
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.turns import Turn
from controlplane.security.apiserver import NoAnswer
from controlplane.sources.source import Changes
from controlplane.status.addresses import Addresses
from controlplane.status.conditions import Wanted, conditions, is_refused
from controlplane.status.election import Election, Timing
from controlplane.status.lease import KubernetesLease, Leadership
from controlplane.status.metrics import status_families
from controlplane.status.objects import KubernetesStatuses
from controlplane.status.parts import MOST_REFUSALS, Part, Parts, Report, Union, content_of
from controlplane.status.peers import Peers, Replica
from controlplane.status.reach import Reach
from controlplane.status.writer import Later, Lead, Statuses, Writer

log = structlog.get_logger(__name__)

_TICK: Final = 0.5  # seconds
_STUCK: Final = 3.0  # seconds after which a change that is not everywhere is worth a word
_RECOUNT: Final = 5.0  # seconds between looks at objects that concerned nobody
_RECOUNTED: Final = 100  # of them, that others are asked for at a time
_LONGEST_NAME: Final = 63  # characters of a host's
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
        """A Pod's host is called as it is, cut to what a host's name may have."""
        pod = gethostname()
        return cls(pod, f"{pod}_{token_hex(4)}")


class StatusKeeper:
    """Of one replica. See `control.Follower`."""

    def __init__(  # noqa: PLR0913, PLR0917  (everything it needs comes in here)
        self,
        control: ControlPlane,
        leadership: Lead,
        statuses: Statuses,
        peers: Peers,
        problems: Callable[[], Iterable[Problem]],
        clock: Clock,
        *,
        namespace: str,
        pod: str,
    ) -> None:
        """`problems`: all there are now. `namespace` and `pod`: ours, among those of the other replicas."""
        self._control = control
        self._leadership = leadership
        self._peers = peers
        self._problems_now = problems
        self._clock = clock
        self._namespace = namespace
        self._pod = pod
        self.reach: Reach[Layer] = Reach(control, lambda ref: ref.kind in COUNTED and is_ours(ref))
        self.parts = Parts()
        self.writer = Writer(statuses, leadership, clock, self.wanted)
        self._epoch: int | None = None
        self._news = (-1, -1)  # of ourselves, of others
        self._problems: _Problems = {}
        self._ingresses = IngressAddresses(control)
        self._changed: set[ObjectRef] = set()
        self._waiting: dict[ObjectRef, float] = {}  # since when a change of it is not everywhere; inf: it was said
        self._lonely: dict[ObjectRef, None] = {}  # objects that concerned nobody when they were written about
        self._unsure: set[ObjectRef] = set()  # objects that were written about while replicas were missing
        self._missing: tuple[str, ...] = ()
        self._counted_at = clock.monotonic()
        self._replicas: dict[str, Replica] = {}  # the other ones, by Pod
        self._asked: set[str] = set()  # those of them that have not answered yet
        self._silent: dict[str, str] = {}  # those that did not answer, and why
        control.follow(self)

    # What happens: called for every change

    def applied(self, changes: Changes) -> None:
        for ref, value in changes.items():
            if is_ours(ref) or (ref.group, ref.kind) == INGRESS:
                self._changed.add(ref)
            elif ref.kind == IngressClass.KIND:
                self._changed.update(self._ingresses.all())
            elif ref.kind == core.Pod.KIND and ref.namespace == self._namespace:
                self._note_replica(ref.name, value)

    def published(self, touched: Touched) -> None:
        self.reach.published(touched)

    def left(self, connection: int) -> None:
        self.reach.gone(connection)

    def _note_replica(self, name: str, pod: core.Pod | None) -> None:
        self._replicas.pop(name, None)
        if pod is None or pod.meta.labels.get("app") != APP or pod.status.phase != "Running":
            return
        if name[:_LONGEST_NAME].rstrip("-.") != self._pod and pod.ips:
            place = Place(self._namespace, pod.meta.labels.get(REVISION, DEFAULT_REVISION))
            self._replicas[name] = Replica(name, pod.ips[0], place.server_name)

    # What an object is to say

    def wanted(self, ref: ObjectRef) -> tuple[Wanted, ...] | Addresses | Later | None:
        """None: it is not here any more, or nothing is ours to say."""
        if (ref.group, ref.kind) == INGRESS:
            return Addresses(self._ingresses.now) if self._ingresses.is_served(ref) else None
        if self._control.is_between or not self.reach.is_counted:
            return Later.LATER
        value = served(self._control, ref)
        if value is None and ref not in self._problems:
            return None
        problems = self._problems.get(ref, frozenset())
        union = self._union(ref, value) if not is_refused(problems) else None
        return union if isinstance(union, Later) else conditions(problems, union)

    def _union(self, ref: ObjectRef, value: Any) -> Union | Later | None:
        """None: nobody is counted. An object that never could be read is nobody's."""
        if ref.kind not in COUNTED:
            return None
        others = self.parts.of(ref, content_of(value), self._clock.monotonic()) if value is not None else Union()
        if others is None:
            return Later.LATER
        union = Union(others.progress + self.reach.progress(ref), others.missing)
        self._lonely.pop(ref, None)
        if not union.progress.concerned:
            self._lonely[ref] = None
        if union.missing:
            self._unsure.add(ref)
        return union

    def families(self) -> Iterable[Family]:
        """For scrapers."""
        missing = self.parts.missing(self._clock.monotonic())
        return status_families(self.writer, leads=self._epoch is not None, missing=len(missing))

    # What other replicas say, and what they are told

    def report(self, refs: Sequence[ObjectRef]) -> Report | None:
        """For the one that leads; None: we know nothing yet. What is being counted just now is left out."""
        if not self._control.is_serving:
            return None
        known = not self._control.is_between and self.reach.is_counted
        parts = [
            Part(ref, content_of(value), self.reach.progress(ref))
            for ref in (refs if known else ())
            if ref.kind in COUNTED and (value := served(self._control, ref)) is not None
        ]
        refused = sorted({problem for problem in self._control.refusals() if is_ours(problem.origin.ref)})
        return Report(tuple(parts), tuple(refused[:MOST_REFUSALS]))

    async def ask(self) -> None:
        """Until cancelled: all others, while we lead. One that takes its time keeps nobody else waiting."""
        async with asyncio.TaskGroup() as asking:
            while True:
                if self._epoch is not None:
                    for name, refs in self.parts.questions(self._clock.monotonic()).items():
                        if name in self._replicas and name not in self._asked:
                            asking.create_task(self._ask_one(self._replicas[name], refs))
                await asyncio.sleep(_TICK)

    async def _ask_one(self, replica: Replica, refs: Sequence[ObjectRef]) -> None:
        self._asked.add(replica.pod)
        try:
            said = await self._peers.ask(replica, refs)
        except NoAnswer as failed:
            self._note_silence(replica.pod, str(failed))
            return
        finally:
            self._asked.discard(replica.pod)
        self._note_silence(replica.pod, "")
        self.writer.due(self.parts.heard(replica.pod, said, self._clock.monotonic()))
        if self._epoch is not None:
            self._look_at_problems()

    def _note_silence(self, pod: str, why: str) -> None:
        """In the log once, however it goes on."""
        if bool(why) != (pod in self._silent):
            (log.warning if why else log.info)("another replica", pod=pod, why=why or "it answers again")
        if why:
            self._silent[pod] = why
        else:
            self._silent.pop(pod, None)

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
        """Nothing before everything was read, and we have looked at it as the leader that we are now."""
        if self._control.is_serving and self._epoch is not None and self._epoch == self._leadership.epoch():
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
            self.parts.forget()
            self._changed.update(self._all())
        self.writer.due(self.parts.know(self._replicas.keys(), self._clock.monotonic()))
        self._look_at_problems()
        self._look_at_gateways()
        self.writer.due(settled)
        self.writer.due(self._stuck())
        # Where proxies are still on their way to it, there will be more to say in a moment.
        self.writer.due(self._changed - set(self.reach.unsettled))
        self._changed.clear()
        self._look_at_replicas()
        self._count_anew()

    def _resign(self) -> None:
        self._epoch = None
        self._news = (-1, -1)
        self._problems = {}
        self._changed.clear()
        self._waiting.clear()
        self._lonely.clear()
        self._unsure.clear()
        self._silent.clear()
        self.parts.forget()
        self.writer.forget()

    def _all(self) -> Iterable[ObjectRef]:
        store, inputs = self._control.graph.store, self._control.graph.inputs
        for kind in MESH_KINDS:
            collection = inputs.of(kind.group, kind.kind)
            if collection is not None:
                for (namespace, name), _ in store.items(collection):
                    yield ObjectRef(kind.group, kind.kind, namespace, name)
        yield from self._ingresses.all()

    def _look_at_problems(self) -> None:
        news = (self._control.news, self.parts.news)
        if news == self._news:
            return
        self._news = news
        before, self._problems = self._problems, _by_object((*self._problems_now(), *self.parts.refusals()))
        others = [ref for ref in {*before, *self._problems} if before.get(ref) != self._problems.get(ref)]
        self.writer.due(others, urgent=True)

    def _look_at_replicas(self) -> None:
        """Who is missing now: what was not known of some objects may be, and the other way round."""
        missing = self.parts.missing(self._clock.monotonic())
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

    def _look_at_gateways(self) -> None:
        """Where they are found is no news of an Ingress until one is to be told."""
        is_time = self._clock.monotonic() - self._counted_at >= _RECOUNT
        if (is_time or any((ref.group, ref.kind) == INGRESS for ref in self._changed)) and self._ingresses.look():
            self.writer.due(self._ingresses.all())

    def _count_anew(self) -> None:
        """Somebody may have come whom an object concerns that concerned nobody."""
        now = self._clock.monotonic()
        if now - self._counted_at < _RECOUNT:
            return
        self._counted_at = now
        for ref in [ref for ref in self._lonely if self.reach.progress(ref).concerned]:
            del self._lonely[ref]
            self.reach.mark(ref)
        for ref in tuple(islice(self._lonely, _RECOUNTED)):
            del self._lonely[ref]
            if (value := served(self._control, ref)) is not None:
                self._lonely[ref] = None  # the next time it is others' turn
                self.parts.recount(ref, content_of(value), now)


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
    peers: Peers,
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
    where = {"namespace": place.namespace, "pod": who.pod}
    keeper = StatusKeeper(control, leadership, statuses, peers, problems, clock, **where)
    tasks.restarted("leader election", leadership.run)
    tasks.restarted("status", keeper.run)
    tasks.restarted("other replicas' counts", keeper.ask)
    tasks.restarted("status writer", keeper.write)
    try:
        yield keeper
    finally:
        await leadership.release()
