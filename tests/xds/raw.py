"""HTTP/2 spoken by hand, over TLS or not: what no gRPC library would send."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events

from tests.tls import Signed, client_context
from tests.xds.tls import ROOT

PATIENCE = 30.0  # seconds
UNIMPLEMENTED, PERMISSION_DENIED, UNAUTHENTICATED, RESOURCE_EXHAUSTED = "12", "7", "16", "8"  # of gRPC

Headers = Sequence[tuple[str, str]]


class Reply(NamedTuple):
    """What a request was answered with, as far as it went."""

    headers: Mapping[str, str]
    data: bytes
    accepted: int  # bytes of the body that the server's flow control let through

    @property
    def grpc_status(self) -> str:
        return self.headers.get("grpc-status", "")


def head(path: str, method: str = "POST", more: Headers = ()) -> list[tuple[str, str]]:
    """The headers of a gRPC call."""
    pseudo = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
    return [*pseudo, ("content-type", "application/grpc"), ("te", "trailers"), *more]


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()

    async def settle(self) -> None:
        """Take the server's settings; gRPC holds nobody to what it has not acknowledged."""
        while not any(
            isinstance(event, h2.events.RemoteSettingsChanged)
            for event in self.http.receive_data(await self.reader.read(65_536))
        ):
            pass
        self.writer.write(self.http.data_to_send())

    async def call(
        self, path: str, body: bytes = b"", *, end: bool = True, method: str = "POST", more: Headers = ()
    ) -> Reply:
        """One request; `end` says whether it says that its body is over."""
        number = self.http.get_next_available_stream_id()
        self.http.send_headers(number, head(path, method, more), end_stream=end and not body)
        return await asyncio.wait_for(self._exchange(number, body, end=end), PATIENCE)

    async def _exchange(self, number: int, body: bytes, *, end: bool) -> Reply:
        headers: dict[str, str] = {}
        data, sent = b"", 0
        while True:
            while sent < len(body) and (room := self.http.local_flow_control_window(number)) > 0:
                part = body[sent : sent + min(room, self.http.max_outbound_frame_size)]
                self.http.send_data(number, part, end_stream=end and sent + len(part) == len(body))
                sent += len(part)
            self.writer.write(self.http.data_to_send())
            await self.writer.drain()
            received = await self.reader.read(65_536)
            if not received:
                raise ConnectionError("the server closed the connection")
            for event in self.http.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    headers |= {str(name): str(value) for name, value in event.headers or ()}
                elif isinstance(event, h2.events.DataReceived):
                    data += event.data or b""
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset) and event.stream_id == number:
                    return Reply(headers, data, sent)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    raise ConnectionError(f"GOAWAY {event.error_code}")


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext | None) -> AsyncIterator[Raw]:
    """A connection whose TLS handshake is done; None: without TLS."""
    name = "localhost" if context is not None else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def context_for(client: Signed | None, root: Signed = ROOT) -> ssl.SSLContext:
    context = client_context(root, client)
    context.set_alpn_protocols(["h2"])
    return context


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other end lets go, saying nothing of ours (a TLS alert, SETTINGS and GOAWAY are gRPC's)."""
    try:
        async with asyncio.timeout(PATIENCE):
            while await reader.read(65_536):
                pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True
