"""A big revision, decided once for all streams that have nothing to decide about it.

A setting of the mesh makes new content of thousands of resources at a stroke. For each the question "may this go out
now?" has the same plain answer on every calm stream: it has the one before, and the new one names nothing it lacks. So
the question is asked here, once a revision; a stream then only writes part after part, in the order of types, each
change of clusters with the endpoints that warm them right behind it. What is not plain is left over for the stream.

Nothing of a script is in a stream's books before it is sent, and nothing else is decided before it is over; what
changes meanwhile is entered as a change of what the script brings. When the proxy refuses something or asks for
something, what is left of the script is entered too, and the stream decides for itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import count, islice
from typing import Final, NamedTuple

from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.routes import route_of
from controlplane.snapshot.types import CLUSTER, ENDPOINT, VIRTUAL_HOST
from controlplane.snapshot.view import Change, Changes, View
from controlplane.xds.protocol.content import is_slow
from controlplane.xds.protocol.ledger import Known, forgotten
from controlplane.xds.protocol.responses import fitting

MANY: Final = 64  # resources of a type; fewer are soon decided
# The types of which a mesh has thousands, in push order, and how many of them make a scene. Clusters are joined few at
# a time, for the event loop's sake; virtual hosts together, for Envoy's: each response makes it build the table anew.
_TOGETHER: Final[Mapping[str, int | None]] = {CLUSTER: 500, VIRTUAL_HOST: None}


class Part(NamedTuple):
    """One response, the same for all streams."""

    key: tuple[object, ...]
    type_url: str
    resources: tuple[Resource, ...]
    prior: Mapping[str, Known]  # name -> what the proxy has until then
    follows: bool = False  # endpoints that have to come right after the clusters before them
    without: tuple[str, ...] = ()  # of clusters: those the view has no endpoints for


class Scene:
    """Some changes of one type, and the responses that bring them: made when the first stream gets there."""

    def __init__(self, key: tuple[object, ...], type_url: str, changed: Mapping[str, Change], view: View) -> None:
        self.type_url = type_url
        self.changed = changed
        self._key = key
        self._view = view

    @cached_property
    def routes(self) -> frozenset[str]:
        """The route configurations that virtual hosts are of."""
        return frozenset(map(route_of, self.changed)) if self.type_url == VIRTUAL_HOST else frozenset()

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """With the content of its revision: what changed again since then follows."""
        return tuple(self._made())

    def _made(self) -> Iterator[Part]:
        keys = ((*self._key, number) for number in count())
        for resources in _split(change.new for change in self.changed.values()):
            prior = {each.name: self.changed[each.name].old for each in resources}
            if self.type_url != CLUSTER:
                yield Part(next(keys), self.type_url, resources, prior)
                continue
            found = {each.name: self._view.get(ENDPOINT, each.name) for each in resources}
            without = tuple(name for name, each in found.items() if each is None)
            yield Part(next(keys), CLUSTER, resources, prior, without=without)
            for part in _split(found.values()):
                yield Part(next(keys), ENDPOINT, part, {each.name: forgotten(each) for each in part}, follows=True)


class Script(NamedTuple):
    """What a revision says to every calm stream, and what it leaves to each."""

    scenes: Mapping[str, tuple[Scene, ...]]  # by type, in push order
    rest: Changes


def is_plain(change: Change, exists: Callable[[Ref], bool]) -> bool:
    """Whether this is new content of what each proxy has, and names nothing that the old one did not name."""
    old, new = change
    if old is None or new is None or old.version == new.version or old.ttl or new.ttl:
        return False
    return (new.refs == old.refs or set(new.refs) <= set(old.refs)) and all(map(exists, new.refs))


def script(changes: Changes, view: View, identity: object) -> Script | None:
    """The script of a revision; None when there is not much that is plain in it."""
    rest = dict(changes)
    scenes: dict[str, tuple[Scene, ...]] = {}
    keys = ((identity, number) for number in count())
    for type_url, together in _TOGETHER.items():
        changed = changes.get(type_url, {})
        plain = _plain(changed, view) if len(changed) >= MANY else {}
        if len(plain) < MANY or (type_url == VIRTUAL_HOST and len(plain) < len(changed)):
            continue  # a domain moves from one virtual host to another in one response, or Envoy refuses it
        rest[type_url] = {name: change for name, change in changed.items() if name not in plain}
        scenes[type_url] = tuple(Scene(next(keys), type_url, some, view) for some in _apart(plain, together))
    return Script(scenes, rest) if scenes else None


def _apart(changed: Mapping[str, Change], together: int | None) -> Iterator[dict[str, Change]]:
    names = iter(changed)
    while some := {name: changed[name] for name in islice(names, together)}:
        yield some


def _plain(changed: Mapping[str, Change], view: View) -> dict[str, Change]:
    """By name, sorted. What may never be warm travels apart."""
    clusters = frozenset(view.names(CLUSTER))  # what nearly all refs are to, looked up once

    def exists(ref: Ref) -> bool:
        return (ref.type_url == CLUSTER and ref.name in clusters) or view.get(*ref) is not None

    found = {name: changed[name] for name in sorted(changed) if is_plain(changed[name], exists)}
    return {name: change for name, change in found.items() if change.new is not None and not _is_slow(change.new)}


def _is_slow(resource: Resource) -> bool:
    return resource.type_url == CLUSTER and is_slow(resource)


def _split(resources: Iterable[Resource | None]) -> Iterator[tuple[Resource, ...]]:
    """In responses of a size that everybody takes."""
    left = [each for each in resources if each is not None]
    while left:
        part = fitting(left)
        left = left[len(part) :]
        yield tuple(part)
