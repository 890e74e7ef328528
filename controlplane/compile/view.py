"""The views that `xds` reads: a stack of layers over the graph's outputs, never a copy.

All proxies of one scope share one `SharedView`, so that what is worked out for one (sorted names, joined bytes) is
there for all; a `ProxyView` puts the few resources that are a proxy's own on top.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Collection as Names
from functools import lru_cache, partial
from itertools import chain
from typing import Any, TypeVar

from controlplane.compile.inputs import Inputs
from controlplane.compile.layers import Layer
from controlplane.compile.outbound import NamedKey
from controlplane.mesh import hosts as mesh_hosts
from controlplane.model.problem import ObjectRef
from controlplane.snapshot import types
from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.routes import route_of
from controlplane.snapshot.view import Change, Changes, View
from controlplane.store import Collection, Index, Revision, Store

K = TypeVar("K")

Source = Collection[NamedKey, Resource]
# What a resource is found by beside its name: its layer alone, its route table, or something it names.
Filed = tuple[Layer] | tuple[Layer, str] | tuple[Layer, Ref]
Touched = dict[Layer, dict[str, dict[str, Change]]]  # layer -> type URL -> name -> change


class Outputs:
    """The collections that hold encoded resources, by type, with the indexes a view asks."""

    def __init__(self, store: Store, inputs: Inputs, sources: Mapping[str, tuple[Source, ...]]) -> None:
        self.store = store
        self.inputs = inputs
        self.sources = sources
        self.type_of: dict[Any, str] = {}
        self._indexes: dict[str, list[Index[Filed, NamedKey, Resource]]] = {}
        for type_url, collections in sources.items():
            for source in collections:
                self._add(type_url, source)

    def _add(self, type_url: str, source: Source) -> None:
        self.store.output(source)
        self.type_of[source] = type_url
        index = self.store.index(f"{source.name}Filed", source, _FILED.get(type_url, _by_layer))
        self._indexes.setdefault(type_url, []).append(index)

    def get(self, layer: Layer, type_url: str, name: str) -> Resource | None:
        for source in self.sources.get(type_url, ()):
            if (found := self.store.get(source, (layer, name))) is not None:
                return found
        return None

    def reader(self, type_url: str) -> Callable[[NamedKey], Resource | None]:
        """`get` for many names, good until the next apply."""
        readers = tuple([self.store.reader(source) for source in self.sources.get(type_url, ())])

        def read(key: NamedKey) -> Resource | None:
            for get in readers:
                if (found := get(key)) is not None:
                    return found
            return None

        return read

    def filed(self, type_url: str, under: "Filed") -> Iterator[str]:
        """Names filed under a layer, or under a route table or a reference within one."""
        for index in self._indexes.get(type_url, ()):
            for _, name in self.store.entry(index, under):
                yield name

    def made_of(self, ref: ObjectRef) -> set[Layer]:
        """The layers that hold something made of an object. Looks at everything: for people, not for changes."""
        return {
            layer
            for sources in self.sources.values()
            for source in sources
            for (layer, _), resource in self.store.items(source)
            if any(origin.ref == ref for origin in resource.origins)
        }

    def touched(self, revision: Revision) -> Touched:
        """What a revision changed, by layer; costs what changed."""
        touched: Touched = {}
        for source, changes in revision.changes.items():
            type_url = self.type_of.get(source)
            if type_url is None:
                continue
            places = [each for each in self.sources[type_url] if revision.changes[each] or self._has_any(each)]
            meaning = _merged([(revision.changes[each], self.store.reader(each)) for each in places])
            for key in changes:
                layer, name = key
                by_name = touched.setdefault(layer, {}).setdefault(type_url, {})
                if name not in by_name:
                    by_name[name] = meaning(key)
        return touched

    def _has_any(self, source: Source) -> bool:
        return next(iter(self.store.items(source)), None) is not None


def _merged(
    parts: Iterable[tuple[Mapping[K, tuple[Resource | None, Resource | None]], Callable[[K], Resource | None]]],
) -> Callable[[K], Change]:
    """What a key meant before, and means now, in several places of which the first that has it counts.

    Each place says what changed in it, and what it has otherwise. Asked for thousands of keys in one turn of the loop.
    """
    places = tuple([(changed.get, current) for changed, current in parts])

    def change(key: K) -> Change:
        old = new = None
        for changed, current in places:
            pair = changed(key)
            if pair is not None:
                old, new = old or pair[0], new or pair[1]
            elif (found := current(key)) is not None:
                old, new = old or found, new or found
        return Change(old, new)

    return change


@lru_cache(maxsize=4096)  # one for all of a layer's resources
def _whole(layer: Layer) -> tuple[Filed]:
    return ((layer,),)


def _by_layer(key: NamedKey, _: Resource) -> Iterable[Filed]:
    return _whole(key[0])


def _by_refs(key: NamedKey, found: Resource) -> Iterable[Filed]:
    layer = key[0]
    return (*_whole(layer), *[(layer, ref) for ref in found.refs])


def _by_table(key: NamedKey, found: Resource) -> Iterable[Filed]:
    layer, name = key
    return (*_whole(layer), (layer, route_of(name)), *[(layer, ref) for ref in found.refs])


_FILED = {types.LISTENER: _by_refs, types.VIRTUAL_HOST: _by_table}
_LATELY = 256  # names
_REFERRING = (types.LISTENER, types.VIRTUAL_HOST)


class LayeredView:
    """`View` over a stack of layers, the most particular first."""

    def __init__(self, outputs: Outputs, layers: tuple[Layer, ...]) -> None:
        self.layers = layers
        self._outputs = outputs
        self._sorted: dict[str, tuple[str, ...]] = {}  # type URL -> names, until one comes or goes
        self._lately: dict[tuple[str, str], Resource | None] = {}  # found since the revision began
        self._at = -1  # that revision

    @property
    def revision(self) -> int:
        return self._outputs.store.revision

    @property
    def shared(self) -> View:
        return self

    def own(self, type_url: str) -> Names[str]:  # noqa: ARG002  everything here is shared
        return ()

    def get(self, type_url: str, name: str) -> Resource | None:
        """A change makes every stream of a scope ask for the same few names, several times."""
        key = (type_url, name)
        if self._at != self._outputs.store.revision or len(self._lately) >= _LATELY:
            self._lately.clear()
            self._at = self._outputs.store.revision
        elif key in self._lately:
            return self._lately[key]
        found = self._lately[key] = self._found(type_url, name)
        return found

    def _found(self, type_url: str, name: str) -> Resource | None:
        for layer in self.layers:
            if (found := self._outputs.get(layer, type_url, name)) is not None:
                return found
        return None

    def names(self, type_url: str) -> tuple[str, ...]:
        found = self._sorted.get(type_url)
        if found is None:
            merged = {name for layer in self.layers for name in self._outputs.filed(type_url, (layer,))}
            found = self._sorted[type_url] = tuple(sorted(merged))
        return found

    def count(self, type_url: str) -> int:
        return len(self.names(type_url))

    def shows(self, type_url: str, name: str) -> bool:  # noqa: ARG002  nothing is on demand yet
        return type_url in SHOWN

    def virtual_hosts(self, route: str) -> Iterable[str]:
        return sorted(
            {name for layer in self.layers for name in self._outputs.filed(types.VIRTUAL_HOST, (layer, route))}
        )

    def referrers(self, ref: Ref) -> Iterator[Ref]:
        for type_url in _REFERRING:
            names = {name for layer in self.layers for name in self._outputs.filed(type_url, (layer, ref))}
            for name in sorted(names):
                visible = self.get(type_url, name)  # a higher layer may hold a version that does not name it
                if visible is not None and ref in visible.refs:
                    yield Ref(type_url, name)

    def find(self, type_url: str, asked: str) -> Resource | None:
        if type_url != types.VIRTUAL_HOST or (exact := self.get(type_url, asked)) is not None:
            return self.get(type_url, asked) if type_url != types.VIRTUAL_HOST else exact
        route, _, authority = asked.rpartition("/")
        for name in self._candidates(route, authority):
            if (found := self.get(type_url, f"{route}/{name}")) is not None:
                return found
        return None

    def _candidates(self, route: str, authority: str) -> Iterator[str]:
        """Names a virtual host may have that answers for `authority`, the most likely first."""
        host, port = _split(authority)
        port = port or (route if route.isdecimal() else route.rpartition(":")[2])
        domain = self._domain
        namespace = self.layers[0].namespace
        dots = host.count(".")
        if dots == 0 and namespace:
            host = mesh_hosts.service_host(host, namespace, domain)
        elif dots == 1:
            yield f"{host}.svc.{domain}:{port}"
        elif dots == 2 and host.endswith(".svc"):
            host = f"{host}.{domain}"
        yield f"{host}:{port}"
        for wildcard in mesh_hosts.wildcards_above(host):
            yield f"{wildcard}:{port}"

    @property
    def _domain(self) -> str:
        settings = self._outputs.store.get(self._outputs.inputs.settings, ())
        return settings.cluster_domain if settings is not None else "cluster.local"

    def changes(self, touched: Touched) -> Changes:
        """What a revision changed for this view, hidden names left out; forgets sorted names that it made wrong."""
        found = {
            type_url: changed
            for type_url in dict.fromkeys(each for layer in self.layers for each in touched.get(layer, ()))
            if (changed := self._changed(type_url, touched))
        }
        for type_url, by_name in found.items():
            if any(old is None or new is None for old, new in by_name.values()):
                self._sorted.pop(type_url, None)
        return found

    def _changed(self, type_url: str, touched: Touched) -> dict[str, Change]:
        read = self._outputs.reader(type_url)
        by_layer = {layer: touched.get(layer, {}).get(type_url, {}) for layer in self.layers}
        holding = [layer for layer in self.layers if by_layer[layer] or self._holds_any(layer, type_url)]
        meaning = _merged([(by_layer[layer], partial(_read, read, layer)) for layer in holding])
        changes = ((name, meaning(name)) for name in dict.fromkeys(chain.from_iterable(by_layer.values())))
        return {name: change for name, change in changes if change.old != change.new}

    def _holds_any(self, layer: Layer, type_url: str) -> bool:
        return next(self._outputs.filed(type_url, (layer,)), None) is not None


def _read(read: Callable[[NamedKey], Resource | None], layer: Layer, name: str) -> Resource | None:
    return read((layer, name))


class ProxyView:
    """`View` of one proxy: its own resources over a shared view."""

    def __init__(self, shared: LayeredView, own: LayeredView) -> None:
        self.shared_view = shared
        self._own = own

    @property
    def revision(self) -> int:
        return self.shared_view.revision

    @property
    def shared(self) -> View:
        return self.shared_view

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All that this proxy sees."""
        return (*self._own.layers, *self.shared_view.layers)

    def own(self, type_url: str) -> Names[str]:
        return self._own.names(type_url)

    def get(self, type_url: str, name: str) -> Resource | None:
        own = self._own.get(type_url, name) if self._own.names(type_url) else None
        return own or self.shared_view.get(type_url, name)

    def find(self, type_url: str, asked: str) -> Resource | None:
        return self._own.get(type_url, asked) or self.shared_view.find(type_url, asked)

    def names(self, type_url: str) -> Iterable[str]:
        own = self._own.names(type_url)
        return sorted((*own, *self.shared_view.names(type_url))) if own else self.shared_view.names(type_url)

    def count(self, type_url: str) -> int:
        return self._own.count(type_url) + self.shared_view.count(type_url)

    def shows(self, type_url: str, name: str) -> bool:
        return self.shared_view.shows(type_url, name)

    def virtual_hosts(self, route: str) -> Iterable[str]:
        return self.shared_view.virtual_hosts(route)

    def referrers(self, ref: Ref) -> Iterator[Ref]:
        yield from self._own.referrers(ref)
        yield from self.shared_view.referrers(ref)

    def changes(self, touched: Touched) -> Changes:
        """What a revision changed among this proxy's own resources."""
        return self._own.changes(touched)


SHOWN = frozenset(types.PUSH_ORDER)


def _split(authority: str) -> tuple[str, str]:
    """Host and port of an authority; the port may be missing, an IPv6 address stands in brackets."""
    host, colon, port = authority.rpartition(":")
    if colon and port.isdecimal() and (not host or host[-1] == "]" or ":" not in host):
        return host.lower(), port
    return authority.lower(), ""
