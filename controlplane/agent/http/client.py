"""One request, one answer, over TCP, TLS or a Unix socket.

Who answers may be slow, broken or hostile: the head is bounded by h11, the body by whoever reads it, the time by the
caller (`asyncio.timeout`). Everything that goes wrong on the wire is one error.
"""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import h11

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]

_CHUNK: Final = 65_536  # bytes read at once
_HEAD: Final = 16_384  # bytes of an answer's status line and headers
_CLOSING: Final = 1.0  # seconds for TLS's goodbye


class NoAnswer(Exception):  # noqa: N818  (an event at the other end, not an error of ours)
    """Nobody answered, or what came is no HTTP. The cause says more."""


class NoConnection(NoAnswer):
    """There is nobody: no name, no route, no listener."""


class TooLarge(NoAnswer):
    """The answer has more bytes than the caller takes."""


class Address(NamedTuple):
    """Where somebody listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Request(NamedTuple):
    """What is asked. `Host` is among the headers, or the target stands for nobody in particular."""

    target: str
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Answer:
    """Status and headers are here; the body comes as it is read."""

    def __init__(self, head: h11.Response, events: Callable[[], Awaitable[Any]]) -> None:
        self._events = events
        self.status = head.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        """The body, piece by piece. Raises `TooLarge` after `limit` bytes."""
        left = limit
        while isinstance(event := await self._events(), h11.Data):
            left -= len(event.data)
            if left < 0:
                raise TooLarge(f"more than {limit} bytes")
            yield bytes(event.data)

    async def start(self, limit: int) -> bytes:
        """The body as far as `limit` bytes; what follows is left unread."""
        found = b""
        async for chunk in self.chunks(sys.maxsize):
            found += chunk
            if len(found) >= limit:
                break
        return found[:limit]

    async def body(self, limit: int) -> bytes:
        """All of it. Raises `TooLarge`."""
        return b"".join([chunk async for chunk in self.chunks(limit)])


def over_tcp(
    to: Address, tls: ssl.SSLContext | None = None, server_name: str | None = None, source: str = ""
) -> Connect:
    """Connects to an address; with TLS, to whoever proves to be `server_name`. `source`: the address to come from."""

    async def connect() -> Streams:
        return await asyncio.open_connection(
            to.host,
            to.port,
            local_addr=(source, 0) if source else None,
            ssl=tls,
            server_hostname=server_name,
            ssl_shutdown_timeout=_CLOSING if tls else None,
        )

    return connect


def over_unix(path: str) -> Connect:
    """Connects to a Unix socket."""
    return lambda: asyncio.open_unix_connection(path)


@asynccontextmanager
async def exchange(connect: Connect, request: Request) -> AsyncIterator[Answer]:
    """Asks, and gives the answer once its head is there. Raises `NoAnswer`, also while the body is read."""
    reader, writer = await _connected(connect)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
        await _send(writer, _encoded(connection, request))
        yield await _answer(connection, reader)
    finally:
        writer.transport.abort()  # nothing is left to say: no waiting for goodbyes


def _no_answer(error: Exception) -> NoAnswer:
    return NoAnswer(str(error) or type(error).__name__)


async def _connected(connect: Connect) -> Streams:
    try:
        return await connect()
    except ssl.SSLError as error:
        raise NoAnswer(str(error)) from error
    except OSError as error:
        raise NoConnection(str(error) or type(error).__name__) from error


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    try:
        writer.write(data)
        await writer.drain()
    except OSError as error:
        raise _no_answer(error) from error


def _encoded(connection: h11.Connection, request: Request) -> bytes:
    headers = {"Host": "localhost", "Connection": "close", **request.headers}
    if request.body:
        headers["Content-Length"] = str(len(request.body))
    try:
        head = h11.Request(method=request.method, target=request.target, headers=list(headers.items()))
    except h11.LocalProtocolError as error:  # a path from a Pod's annotation, or from where it redirects to
        raise NoAnswer(f"this cannot be asked for: {error}") from error
    events: list[Any] = [head, *([h11.Data(data=request.body)] if request.body else []), h11.EndOfMessage()]
    return b"".join(connection.send(event) or b"" for event in events)


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    async def next_event() -> Any:
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(_CHUNK))
        except (OSError, h11.RemoteProtocolError) as error:
            raise _no_answer(error) from error
        return event

    while isinstance(head := await next_event(), h11.InformationalResponse):
        pass
    if not isinstance(head, h11.Response):
        raise NoAnswer("the connection was closed without an answer")
    return Answer(head, next_event)
