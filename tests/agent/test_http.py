"""The server that anybody may reach, and the client that anybody may answer: bounded, whatever the other side does."""

import asyncio
import itertools
from contextlib import asynccontextmanager, closing, suppress

import pytest

from controlplane.agent.http import server
from controlplane.agent.http.client import Address, NoAnswer, NoConnection, Request, TooLarge, exchange, over_tcp
from controlplane.agent.http.server import Response, serving, text

HELLO = b"GET /hello?a=1 HTTP/1.1\r\nHost: a\r\nX-Name: Value\r\n\r\n"


@pytest.fixture(autouse=True)
async def closed():
    """Transports that were aborted close in the loop's next turns; the loop must have some."""
    yield
    for _ in range(10):
        await asyncio.sleep(0)


async def hello(request: server.Request) -> Response:
    return text(200, f"{request.method} {request.path} {request.headers.get('x-name')} {request.peer}")


@asynccontextmanager
async def connected(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def said(port: int, data: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    async with connected(port) as (reader, writer):
        writer.write(data)
        try:
            async with asyncio.timeout(20):
                return bytes(await reader.read())
        except ConnectionResetError:
            return b""


async def test_one_request_one_answer():
    async with serving("127.0.0.1", 0, hello) as port:
        answer = await said(port, HELLO * 3)
        assert answer.count(b"HTTP/1.1 200") == 1
        assert answer.endswith(b"GET /hello Value 127.0.0.1\n")
        assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10 + b"\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b"431"),
    ],
    ids=["TLS", "no host", "two hosts", "two lengths", "a long header", "a long path"],
)
async def test_what_is_no_request(data, status):
    async with serving("127.0.0.1", 0, hello) as port:
        answer = await said(port, data)
        assert answer.split(b" ")[1] == status if answer else data.startswith(b"GET")  # or reset, with bytes unread


async def test_a_body_is_never_read():
    async with serving("127.0.0.1", 0, hello) as port:
        answer = await said(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1000)
        assert answer.startswith(b"HTTP/1.1 200")


async def test_who_stays_silent_makes_room_for_who_asks():
    async with serving("127.0.0.1", 0, hello) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(500)]
        try:
            for _ in range(5):
                assert (await said(port, HELLO)).startswith(b"HTTP/1.1 200")
        finally:
            for _, writer in silent:
                writer.transport.abort()


async def test_who_is_being_answered_is_not_put_out():
    """More than there is room for, all waiting for their answer: the next is turned away, they are served."""
    go, all_here = asyncio.Event(), asyncio.Event()
    here = itertools.count(1)

    async def slow(_: server.Request) -> Response:
        if next(here) == server._MOST:
            all_here.set()
        await go.wait()
        return text(200, "done")

    async with serving("127.0.0.1", 0, slow) as port:
        waiting = [asyncio.ensure_future(said(port, HELLO)) for _ in range(server._MOST)]
        await all_here.wait()
        assert await said(port, HELLO) == b""
        go.set()
        assert all(answer.endswith(b"done\n") for answer in await asyncio.gather(*waiting))


async def test_who_dribbles_is_cut_off(monkeypatch):
    monkeypatch.setattr(server, "_HEAD_TIME", 0.5)
    async with serving("127.0.0.1", 0, hello) as port, connected(port) as (reader, writer):
        ended = asyncio.ensure_future(reader.read())
        for sent in range(len(HELLO)):
            if ended.done():
                break
            writer.write(HELLO[sent : sent + 1])
            await asyncio.sleep(0.1)
        assert sent < len(HELLO) / 2
        await asyncio.wait([ended])
        assert isinstance(ended.exception(), ConnectionResetError) or ended.result() == b""


async def test_who_does_not_read_is_cut_off():
    closed = asyncio.Event()

    class Endless:
        def __aiter__(self):
            return self

        async def __anext__(self) -> bytes:
            return b"x" * 65_536

        async def aclose(self) -> None:
            closed.set()

    async def endless(_: server.Request) -> Response:
        return Response(200, Endless())

    async with serving("127.0.0.1", 0, endless, longest=0.5) as port, connected(port) as (_, writer):
        writer.write(HELLO)
        async with asyncio.timeout(10):
            await closed.wait()


@asynccontextmanager
async def answering(data: bytes):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError):  # who asks for what cannot be asked says nothing
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield over_tcp(Address(*listening.sockets[0].getsockname()))


async def asked(connect, limit: int = 1000) -> tuple[int, bytes]:
    async with asyncio.timeout(10), exchange(connect, Request("/")) as answer:
        return answer.status, await answer.body(limit)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", b"hi"),
    ],
)
async def test_answers(data, body):
    async with answering(data) as connect:
        assert await asked(connect) == (200, body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    ],
)
async def test_no_answers(data):
    async with answering(data) as connect:
        with pytest.raises(NoAnswer):
            await asked(connect)


async def test_an_answer_that_is_too_large():
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001) as connect:
        with pytest.raises(TooLarge):
            await asked(connect)


async def test_nobody_there():
    with pytest.raises(NoConnection):
        await asked(over_tcp(Address("127.0.0.1", 1)))


async def test_a_request_that_cannot_be_made():
    async with answering(b"") as connect:
        with pytest.raises(NoAnswer, match="cannot be asked"):
            async with exchange(connect, Request("/a path\r\nX: y")):
                pass
