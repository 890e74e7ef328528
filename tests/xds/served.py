"""A real server over gRPC, and a client that speaks raw messages."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.model.proxy import Proxy
from controlplane.runtime.clock import SystemClock
from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.view import View
from controlplane.xds.admission import admit_local
from controlplane.xds.protocol.commands import Accepted, HoldEnded, Refused
from controlplane.xds.proxies import Admission, Denied
from controlplane.xds.server import AdsServer, ServerSettings
from tests.xds.views import MemoryView

NODE = "sidecar~127.0.0.2~web-1.shop~shop.svc.cluster.local"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class MemoryProxies:
    """All proxies see one view."""

    def __init__(self, view: MemoryView) -> None:
        self.view = view
        self.denied: Denied | None = None
        self.here: dict[int, Proxy] = {}
        self.seen: list[Proxy] = []  # all that ever were here
        self.gone: list[int] = []
        self.news: list[Accepted | Refused | HoldEnded] = []

    async def connected(self, connection: int, proxy: Proxy) -> View | Denied:
        if self.denied is not None:
            return self.denied
        self.here[connection] = proxy
        self.seen.append(proxy)
        return self.view

    def disconnected(self, connection: int) -> None:
        self.here.pop(connection, None)
        self.gone.append(connection)

    def heard(self, connection: int, news: Accepted | Refused | HoldEnded) -> None:
        self.news.append(news)


class Served:
    """A server on a Unix socket and what it serves."""

    def __init__(self, view: MemoryView, settings: ServerSettings | None, randomness: Callable[[], float]) -> None:
        self.view = view
        self.proxies = MemoryProxies(view)
        self.server = AdsServer(self.proxies, SystemClock(), randomness, settings=settings)

    def apply(self, *resources: Resource, remove: tuple[Resource | Ref, ...] = ()) -> None:
        self.server.published(self.view, self.view.apply(*resources, remove=remove))


@asynccontextmanager
async def served(
    folder: Path, *resources: Resource, settings: ServerSettings | None = None, admission: Admission = admit_local
) -> AsyncIterator[tuple[Served, Any]]:
    """A server and a channel to it."""
    world = Served(MemoryView(resources), settings, lambda: 0.5)
    path = folder / "xds.sock"
    await world.server.listen_unix(path, admission)
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            yield world, channel
    finally:
        await world.server.stop()


class Client:
    """One stream, raw."""

    def __init__(self, channel: Any, *, delta: bool = True, node: str = NODE) -> None:
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        self._call = channel.stream_stream(METHOD + method)()
        self._request = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        self._response = discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse
        self._node = node

    async def send(self, type_url: str, **fields: Any) -> None:
        message = self._request(type_url=type_url, **fields)
        if self._node:
            message.node.id, self._node = self._node, ""
        await self._call.write(message.SerializeToString())

    async def send_raw(self, raw: bytes) -> None:
        await self._call.write(raw)

    async def read(self) -> Any:
        raw = await self._call.read()
        assert raw is not grpc.aio.EOF, (await self._call.code(), await self._call.details())
        return self._response.FromString(raw)

    async def drain(self) -> None:
        """Read to the end of the stream: its status comes after all that was sent."""
        with suppress(grpc.aio.AioRpcError):
            while await self._call.read() is not grpc.aio.EOF:
                pass

    async def ack(self, response: Any, **fields: Any) -> None:
        await self.send(response.type_url, response_nonce=response.nonce, **fields)

    async def code(self) -> Any:
        return await self._call.code()

    async def details(self) -> str:
        text: str = await self._call.details()
        return text

    async def close(self) -> None:
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()
