"""Views in memory, and resources small enough to read in a trace."""

from collections.abc import Collection, Iterable, Mapping

from envoy.config.route.v3 import route_components_pb2, route_pb2

from controlplane.snapshot.resource import Ref, Resource, resource
from controlplane.snapshot.routes import route_of
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, PUSH_ORDER, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.snapshot.view import Change, Changes, View


class MemoryView:
    """A view that is a dict, optionally layered over a shared one."""

    def __init__(self, resources: Iterable[Resource] = (), base: "MemoryView | None" = None) -> None:
        self.revision = 1
        self._base = base
        self._content: dict[str, dict[str, Resource]] = {type_url: {} for type_url in PUSH_ORDER}
        self._hidden: set[tuple[str, str]] = set()
        self.touched = 0  # names walked, for tests of cost
        for each in resources:
            self._content[each.type_url][each.name] = each

    def apply(self, *resources: Resource, remove: Iterable[Resource | Ref] = ()) -> Changes:
        """Add, replace and remove; what really changed."""
        self.revision += 1
        changes: dict[str, dict[str, Change]] = {}
        for each in remove:
            old = self._content[each.type_url].pop(each.name, None)
            if old is not None:
                changes.setdefault(each.type_url, {})[each.name] = Change(old, None)
        for new in resources:
            old = self._content[new.type_url].get(new.name)
            self._content[new.type_url][new.name] = new
            if old != new:
                changes.setdefault(new.type_url, {})[new.name] = Change(old, new)
        return changes

    def hide(self, *names: Ref) -> None:
        """From now on a wildcard does not show these: they are for those who ask by name."""
        self._hidden.update((each.type_url, each.name) for each in names)

    def all(self) -> dict[str, dict[str, Resource]]:
        below = self._base.all() if self._base else {}
        return {kind: {**below.get(kind, {}), **own} for kind, own in self._content.items()}

    # View

    def get(self, type_url: str, name: str) -> Resource | None:
        found = self._content.get(type_url, {}).get(name)
        return found if found is not None or self._base is None else self._base.get(type_url, name)

    def find(self, type_url: str, asked: str) -> Resource | None:
        exact = self.get(type_url, asked)
        if exact is not None or type_url != VIRTUAL_HOST:
            return exact
        route, _, authority = asked.rpartition("/")
        for name in self.virtual_hosts(route):
            host = self.get(VIRTUAL_HOST, name)
            assert host is not None
            if authority in route_components_pb2.VirtualHost.FromString(host.body).domains:
                return host
        return None

    def names(self, type_url: str) -> Iterable[str]:
        below = self._base.names(type_url) if self._base else ()
        names = {*self._content.get(type_url, {}), *below}
        self.touched += len(names)
        return sorted(name for name in names if self.shows(type_url, name))

    def virtual_hosts(self, route: str) -> Iterable[str]:
        return [name for name in self.names(VIRTUAL_HOST) if route_of(name) == route]

    def count(self, type_url: str) -> int:
        return len(self._content.get(type_url, {})) + (self._base.count(type_url) if self._base else 0)

    def shows(self, type_url: str, name: str) -> bool:
        return (type_url, name) not in self._hidden

    def referrers(self, ref: Ref) -> Iterable[Ref]:
        for kind, named in self.all().items():
            for name, each in sorted(named.items()):
                if ref in each.refs:
                    yield Ref(kind, name)

    @property
    def shared(self) -> View:
        return self._base if self._base is not None else self

    def own(self, type_url: str) -> Collection[str]:
        return self._content.get(type_url, {}).keys() if self._base is not None else ()


def _clusters(names: Iterable[str]) -> tuple[Ref, ...]:
    return tuple(sorted(Ref(CLUSTER, name) for name in names))


# Bodies are sentences that say what a model Envoy has to know: "cluster a 1 secret=s dns bad".


def cluster(name: str, v: int = 1, *, secret: str = "", dns: bool = False, bad: bool = False) -> Resource:
    refs = (Ref(SECRET, secret),) if secret else ()
    words = [f"cluster {name} {v}", f"secret={secret}", "dns" if dns else "eds", "bad" if bad else "good"]
    return resource(CLUSTER, name, " ".join(words).encode(), refs, waits=dns)


def endpoints(name: str, v: int = 1, *, bad: bool = False) -> Resource:
    return resource(ENDPOINT, name, f"endpoints {name} {v} {'bad' if bad else 'good'}".encode())


def secret(name: str, v: int = 1) -> Resource:
    return resource(SECRET, name, f"secret {name} {v}".encode())


def listener(
    name: str, *clusters: str, v: int = 1, rds: str = "", certificate: str = "", bad: bool = False
) -> Resource:
    refs = [*_clusters(clusters)]
    refs += [Ref(ROUTE, rds)] if rds else []
    refs += [Ref(SECRET, certificate)] if certificate else []
    words = [f"listener {name} {v}", f"clusters={','.join(clusters)}", f"rds={rds}", "bad" if bad else "good"]
    return resource(LISTENER, name, " ".join(words).encode(), tuple(sorted(refs)))


def route(name: str, v: int = 1) -> Resource:
    message = route_pb2.RouteConfiguration(name=name, internal_only_headers=[str(v)])
    return resource(ROUTE, name, message.SerializeToString(deterministic=True))


def host(
    name: str, *clusters: str, v: int = 1, domains: Iterable[str] = (), ttl: float = 0.0, bad: bool = False
) -> Resource:
    """`name` is "<route configuration>/<host>"; its domain is the part after the slash unless said otherwise."""
    listed = list(domains) or [name.rpartition("/")[2]]
    message = route_components_pb2.VirtualHost(name=name, domains=listed, request_headers_to_remove=[str(v)])
    if bad:
        message.request_headers_to_remove.append("bad")
    for each in clusters:
        message.routes.add(name=each).route.cluster = each
    return resource(VIRTUAL_HOST, name, message.SerializeToString(deterministic=True), _clusters(clusters), ttl=ttl)


def service(name: str, v: int = 1, *, rds: str = "80") -> list[Resource]:
    """What one service is made of: a cluster, its endpoints, a virtual host."""
    return [cluster(name, v), endpoints(name, v), host(f"{rds}/{name}", name, v=v)]


def mesh(*names: str, rds: str = "80") -> list[Resource]:
    """A small mesh: one listener, one route configuration, a service for each name."""
    services = [part for name in names for part in service(name, rds=rds)]
    return [listener(f"l{rds}", rds=rds), route(rds), *services]


def in_order(changes: Changes) -> Mapping[str, tuple[str, ...]]:
    return {kind: tuple(sorted(named)) for kind, named in changes.items()}
