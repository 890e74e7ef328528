"""The HTTPS server against callers that are slow, many, large, deep, or speak something else."""

import asyncio
import gc
import json
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random  # noqa: TID251  the same mutations each time
from typing import Any

import msgspec
import pytest

from controlplane.runtime.clock import SystemClock
from controlplane.runtime.garbage import paused
from controlplane.runtime.https import Answer, HttpsServer, Limits, Request, Route, answer
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.tls import Generation
from tests.tls import Signed, client_context, signed

ROOT, OTHER = signed("root"), signed("other root")
NAME = "control-plane.test"
PATIENCE = 30.0  # seconds for what is only slow on a busy machine
LOST = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)  # whichever way the system puts it


def generation(root: Signed = ROOT) -> Generation:
    pair = signed(NAME, root)
    return Generation(pair.pem, pair.key_pem, root.pem)


class Body(msgspec.Struct):
    word: str = ""
    deep: Any = None


async def echo(request: Request) -> Answer:
    body = await request.json(Body)
    return answer({"word": body.word, "certificate": len(request.certificate), "address": request.address})


async def broken(_request: Request) -> Answer:
    raise ZeroDivisionError


async def stuck(_request: Request) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


ROUTES = (
    Route("POST", "/echo", echo, "anybody"),
    Route("GET", "/broken", broken, "anybody"),
    Route("GET", "/stuck", stuck, "anybody"),
)


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[tuple[HttpsServer, int]]:
    server = HttpsServer(ROUTES, generation(), Limits(**limits))
    async with Supervisor(SystemClock()) as tasks:
        yield server, await server.listen(tasks, "127.0.0.1", 0)
        await server.stop(0.1)


