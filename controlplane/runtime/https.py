"""An HTTPS server for strangers: everything a caller can make large, deep, slow or many has a bound.

aiohttp parses HTTP (docs/adr/0009-https.md); what it leaves open is here. Connections are accepted one by one, so that
there are so many in all and so many from one address, handshakes included. A connection has seconds for its handshake,
for its first request, between requests, and for its whole life; a request has them from its head to the last byte of
its answer. Bodies are read when a handler asks for them, which is after it knows who calls. Whatever a handler raises
is a 500 for that request alone.

A client may show a certificate. TLS has checked it against the roots of the generation it was accepted with, and with
the next generation every connection of the one before ends, after what is being answered.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from controlplane.base.nesting import nests_deeper
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.tls import Generation, server_context

log = structlog.get_logger(__name__)

T = TypeVar("T")

_BACKLOG: Final = 1024
_OUT_OF_FILES: Final = 0.5  # seconds until accepting is tried again
_JSON: Final = "application/json"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, seconds, numbers."""

    body: int = 64 * 1024
    depth: int = 64  # of JSON
    line: int = 4096  # the request's first
    header: int = 8192  # one of them
    headers: int = 64
    connections: int = 1024
    per_address: int = 128  # of them; whole nodes may call from one address
    handshake: float = 5.0
    first: float = 5.0  # until the head of a connection's first request is here
    request: float = 15.0  # from its head to the end of its answer
    idle: float = 15.0  # until the head of the next request is here
    age: float = 300.0  # of a connection; what is being answered then is


class Answer(msgspec.Struct, frozen=True):
    """What a request is answered with."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    content_type: str = _JSON


class Refused(Exception):  # noqa: N818  (the caller's fault, and an answer)
    """Ends a request with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Request(msgspec.Struct, frozen=True):
    """One request; its body is read when asked for."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in any case
    address: str  # of the caller, as the socket knows it
    certificate: bytes  # of the caller, DER, checked by TLS; b"" if it showed none
    read: Callable[[], Awaitable[bytes]]
    limits: Limits

    async def json(self, kind: type[T]) -> T:
        """The body as this type. Raises `Refused`."""
        body = await self.read()
        if nests_deeper(body, self.limits.depth):
            raise Refused(error(400, "malformed", f"the body is no JSON, or nests deeper than {self.limits.depth}"))
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as wrong:
            raise Refused(error(400, "malformed", f"the body is not what is expected here: {wrong}")) from wrong


Handler = Callable[[Request], Awaitable[Answer]]


class Route(NamedTuple):
    """One thing that is answered. `callers` says to whom, in words: the table of all ports is printed from these."""

    method: str
    path: str  # exactly
    handler: Handler
    callers: str


def answer(value: Any, status: int = 200) -> Answer:
    """JSON."""
    return Answer(status, msgspec.json.encode(value))


def error(status: int, why: str, message: str, retry_after: float = 0.0) -> Answer:
    """What went wrong: a stable word and a sentence. `retry_after`: seconds."""
    headers = {"Retry-After": str(max(1, round(retry_after + 0.5)))} if retry_after else {}
    return Answer(status, msgspec.json.encode({"why": why, "message": message}), headers)


class HttpsServer:
    """Serves routes on one port."""

    def __init__(self, routes: Sequence[Route], generation: Generation, limits: Limits | None = None) -> None:
        """Raises ssl.SSLError or ValueError when the generation cannot work."""
        self.routes = tuple(routes)
        self.limits = limits or Limits()
        self.refused_connections = 0
        self._handlers = {(route.method, route.path): route.handler for route in routes}
        self._context = server_context(generation)
        self._from: Counter[str] = Counter()  # connections by address
        self._room = asyncio.Event()
        self._room.set()
        self._http = web.Server(self._respond, request_factory=self._request)
        self._open: set[_Connection] = set()
        self._accepting: asyncio.Task[None] | None = None

    @property
    def open_connections(self) -> int:
        """With those that still shake hands."""
        return self._from.total()

    @property
    def answering(self) -> int:
        """Requests that are being answered."""
        return sum(connection.answering for connection in self._open)

    def use(self, generation: Generation) -> None:
        """Serve with another certificate and other roots from here on. Raises as the constructor."""
        self._context = server_context(generation)
        for connection in tuple(self._open):
            connection.end()

    async def listen(self, tasks: Supervisor, host: str, port: int) -> int:
        """Serve until the tasks end; the port (for 0, the one that was free). Raises OSError."""
        listener = await _bound(host, port)
        self._accepting = tasks.critical(f"https {host}", partial(self._accept_all, listener, tasks))
        self._accepting.add_done_callback(lambda _: listener.close())
        found: int = listener.getsockname()[1]
        return found

    async def stop(self, grace: float = 1.0) -> None:
        """Accept no more, and end all connections: after `grace` seconds for what is being answered."""
        if self._accepting is not None:
            self._accepting.cancel()
        await self._http.shutdown(grace)

    # Connections

    async def _accept_all(self, listener: socket.socket, tasks: Supervisor) -> None:
        """Who finds no room waits in the kernel's queue: somebody's time will be over."""
        loop = asyncio.get_running_loop()
        while True:
            await self._room.wait()
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as failed:
                log.warning("no connection can be accepted", error=str(failed))
                await asyncio.sleep(_OUT_OF_FILES)
                continue
            self._admit(connection, str(address[0]), tasks)

    def _admit(self, connection: socket.socket, address: str, tasks: Supervisor) -> None:
        if self._from[address] >= self.limits.per_address:
            self.refused_connections += 1
            connection.close()
            return
        self._from[address] += 1
        if self.open_connections >= self.limits.connections:
            self._room.clear()
        task = tasks.once(f"https connection from {address}", partial(self._hold, connection))
        task.add_done_callback(partial(self._left, connection, address))

    def _left(self, connection: socket.socket, address: str, _task: "asyncio.Task[None]") -> None:
        connection.close()  # closed already, unless the task was ended before it began
        self._from[address] -= 1
        if not self._from[address]:
            del self._from[address]
        self._room.set()

    async def _hold(self, connection: socket.socket) -> None:
        """One connection, from its handshake to its end."""
        loop = asyncio.get_running_loop()
        limits = self.limits
        try:
            _, protocol = await loop.connect_accepted_socket(
                lambda: _Connection(self._http, limits, loop, self._open),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=limits.handshake,
                ssl_shutdown_timeout=limits.handshake,
            )
        except OSError as failed:
            failed.__traceback__ = None  # see _Connection.handle_error
            return  # no handshake, or none in time: it never was one of ours
        try:
            await protocol.ended
        finally:
            protocol.cut()

    # Requests

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: "asyncio.Task[None]"
    ) -> "_HttpRequest":
        loop = asyncio.get_running_loop()
        return _HttpRequest(message, payload, protocol, writer, task, loop, client_max_size=self.limits.body)

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """The boundary: nothing that goes wrong in here reaches another request."""
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.began()
        try:
            async with asyncio.timeout(self.limits.request):
                found = await self._answer(request)
        except TimeoutError:
            found = error(503, "timeout", f"not answered within {self.limits.request:.0f} s")
        except Exception as bug:  # the request is lost, nothing else
            log.exception("our own bug: a request is answered with 500", path=request.path, error=repr(bug))
            found = error(500, "internal", "a bug of the control plane: its log says more")
        return _response(found)

    async def _answer(self, request: web.BaseRequest) -> Answer:
        path = request.rel_url.raw_path
        handler = self._handlers.get((request.method, path))
        if handler is None:
            known = any(route.path == path for route in self.routes)
            return error(405, "method", "not this method") if known else error(404, "path", "nothing is here")
        try:
            return await handler(self._taken(request, path))
        except Refused as refused:
            return refused.answer

    def _taken(self, request: web.BaseRequest, path: str) -> Request:
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport is not None else None
        return Request(
            method=request.method,
            path=path,
            headers=request.headers,
            address=request.remote or "",
            certificate=(tls.getpeercert(binary_form=True) or b"") if tls is not None else b"",
            read=partial(_body, request, self.limits.body),
            limits=self.limits,
        )


async def _body(request: web.BaseRequest, largest: int) -> bytes:
    """Raises `Refused`."""
    if (request.content_length or 0) > largest:
        raise Refused(error(413, "malformed", f"a body has at most {largest} bytes"))
    if "Content-Encoding" in request.headers:
        raise Refused(error(415, "malformed", "bodies are taken uncompressed"))
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as large:
        raise Refused(error(413, "malformed", f"a body has at most {largest} bytes")) from large
    except (web.RequestPayloadError, HttpProcessingError) as broken:
        raise Refused(error(400, "malformed", "the body broke off")) from broken


def _response(found: Answer) -> web.Response:
    return web.Response(
        status=found.status, body=found.body, headers={"Content-Type": found.content_type, **found.headers}
    )


class _HttpRequest(web.BaseRequest):
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Which software answers, and which version of it, is nobody's business."""
        response.headers.popall("Server", None)


