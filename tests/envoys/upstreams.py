"""Servers that say who they are: what a test puts behind Envoy.

One thread serves any number of addresses. Each tells HTTP/1.1, cleartext HTTP/2 and anything else apart by the first
bytes, so that the same upstream stands behind an HTTP route, a gRPC-like cluster and a TCP proxy. A PROXY header is
skipped, and TLS taken off, whatever it asks for; `seen` says how each connection was secured.

HTTP answers: 200, header `x-upstream: <name>`, and over HTTP/1.1 what arrived: headers `x-echo-host`, `x-echo-path`
and a JSON body (`method`, `path`, `headers`). Other bytes: a line `<name>`, then they come back as they are.
"""

import asyncio
import json
import os
import ssl
import struct
import threading
from collections import Counter
from typing import Any, Self

from tests.envoys.certificates import identity_file, leaf_file

PLAIN = "plain text"
MESH_ALPN = ("istio-http/1.1", "istio-h2", "istio", "h2")  # the first of these that a client offers is chosen
_HANDSHAKE = b"\x16\x03"  # how TLS begins
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS, _PING, _GOAWAY = 1, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4


def loopback_address() -> str:
    """An address of 127.0.0.0/8 that hardly anybody else uses: tests in parallel then never meet on a port."""
    a, b, c = os.urandom(3)
    return f"127.{64 + a % 128}.{b}.{1 + c % 250}"


class Upstreams:
    """Echo servers in one background thread; use as a context manager."""

    def __init__(self, proves: tuple[str, ...] = ()) -> None:
        """`proves`: the SPIFFE ids of its certificate, for clients that speak TLS of their own accord."""
        # By addresses of client and server (a client may call two servers from one port): the ALPN of its TLS, or PLAIN.
        self.seen: dict[tuple[str, str], str] = {}
        self._detected = _mesh_tls(proves)
        self.requests: Counter[str] = Counter()  # by upstream name: HTTP requests and other connections
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstreams", daemon=True)
        self._servers: dict[str, asyncio.Server] = {}
        self._protocols: set[_Echo] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def add(self, name: str, host: str = "127.0.0.1", port: int = 0, *, tls: bool = False) -> tuple[str, int]:
        """Starts an upstream; its address. `tls` serves the test certificate, ALPN h2 and http/1.1."""
        context = _server_tls() if tls else None
        at: tuple[str, int] = self._run(self._add(name, host, port, context))
        return at

    def remove(self, name: str) -> None:
        """Stops listening and cuts its connections, as a dead replica would."""
        self._run(self._remove(name))

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    async def _add(self, name: str, host: str, port: int, tls: ssl.SSLContext | None) -> tuple[str, int]:
        server = await self._loop.create_server(lambda: _Echo(name, self), host, port, ssl=tls, backlog=512)
        self._servers[name] = server
        at = server.sockets[0].getsockname()
        return str(at[0]), int(at[1])

    async def _remove(self, name: str) -> None:
        self._servers.pop(name).close()
        for protocol in [p for p in self._protocols if p.name == name]:
            protocol.abort()

    async def _close_all(self) -> None:
        for name in list(self._servers):
            await self._remove(name)
        await asyncio.sleep(0)  # let aborted transports tell their protocols

    def tls(self) -> ssl.SSLContext:
        """For connections that turn out to be TLS."""
        return self._detected

    def opened(self, protocol: "_Echo") -> None:
        self._protocols.add(protocol)

    def closed(self, protocol: "_Echo") -> None:
        self._protocols.discard(protocol)


