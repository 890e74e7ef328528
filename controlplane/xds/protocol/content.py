"""A view as one protocol serves it.

Delta proxies get route configurations as headers with `vhds` and their hosts one by one; SotW proxies get them whole.
Both get an empty assignment for a cluster without endpoints: a cluster that was sent always has one, or it would warm
until its timeout.
"""

from collections.abc import Iterable
from typing import Protocol

from controlplane.snapshot.resource import Ref, Resource, resource
from controlplane.snapshot.routes import (
    is_placeholder,
    placeholder_host,
    route_of,
    whole_route,
    with_vhds,
)
from controlplane.snapshot.types import CLUSTER, ENDPOINT, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.snapshot.view import Change, Changes, View
from controlplane.xds.protocol import wire


def empty_assignment(cluster: str) -> Resource:
    """No endpoints, said aloud."""
    return resource(ENDPOINT, cluster, wire.field(b"\x0a", cluster.encode()))


def is_slow(cluster: Resource) -> bool:
    """Whether warming this cluster waits for something that may never come: a DNS answer or a secret."""
    return cluster.waits or any(ref.type_url == SECRET for ref in cluster.refs)


class Content(Protocol):
    """What a stream reads: resources as they go on the wire."""

    view: View
    hollow: set[str]  # route configurations of which this proxy takes no host: they need the placeholder

    def get(self, type_url: str, name: str) -> Resource | None:
        """The resource of this name as this protocol serves it."""
        ...

    def find(self, asked: str) -> Resource | None:
        """The virtual host meant by an on-demand question."""
        ...

    def referrers(self, ref: Ref) -> Iterable[Ref]:
        """What the view shows that names `ref`."""
        ...

    def own_changes(self, changes: Changes) -> Changes:
        """Changes of what only this proxy sees, as this protocol serves them. Call it when they happen."""
        ...


class DeltaContent:
    """Headers and hosts apart."""

    def __init__(self, view: View, headers: "Headers") -> None:
        self.view = view
        self.hollow: set[str] = set()
        self._headers = headers

    def get(self, type_url: str, name: str) -> Resource | None:
        """See `Content`."""
        found = self.view.get(type_url, name)
        if found is None:
            return self._stand_in(type_url, name)
        return self._headers.served(found) if type_url == ROUTE else found

    def find(self, asked: str) -> Resource | None:
        """See `Content`."""
        return self.view.find(VIRTUAL_HOST, asked)

    def referrers(self, ref: Ref) -> Iterable[Ref]:
        """See `Content`."""
        return self.view.referrers(ref)

    def own_changes(self, changes: Changes) -> Changes:
        """See `Content`."""
        return self._headers.changes(changes)

    def _stand_in(self, type_url: str, name: str) -> Resource | None:
        if type_url == ENDPOINT and self.view.get(CLUSTER, name) is not None:
            return empty_assignment(name)
        if type_url == VIRTUAL_HOST and is_placeholder(name):
            return placeholder_host(route_of(name)) if self._is_empty(route_of(name)) else None
        return None

    def _is_empty(self, route: str) -> bool:
        return route in self.hollow or next(iter(self.view.virtual_hosts(route)), None) is None


class Headers:
    """Headers as delta proxies get them, made once for all streams of a scope."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Resource, Resource]] = {}

    def served(self, header: Resource) -> Resource:
        """The header with `vhds`."""
        kept = self._kept.get(header.name)
        if kept is None or kept[0] is not header:
            kept = self._kept[header.name] = (header, with_vhds(header))
        return kept[1]

    def changes(self, changes: Changes) -> Changes:
        """Changes of a view as delta proxies see them."""
        if ROUTE not in changes:
            return changes
        return {**changes, ROUTE: {name: self._both(change) for name, change in changes[ROUTE].items()}}

    def _both(self, change: Change) -> Change:
        old, new = (each and self.served(each) for each in change)
        return Change(old, new)


class SotwContent:
    """Route configurations whole. They are joined once and kept, by the scope for all its streams."""

    def __init__(self, view: View, routes: "WholeRoutes") -> None:
        self.view = view
        self.hollow: set[str] = set()
        self._shared = routes
        self._own = WholeRoutes(view)

    def get(self, type_url: str, name: str) -> Resource | None:
        """See `Content`."""
        if type_url == ROUTE:
            return self._routes(name).get(name)
        found = self.view.get(type_url, name)
        if found is None and type_url == ENDPOINT and self.view.get(CLUSTER, name) is not None:
            return empty_assignment(name)
        return found

    def find(self, asked: str) -> Resource | None:
        """See `Content`."""
        return self.view.find(VIRTUAL_HOST, asked)

    def referrers(self, ref: Ref) -> Iterable[Ref]:
        """See `Content`: a virtual host refers as the route configuration it is in."""
        for each in self.view.referrers(ref):
            yield Ref(ROUTE, route_of(each.name)) if each.type_url == VIRTUAL_HOST else each

    def own_changes(self, changes: Changes) -> Changes:
        """See `Content`."""
        return self._own.changes(changes)

    def _routes(self, name: str) -> "WholeRoutes":
        return self._own if name in self.view.own(ROUTE) else self._shared


class WholeRoutes:
    """Joined route configurations of one view, each kept until it or one of its hosts changes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._kept: dict[str, Resource] = {}

    def get(self, name: str) -> Resource | None:
        """The whole route configuration of this name."""
        found = self._kept.get(name)
        return found if found is not None else self._join(name)

    def changes(self, changes: Changes) -> Changes:
        """The view changed: its changes in terms of whole route configurations. What nobody asked for costs nothing."""
        hosts, headers = changes.get(VIRTUAL_HOST, {}), changes.get(ROUTE, {})
        if not hosts and not headers:
            return changes
        touched = {*headers, *(route for route in map(route_of, hosts) if route in self._kept)}
        rest = {kind: each for kind, each in changes.items() if kind not in {ROUTE, VIRTUAL_HOST}}
        routes = {name: change for name in sorted(touched) if (change := self._renewed(name)) is not None}
        return {**rest, ROUTE: routes} if routes else rest

    def _renewed(self, name: str) -> Change | None:
        old = self._kept.pop(name, None)
        new = self.get(name)
        same = old.version == new.version if old is not None and new is not None else old is new
        return None if same else Change(old, new)

    def _join(self, name: str) -> Resource | None:
        header = self._view.get(ROUTE, name)
        if header is None:
            return None
        hosts = (self._view.get(VIRTUAL_HOST, host) for host in self._view.virtual_hosts(name))
        whole = whole_route(header, (host for host in hosts if host is not None))
        self._kept[name] = whole
        return whole
