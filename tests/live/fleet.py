"""A control plane in a thread, and Envoys that stay while meshes come and go.

An Envoy costs half a second to start and nothing to keep, so a few of them see hundreds of meshes: sidecars with and
without traffic capture and gateways, over delta and over state of the world.
"""

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from envoy.config.bootstrap.v3 import bootstrap_pb2

from controlplane.app.control import ControlPlane, open_control_plane
from controlplane.envoy.bootstrap import ProxyBootstrap, UnixServer, bootstrap
from controlplane.model.problem import ObjectRef
from controlplane.model.proxy import Proxy
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.sources.source import Changes
from controlplane.xds.protocol.commands import Refused
from controlplane.xds.protocol.status import Standing, TypeStatus
from tests.envoys import RunningEnvoy, start
from tests.envoys.certificates import identity, root_certificate
from tests.envoys.identity import put_identity

_ROOTS = "roots.pem"
_PATIENCE = 30.0  # seconds until an Envoy has what it was sent


class Nack(msgspec.Struct, frozen=True):
    """What an Envoy refused, in its own words."""

    proxy: str
    type_url: str
    names: tuple[str, ...]
    error: str


class Member(msgspec.Struct, frozen=True):
    """One Envoy of the fleet."""

    proxy: Proxy
    delta: bool
    envoy: RunningEnvoy

    @property
    def name(self) -> str:
        return f"{self.proxy.name}.{self.proxy.namespace}"


class Fleet:
    """A control plane with a loop of its own, and its Envoys."""

    def __init__(self, plane: ControlPlane, loop: asyncio.AbstractEventLoop) -> None:
        self.members: list[Member] = []
        self.nacks: list[Nack] = []
        self._plane = plane
        self._loop = loop
        self._applied: dict[ObjectRef, Any] = {}
        self._listen()

    def _listen(self) -> None:
        heard = self._plane.heard

        def listening(connection: int, news: Any) -> None:
            if isinstance(news, Refused):
                proxy = self._plane._proxies[connection]
                names = tuple(name for name, _ in news.culprits)
                self.nacks.append(Nack(proxy.name, news.type_url, names, news.error))
            heard(connection, news)

        self._plane.heard = listening  # type: ignore[method-assign]

    def show(self, objects: Changes) -> None:
        """The mesh is now these objects, in one revision: what was there before and is not among them goes."""
        gone = dict.fromkeys(ref for ref in self._applied if ref not in objects)
        self._applied = dict(objects)
        self._in_loop(self._apply({**gone, **objects}))

    async def _apply(self, changes: Changes) -> None:
        self._plane.apply(changes)
        self._plane.start_serving()

    def resources(self, name: str) -> dict[str, dict[str, Resource]] | None:
        """What a proxy is to have: type URL -> name -> resource. None if it is not connected."""
        resources: Sequence[Resource] | None = self._in_loop(self._resources(name))
        if resources is None:
            return None
        found: dict[str, dict[str, Resource]] = {}
        for resource in resources:
            found.setdefault(resource.type_url, {})[resource.name] = resource
        return found

    async def _resources(self, name: str) -> Sequence[Resource] | None:
        return self._plane.resources(name)

    def wait_until_taken(self, where: str = "") -> None:
        """Until every Envoy has exactly what it is to have, or has refused something. `where`: for the error."""
        known = len(self.nacks)
        for member in self.members:
            deadline = time.monotonic() + _PATIENCE
            while len(self.nacks) == known and (missing := self._differences(member)):
                member.envoy.check_alive()
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{where}: {member.name} waits for {missing}\n{member.envoy.output()[-3000:]}")
                time.sleep(0.01)

    async def _standings(self, name: str) -> list[TypeStatus]:
        statuses = [status for status in self._plane.server.statuses() if name.startswith(f"{status.proxy.name}.")]
        return [one for status in statuses for one in status.types if one.standing is not Standing.SYNCED]

    def _differences(self, member: Member) -> list[str]:
        """What a stream owes, and what an Envoy's own dump has too much or too little of.

        What names a cluster that nobody has is kept back for good, and with it the clusters its older version names, and
        the route configurations that only the new version does.
        Versions are compared for clusters over delta. Envoy keeps the old version of a listener whose filter chains
        alone were updated, and knows one version of all clusters over state of the world. It also keeps the routes of
        listeners that drain: the next mesh does not wait for these.
        """
        wanted = self.resources(member.name)
        if wanted is None:
            return ["not connected"]
        clusters = {name: resource.version for name, resource in wanted.get(types.CLUSTER, {}).items()}
        standings: list[TypeStatus] = self._in_loop(self._standings(member.name))
        kept_back = [one for one in standings if _waits_for_nobody(one, wanted)]
        owed = [f"{one.type_url} {one.standing} {one.waiting}" for one in standings if one not in kept_back]
        if owed:  # a dump costs Envoy 20 ms: it is asked for when it may be the last
            return owed
        held = _held(member.envoy)
        theirs = held[types.CLUSTER] if member.delta else {name: clusters.get(name, "") for name in held[types.CLUSTER]}
        if kept_back:
            theirs = {name: version for name, version in theirs.items() if name in clusters}
        listeners = wanted.get(types.LISTENER, {})
        older = {name for one in kept_back if one.type_url == types.LISTENER for name in one.waiting}
        current = [one for name, one in listeners.items() if name not in older]
        routes = {ref.name for one in current for ref in one.refs if ref.type_url == types.ROUTE}
        return [
            *(f"cluster {name}" for name in {*clusters, *theirs} if clusters.get(name) != theirs.get(name)),
            *(f"listener {name}" for name in listeners.keys() ^ held[types.LISTENER].keys()),
            *(f"routes {name}" for name in routes - held[types.ROUTE].keys()),
        ]

    def add(self, envoy: RunningEnvoy, proxy: Proxy, *, delta: bool) -> None:
        self.members.append(Member(proxy, delta, envoy))

    def _in_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=60)