class _Echo(asyncio.Protocol):
    """One connection: waits until it knows the language, then speaks it."""

    def __init__(self, name: str, owner: Upstreams) -> None:
        self.name = name
        self._owner = owner
        self._buffer = b""
        self._speak: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport: asyncio.Transport | _Detected = transport
        self._between = _address(transport, "peername"), _address(transport, "sockname")
        self._owner.seen[self._between] = PLAIN
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.closed(self)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if isinstance(self._transport, _Detected):
            data = self._transport.received(data)
            self._owner.seen[self._between] = self._transport.alpn
        elif self._speak is None and not self._buffer and data.startswith(_HANDSHAKE):
            self._transport = _Detected(self._transport, self._owner.tls())
            data = self._transport.received(data)
        self._buffer += data
        if self._buffer.startswith(b"PROXY ") and self._speak is None:
            self._buffer = self._buffer.partition(b"\r\n")[2]
        if self._speak is None and self._buffer:
            self._speak = self._language()
        if self._speak:
            self._speak()

    def _language(self) -> Any:
        if self._buffer.startswith(_PREFACE):
            self._buffer = self._buffer[len(_PREFACE) :]
            self._transport.write(_frame(_SETTINGS, 0, 0))
            return self._http2
        if _PREFACE.startswith(self._buffer):
            return None  # could still become HTTP/2
        method, space, _ = self._buffer.partition(b" ")
        if space and method.isalpha() and method.isupper():
            return self._http1
        self._owner.requests[self.name] += 1
        self._transport.write(self.name.encode() + b"\n")
        return self._raw

    def _raw(self) -> None:
        self._transport.write(self._buffer)
        self._buffer = b""

    def _http1(self) -> None:
        while b"\r\n\r\n" in self._buffer:
            head, rest = self._buffer.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            if lines[0].count(" ") < 2:  # it only began as HTTP does
                self.abort()
                return
            headers = [(name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines[1:])]
            length = int(dict(headers).get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer1(lines[0], headers)

    def _answer1(self, request_line: str, headers: list[tuple[str, str]]) -> None:
        method, path, _ = request_line.split(" ", 2)
        self._owner.requests[self.name] += 1
        body = json.dumps({"upstream": self.name, "method": method, "path": path, "headers": headers}).encode()
        found = dict(headers)
        echo = f"x-upstream: {self.name}\r\nx-echo-host: {found.get('host', '')}\r\nx-echo-path: {path}\r\n"
        head = f"HTTP/1.1 200 OK\r\n{echo}content-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode("latin-1") + (b"" if method == "HEAD" else body))
        if found.get("connection", "").lower() in {"close", "upgrade"} or "transfer-encoding" in found:
            self._buffer = b""  # what follows is no request
            self._transport.close()

    def _http2(self) -> None:
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3])
            if len(self._buffer) < 9 + length:
                return
            kind, flags, stream = self._buffer[3], self._buffer[4], int.from_bytes(self._buffer[5:9])
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            self._answer2(kind, flags, stream, payload)

    def _answer2(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Enough HTTP/2 to answer: request headers are not decoded, so HPACK state does not matter."""
        if kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self._transport.close()
        elif kind == _HEADERS:  # at once: a body, or what follows an upgrade, is of no interest
            self._owner.requests[self.name] += 1
            name = self.name.encode()
            block = b"\x88" + b"\x00\x0ax-upstream" + bytes([len(name)]) + name  # :status 200, a plain literal
            self._transport.write(_frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, block))


class _Detected:
    """TLS that starts in the middle of a connection: one was read to see what it is."""

    def __init__(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        self._transport = transport
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._done = False

    @property
    def alpn(self) -> str:
        return self._tls.selected_alpn_protocol() or "" if self._done else ""

    def received(self, data: bytes) -> bytes:
        """What was inside."""
        self._in.write(data)
        found = b""
        try:
            if not self._done:
                self._tls.do_handshake()
                self._done = True
            while part := self._tls.read(65536):
                found += part
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:
            self._flush()  # with the alert, if there is one
            self._transport.close()
        else:
            self._transport.close()  # the client said that it is done
        return found

    def write(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
            self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self._transport.write(self._out.read())

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


def _address(transport: asyncio.Transport, of: str) -> str:
    host, port = transport.get_extra_info(of)[:2]
    return f"{host}:{port}"


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + struct.pack("!BBI", kind, flags, stream) + payload


def _mesh_tls(proves: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(list(MESH_ALPN))
    context.load_cert_chain(identity_file(*proves) if proves else leaf_file())
    return context


def _server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.load_cert_chain(leaf_file())
    return context
