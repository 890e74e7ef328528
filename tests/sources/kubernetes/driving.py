"""A reflector driven without I/O: what it asks is answered by a model cluster, as well or as badly as a test wants."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.model.kinds import BY_NAME
from controlplane.model.problem import ObjectRef
from controlplane.sources.kubernetes.mirror import Mirror
from controlplane.sources.kubernetes.reflector import List, Pace, Reflector, Step, Wait, Watch
from controlplane.sources.kubernetes.resource import Resource
from controlplane.sources.kubernetes.wire import read_answer, read_event, read_page
from tests.sources.kubernetes.cluster import EXPIRED, Cluster, Gone, Kind

START = datetime(2026, 8, 1, tzinfo=UTC)


class Clock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def resource_of(kind: Kind) -> Resource:
    known = BY_NAME.get((kind.group, kind.kind))
    return Resource(group=kind.group, version=kind.version, plural=kind.plural, kind=kind.kind, known=known)


class Driver:
    """One kind of one cluster, followed."""

    def __init__(self, cluster: Cluster, kind: Kind, pace: Pace | None = None) -> None:
        self.cluster = cluster
        self.kind = kind
        self.clock = Clock()
        self.mirror = Mirror(resource_of(kind))
        self.reflector = Reflector(self.mirror._resource, self.mirror, self.clock, lambda: 0.5, pace)
        self.asked: list[Step] = []
        self.applied: dict[ObjectRef, Any] = {}  # what a store would have
        self.removed: list[ObjectRef] = []

    def next(self) -> List | Watch:
        """What it asks for, after all waiting."""
        while isinstance(step := self.reflector.next(), Wait):
            assert step.seconds > 0
            self.clock.seconds += step.seconds
        self.asked.append(step)
        return step

    def turn(self) -> List | Watch:
        """One question, answered well."""
        step = self.next()
        if isinstance(step, List):
            self.list(step)
        else:
            self.watch(step)
        return step

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def list(self, step: List) -> None:
        if self.kind.path not in self.cluster.kinds:
            self.refuse(404, {})
            return
        try:
            page = self.cluster.page(self.kind, step.limit, step.token)
        except Gone:
            self.refuse(410, EXPIRED)
            return
        self.page(page)

    def page(self, page: Mapping[str, Any]) -> None:
        for _ in self.reflector.page(read_page(json.dumps(page).encode())):
            pass
        self.take()

    def watch(self, step: Watch, most: int | None = None) -> None:
        """A whole watch: all there is, a bookmark, and the end."""
        if self.kind.path not in self.cluster.kinds:
            self.refuse(404, {})
            return
        try:
            events = self.cluster.since(self.kind, step.version)
        except Gone:
            self.events([{"type": "ERROR", "object": EXPIRED}])
            return
        if int(step.version) <= self.cluster.revision:
            events.append(self.cluster.bookmark(self.kind))
        if self.events(events[:most]):
            self.clock.seconds += step.seconds
            self.reflector.ended()

    def events(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Whether the watch goes on."""
        goes_on = all(self.reflector.event(read_event(json.dumps(event).encode())) for event in events)
        self.take()
        return goes_on

    def refuse(self, code: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self.reflector.refused(read_answer(code, headers or {}, json.dumps(body).encode()))
        self.take()

    def take(self) -> None:
        for ref, value in self.mirror.take().items():
            if value is None:
                if self.applied.pop(ref, None) is not None:  # or it came and went between two looks
                    self.removed.append(ref)
            else:
                assert self.applied.get(ref) != value, "told twice"
                self.applied[ref] = value

    @property
    def state(self) -> str:
        return self.reflector.state.value

    def is_synced(self) -> bool:
        return self.reflector.synced

    def names(self) -> set[str]:
        return {ref.name for ref in self.applied}

    def expected(self) -> dict[ObjectRef, Any]:
        """What the cluster has, decoded."""
        found = {}
        for (namespace, name), document in self.cluster.objects.get(self.kind, {}).items():
            value = self.mirror._resource.decode(json.dumps(document).encode()).value
            assert value is not None
            found[ObjectRef(self.kind.group, self.kind.kind, namespace, name)] = value
        return found
