"""How far a change of an object is with the proxies that it concerns.

Asked naively this is every proxy times every resource, for every change. It is kept instead as what a revision says
anyway: a revision names the resources that it changed, by the layers proxies see; each resource names the objects it
was made of. So a change costs what it touches: a count for each object and layer, and a mark "since then". Who is
behind is asked once in a while, of the proxies of marked layers alone, and of each of them once however many objects
wait for it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from controlplane.model.problem import ObjectRef
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.view import Change
from controlplane.status.parts import MOST_NAMED, NOTHING, Progress

L = TypeVar("L")
L_contra = TypeVar("L_contra", contravariant=True)

# What changes with Pods and certificates is no news of the objects that shaped it.
_NOT_COUNTED = frozenset({types.ENDPOINT, types.SECRET})
_COUNTED = tuple([type_url for type_url in types.PUSH_ORDER if type_url not in _NOT_COUNTED])
_NEVER = -1


class Fleet(Protocol[L_contra]):
    """Who is connected."""

    def members(self, layer: L_contra) -> Collection[int]:
        """Connections that see this layer."""
        ...

    def is_seen(self, layer: L_contra) -> bool:
        """Whether there are any."""
        ...

    def outstanding(self, connection: int) -> frozenset[str]:
        """Types of which it has not acknowledged all that it is to have."""
        ...

    def name(self, connection: int) -> str:
        """Of its proxy."""
        ...


class Reach(Generic[L]):
    """Of all objects. `fleet` is asked, never told."""

    def __init__(self, fleet: Fleet[L], counts: Callable[[ObjectRef], bool]) -> None:
        """`counts`: whether objects of this kind have a status of ours."""
        self._fleet = fleet
        self._counts = counts
        self._now = 0  # grows with what is published
        self._noted: deque[tuple[tuple[L, str], int, Mapping[str, Change]]] = deque()  # not counted yet
        self._layers: dict[ObjectRef, dict[L, int]] = {}  # resources made of it, by layer
        self._marks: dict[ObjectRef, dict[tuple[L, str], int]] = {}  # (layer, type) -> when it changed; unsettled only
        self._seen: dict[int, dict[str, int]] = {}  # connection -> type -> when it was last known to have all
        self.touched = 0  # entries looked at, for tests that count

    @property
    def unsettled(self) -> Collection[ObjectRef]:
        """Objects with a change that is not known to be everywhere."""
        return self._marks.keys()

    def published(self, touched: Mapping[L, Mapping[str, Mapping[str, Change]]]) -> None:
        """What a revision changed. A large one would keep others waiting, so it is noted, and counted by `count`."""
        self._now += 1
        for layer, by_type in touched.items():
            since = self._now if self._fleet.is_seen(layer) else _NEVER
            for type_url, changes in by_type.items():
                if type_url not in _NOT_COUNTED:
                    self._noted.append(((layer, type_url), since, changes))

    def count(self) -> Iterator[None]:
        """Counts what was noted, in small steps."""
        while self._noted:
            place, since, changes = self._noted[0]
            try:
                for change in changes.values():
                    self._changed(place, since, change)
                    yield
            finally:
                self._noted.popleft()

    @property
    def is_counted(self) -> bool:
        """Nothing was published that is not counted yet."""
        return not self._noted

    def _changed(self, place: tuple[L, str], since: int, change: Change) -> None:
        before, after = self._refs(change.old), self._refs(change.new)
        self.touched += 1
        for ref in after - before:
            layers = self._layers.setdefault(ref, {})
            layers[place[0]] = layers.get(place[0], 0) + 1
        for ref in before - after:
            self._less(ref, place[0])
        if since != _NEVER:
            for ref in before | after:
                self._marks.setdefault(ref, {})[place] = since

    def _less(self, ref: ObjectRef, layer: L) -> None:
        layers = self._layers.get(ref, {})
        left = layers.pop(layer, 0) - 1
        if left > 0:
            layers[layer] = left
        elif not layers:
            self._layers.pop(ref, None)

    def _refs(self, resource: Resource | None) -> set[ObjectRef]:
        if resource is None:
            return set()
        return {origin.ref for origin in resource.origins if self._counts(origin.ref)}

    def mark(self, ref: ObjectRef) -> None:
        """Look at an object as if it had just changed: somebody is concerned now who was not."""
        layers = [layer for layer in self._layers.get(ref, ()) if self._fleet.is_seen(layer)]
        if layers:
            self._now += 1
            places = {(layer, type_url): self._now for layer in layers for type_url in _COUNTED}
            self._marks.setdefault(ref, {}).update(places)

    def gone(self, connection: int) -> None:
        """A proxy has left."""
        self._seen.pop(connection, None)

    # Now and then

    def look(self) -> set[ObjectRef]:
        """Asks who is behind, of all that was counted; the objects whose changes are everywhere now."""
        wanted: dict[tuple[L, str], int] = {}
        for marks in self._marks.values():
            for place, since in marks.items():
                wanted[place] = max(since, wanted.get(place, _NEVER))
        asked: set[int] = set()
        lows = {place: self._low(place, since, asked) for place, since in wanted.items()}
        settled = set()
        for ref, marks in tuple(self._marks.items()):
            left = {place: since for place, since in marks.items() if lows[place] < since}
            if left:
                self._marks[ref] = left
            else:
                del self._marks[ref]
                settled.add(ref)
        return settled

    def _low(self, place: tuple[L, str], since: int, asked: set[int]) -> int:
        """When the slowest proxy of a layer had all of a type; as late as can be if there is none."""
        layer, type_url = place
        low = self._now
        for connection in self._fleet.members(layer):
            if self._of(connection, type_url) < since and connection not in asked:
                asked.add(connection)
                self._ask(connection)
            low = min(low, self._of(connection, type_url))
        return low

    def _ask(self, connection: int) -> None:
        self.touched += 1
        behind = self._fleet.outstanding(connection)
        known = self._seen.setdefault(connection, {})
        known.update((type_url, self._now) for type_url in types.PUSH_ORDER if type_url not in behind)

    def _of(self, connection: int, type_url: str) -> int:
        return self._seen.get(connection, _NOBODY).get(type_url, _NEVER)

    def progress(self, ref: ObjectRef) -> Progress:
        """Of one object, as of the last look."""
        concerned = self._members(self._layers.get(ref, ()))
        waiting = {
            connection
            for (layer, type_url), since in self._marks.get(ref, {}).items()
            for connection in self._fleet.members(layer)
            if self._of(connection, type_url) < since
        }
        if not concerned and not waiting:
            return NOTHING
        behind = tuple(sorted(map(self._fleet.name, waiting))[:MOST_NAMED])
        return Progress(len(concerned | waiting), len(waiting), behind)

    def _members(self, layers: Iterable[L]) -> set[int]:
        return {connection for layer in layers for connection in self._fleet.members(layer)}


_NOBODY: Mapping[str, Any] = {}