def _waits_for_nobody(status: TypeStatus, wanted: Mapping[str, Mapping[str, Resource]]) -> bool:
    """Whether all that is kept back names a cluster that does not exist, or is a cluster such a thing still names."""
    if status.standing is not Standing.WAITING:
        return False
    return all(_names_nobody(status.type_url, name, wanted) for name in status.waiting)


def _names_nobody(type_url: str, name: str, wanted: Mapping[str, Mapping[str, Resource]]) -> bool:
    found = wanted.get(type_url, {}).get(name)
    if found is None:  # it is gone, and kept for what still names it
        return True
    parts = [found]
    if type_url == types.ROUTE:  # whole, with the hosts that travel alone over delta
        parts += [one for host, one in wanted.get(types.VIRTUAL_HOST, {}).items() if host.startswith(f"{name}/")]
    named = (ref.name for part in parts for ref in part.refs if ref.type_url == types.CLUSTER)
    return any(cluster not in wanted.get(types.CLUSTER, {}) for cluster in named)


def _held(envoy: RunningEnvoy) -> dict[str, dict[str, str]]:
    """Names and versions an Envoy holds, warming ones included."""
    found: dict[str, dict[str, str]] = {types.CLUSTER: {}, types.LISTENER: {}, types.ROUTE: {}}
    for config in json.loads(envoy.admin("/config_dump"))["configs"]:
        for key in ("dynamic_active_clusters", "dynamic_warming_clusters"):
            for one in config.get(key, ()):
                found[types.CLUSTER][one["cluster"]["name"]] = one.get("version_info", "")
        for one in config.get("dynamic_listeners", ()):
            state = one.get("warming_state") or one.get("active_state")
            if state:  # it may be draining only
                found[types.LISTENER][one["name"]] = state.get("version_info", "")
        for one in config.get("dynamic_route_configs", ()):
            found[types.ROUTE][one["route_config"]["name"]] = ""
    return found


@contextmanager
def fleet(nodes: Sequence[tuple[Proxy, bool]], *, roots: str | None = None, **settings: Any) -> Iterator[Fleet]:
    """Envoys for these proxies; True: over delta. They wait until `show` was called the first time.

    What is called here stands on this machine, unless the settings forbid it.
    `roots`: PEM of what stands for the machines' own authorities; those that sign the tests' certificates by default.
    """
    with TemporaryDirectory(prefix="lateen-live-") as name, _running_loop() as loop, ExitStack() as stack:
        socket = Path(name) / "xds.sock"
        socket.with_name(_ROOTS).write_text(root_certificate() if roots is None else roots)
        opening = open_control_plane({"refuseLocalEndpoints": False, **settings}, socket)
        plane = asyncio.run_coroutine_threadsafe(opening.__aenter__(), loop).result(timeout=30)
        made = Fleet(plane, loop)
        try:
            for proxy, delta in nodes:
                config = _bootstrap(proxy, socket, delta=delta)
                prepare = partial(
                    put_identity, pair=identity(f"spiffe://cluster.local/ns/{proxy.namespace}/sa/default")
                )
                running = start(config, wait_ready=False, log_level="error", prepare=prepare)
                made.add(stack.enter_context(running), proxy, delta=delta)
            yield made
        finally:
            stack.close()
            asyncio.run_coroutine_threadsafe(opening.__aexit__(None, None, None), loop).result(timeout=30)


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="control plane", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def _bootstrap(proxy: Proxy, socket: Path, *, delta: bool) -> Any:
    metadata = {"NAMESPACE": proxy.namespace, "NAME": proxy.name, "LABELS": dict(proxy.labels), **proxy.metadata}
    made = bootstrap(
        ProxyBootstrap(
            node_id=proxy.id,
            cluster=proxy.name,
            server=UnixServer(str(socket)),
            admin=str(socket.with_name(f"{proxy.name}.sock")),
            metadata=metadata,
            locality=str(proxy.locality),
            delta=delta,
            system_roots=str(socket.with_name(_ROOTS)),
        ),
        socket.parent,
    )
    return bootstrap_pb2.Bootstrap.FromString(bytes(made))