class Caller:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, root: Signed = ROOT, own: Signed | None = None) -> "Caller":
        context = client_context(root, own)
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def call(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        await self.send(f"{head}\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def send_for_ever(self, data: bytes) -> None:
        async with asyncio.timeout(5):
            while True:
                await self.send(data)
                await asyncio.sleep(0)

    async def call_for_ever(self, head: str, body: bytes) -> None:
        async with asyncio.timeout(5):
            while True:
                await self.call(head, body)

    async def ended(self) -> bool:
        """Whether the server ends the connection, within the test's own patience."""
        async with asyncio.timeout(5):
            try:
                while await self.reader.read(65_536):
                    pass
            except LOST:
                pass
        self.close()
        return True

    def close(self) -> None:
        self.writer.transport.abort()


async def asked(port: int, head: str = "POST /echo HTTP/1.1", body: bytes = b"{}", **how: Any) -> tuple[int, Any]:
    caller = await Caller.connect(port, **how)
    try:
        status, headers, content = await caller.call(head, body)
        assert "server" not in headers, "which software answers is nobody's business"
        assert headers["content-type"] == "application/json"
        return status, json.loads(content)
    finally:
        caller.close()


async def test_a_request_is_answered_and_nothing_is_told_about_the_server() -> None:
    async with served() as (_, port):
        status, found = await asked(port, body=b'{"word": "hello"}')
    assert (status, found) == (200, {"word": "hello", "certificate": 0, "address": "127.0.0.1"})


async def test_the_certificate_of_the_caller_reaches_the_handler() -> None:
    async with served() as (_, port):
        _, found = await asked(port, own=signed("web", ROOT))
        assert found["certificate"] > 0


async def test_a_certificate_of_strangers_is_no_connection() -> None:
    async with served() as (_, port):
        with pytest.raises(LOST):
            await asked(port, own=signed("web", OTHER))
        assert (await asked(port))[0] == 200, "nobody else notices"


async def test_an_exception_is_an_answer_for_that_request_alone() -> None:
    async with served() as (_, port):
        caller = await Caller.connect(port)
        assert (await caller.call("GET /broken HTTP/1.1"))[0] == 500
        status, _, _ = await caller.call("POST /echo HTTP/1.1", b"{}")
        assert status == 200, "not even the connection ends"
        caller.close()


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("GET /nowhere HTTP/1.1", b"", 404),
        ("GET /echo HTTP/1.1", b"", 405),
        ("POST /echo/ HTTP/1.1", b"{}", 404),
        ("POST /%65cho HTTP/1.1", b"{}", 404),
        ("POST //echo HTTP/1.1", b"{}", 404),
        ("POST /x/../echo HTTP/1.1", b"{}", 404),
        ("POST /echo?x=y HTTP/1.1", b"{}", 200),
        ("POST /echo HTTP/1.1", b"", 400),
        ("POST /echo HTTP/1.1", b"[]", 400),
        ("POST /echo HTTP/1.1", b'{"word": 1}', 400),
        ("POST /echo HTTP/1.1", b'{"word": "\xff"}', 400),
        ("POST /echo HTTP/1.1", b'{"word": "x"}' + b" " * 1000, 413),
        ("POST /echo HTTP/1.1", b'{"deep": ' + b"[" * 8 + b"]" * 8 + b"}", 200),
        ("POST /echo HTTP/1.1", b'{"deep": ' + b"[" * 16 + b"]" * 16 + b"}", 400),
        ("POST /echo HTTP/1.1", b'{"deep": ' + b"[" * 900 + b"}", 400),
        ("POST /echo HTTP/1.1\r\nContent-Encoding: gzip", b"{}", 415),
        ("POST /echo HTTP/1.1\r\n" + "\r\n".join(f"X-{n}: y" for n in range(100)), b"{}", 400),
        ("POST /echo HTTP/1.1\r\nX: " + "y" * 9000, b"{}", 400),
        (f"POST /{'y' * 5000} HTTP/1.1", b"{}", 400),
        ("nonsense", b"", 400),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_is_refused_in_json(head: str, body: bytes, status: int) -> None:
    async with served(body=1000, depth=10) as (_, port):
        found, said = await asked(port, head, body)
        assert found == status
        assert status == 200 or set(said) == {"why", "message"}
        assert (await asked(port))[0] == 200


async def test_a_body_that_says_it_is_huge_is_not_waited_for() -> None:
    async with served(body=1000) as (_, port):
        caller = await Caller.connect(port)
        await caller.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
        assert (await caller.answer())[0] == 413
        assert await caller.ended()


async def test_a_body_that_nests_a_million_deep_is_refused_by_counting() -> None:
    """Threat row 2, with room for it: nothing here may walk down into it."""
    async with served(body=6 << 20) as (_, port):
        for body in (b"[" * 1_000_000, b'{"deep":' * 500_000, b"[" * 1_000_000 + b"]" * 1_000_000):
            assert (await asked(port, body=b'{"deep": ' + body + b"}"))[0] == 400
        assert (await asked(port))[0] == 200


async def test_chunks_without_end_are_cut_off() -> None:
    async with served(body=1000) as (_, port):
        caller = await Caller.connect(port)
        await caller.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(LOST):
            await caller.send_for_ever(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        caller.close()


SLOW = {
    "no handshake": b"",
    "half a handshake": b"\x16\x03\x01\x02\x00\x01\x00",
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
async def test_who_does_not_shake_hands_is_cut_off(sent: bytes) -> None:
    async with served(handshake=0.3) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        caller = Caller(reader, writer)
        await caller.send(sent)
        assert await caller.ended()


@pytest.mark.parametrize("sent", [b"", b"POST", b"POST /echo HTTP/1.1\r\nHost: x\r\n"])
async def test_who_says_nothing_whole_is_cut_off(sent: bytes) -> None:
    async with served(first=0.3) as (_, port):
        caller = await Caller.connect(port)
        await caller.send(sent)
        assert await caller.ended()


async def test_a_trickle_does_not_keep_a_connection() -> None:
    async with served(first=0.5, request=0.5) as (_, port):
        for head in (b"", b"POST /echo HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"):
            caller = await Caller.connect(port)
            await caller.send(head)
            end = asyncio.ensure_future(caller.ended())
            while not end.done():
                caller.writer.write(b"x")
                await asyncio.wait([end], timeout=0.05)
            assert end.result()


async def test_a_request_that_is_not_answered_in_time_is_503() -> None:
    async with served(request=0.2) as (_, port):
        assert (await asked(port, "GET /stuck HTTP/1.1", b""))[0] == 503


async def test_nobody_stays_for_ever() -> None:
    async with served(idle=0.3) as (_, port):
        caller = await Caller.connect(port)
        assert (await caller.call("POST /echo HTTP/1.1", b"{}"))[0] == 200
        assert await caller.ended(), "idle"
    async with served(age=0.4) as (_, port):
        caller = await Caller.connect(port)
        with pytest.raises(LOST):
            await caller.call_for_ever("POST /echo HTTP/1.1", b"{}")
        caller.close()


async def test_one_address_cannot_take_all_connections() -> None:
    async with served(per_address=3) as (server, port):
        held = [await Caller.connect(port) for _ in range(3)]
        with pytest.raises(LOST):
            await asked(port)
        assert server.refused_connections == 1
        held.pop().close()
        await _until(lambda: server.open_connections == 2)
        assert (await asked(port))[0] == 200
        for caller in held:
            caller.close()


async def test_connections_in_all_are_bounded_and_who_waits_gets_a_turn() -> None:
    async with served(connections=2, first=5.0) as (server, port):
        held = [await Caller.connect(port) for _ in range(2)]
        waiting = asyncio.ensure_future(asked(port))
        await _until(lambda: server.open_connections == 2)
        assert not waiting.done()
        held.pop().close()
        async with asyncio.timeout(PATIENCE):
            assert (await waiting)[0] == 200
        for caller in held:
            caller.close()


async def test_a_hundred_slow_callers_keep_nobody_waiting() -> None:
    async with served(per_address=200, first=30.0, handshake=30.0) as (_, port):
        slow = [Caller(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(50)]
        slow += [await Caller.connect(port) for _ in range(50)]
        async with asyncio.timeout(2):
            assert (await asked(port))[0] == 200
        for caller in slow:
            caller.close()


async def test_an_address_that_opens_thousands_of_connections_keeps_nobody_else_waiting(size) -> None:
    """Threat row 2: slow on purpose, and again and again."""
    loop, slow, slowest = asyncio.get_running_loop(), list[Caller](), 0.0
    async with served(per_address=50, first=30.0, handshake=30.0) as (server, port):
        for number in range(size(400, 5_000)):
            try:
                one = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            except ConnectionError:
                continue
            slow.append(Caller(*one))
            if number % 100 == 0:
                began = loop.time()
                assert (await asked(port))[0] == 200
                slowest = max(slowest, loop.time() - began)
            if len(slow) > 200:
                slow.pop(60).close()  # one that was refused; the first are held
        assert server.open_connections <= 50
        assert server.refused_connections >= size(300, 4_900)
        for caller in slow:
            caller.close()
    assert slowest < 2.0


@pytest.mark.point
async def test_whatever_is_sent_the_next_caller_is_answered(size, proved) -> None:
    """Threat row 1: requests with bytes changed, cut, doubled and moved, each on a connection of its own."""
    random, asked_for = Random(1848), size(300, 20_000)
    seeds = [
        b'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{"word": "yes"}',
        b'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n{"word": "yes"}\r\n0\r\n\r\n',
        b"GET /broken HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" * 3,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    ]
    async with served(first=0.2, request=0.2, idle=0.2) as (server, port):
        for number in range(asked_for):
            caller = await Caller.connect(port)
            caller.writer.write(_mutated(random, random.choice(seeds)))
            if random.random() < 0.03:
                assert await caller.ended()
            caller.close()
            if number % 50 == 0:
                assert (await asked(port, body=b'{"word": "hello"}'))[1]["word"] == "hello"
        assert (await asked(port))[0] == 200
        await _until(lambda: server.open_connections == 0)
    proved(
        "identity 7",
        "threat row 1: mutated HTTP requests after which the HTTPS port answers as ever",
        bound="all",
        figure=f"{asked_for:,}",
        holds=True,
        cases=asked_for,
        asked=asked_for,
    )


def _mutated(random: Random, request: bytes) -> bytes:
    content = bytearray(request)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(content)) if content else 0
        match random.randrange(5):
            case 0 if content:
                content[at] = random.randrange(256)
            case 1:
                del content[at : at + random.randint(1, 20)]
            case 2:
                content[at:at] = content[at : at + random.randint(1, 40)] * random.randint(1, 50)
            case 3:
                content[at:at] = random.choice([b"\r\n", b"\0", b"\r\n\r\n", b"-1", b"9" * 30, b"\xff" * 5000])
            case _:
                content = content[at:] + content[:at]
    return bytes(content)


NO_REQUESTS = {
    "no handshake": b"GET / HTTP/1.1\r\n\r\n",
    "no HTTP": b"nonsense\r\n\r\n",
    "half a head": b"POST /echo HTTP/1.1\r\n",
    "half a body": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
    "a body that is none": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n",
    "too large": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n{",
}


@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
async def test_a_connection_that_came_to_nothing_leaves_nothing(sent: bytes) -> None:
    """TLS's buffers for each are a quarter of a megabyte, and the collector of cycles comes by once in an age."""
    async with served(first=0.1, request=0.1) as (server, port):
        gc.collect()
        with paused():
            plain = sent == NO_REQUESTS["no handshake"]
            caller = await (_plainly(port) if plain else Caller.connect(port))
            await caller.send(sent)
            assert await caller.ended()
            await _until(lambda: server.open_connections == 0)
            await asyncio.sleep(0.05)
            kept = [one for one in gc.get_objects() if isinstance(one, sslproto.SSLProtocol) and one._server_side]
            assert kept == []


async def _plainly(port: int) -> Caller:
    return Caller(*await asyncio.open_connection("127.0.0.1", port))


async def test_a_new_generation_serves_without_a_restart_and_ends_what_the_old_one_trusted() -> None:
    async with served() as (server, port):
        caller = await Caller.connect(port, own=signed("web", ROOT))
        assert (await caller.call("POST /echo HTTP/1.1", b"{}"))[0] == 200
        server.use(generation(OTHER))
        assert await caller.ended(), "who was trusted by the old roots may not be by the new ones"
        assert (await asked(port, root=OTHER))[0] == 200
        with pytest.raises(ssl.SSLError):
            await asked(port, root=ROOT)
        with pytest.raises(ssl.SSLError):
            server.use(generation()._replace(key=signed("other").key_pem))
        assert (await asked(port, root=OTHER))[0] == 200, "the last good generation stays"


async def test_what_is_being_answered_when_the_generation_changes_is_answered() -> None:
    async with served(request=0.5) as (server, port):
        caller = await Caller.connect(port)
        answering = asyncio.ensure_future(caller.call("GET /stuck HTTP/1.1"))
        await _until(lambda: server.answering == 1)
        server.use(generation(OTHER))
        assert (await answering)[0] == 503
        assert await caller.ended()


async def test_sessions_are_not_resumed_and_old_tls_is_refused() -> None:
    async with served() as (_, port):
        caller = await Caller.connect(port)
        await caller.call("POST /echo HTTP/1.1", b"{}")
        tls = caller.writer.get_extra_info("ssl_object")
        assert tls.version() == "TLSv1.3"
        assert tls.session is None or not tls.session.has_ticket
        caller.close()
        old = client_context(ROOT)
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(LOST):
            await asyncio.open_connection("127.0.0.1", port, ssl=old, server_hostname=NAME)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  the server has no event for tests
            await asyncio.sleep(0.01)
