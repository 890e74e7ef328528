"""The model cluster over real HTTP, on a line that can be frozen, cut and refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from random import Random  # noqa: TID251  the same each time
from typing import Any

from aiohttp import web

from controlplane.model.kinds import BY_NAME, Kind
from controlplane.runtime.backoff import BackoffPolicy
from controlplane.runtime.clock import SystemClock
from controlplane.sources.kubernetes.access import Access, Patience
from controlplane.sources.kubernetes.reflector import Pace
from controlplane.sources.kubernetes.source import KubernetesSource, Timing
from tests.sources.kubernetes.cluster import EXPIRED, Cluster, Gone, status
from tests.sources.kubernetes.cluster import Kind as Served

Fault = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | None]]

AUDITED = "500"  # objects of a page of an audit

FAST = Timing(
    discover=0.1,
    away=0.3,
    audit=0.5,
    pace=Pace(
        page=3,
        watch=1.0,
        between_watches=0.02,
        between_lists=0.1,
        confirm=2.0,
        failing=BackoffPolicy(first=0.02, longest=0.1),
        denied=BackoffPolicy(first=0.02, longest=0.1),
    ),
)
IMPATIENT = Patience(
    connect=1.0, answer=2.0, late=0.3, client=300.0, anew=0.0, unreached=BackoffPolicy(first=0.02, longest=0.1)
)


class ApiServer:
    """Answers for a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.fault: Fault | None = None  # answers instead, unless it says None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.bookmarks = True
        self.lost = ""  # events of objects of this name are never sent
        self.token = ""  # who does not have it is nobody

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        query = dict(request.rel_url.query)
        self.requests.append((request.path, query))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(status(401, "Unauthorized", "Unauthorized"), status=401)
        if self.fault is not None and (answer := await self.fault(request)) is not None:
            return answer
        if request.path == "/apis":
            return self._discovery(request)
        path, namespace = _without_namespace(request.path)
        kind = self.cluster.kinds.get(path)
        if kind is None:
            return web.Response(status=404, text="404 page not found")
        if "watch" in query:
            return await self._watch(request, kind, query, namespace)
        return self._list(kind, query, namespace)

    def lists(self, kind: Served) -> int:
        """How many were begun, audits left out."""
        return sum(
            path == kind.path and not {"watch", "continue"} & query.keys() and query.get("limit") != AUDITED
            for path, query in self.requests
        )

    def _discovery(self, request: web.BaseRequest) -> web.Response:
        assert "apidiscovery.k8s.io" in request.headers["Accept"]
        body = json.dumps(self.cluster.discovery()).encode()
        etag = f'"{blake2b(body).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(body=body, content_type="application/json", headers={"ETag": etag})

    def _list(self, kind: Served, query: dict[str, str], namespace: str) -> web.Response:
        try:
            page = self.cluster.page(kind, int(query.get("limit", "0")), query.get("continue", ""), namespace)
        except Gone:
            return web.json_response(EXPIRED, status=410)
        return web.json_response(page)

    async def _watch(
        self, request: web.BaseRequest, kind: Served, query: dict[str, str], namespace: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        version, end = query["resourceVersion"], loop.time() + float(query["timeoutSeconds"])
        over = False
        while not over and request.transport is not None and not request.transport.is_closing():
            over = loop.time() >= end
            try:
                events = self.cluster.since(kind, version, namespace)
            except Gone:
                events, over = [{"type": "ERROR", "object": EXPIRED}], True
            else:
                version = str(self.cluster.revision)
                events = [event for event in events if event["object"]["metadata"]["name"] != self.lost]
                if over and self.bookmarks:
                    events.append(self.cluster.bookmark(kind))
            with suppress(OSError):
                await response.write(b"".join(json.dumps(event).encode() + b"\n" for event in events))
            await asyncio.sleep(0.01)
        return response


def _without_namespace(path: str) -> tuple[str, str]:
    before, marker, rest = path.partition("/namespaces/")
    namespace, _, plural = rest.partition("/")
    return (f"{before}/{plural}", namespace) if marker and plural else (path, "")


class Line:
    """A TCP proxy: what a network does to a connection."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._to = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.frozen: set[asyncio.StreamWriter] = set()  # these pass nothing on, and nobody is told
        self.left: int | None = None  # bytes of answers until everything is cut; None: never
        self.passed = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse whoever comes, and cut all there are."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0)

    def freeze(self) -> None:
        """All connections there are, half-open from now on."""
        self.frozen |= self._writers

    def cut(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = {writer}
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):  # nobody is there; the loop ends
                far_reader, far_writer = await asyncio.open_connection(*self._to)
                pair.add(far_writer)
                self._writers.add(far_writer)
                await asyncio.gather(self._pass(reader, far_writer, counts=False), self._pass(far_reader, writer))
        finally:
            self._writers -= pair
            self.frozen -= pair
            for each in pair:
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = True) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                while writer in self.frozen:  # noqa: ASYNC110  for ever
                    await asyncio.sleep(0.05)
                if counts and self.left is not None:
                    chunk, self.left = chunk[: self.left], self.left - len(chunk)
                self.passed += len(chunk) if counts else 0
                writer.write(chunk)
                await writer.drain()
                if counts and self.left is not None and self.left <= 0:
                    self.left = None
                    self.cut()
            writer.transport.abort()


class Known:
    """See `access.Credentials`."""

    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self.token = token
        self.loads = 0

    async def load(self, configuration: Any) -> None:
        self.loads += 1
        configuration.host = f"http://127.0.0.1:{self.port}"
        if self.token:
            configuration.api_key["BearerToken"] = f"Bearer {self.token}"


class World:
    """A cluster, its API server, the line to it, and a source that reads it."""

    def __init__(self, cluster: Cluster, server: ApiServer, line: Line) -> None:
        self.cluster = cluster
        self.server = server
        self.line = line
        self.credentials = Known(line.port)
        self.access = Access(self.credentials, SystemClock(), Random(1).random, patience=IMPATIENT)
        self.source = KubernetesSource(self.access, KINDS, SystemClock(), Random(2).random, timing=FAST)
        self.applied: dict[Any, Any] = {}
        self.removed: list[Any] = []
        self.problems: tuple[Any, ...] = ()
        self.batches = 0
        self.synced = asyncio.Event()

    async def follow(self) -> None:
        """Takes what the source gives, as a control plane does."""
        async for batch in self.source.batches():
            self.batches += 1
            self.problems = batch.problems
            for ref, value in batch.changes.items():
                if value is None:
                    if self.applied.pop(ref, None) is not None:  # or it came and went between two batches
                        self.removed.append(ref)
                else:
                    self.applied[ref] = value
            self.synced.set()

    def names(self, kind: Served) -> set[str]:
        return {ref.name for ref in self.applied if ref.kind == kind.kind}

    def codes(self) -> set[str]:
        return {problem.code for problem in self.problems}

    async def until(self, holds: Callable[[], bool], seconds: float = 10.0) -> None:
        """Waits for it; fails when it does not come."""
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.005)


def kinds(*served: Served) -> list[Kind]:
    return [BY_NAME[kind.group, kind.kind] for kind in served]


KINDS = [
    BY_NAME["", "Service"],
    BY_NAME["", "Pod"],
    BY_NAME["", "Namespace"],
    BY_NAME["", "Node"],
    BY_NAME["discovery.k8s.io", "EndpointSlice"],
    BY_NAME["networking.istio.io", "VirtualService"],
]


@asynccontextmanager
async def world(cluster: Cluster | None = None) -> AsyncIterator[World]:
    """Everything, but nobody reads yet."""
    cluster = cluster or Cluster()
    server = ApiServer(cluster)
    runner = web.ServerRunner(web.Server(server), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    line = Line(runner.addresses[0][1])
    await line.open()
    found = World(cluster, server, line)
    try:
        yield found
    finally:
        await found.access.close()
        await line.close()
        await runner.cleanup()


@asynccontextmanager
async def followed(cluster: Cluster | None = None) -> AsyncIterator[World]:
    """As `world`, read until left."""
    async with world(cluster) as found:
        task = asyncio.get_running_loop().create_task(found.follow())
        try:
            yield found
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
