"""A cluster as a source of objects.

The thin part: which kinds there are, one reflector for each, and when what they found is handed on. The first batch is
due when every kind that matters has been listed as a whole; endpoints are handed on at once, other changes when a burst
of them is over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Final

import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.model import core
from controlplane.model.kinds import Kind
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.runtime.merging import Debounce
from controlplane.runtime.tasks import Supervisor
from controlplane.sources.kubernetes import discovery
from controlplane.sources.kubernetes.access import Access, Broken, Unreachable
from controlplane.sources.kubernetes.audit import Audit
from controlplane.sources.kubernetes.discovery import Catalogue
from controlplane.sources.kubernetes.mirror import Mirror
from controlplane.sources.kubernetes.reflector import Pace, Reflector, State
from controlplane.sources.kubernetes.resource import Resource
from controlplane.sources.kubernetes.watching import Watching, audited
from controlplane.sources.kubernetes.wire import Garbage
from controlplane.sources.source import Batch, Object

_LISTS_AT_ONCE: Final = 4
_UNCLEAR: Final = 3  # looks in a row that told nothing
_LARGEST_CATALOGUE: Final = 16 * 2**20  # bytes
_FIRST: Final = ("Namespace", "Node", "Service", "EndpointSlice", "Pod")  # to be listed: what all others refer to
_NOT_READABLE: Final = frozenset({State.DENIED, State.ABSENT})
_URGENT: Final = frozenset({core.EndpointSlice.KIND, core.Pod.KIND})

log = structlog.get_logger(__name__)


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    discover: float = 5.0  # between two looks at which kinds there are
    away: float = 10.0  # an API server that does not answer for so long is a problem
    endpoints: tuple[float, float] = (0.01, 0.1)  # of quiet that end a burst; that a burst may last
    others: tuple[float, float] = (0.05, 0.5)
    audit: float = 30.0  # between two looks whether a watch told everything, for every kind that is not large
    audit_object: float = 0.02  # and for each object of a large one
    pace: Pace = Pace()


class Standing(msgspec.Struct, frozen=True):
    """How it is with one kind, for people."""

    resource: str
    state: str
    objects: int
    heard_seconds: float  # since the API server last said anything of it
    lists: int
    failures: int
    repairs: int  # lists because of events that never came
    why: str = ""


class _Lane:
    """Kinds whose changes are handed on together."""

    def __init__(self, clock: Clock, burst: tuple[float, float]) -> None:
        self.debounce = Debounce(clock, *burst)
        self.followed: list[_Followed] = []


class _Followed(msgspec.Struct, eq=False):
    """One kind that is followed."""

    reflector: Reflector
    lane: _Lane
    settled: asyncio.Event  # it was listed, handed on and taken; or it may not be read
    task: "asyncio.Task[None] | None" = None
    audit: Audit | None = None  # waits for the watch
    audit_due: float = 0.0
    own: tuple[Problem, ...] = ()  # of the kind as a whole
    findings: int = 0
    problems: tuple[Problem, ...] = ()  # these, and those of single objects


class KubernetesSource:
    """See `sources.source.Source`."""

    def __init__(  # noqa: PLR0913  everything it needs comes in here
        self,
        access: Access,
        kinds: Sequence[Kind],
        clock: Clock,
        randomness: Callable[[], float],
        *,
        timing: Timing | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`kinds`: what is read where it is served. `randomness` gives floats in [0, 1)."""
        self._access = access
        self._kinds = sorted(kinds, key=lambda kind: _FIRST.index(kind.kind) if kind.kind in _FIRST else len(_FIRST))
        self._clock = clock
        self._randomness = randomness
        self._timing = timing or Timing()
        self._sleep = sleep
        self._urgent = _Lane(clock, self._timing.endpoints)
        self._others = _Lane(clock, self._timing.others)
        self._followed: dict[tuple[str, str, str], _Followed] = {}
        self._also: dict[tuple[str, str, str], Resource] = {}  # whatever discovery says of these
        self._tasks: Supervisor | None = None
        self._turns = asyncio.Semaphore(_LISTS_AT_ONCE)
        self._catalogue: Catalogue | None = None
        self._etag = ""
        self._news = asyncio.Event()
        self._away = False  # for so long that it is a problem
        self._misversioned: tuple[Problem, ...] = ()
        self._under_way = True  # something was found that nobody has taken yet
        self._unclear = ""  # why nobody knows which kinds there are

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """As `Source` promises. Reads as long as somebody takes; whoever stops closes it."""
        async with Supervisor(self._clock, sleep=self._sleep) as self._tasks:
            tasks = self._tasks
            tasks.restarted("which kinds a cluster has", lambda: self._discover(tasks))
            tasks.restarted("whether watches tell everything", self._audit)
            while not self._is_synced():
                await self._wait(None)
            log.info("the cluster is read", objects=sum(len(one.reflector.mirror) for one in self._followed.values()))
            yield self._batch((self._urgent, self._others))
            while True:
                self._taken()
                self._under_way = False
                due = await self._due()
                self._under_way = True
                yield self._batch(due)

    async def also(self, resource: Resource) -> None:
        """Read this too, from now on. Returns when it was handed on as a whole, or may not be read.

        For what is not read everywhere: nobody waits for it but who asked.
        """
        name = _name(resource)
        if name not in self._followed and self._tasks is not None:
            self._also[name] = resource
            self._start(name, resource, self._tasks)
        if (followed := self._followed.get(name)) is not None:
            await followed.settled.wait()

    def values(self) -> Iterator[tuple[ObjectRef, Object]]:
        """All there is."""
        for followed in self._followed.values():
            yield from followed.reflector.mirror.values()

    def is_current(self, ref: ObjectRef | None, version: str) -> bool:
        """Whether this version of an object was read, and whoever follows took it; "": whether it is gone.

        Without an object: whether there is nothing that was told and not taken.
        """
        mirrors = [one.reflector.mirror for one in self._followed.values()]
        if ref is None:
            return not self._under_way and not any(mirror.has_changes for mirror in mirrors)
        if self._under_way or any(mirror.awaits(ref) for mirror in mirrors):
            return False
        return next(filter(None, (mirror.version_of(ref) for mirror in mirrors)), "") == version

    def standings(self) -> tuple[Standing, ...]:
        """How it is with each kind, in order of name."""
        return tuple(sorted(map(self._standing, self._followed.values()), key=lambda standing: standing.resource))

    # When

    def _is_synced(self) -> bool:
        """Kinds that are only reported may be forbidden to us."""
        if self._catalogue is None:
            return False
        reflectors = (followed.reflector for name, followed in self._followed.items() if name not in self._also)
        return all(reflector.synced or reflector.resource.known is None for reflector in reflectors)

    async def _wait(self, seconds: float | None) -> None:
        """For news, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def _due(self) -> list[_Lane]:
        """Lanes whose changes are to be handed on, at least one."""
        lanes = (self._urgent, self._others)
        while True:
            waits = [lane.debounce.wait() for lane in lanes]
            if due := [lane for lane, wait in zip(lanes, waits, strict=True) if wait <= 0]:
                return due
            await self._wait(shortest if (shortest := min(waits)) < float("inf") else None)

    def _batch(self, lanes: Iterable[_Lane]) -> Batch:
        changes: dict[ObjectRef, Object | None] = {}
        for lane in lanes:
            lane.debounce.done()
            for followed in lane.followed:
                if followed.reflector.mirror.has_changes:
                    changes.update(followed.reflector.mirror.take())
        return Batch(changes, tuple(self.problems()))

    def _taken(self) -> None:
        """Whoever asks for the next batch has done with the last."""
        for followed in self._followed.values():
            if followed.reflector.synced and not followed.reflector.mirror.has_changes:
                followed.settled.set()

    def _changed(self, name: tuple[str, str, str]) -> None:
        """A kind may have news. What is wrong with it is news, too."""
        followed = self._followed.get(name)
        if followed is None:
            return
        if self._judge(followed) or self._judge_access():
            self._others.debounce.event()
        if followed.reflector.mirror.has_changes or (followed.reflector.synced and not followed.settled.is_set()):
            followed.lane.debounce.event()
        if followed.reflector.state in _NOT_READABLE:
            followed.settled.set()
        self._news.set()

    # What is wrong

    def _judge(self, followed: _Followed) -> bool:
        """Whether something else is wrong with a kind. Looks at its objects only when one of them says so."""
        reflector = followed.reflector
        own, findings = tuple(reflector.problems()), reflector.mirror.findings
        if own == followed.own and findings == followed.findings:
            return False
        followed.own, followed.findings = own, findings
        followed.problems = (*own, *reflector.mirror.problems())
        return True

    def _judge_access(self) -> bool:
        before, since = self._away, self._clock.monotonic() - self._access.away_since
        self._away = bool(self._access.away) and since >= self._timing.away
        return self._away != before

    def problems(self) -> Iterator[Problem]:
        """All that is wrong now; said with each batch, and from the beginning."""
        if self._away:
            why = f"the API server cannot be reached, what it said last stays in force: {self._access.away}"
            yield _of_cluster("ApiServerAway", why)
        if self._unclear:
            yield _of_cluster("KindsUnknown", f"nobody knows which kinds the cluster has: {self._unclear}")
        yield from self._misversioned
        for followed in self._followed.values():
            yield from followed.problems

    def _standing(self, followed: _Followed) -> Standing:
        reflector = followed.reflector
        heard = round(self._clock.monotonic() - reflector.heard, 1)
        state = "away" if self._access.away else str(reflector.state)
        numbers = (len(reflector.mirror), heard, reflector.lists, reflector.failures, reflector.repairs)
        return Standing(str(reflector.resource), state, *numbers, reflector.trouble)

    # Whether watches tell everything

    async def _audit(self) -> None:
        """Again and again, kind by kind."""
        while True:
            await self._sleep(self._timing.audit / 30)
            for followed in tuple(self._followed.values()):
                await self._audit_one(followed)

    async def _audit_one(self, followed: _Followed) -> None:
        reflector, now = followed.reflector, self._clock.monotonic()
        if followed.audit is not None:
            self._conclude(followed, followed.audit)
        elif now >= followed.audit_due and reflector.is_settled and not self._access.away:
            followed.audit_due = now + max(self._timing.audit, len(reflector.mirror) * self._timing.audit_object)
            audit = Audit(reflector)
            with suppress(Unreachable, Broken, Garbage):  # whoever watches says so
                async with self._turns:
                    await audited(self._access, audit, reflector.resource)
                followed.audit = audit

    @staticmethod
    def _conclude(followed: _Followed, audit: Audit) -> None:
        """When the watch has got to where the list was made."""
        lost = audit.lost()
        if lost is None:
            return
        followed.audit = None
        if lost:
            some = ", ".join(map(str, sorted(lost)[:3]))
            name = str(followed.reflector.resource)
            log.error("a watch did not tell everything: listing again", resource=name, objects=len(lost), some=some)
            followed.reflector.repair()

    # Which kinds

    async def _discover(self, tasks: Supervisor) -> None:
        """Again and again: a CRD may come or go."""
        failures = 0
        while True:
            before = self._unclear
            try:
                found = await self._look()
            except Unreachable:
                pass  # said by itself
            except (Broken, Garbage) as error:
                failures += 1
                self._unclear = str(error) if failures >= _UNCLEAR else ""
            else:
                failures, self._unclear = 0, ""
                self._follow(found, tasks)
            if self._judge_access() or self._unclear != before:
                self._others.debounce.event()
            self._news.set()
            await self._sleep(self._timing.discover)

    async def _look(self) -> Catalogue:
        """What there is now. Raises Unreachable, Broken, Garbage."""
        if self._catalogue is None:
            await self._ready()
        headers = {"Accept": discovery.ACCEPT, "Accept-Encoding": "identity"}
        if self._etag:
            headers["If-None-Match"] = self._etag
        body = bytearray()
        async with self._access.get(discovery.PATH, {}, headers) as answer, aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _LARGEST_CATALOGUE:
                    raise Garbage("a list of APIs without an end")
            if answer.status == 304 and self._catalogue is not None:
                return self._catalogue
            if answer.status != 200:
                raise Broken(f"{discovery.PATH}: status {answer.status}")
            found = discovery.read_catalogue(bytes(body))
            self._etag = answer.headers.get("ETag", "")
            return found

    async def _ready(self) -> None:
        """An API server that has just begun does not know its CRDs yet: its first catalogue would lack our policies."""
        async with self._access.get("/readyz", {}, {}) as answer:
            if answer.status >= 500:
                raise Broken("the API server is not ready yet")

    def _follow(self, catalogue: Catalogue, tasks: Supervisor) -> None:
        wanted = {_name(resource): resource for resource in discovery.resources(catalogue, self._kinds)}
        for name, resource in wanted.items():
            followed = self._followed.get(name)
            if followed is None:
                self._start(name, resource, tasks)
                continue
            followed.reflector.served = True
            if not _still_served(followed.reflector.resource, catalogue):
                log.info("served in another version", resource=str(resource), version=resource.version)
                followed.reflector.move(resource)
        for name in self._followed.keys() - wanted.keys() - self._also.keys():
            if name[0] not in catalogue.stale:
                self._withdraw(name)
        if catalogue != self._catalogue:
            self._misversioned = tuple(discovery.misversioned(catalogue, self._kinds))
            self._others.debounce.event()
        self._catalogue = catalogue

    def _start(self, name: tuple[str, str, str], resource: Resource, tasks: Supervisor) -> None:
        mirror = Mirror(resource)
        reflector = Reflector(resource, mirror, self._clock, self._randomness, self._timing.pace)
        lane = self._urgent if resource.kind in _URGENT else self._others
        followed = self._followed[name] = _Followed(reflector, lane, asyncio.Event())
        lane.followed.append(followed)
        watching = Watching(self._access, reflector, self._turns, lambda: self._changed(name), self._sleep)
        if self._catalogue is not None:
            log.info("a kind that is new", resource=str(resource))
        followed.task = tasks.restarted(f"list+watch of {resource}", watching.run)

    def _withdraw(self, name: tuple[str, str, str]) -> None:
        """It is not served any more. Its objects go when the API server says so of them, too; then nobody asks."""
        followed = self._followed[name]
        followed.reflector.served = False
        if not followed.reflector.gone or followed.reflector.mirror.has_changes:
            return
        log.info("a kind is gone", resource=str(followed.reflector.resource))
        if followed.task is not None:
            followed.task.cancel()
        followed.lane.followed.remove(followed)
        del self._followed[name]


def _name(resource: Resource) -> tuple[str, str, str]:
    """The same in every version."""
    return resource.group, resource.plural, resource.namespace


def _still_served(resource: Resource, catalogue: Catalogue) -> bool:
    return not resource.group or any(
        (one.group, one.plural, one.version) == (resource.group, resource.plural, resource.version)
        for one in catalogue.served
    )


def _of_cluster(code: str, message: str) -> Problem:
    return Problem(code, Level.ERROR, Origin(ObjectRef("", "API", "", "server")), message)
