"""The ADS server: two gRPC methods, everything else is denied.

TCP listeners demand mTLS; the Unix socket, for one machine, is guarded by its file mode. Who calls is settled before
the first byte it says is read. Message bytes go through unparsed in both directions; what they mean is decided by the
machines in `protocol`.
"""

import asyncio
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.model.proxy import Proxy
from controlplane.runtime.buckets import Buckets, Rate
from controlplane.snapshot import types
from controlplane.snapshot.view import Changes, View
from controlplane.xds.budget import ByteBudget
from controlplane.xds.caller import Caller, caller_of
from controlplane.xds.connection import Connection, to_who_may_be_gone
from controlplane.xds.credentials import Certificates
from controlplane.xds.protocol import wire
from controlplane.xds.protocol.commands import Close, Reason
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.protocol.ledger import NO_DOUBTS, Doubts
from controlplane.xds.protocol.quarantine import TRUSTED, Quarantine
from controlplane.xds.protocol.responses import Responses
from controlplane.xds.protocol.scope import Scope
from controlplane.xds.protocol.sotw import SotwStream
from controlplane.xds.protocol.status import TypeStatus
from controlplane.xds.proxies import Admission, Denied, Proxies

log = structlog.get_logger(__name__)

_ALL_TYPES = frozenset(types.PUSH_ORDER)
_FIRST_ASKED = frozenset({types.CLUSTER, types.LISTENER})  # of every proxy
_SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
Kind = type[DeltaStream] | type[SotwStream]
_KINDS: Final[Mapping[str, Kind]] = {"DeltaAggregatedResources": DeltaStream, "StreamAggregatedResources": SotwStream}
METHODS: Final = tuple(f"/{_SERVICE}/{name}" for name in _KINDS)  # all there are
_STATUS: Final = {reason: getattr(grpc.StatusCode, reason.name) for reason in Reason}

Serve = Callable[[Kind, Admission, Any], Coroutine[Any, Any, None]]
_DOUBTING: Final = 10_000  # proxies
_METADATA: Final = 16 * 1024  # bytes of one call's headers
_TURN: Final = 0.01  # seconds a fan-out keeps the event loop before others get a turn
_CONNECTION_AGE: Final = 1.5  # of the age of a stream: who makes a connection for each never comes to this
_CONNECTION_GRACE: Final = 10_000  # milliseconds
_TOLD: Final = Rate(burst=20, per_second=0.2)  # ended streams of one caller in the log: nobody fills it
_LAST_WORDS: Final = 2.0  # seconds streams have to end once the server has stopped


class ServerSettings(msgspec.Struct, frozen=True):
    """Seconds and bytes."""

    bytes_in_flight: int = 128 * 1024 * 1024  # of big responses, to all proxies together
    write_patience: float = 30.0  # a write without progress for so long ends the stream
    age: float = 1800.0  # streams are asked to come back after this, so that they spread over replicas
    age_jitter: float = 0.2  # of `age`, and of the lifetime left of a certificate
    greeting: float = 10.0  # for the first message of a stream
    largest_request: int = 16 * 1024 * 1024  # a reconnect with 40,000 clusters names them in 5.5 MB
    keepalive: float = 30.0
    keepalive_timeout: float = 10.0
    handshake: float = 10.0  # for TLS and the first words of HTTP/2, of whoever connects over TCP
    connections: int = 20_000  # over TCP, handshakes included; gRPC cannot count them by address
    streams: int = 8  # at once on one of them; a proxy has one
    streams_of_caller: int = 1000  # of one identity from one address, which may be that of a whole network


class ConnectionStatus(msgspec.Struct, frozen=True):
    """One connected proxy, for `lateen proxy-status`."""

    number: int
    proxy: Proxy
    protocol: str  # "delta", "sotw"
    seconds: float  # since it connected
    types: tuple[TypeStatus, ...]


class _Members(msgspec.Struct, eq=False):
    scope: Scope
    connections: dict[int, Connection]


class AdsServer:
    """Serves views to proxies, and is told when they change."""

    def __init__(  # noqa: PLR0913 - everything it needs comes in here
        self,
        proxies: Proxies,
        clock: Clock,
        randomness: Callable[[], float],
        *,
        settings: ServerSettings | None = None,
        quarantine: Quarantine | None = None,
        responses: Responses | None = None,
    ) -> None:
        """`randomness` gives floats in [0, 1)."""
        self.settings = settings or ServerSettings()
        self.quarantine = quarantine or Quarantine()
        self.responses = responses or Responses()
        self._proxies = proxies
        self._clock = clock
        self._randomness = randomness
        self._budget = ByteBudget(self.settings.bytes_in_flight)
        self._servers: list[Any] = []
        self._connections: dict[int, Connection] = {}
        self._doubts: dict[
            tuple[str, str], Doubts
        ] = {}  # (identity, node id) of who left with something unclear -> what
        self._scopes: dict[int, _Members] = {}  # by id of the shared view, which the scope keeps alive
        self._behind: deque[Connection] = deque()
        self._fanning_out = False
        self._numbers = 0
        self._watch: asyncio.TimerHandle | None = None
        self._streams: set[asyncio.Task[Any]] = set()
        self._callers: Counter[tuple[str, str]] = Counter()  # streams by (address, identity), over TCP
        self._told: Buckets[tuple[str, str]] = Buckets(clock, _TOLD)
        self._stopping = False

    # Listening

    async def listen_unix(self, path: Path, admission: Admission) -> None:
        """Serve on a Unix socket that only its owner may open. Raises OSError."""
        _remove_stale(path)
        server = self._server(admission, self._options())
        before = os.umask(0o177)
        try:
            server.add_insecure_port(f"unix:{path}")
            await server.start()
        finally:
            os.umask(before)
        os.chmod(path, 0o600)  # noqa: PTH101 - a moment's work on a local file system; nothing to await
        self._watch_writes()

    async def listen_tcp(self, host: str, port: int, certificates: Certificates, admission: Admission) -> int:
        """Serve on TCP, to clients with a certificate; the port (for 0, the one that was free)."""
        server = self._server(admission, [*self._options(), *self._options_for_strangers()])
        bound: int = server.add_secure_port(f"{host}:{port}", certificates.credentials())
        await server.start()
        self._watch_writes()
        return bound

    async def stop(self, grace: float = 0.0) -> None:
        """End all streams: after `grace` seconds at the latest."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        if self._connections:
            log.info("xds streams end", streams=len(self._connections), why="the control plane is shutting down")
        for connection in tuple(self._connections.values()):
            connection.close(Reason.UNAVAILABLE, "the control plane is shutting down")
        for server in self._servers:
            await server.stop(grace)
        if self._streams:  # gRPC does not wait for them, and prints a traceback for each that the loop's end cancels
            await asyncio.wait(self._streams, timeout=_LAST_WORDS)

    # What the control plane tells

    def published(self, view: View, changes: Changes) -> None:
        """A shared view is at a new revision. Streams are told within this turn of the loop and the next ones."""
        members = self._scopes.get(id(view))
        if members is None:
            return
        said = members.scope.advance(changes)
        for connection in members.connections.values():
            if connection.fall_behind(said[connection.stream.protocol]):
                self._behind.append(connection)
        self._fan_out_soon()

    def proxy_changed(self, number: int, changes: Changes) -> None:
        """What only this proxy sees is at a new revision."""
        connection = self._connections.get(number)
        if connection is not None and connection.own_changed(changes):
            self._behind.append(connection)
            self._fan_out_soon()

    def proxy_moved(self, number: int, view: View) -> None:
        """This proxy belongs to another scope now."""
        connection = self._connections.get(number)
        if connection is None:
            return
        self._leave(connection)
        members = self._members(view)
        members.connections[number] = connection
        connection.moved(members.scope, view)

    def call_back(self, number: int, why: str) -> None:
        """End its stream; a proxy connects again, and what failed there for reasons of its own is tried again."""
        connection = self._connections.get(number)
        if connection is not None:
            connection.close(Reason.UNAVAILABLE, why)

    def proxies(self) -> Iterator[Proxy]:
        """Who is connected, and nothing more: cheap."""
        for each in self._connections.values():
            yield each.proxy

    def statuses(self) -> Iterator[ConnectionStatus]:
        """All connected proxies."""
        now = self._clock.monotonic()
        for each in self._connections.values():
            yield ConnectionStatus(
                each.number, each.proxy, each.stream.protocol, now - each.since, each.stream.status()
            )

    def outstanding(self, number: int) -> frozenset[str]:
        """Types of which a proxy has not acknowledged all that it is to have; all of them while it begins."""
        connection = self._connections.get(number)
        if connection is None or not connection.is_told:
            return _ALL_TYPES
        standings = connection.stream.status()
        if not _FIRST_ASKED.issubset(each.type_url for each in standings):
            return _ALL_TYPES
        return frozenset(each.type_url for each in standings if each.is_behind)

    # Fan-out

    def _fan_out_soon(self) -> None:
        if self._behind and not self._fanning_out:
            self._fanning_out = True
            asyncio.get_running_loop().call_soon(self._fan_out)

    def _fan_out(self) -> None:
        self._fanning_out = False
        end = self._clock.monotonic() + _TURN
        while self._behind and self._clock.monotonic() < end:
            self._behind.popleft().catch_up()
        self._fan_out_soon()

    # Streams

    def _server(self, admission: Admission, options: list[tuple[str, int]]) -> Any:
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((_only_ads(self._serve, admission),))
        self._servers.append(server)
        return server

    def _options(self) -> list[tuple[str, int]]:
        keepalive = int(self.settings.keepalive * 1000)
        return [
            ("grpc.max_receive_message_length", self.settings.largest_request),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", keepalive),
            ("grpc.keepalive_timeout_ms", int(self.settings.keepalive_timeout * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", keepalive // 2),
            ("grpc.max_metadata_size", _METADATA),
            ("grpc.absolute_max_metadata_size", _METADATA),
            ("grpc.so_reuseport", 0),
        ]

    def _options_for_strangers(self) -> list[tuple[str, int]]:
        """A connection is known by the certificate it was made with, which ends. Our own proxies make one for each
        stream (`envoy/bootstrap.py`); who puts the next stream on the old connection is made to call anew, too.
        """
        return [
            ("grpc.max_connection_age_ms", int(self.settings.age * 1000 * _CONNECTION_AGE)),
            ("grpc.max_connection_age_grace_ms", _CONNECTION_GRACE),
            ("grpc.server_handshake_timeout_ms", int(self.settings.handshake * 1000)),
            ("grpc.http2.settings_timeout", int(self.settings.handshake * 1000)),
            ("grpc.max_allowed_incoming_connections", self.settings.connections),
            ("grpc.max_concurrent_streams", self.settings.streams),
            ("grpc.http2.bdp_probe", 0),  # or each stream takes up to 4 MiB before anybody asks for them
        ]

    async def _serve(self, kind: Kind, admission: Admission, context: Any) -> None:
        """One stream, from its first message to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        caller = caller_of(context)
        end: Close | Denied | None = self._unwelcome(admission, caller)
        if end is None:
            with self._counted(caller):
                end = await self._greeted(kind, admission, caller, context)
        if end is not None and end.reason is not Reason.OK:
            if not self._stopping and not self._told.take(caller.key):
                log.info("xds stream ends", caller=caller.address, identity=caller.identity, why=end.message)
            with to_who_may_be_gone():
                await context.abort(_STATUS[end.reason], end.message)

    def _unwelcome(self, admission: Admission, caller: Caller) -> Denied | None:
        """Why nothing it says is read. A certificate may have ended since the handshake, or before a resumed one."""
        if caller.expires is not None and caller.expires <= self._clock.now():
            return Denied(Reason.UNAUTHENTICATED, "your certificate is over: connect with a new one")
        if self._callers[caller.key] >= self.settings.streams_of_caller:
            return Denied(Reason.RESOURCE_EXHAUSTED, f'"{caller.identity}" has too many streams from this address')
        return admission.knows(caller)

    @contextmanager
    def _counted(self, caller: Caller) -> Iterator[None]:
        if caller.expires is None:
            yield
            return
        self._callers[caller.key] += 1
        try:
            yield
        finally:
            self._callers[caller.key] -= 1
            self._callers += Counter()

    async def _greeted(self, kind: Kind, admission: Admission, caller: Caller, context: Any) -> Close | Denied | None:
        """From the first message on; why it ends."""
        try:
            first = [await asyncio.wait_for(context.read(), self.settings.greeting)]
        except TimeoutError:
            return Denied(Reason.DEADLINE_EXCEEDED, "no first message")
        if first[0] is grpc.aio.EOF:
            return None
        proxy = _admitted(kind, admission, caller, first[0])
        return proxy if isinstance(proxy, Denied) else await self._serve_proxy(kind, proxy, caller, first, context)

    async def _serve_proxy(
        self, kind: Kind, proxy: Proxy, caller: Caller, first: list[bytes], context: Any
    ) -> Close | Denied | None:
        """`first`: the first message; taken out, or a megabyte of it would stay as long as the stream."""
        self._numbers += 1
        number = self._numbers
        try:
            view = await self._proxies.connected(number, proxy)
            if isinstance(view, Denied):
                return view
            connection = self._connection(kind, number, proxy, view, caller)
            return await self._run(connection, caller, first, context)
        finally:
            self._forget(number)
            self._proxies.disconnected(number)

    async def _run(self, connection: Connection, caller: Caller, first: list[bytes], context: Any) -> Close | None:
        lifetime = self._lifetime(caller)
        loop = asyncio.get_running_loop()
        aged = loop.call_later(lifetime, connection.close, Reason.UNAVAILABLE, "this stream is old: come back")
        try:
            async with asyncio.TaskGroup() as tasks:
                connection.received(first.pop())
                reader = tasks.create_task(connection.read_all(context))
                end = await connection.write_all(context)
                reader.cancel()
                return end
        finally:
            aged.cancel()
            connection.ended()

    def _connection(self, kind: Kind, number: int, proxy: Proxy, view: View, caller: Caller) -> Connection:
        scope = self._members(view).scope
        doubts = self._doubts.pop((proxy.identity, proxy.id), NO_DOUBTS)
        quarantine = self.quarantine.of(proxy.namespace if proxy.identity else TRUSTED)
        stream = kind(scope, view, self._clock, quarantine, proxy.envoy_version, doubts)
        connection = Connection(
            number,
            proxy,
            scope,
            stream,
            proxies=self._proxies,
            budget=self._budget,
            owner=caller.key if proxy.identity else number,
            clock=self._clock,
        )
        self._connections[number] = self._members(view).connections[number] = connection
        return connection

    def _members(self, view: View) -> "_Members":
        shared = view.shared
        members = self._scopes.get(id(shared))
        if members is None:
            members = self._scopes[id(shared)] = _Members(Scope(shared, self.responses), {})
        return members

    def _forget(self, number: int) -> None:
        connection = self._connections.pop(number, None)
        if connection is not None:
            self._leave(connection)
            self._remember(connection.proxy, connection.stream.doubts())

    def _remember(self, proxy: Proxy, doubts: Doubts) -> None:
        """For its next stream: what it may have applied without our ever hearing of it."""
        if doubts:
            self._doubts[proxy.identity, proxy.id] = doubts
        while len(self._doubts) > _DOUBTING:
            del self._doubts[next(iter(self._doubts))]

    def _leave(self, connection: Connection) -> None:
        members = self._scopes[id(connection.scope.view)]
        del members.connections[connection.number]
        if not members.connections:
            del self._scopes[id(connection.scope.view)]

    def _lifetime(self, caller: Caller) -> float:
        """Seconds; at random within the jitter, and over before the certificate is."""
        longest = self.settings.age
        if caller.expires is not None:
            longest = min(longest, (caller.expires - self._clock.now()).total_seconds())
        return max(0.0, longest * (1 - self.settings.age_jitter * self._randomness()))

    # Slow clients

    def _watch_writes(self) -> None:
        """Cut off who takes nothing any more. A missing ACK is no reason: Envoy may be warming for long."""
        for connection in tuple(self._connections.values()):
            if connection.stalled_for() > self.settings.write_patience:
                log.warning("xds stream cut off: no write progress", proxy=connection.proxy.id)
                connection.cut()
        interval = self.settings.write_patience / 6
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.get_running_loop().call_later(interval, self._watch_writes)


def _only_ads(serve: Serve, admission: Admission) -> Any:
    """Two methods, bytes in and out; gRPC answers UNIMPLEMENTED to all others."""

    def handler(kind: Kind) -> Any:
        async def one(_requests: object, context: Any) -> None:
            await serve(kind, admission, context)

        return grpc.stream_stream_rpc_method_handler(one)

    methods = {name: handler(kind) for name, kind in _KINDS.items()}
    return grpc.method_handlers_generic_handler(_SERVICE, methods)


def _admitted(kind: Kind, admission: Admission, caller: Caller, raw: bytes) -> Proxy | Denied:
    try:
        peer = wire.read_peer(raw, delta=kind is DeltaStream)
    except wire.Malformed as error:
        return Denied(Reason.INVALID_ARGUMENT, f"not a discovery request: {error}")
    if not peer.id:
        return Denied(Reason.INVALID_ARGUMENT, "the first request of a stream must carry a node id")
    return admission(caller, peer)


def _remove_stale(path: Path) -> None:
    """A socket file left by a process that died."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
