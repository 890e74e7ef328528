"""HTTP with JSON over a Unix socket: just enough to look into a running process, and to tell it something.

Envoy's admin interface and our own debug interface are both "GET a path, get JSON"; what changes something is a POST.
A socket file with mode 0600 is all the access control that needs, and a web framework would be more code than this.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

Handler = Callable[[Mapping[str, str]], Awaitable[Any]]  # query -> something JSON can hold

_MAX_HEAD: Final = 16_384
_TIMEOUT: Final = 10.0  # seconds for a whole exchange


class NotFound(Exception):  # noqa: N818  (what the caller asked for is not there: an answer, not an error of ours)
    """The message goes to the caller, with status 404."""


class NotNow(Exception):  # noqa: N818  (likewise)
    """What the caller wants done may not be, as things are. The message goes to it, with status 409."""


async def request(path: Path, target: str, method: str = "GET", timeout: float = _TIMEOUT) -> tuple[int, bytes]:  # noqa: ASYNC109
    """One exchange: status and body. Raises `OSError` (also `TimeoutError`) when nobody answers."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_unix_connection(str(path))
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n".encode())
            return parse_answer(await reader.read())
        finally:
            writer.close()


def request_blocking(path: Path, target: str, method: str = "GET", timeout: float = _TIMEOUT) -> tuple[int, bytes]:
    """The same for programs without an event loop."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n".encode())
        chunks = []
        while chunk := connection.recv(65_536):
            chunks.append(chunk)
    return parse_answer(b"".join(chunks))


def parse_answer(answer: bytes) -> tuple[int, bytes]:
    """Status and body of a whole HTTP/1.1 answer. Raises `ConnectionError` when it is none."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)
    if not separator or len(status) < 2 or not status[1].isdigit():
        raise ConnectionError("the answer broke off")
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return int(status[1]), body


def _unchunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    while body:
        size_line, _, rest = body.partition(b"\r\n")
        size = int(size_line.split(b";")[0] or b"0", 16)
        if size == 0:
            break
        parts.append(rest[:size])
        body = rest[size + 2 :]
    return b"".join(parts)


@asynccontextmanager
async def serving(
    path: Path, routes: Mapping[str, Handler], actions: Mapping[str, Handler] | None = None
) -> AsyncIterator[None]:
    """Answer GET requests for `routes` and POST requests for `actions` on a socket of mode 0600, until left."""
    handlers = {("GET", name): handler for name, handler in routes.items()}
    handlers |= {("POST", name): handler for name, handler in (actions or {}).items()}
    connection = _bound(path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                writer.write(await _respond(await reader.readuntil(b"\r\n\r\n"), handlers))
                await writer.drain()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the caller went away, or never was one of ours
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, sock=connection, limit=_MAX_HEAD)
    try:
        async with server:
            yield
    finally:
        _remove(path)


def _bound(path: Path) -> socket.socket:
    _remove(path)  # what a process that was killed left behind
    connection = socket.socket(socket.AF_UNIX)
    connection.bind(str(path))
    path.chmod(0o600)  # before listening: nobody can have connected
    return connection


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _respond(head: bytes, handlers: Mapping[tuple[str, str], Handler]) -> bytes:
    words = head.decode(errors="replace").split(" ", 2)
    if len(words) < 3:
        return _answer(400, {"error": "this is no HTTP"})
    method, url = words[0], urlsplit(words[1])
    handler = handlers.get((method, url.path))
    if handler is None:
        return _unanswered(url.path, handlers)
    try:
        return _answer(200, await handler({key: values[-1] for key, values in parse_qs(url.query).items()}))
    except NotFound as missing:
        return _answer(404, {"error": str(missing)})
    except NotNow as refused:
        return _answer(409, {"error": str(refused)})


def _unanswered(path: str, handlers: Mapping[tuple[str, str], Handler]) -> bytes:
    methods = [method for method, known in handlers if known == path]
    if methods:
        return _answer(405, {"error": f"{path} is asked for with {' or '.join(methods)}"})
    return _answer(404, {"error": f"no such path; there are {', '.join(sorted({known for _, known in handlers}))}"})


def _answer(status: int, body: Any) -> bytes:
    encoded = json.dumps(body, default=str).encode()
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
    return head.encode() + encoded
