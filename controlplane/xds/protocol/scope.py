"""What the streams of one scope share, so that N proxies cost one encoding.

A first sync sends thousands of resources to every proxy of the scope. They are cut into buckets of consecutive names;
the response for a bucket is built when the first stream needs it and kept for the others; a change makes only its own
bucket stale. A reconnecting proxy says what it has; one comparison with the scope's versions says what differs.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.routes import route_of
from controlplane.snapshot.types import CLUSTER, ENDPOINT, VIRTUAL_HOST
from controlplane.snapshot.view import Change, Changes, View
from controlplane.xds.protocol.commands import Send
from controlplane.xds.protocol.content import Content, DeltaContent, Headers, SotwContent, WholeRoutes, is_slow
from controlplane.xds.protocol.responses import CHUNK, Responses
from controlplane.xds.protocol.script import MANY, Script, is_plain, script
from controlplane.xds.protocol.versions import Versions

_SCRIPTS: Final = 2  # streams may be a revision behind each other; what is kept holds the old content, too
_REBUILD: Final = 500  # changes of a type at once from which on plans of it are thrown away
_BATCHES: Final = 16  # kept until the type changes; proxies that connect together ask for few different ones


class Bucket:
    """Consecutive names that travel together in a first sync."""

    __slots__ = ("edition", "fitted", "listed", "names", "start")

    def __init__(self, start: str, names: list[str]) -> None:
        self.start = start
        self.names = names
        self.edition = 0  # grows when a resource in it changes
        self.fitted = -1  # the edition whose size was looked at
        self.listed: tuple[str, ...] = ()  # `names` as of then


class Step(NamedTuple):
    """One response of a first sync, and where the next one starts; None when this was the last."""

    key: tuple[object, ...]  # the same for all streams that take this step
    resources: Callable[[], list[Resource]]
    names: tuple[str, ...]
    next: str | None


class Batch(NamedTuple):
    """Many names that were asked for at once: what there is of them, in responses, and the rest."""

    parts: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...]


class Plan:
    """The first sync of one type (of one route configuration, for virtual hosts): its names, in buckets."""

    def __init__(self, identity: tuple[object, ...], content: Content, type_url: str, names: Iterable[str]) -> None:
        self._identity = identity
        self._content = content
        self._type = type_url
        listed = list(names)
        self.apart = {name for name in listed if self._sets_apart(name)}  # each stream sends these by themselves
        self._buckets = [Bucket("", [name for name in listed if name not in self.apart])]
        self._starts = [""]

    def step(self, start: str) -> Step:
        """The bucket a stream is at."""
        at = bisect_right(self._starts, start) - 1
        bucket = self._buckets[at]
        if bucket.fitted != bucket.edition:
            self._fit(at, bucket)
        following = self._starts[at + 1] if at + 1 < len(self._starts) else None
        key = (*self._identity, bucket.start, bucket.edition)
        names = bucket.listed
        return Step(key, lambda: self._resources(names), names, following)

    def changed(self, name: str, change: Change) -> None:
        """One resource of this type is another one now."""
        bucket = self._buckets[bisect_right(self._starts, name) - 1]
        bucket.edition += 1
        at = bisect_left(bucket.names, name)
        there = at < len(bucket.names) and bucket.names[at] == name
        belongs = change.new is not None and not self._goes_apart(change.new)
        (self.apart.discard if belongs or change.new is None else self.apart.add)(name)
        if belongs and not there:
            bucket.names.insert(at, name)
        elif there and not belongs:
            del bucket.names[at]

    def _sets_apart(self, name: str) -> bool:
        """A cluster that waits for DNS or a secret would hold back the ACK of all; what expires needs heartbeats."""
        found = self._content.get(self._type, name)
        return found is not None and self._goes_apart(found)

    def _goes_apart(self, resource: Resource) -> bool:
        return bool(resource.ttl) or (self._type == CLUSTER and is_slow(resource))

    def _fit(self, at: int, bucket: Bucket) -> None:
        size = 0
        for index, name in enumerate(bucket.names):
            found = self._content.get(self._type, name)
            size += len(found.body) if found is not None else 0
            if size > CHUNK and index:
                self._split(at, bucket, index)
                break
        bucket.listed, bucket.fitted = tuple(bucket.names), bucket.edition

    def _split(self, at: int, bucket: Bucket, index: int) -> None:
        rest = Bucket(bucket.names[index], bucket.names[index:])
        del bucket.names[index:]
        self._buckets.insert(at + 1, rest)
        self._starts.insert(at + 1, rest.start)

    def _resources(self, names: tuple[str, ...]) -> list[Resource]:
        found = (self._content.get(self._type, name) for name in names)
        return [each for each in found if each is not None]


_PLAIN: Final = frozenset({ENDPOINT, VIRTUAL_HOST})
_FEW: Final = 16  # resources: far from filling a response


class Forward(NamedTuple):
    """A revision so plain that most streams have nothing to decide: they pass its one response on."""

    send: Send
    type_url: str
    changed: Mapping[str, Change]


class Scope:
    """One shared view and what is worked out from it once: plans of first syncs, versions, whole routes."""

    def __init__(self, view: View, responses: Responses) -> None:
        self.view = view
        self.responses = responses
        self.routes = WholeRoutes(view)
        self._identity = responses.nonce()  # not id(): a later scope may get the same
        self.headers = Headers()
        self._contents = {"delta": self.content("delta", view), "sotw": self.content("sotw", view)}
        self._plans: dict[tuple[str, str, str], Plan] = {}
        self._editions: dict[str, int] = {}
        self._versions: dict[str, tuple[int, Versions]] = {}
        self._batches: dict[tuple[object, ...], Batch] = {}
        self._forward: tuple[Changes, Forward | None] = ({}, None)  # of the last revision that was asked for
        self._scripts: deque[tuple[Changes, Script | None]] = deque(maxlen=_SCRIPTS)  # of the last big ones

    def content(self, protocol: str, view: View) -> Content:
        """What a stream of this scope reads; `view` is the proxy's, layered over the shared one."""
        return SotwContent(view, self.routes) if protocol == "sotw" else DeltaContent(view, self.headers)

    def advance(self, changes: Changes) -> Mapping[str, Changes]:
        """The shared view changed; what each protocol's streams have to be told. Call this once a revision."""
        for type_url, changed in changes.items():
            self._editions[type_url] = self.edition(type_url) + 1
            self._batches.clear()
            plans = [key for key in self._plans if key[1] == type_url]
            for key in plans:
                if len(changed) > _REBUILD:
                    del self._plans[key]  # made anew by the next stream that needs it
                else:
                    _renew(self._plans[key], key[2], changed)
        return {"delta": self.headers.changes(changes), "sotw": self.routes.changes(changes)}

    def forward(self, changes: Changes) -> Forward | None:
        """What passes this revision on to a delta stream, if it is new content of what each proxy had before, and
        names no cluster that the old one did not name.
        """
        if self._forward[0] is not changes:
            self._forward = (changes, self._forwarded(changes))
        return self._forward[1]

    def script(self, changes: Changes) -> Script | None:
        """What a big revision says to every calm delta stream."""
        if not any(len(changed) >= MANY for changed in changes.values()):
            return None
        for known, found in self._scripts:
            if known is changes:
                return found
        made = script(changes, self.view, self.responses.nonce())
        self._scripts.append((changes, made))
        return made

    def _forwarded(self, changes: Changes) -> Forward | None:
        if len(changes) != 1:
            return None
        ((type_url, changed),) = changes.items()
        plain = type_url in _PLAIN and len(changed) <= _FEW
        if not (plain and all(is_plain(change, self._exists) for change in changed.values())):
            return None
        resources = [change.new for _, change in sorted(changed.items()) if change.new is not None]
        return Forward(self.responses.delta(type_url, resources), type_url, changed)

    def _exists(self, ref: Ref) -> bool:
        return self.view.get(*ref) is not None

    def edition(self, type_url: str) -> int:
        """Grows when a resource of this type changes."""
        return self._editions.get(type_url, 0)

    def key(self, type_url: str) -> tuple[object, ...]:
        """Names the present content of a type: equal as long as nothing of it changed."""
        return (self._identity, type_url, self.edition(type_url))

    def plan(self, protocol: str, type_url: str, route: str = "") -> Plan:
        """How to bring a new stream all resources of a type; for virtual hosts, those of one route configuration."""
        key = (protocol, type_url, route)
        found = self._plans.get(key)
        if found is None:
            names = self.view.virtual_hosts(route) if type_url == VIRTUAL_HOST else self.view.names(type_url)
            identity = (self._identity, *key, self.edition(type_url))
            found = Plan(identity, self._contents[protocol], type_url, names)
            self._plans[key] = found
        return found

    def batch(self, protocol: str, type_url: str, names: tuple[str, ...]) -> Batch:
        """Names that proxies of this scope ask for together, worked out by the first: clusters come in shared steps,
        so the names of their endpoints do too.
        """
        key = (protocol, type_url, self.edition(type_url), names)
        found = self._batches.get(key)
        if found is None:
            found = _batched(self._contents[protocol], type_url, names)
            if len(found.absent) < len(names) // 2:  # what nobody has, nobody else asks for
                if len(self._batches) >= _BATCHES:
                    self._batches.clear()
                self._batches[key] = found
        return found

    def part(self, protocol: str, type_url: str, names: tuple[str, ...]) -> Step:
        """The response that brings one part of a batch, as it is now."""
        content = self._contents[protocol]
        found = (content.get(type_url, name) for name in names)
        return Step((*self.key(type_url), names), lambda: [each for each in found if each is not None], names, None)

    def versions(self, type_url: str) -> Versions:
        """Those of all shared resources of a type, worked out again only after a change of the type."""
        found = self._versions.get(type_url)
        if found is None or found[0] != self.edition(type_url):
            found = self._versions[type_url] = (self.edition(type_url), Versions(self._listed(type_url)))
        return found[1]

    def _listed(self, type_url: str) -> Iterable[tuple[str, str]]:
        content = self._contents["delta"]
        for name in self.view.names(type_url):
            found = content.get(type_url, name)
            if found is not None:
                yield name, found.version


def _batched(content: Content, type_url: str, names: tuple[str, ...]) -> Batch:
    parts: list[list[str]] = [[]]
    absent: list[str] = []
    size = 0
    for name in sorted(set(names)):
        found = content.get(type_url, name)
        if found is None:
            absent.append(name)
            continue
        size += len(found.body)
        if size > CHUNK and parts[-1]:
            parts.append([])
            size = len(found.body)
        parts[-1].append(name)
    return Batch(tuple(tuple(part) for part in parts if part), tuple(absent))


def _renew(plan: Plan, route: str, changed: Mapping[str, Change]) -> None:
    for name, change in changed.items():
        if not route or route_of(name) == route:
            plan.changed(name, change)
