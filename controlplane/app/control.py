"""The control plane of one process: a graph that is fed, and a server that is told.

Sources call `apply`; the server calls `connected`, `heard` and `disconnected`; both end in one revision of the graph,
and what that changed is handed on by scope. Everything happens on one event loop, so nothing here is locked.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random  # noqa: TID251  the root is where randomness comes from
from typing import Any, Protocol

import msgspec
import structlog

from controlplane.app.expiry import expired
from controlplane.app.keys import Keys
from controlplane.app.nacks import Nacks
from controlplane.base.clock import Clock
from controlplane.compile.graph import Graph
from controlplane.compile.inputs import SETTINGS_KEY
from controlplane.compile.layers import Layer
from controlplane.compile.proxies import Scope
from controlplane.compile.view import LayeredView, ProxyView, Touched
from controlplane.envoy import render
from controlplane.local.ports import BusyPort, ConfigDump, ProxyReached, ProxyStatus, Reached, SyncState, TypeStatus
from controlplane.model.encode import settings_mapping
from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Level, ObjectRef, Problem
from controlplane.model.proxy import Proxy
from controlplane.model.settings import Settings
from controlplane.runtime import garbage
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.turns import Turn
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.view import View
from controlplane.sources.source import Changes, worst_first
from controlplane.store import Change, Revision
from controlplane.xds.admission import admit_local
from controlplane.xds.protocol.commands import Accepted, HoldEnded, Reason, Refused
from controlplane.xds.protocol.status import Standing
from controlplane.xds.protocol.status import TypeStatus as StreamType
from controlplane.xds.proxies import Denied
from controlplane.xds.server import AdsServer, ConnectionStatus, ServerSettings

log = structlog.get_logger(__name__)

SHORT_NAMES: Mapping[str, str] = {
    types.CLUSTER: "CDS",
    types.ENDPOINT: "EDS",
    types.SECRET: "SDS",
    types.LISTENER: "LDS",
    types.ROUTE: "RDS",
    types.VIRTUAL_HOST: "VHDS",
}
_STATES: Mapping[Standing, SyncState] = {
    Standing.REFUSED: SyncState.REFUSED,
    Standing.WAITING: SyncState.STALE,
    Standing.PENDING: SyncState.STALE,
    Standing.SYNCED: SyncState.SYNCED,
}
_BUILD = 10_000  # outputs in one revision: what they are made of is worth leaving out of every collection
LATE = 2.0  # seconds a proxy may be earlier than the Pod that vouches for it


# What is read for one proxy alone, before it is told anything: what it asks for must not seem to be missing.
Prepare = Callable[[Proxy], Awaitable[None]]


async def _nothing_to_prepare(_proxy: Proxy) -> None:
    pass


class Follower(Protocol):
    """Whoever wants to know what happens, cheaply: each is called for every change."""

    def published(self, touched: Touched) -> None:
        """What a revision changed, before anybody is sent it."""
        ...

    def applied(self, changes: Changes) -> None:
        """Objects are others, or gone, and what that changes is published."""
        ...

    def left(self, connection: int) -> None:
        """A proxy is gone."""
        ...


class _Shared(msgspec.Struct, eq=False):
    """One shared view and the connections that see it."""

    view: LayeredView
    connections: set[int]


class ControlPlane:
    """One running control plane, without its sockets' life cycle: see `open_control_plane`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        randomness: Callable[[], float],
        server_settings: ServerSettings | None = None,
    ) -> None:
        """`randomness` gives floats in [0, 1)."""
        self.graph = Graph(settings)
        self.changed = asyncio.Event()  # set whenever `problems` may say something else
        self.news = 0  # grows with it
        self._followers: list[Follower] = []
        self.keys_wanted = asyncio.Event()  # set whenever `wanted_keys` may say something else
        self.keys_settled: Callable[[], Awaitable[None]] = _at_once  # what is asked for them is known
        self._clock = clock
        self.server = AdsServer(self, clock, randomness, settings=server_settings)
        self._settings_problems: tuple[Problem, ...] = ()
        self._ready = asyncio.Event()
        self._shared: dict[tuple[Layer, ...], _Shared] = {}
        self._seen_by: dict[Layer, set[tuple[Layer, ...]]] = {}  # which of them hold a layer
        self._views: dict[int, ProxyView] = {}
        self._proxies: dict[int, Proxy] = {}
        self._unvouched: dict[int, asyncio.Event] = {}  # proxies that wait for their Pods
        self._nacks = Nacks()
        self.prepare: Prepare = _nothing_to_prepare
        self._turns = asyncio.Lock()

    def follow(self, follower: "Follower") -> None:
        """Tell of changes, from now on."""
        self._followers.append(follower)

    def _say_changed(self) -> None:
        self.news += 1
        self.changed.set()

    # What sources say

    def apply(self, changes: Changes) -> None:
        """One revision from changed objects; `None` is an object that is gone."""
        if self._ready.is_set():
            self._publish(self.graph.store.apply(self.graph.changes_of(changes)))
        else:
            with garbage.paused():
                self._publish(self.graph.store.apply(self.graph.changes_of(changes)))
        self._say_applied(changes)

    async def apply_in_turns(self, changes: Changes) -> None:
        """`apply`, of so much that others would wait for it."""
        async with self._turns:
            with garbage.paused():
                await self._in_turns(self.graph.changes_of(changes))
        self._say_applied(changes)

    def _say_applied(self, changes: Changes) -> None:
        for follower in self._followers:
            follower.applied(changes)

    @property
    def is_between(self) -> bool:
        """A big revision is being worked out: objects may be read already that no proxy was told of."""
        return self._turns.locked()

    async def configure(self, settings: Settings) -> None:
        """Other mesh-wide settings: everything may change, so it is worked out in turns with what else happens."""
        async with self._turns:
            with garbage.paused():
                await self._in_turns([Change(self.graph.inputs.settings, SETTINGS_KEY, settings)])
                garbage.keep()  # or the collector looks at all of it as soon as it may

    async def set_mesh_config(self, config: Mapping[str, Any]) -> None:
        """`configure`, from MeshConfig's field names."""
        settings, self._settings_problems = decode_settings(config)
        self._say_changed()
        await self.configure(settings)

    async def _in_turns(self, changes: Iterable[Change[Any, Any]]) -> None:
        """`apply` in steps; between two steps the loop has its turn and other changes are published."""
        turn = Turn()
        steps = self.graph.store.apply_steps(changes, turn.is_over)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                self._publish(done.value)
                break
            await turn.next()
        for _ in self.graph.store.settle(turn.is_over):
            await turn.next()

    def apply_keys(self, keys: Mapping[str, FetchedKeys | None]) -> None:
        """What token issuers answered, by URI; None is one nobody asks any more."""
        self._publish(
            self.graph.store.apply([Change(self.graph.inputs.fetched_keys, uri, value) for uri, value in keys.items()])
        )

    def wanted_keys(self) -> Iterable[tuple[str, str]]:
        """What token issuers are to be asked: (namespace of who wants it, URI)."""
        return [key for key, _ in self.graph.store.items(self.graph.wanted_keys.all)]

    @property
    def is_serving(self) -> bool:
        """Whether all sources were applied once."""
        return self._ready.is_set()

    async def serving(self) -> None:
        """Until `start_serving`."""
        await self._ready.wait()

    def start_serving(self) -> None:
        """All sources were read once: answer proxies from here on."""
        garbage.settle()
        self._ready.set()

    # What the server says

    async def connected(self, connection: int, proxy: Proxy) -> View | Denied:
        """A proxy is here; nobody is answered before the first build is done."""
        await self._ready.wait()
        await self.keys_settled()
        await self.prepare(proxy)
        self._proxies[connection] = proxy
        with garbage.paused():
            self._publish(self.graph.store.apply([Change(self.graph.inputs.proxies, str(connection), proxy)]))
        scope = self.graph.scope(str(connection)) or await self._late_scope(connection)
        if scope is None:
            return Denied(Reason.PERMISSION_DENIED, self.graph.refusal(str(connection)))
        return self._join(connection, scope)

    async def _late_scope(self, connection: int) -> Scope | None:
        """A proxy may be here before the Pod that vouches for it is known."""
        vouched = self._unvouched[connection] = asyncio.Event()
        try:
            await asyncio.wait_for(vouched.wait(), LATE)
        except TimeoutError:
            return None
        finally:
            del self._unvouched[connection]
        return self.graph.scope(str(connection))

    def disconnected(self, connection: int) -> None:
        """It is gone, and what only it needed with it."""
        if self._proxies.pop(connection, None) is None:
            return
        self._leave(connection)
        self._nacks.forget(connection)
        for follower in self._followers:
            follower.left(connection)
        self._publish(self.graph.store.apply([Change(self.graph.inputs.proxies, str(connection), None)]))

    def heard(self, connection: int, news: Accepted | Refused | HoldEnded) -> None:
        """What a proxy made of what it was sent."""
        if isinstance(news, Accepted) and self._nacks.is_empty:
            return  # nearly always, and as often as there are proxies
        self._say_changed()
        view = self._views.get(connection)
        if view is not None and self._nacks.heard(connection, self._name(connection), view, news):
            log.warning("refused by proxy", proxy=self._name(connection), news=type(news).__name__)

    def _name(self, connection: int) -> str:
        proxy = self._proxies.get(connection)
        return f"{proxy.name}.{proxy.namespace}" if proxy is not None else str(connection)

    # Who sees what

    def _join(self, connection: int, scope: Scope) -> ProxyView:
        shared = self._shared.get(scope.shared)
        if shared is None:
            shared = self._shared[scope.shared] = _Shared(self.graph.shared_view(scope), set())
            for layer in scope.shared:
                self._seen_by.setdefault(layer, set()).add(scope.shared)
        shared.connections.add(connection)
        view = self._views[connection] = self.graph.proxy_view(scope, shared.view)
        return view

    def _leave(self, connection: int) -> None:
        view = self._views.pop(connection, None)
        if view is None:
            return
        layers = view.shared_view.layers
        shared = self._shared[layers]
        shared.connections.discard(connection)
        if not shared.connections:
            del self._shared[layers]
            for layer in layers:
                self._seen_by[layer].discard(layers)
                if not self._seen_by[layer]:
                    del self._seen_by[layer]

    def members(self, layer: Layer) -> Collection[int]:
        """Connections that see a layer."""
        if layer.kind == "proxy":
            return (int(layer.proxy),) if int(layer.proxy) in self._views else ()
        scopes = self._seen_by.get(layer, ())
        return [connection for scope in scopes for connection in self._shared[scope].connections]

    def is_seen(self, layer: Layer) -> bool:
        """Whether anybody sees a layer."""
        return int(layer.proxy) in self._views if layer.kind == "proxy" else bool(self._seen_by.get(layer))

    def outstanding(self, connection: int) -> frozenset[str]:
        """Types of which a proxy has not acknowledged all that it is to have."""
        return self.server.outstanding(connection)

    def name(self, connection: int) -> str:
        """Of a proxy, as people write it."""
        return self._name(connection)

    def _publish(self, revision: Revision) -> None:
        """Hands on what a revision changed: to each scope once, to each proxy what is its own."""
        self._say_changed()
        for (collection, key), error in revision.failures.items():
            log.error("our own bug: the last good value stays", collection=collection.name, key=key, error=repr(error))
        if sum(map(len, revision.changes.values())) > _BUILD:
            garbage.keep()
        touched = self.graph.outputs.touched(revision)
        if touched:
            for follower in self._followers:
                follower.published(touched)
            for shared in tuple(self._shared.values()):
                if changes := shared.view.changes(touched):
                    self.server.published(shared.view, changes)
            for layer in touched:
                if layer.kind == "proxy" and (view := self._views.get(int(layer.proxy))) is not None:
                    self.server.proxy_changed(int(layer.proxy), view.changes(touched))
        if revision.changes[self.graph.wanted_keys.all]:
            self.keys_wanted.set()
        self._move(revision)

    def _move(self, revision: Revision) -> None:
        for name, (_, scope) in revision.changes[self.graph.scopes.scopes].items():
            connection = int(name)
            view = self._views.get(connection)
            if scope is None:
                self.server.call_back(connection, self.graph.refusal(name))
            elif connection in self._unvouched:
                self._unvouched[connection].set()
            elif view is not None and view.shared_view.layers != scope.shared:
                self._leave(connection)
                self.server.proxy_moved(connection, self._join(connection, scope))

    # What people ask

    def current_settings(self) -> Settings:
        """The mesh-wide settings in force."""
        return self.graph.store.get(self.graph.inputs.settings, SETTINGS_KEY) or Settings()

    def settings(self) -> Mapping[str, Any]:
        """`current_settings`, with MeshConfig's field names."""
        return settings_mapping(self.current_settings())

    def problems(self) -> tuple[Problem, ...]:
        """What compile and the proxies found wrong, now, each once; errors first."""
        reported = (problem for _, _, found in self.graph.store.reports() for problem in found)
        over = expired(self.graph.certificate_ends(), self._clock.now())
        return worst_first((*self._settings_problems, *reported, *over, *self._nacks.problems()))

    def refusals(self) -> Iterable[Problem]:
        """Of these, what proxies refused."""
        return self._nacks.problems()

    def busy_ports(self) -> tuple[BusyPort, ...]:
        """Where proxies cannot listen because something else does."""
        return self._nacks.busy_ports()

    def call_back(self, name: str) -> None:
        """Ask a proxy to connect anew: what failed for a reason of its machine is tried again."""
        for connection in self._proxies:
            if self._name(connection) == name:
                self.server.call_back(connection, "come back: what your machine refused may work now")

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """Who is connected, sorted by name."""
        return tuple(sorted(map(self._status, self.server.statuses()), key=lambda status: (status.name, status.id)))

    def _status(self, status: ConnectionStatus) -> ProxyStatus:
        view = self._views.get(status.number)
        return ProxyStatus(
            id=status.proxy.id,
            name=f"{status.proxy.name}.{status.proxy.namespace}",
            type=status.proxy.type.value,
            connected_seconds=status.seconds,
            envoy_version=status.proxy.envoy_version,
            types={
                SHORT_NAMES[each.type_url]: _type_status(each, view.count(each.type_url) if view is not None else 0)
                for each in status.types
                if each.type_url in SHORT_NAMES
            },
        )

    def reached(self, ref: ObjectRef | None) -> Reached:
        """How far an object has got: whether all proxies it concerns have accepted all they are to have.

        A proxy is concerned if a resource it is to have was made of the object.
        """
        layers = None if ref is None else self.graph.outputs.made_of(ref)
        concerned = {
            connection: view
            for connection, view in self._views.items()
            if layers is None or not layers.isdisjoint(view.layers)
        }
        found = (self._reached(each, ref) for each in self.server.statuses() if each.number in concerned)
        is_read = ref is None or self._holds(ref)
        return Reached(is_read, tuple(sorted(found, key=lambda one: one.name)))

    def _holds(self, ref: ObjectRef) -> bool:
        collection = self.graph.inputs.of(ref.group, ref.kind)
        return collection is not None and self.graph.store.get(collection, (ref.namespace, ref.name)) is not None

    def _reached(self, status: ConnectionStatus, ref: ObjectRef | None) -> ProxyReached:
        name = self._name(status.number)
        for problem in self._nacks.of(status.number):
            if problem.level is Level.ERROR and ref in {None, problem.origin.ref}:
                return ProxyReached(name, SyncState.REFUSED, problem.message)
        errors = " ".join(each.error for each in status.types if each.error)
        settled = all(each.standing is Standing.SYNCED for each in status.types)
        return ProxyReached(name, SyncState.SYNCED if settled else SyncState.STALE, " ".join(errors.split()))

    def resources(self, name: str) -> tuple[Resource, ...] | None:
        """All that the proxy of this name (or node id) is to have; None if it is not connected."""
        for connection, proxy in self._proxies.items():
            view = self._views.get(connection)
            if view is not None and name in (proxy.id, self._name(connection)):
                return tuple(resources_of(view))
        return None

    def config(self, name: str) -> ConfigDump | None:
        """`resources` as protobuf JSON, private keys redacted."""
        resources = self.resources(name)
        return None if resources is None else render.document(resources)

    async def dump(self, name: str) -> ConfigDump | None:
        """`config`, worked out in a thread."""
        resources = self.resources(name)
        return None if resources is None else await asyncio.to_thread(render.document, resources)

    def note_settings(self, problems: tuple[Problem, ...]) -> None:
        """What is wrong with the settings stays a problem until they are others."""
        self._settings_problems = problems


async def _at_once() -> None:
    """Nobody asks for keys."""


def _type_status(status: StreamType, resources: int) -> TypeStatus:
    """A proxy that came back with all it should have is synced although nothing was sent to it."""
    has_all = status.standing is Standing.SYNCED and resources > 0
    state = _STATES[status.standing] if status.nonce or has_all else SyncState.NOT_SENT
    return TypeStatus(state, resources, " ".join(status.error.split()), bool(status.nonce))


def resources_of(view: View) -> Iterable[Resource]:
    """Everything a view shows."""
    for type_url in types.PUSH_ORDER:
        for name in view.names(type_url):
            found = view.get(type_url, name)
            if found is not None:
                yield found


@asynccontextmanager
async def open_control_plane(
    settings: Mapping[str, Any], xds_socket: Path | None, keys: Path | None = None
) -> AsyncIterator[ControlPlane]:
    """A control plane that serves xDS on a Unix socket, if one is said; `settings` has MeshConfig's field names.

    `keys` is where good keys of token issuers are kept, if it is to ask for any.
    """
    decoded, problems = decode_settings(settings)
    clock, randomness = SystemClock(), Random().random  # noqa: S311  jitter, not a secret
    plane = ControlPlane(decoded, clock, randomness)
    plane.note_settings(problems)
    issuers = Keys(plane, keys, clock, randomness)
    plane.keys_settled = issuers.settled
    if xds_socket is not None:
        await plane.server.listen_unix(xds_socket, admit_local)
    try:
        async with Supervisor(clock) as tasks:
            tasks.restarted("keys of token issuers", issuers.run)
            yield plane
    finally:
        await plane.server.stop()
        if xds_socket is not None:
            xds_socket.unlink(missing_ok=True)  # noqa: ASYNC240  one system call, at the end


__all__ = ["ControlPlane", "ObjectRef", "open_control_plane", "resources_of"]
