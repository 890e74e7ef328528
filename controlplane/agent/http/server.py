"""A small HTTP server for a port that anybody may reach.

One request a connection, of a head of 8 KiB that came within seconds; no body is ever read. There are only so many
connections: when they are all taken, one that has still not said what it wants makes room, so that those who open
connections and stay silent cannot keep the platform's probes out.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

import h11

TEXT: Final = "text/plain; charset=utf-8"

_CHUNK: Final = 8_192
_MOST: Final = 64  # connections
_HEAD_TIME: Final = 5.0  # seconds, for a request to arrive
_HEAD_SIZE: Final = 8_192  # bytes


class Request(NamedTuple):
    """What somebody asks."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    peer: str  # the address it came from


class Body(Protocol):
    """Pieces as they come. Closed at the end, read or not."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Response(NamedTuple):
    """What they get."""

    status: int
    body: bytes | Body = b""
    content_type: str = TEXT
    headers: Mapping[str, str] = {}


Handler = Callable[[Request], Awaitable[Response]]


def text(status: int, words: str) -> Response:
    """A sentence for a person."""
    return Response(status, f"{words}\n".encode())


@asynccontextmanager
async def serving(address: str | None, port: int, handler: Handler, *, longest: float = 60.0) -> AsyncIterator[int]:
    """Answers on a port, which is given (0: any free one), until left. `longest`: seconds for a whole exchange."""
    door = _Door(handler, longest)
    server = await asyncio.start_server(door.enter, address, port, limit=_CHUNK)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        door.close()


class _Door:
    """Who is connected, and who of these has not yet asked for anything."""

    def __init__(self, handler: Handler, longest: float) -> None:
        self._handler = handler
        self._longest = longest
        self._silent: dict[asyncio.StreamWriter, None] = {}  # oldest first
        self._open: set[asyncio.StreamWriter] = set()

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._room():
            writer.transport.abort()
            return
        self._open.add(writer)
        self._silent[writer] = None
        try:
            async with asyncio.timeout(self._longest):
                await self._converse(reader, writer)
        except (OSError, h11.LocalProtocolError):
            writer.transport.abort()  # gone, or too slow; whatever they have is not whole
        finally:
            self._silent.pop(writer, None)
            self._open.discard(writer)
            writer.close()

    def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def _room(self) -> bool:
        if len(self._open) < _MOST:
            return True
        for oldest in self._silent:
            del self._silent[oldest]
            self._open.discard(oldest)
            oldest.transport.abort()
            return True
        return False

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_SIZE)
        try:
            async with asyncio.timeout(_HEAD_TIME):
                head = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            await _send(connection, writer, text(error.error_status_hint, "this is not a request"))
            return
        if head is None:
            return
        self._silent.pop(writer, None)
        peer = writer.get_extra_info("peername") or ("",)
        response = await self._handler(_plain(head, str(peer[0])))
        try:
            await _send(connection, writer, response)
        finally:
            if not isinstance(response.body, bytes):
                await response.body.aclose()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(_CHUNK))
    return event if isinstance(event, h11.Request) else None


def _plain(head: h11.Request, peer: str) -> Request:
    path, _, _ = head.target.decode("latin-1").partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("latin-1"), path, headers, peer)


async def _send(connection: h11.Connection, writer: asyncio.StreamWriter, response: Response) -> None:
    headers = {"Content-Type": response.content_type, **response.headers, "Connection": "close"}
    if isinstance(response.body, bytes):
        headers["Content-Length"] = str(len(response.body))
    writer.write(_bytes(connection, h11.Response(status_code=response.status, headers=list(headers.items()))))
    if isinstance(response.body, bytes):
        writer.write(_bytes(connection, h11.Data(data=response.body)))
    else:
        async for piece in response.body:
            writer.write(_bytes(connection, h11.Data(data=piece)))
            await writer.drain()
    writer.write(_bytes(connection, h11.EndOfMessage()))
    await writer.drain()


def _bytes(connection: h11.Connection, event: Any) -> bytes:
    return connection.send(event) or b""