class _Connection(web.RequestHandler):
    """aiohttp's, with an end."""

    __slots__ = ("_limits", "_open", "_timers", "answering", "ended")

    def __init__(
        self, http: web.Server, limits: Limits, loop: asyncio.AbstractEventLoop, open_ones: "set[_Connection]"
    ) -> None:
        super().__init__(
            http,
            loop=loop,
            keepalive_timeout=limits.idle,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=limits.line,
            max_headers=limits.headers,
            max_field_size=limits.header,
            lingering_time=1.0,  # for the rest of a body that is refused: the caller is to hear why
            auto_decompress=False,
        )
        self._limits = limits
        self._open = open_ones
        self._timers: list[asyncio.TimerHandle] = []
        self.answering = False
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._open.add(self)
        self._timers = [
            self._loop.call_later(self._limits.first, self.cut),
            self._loop.call_later(self._limits.age, self.end),
        ]

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._open.discard(self)
        for timer in self._timers:
            timer.cancel()
        if not self.ended.done():
            self.ended.set_result(None)

    def began(self) -> None:
        """The head of a request is here."""
        self.answering = True
        self._timers[0].cancel()

    def end(self) -> None:
        """Close: now, or after what is being answered."""
        if self.answering:
            self.close()
        else:
            self.force_close()

    def cut(self) -> None:
        """Close, whatever is under way."""
        if self.transport is not None:
            self.transport.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """A caller that does not read its answer is cut off."""
        try:
            async with asyncio.timeout(self._limits.request):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            self.cut()
            return resp, True
        finally:
            self.answering = False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  quotes the caller
    ) -> web.StreamResponse:
        """What is no HTTP, in the words of this server; not logged, or strangers would write our log.

        An exception that is kept in a frame of its own traceback keeps all of TLS's buffers, a quarter of a megabyte,
        until the collector of cycles comes by, which is seldom (`garbage.py`): strangers would fill our memory.
        """
        if exc is not None:
            exc.__traceback__ = None
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun") from exc
        response = _response(error(status, "malformed", "not a request this server understands"))
        response.force_close()
        return response


async def _bound(host: str, port: int) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener
