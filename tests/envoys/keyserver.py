"""Somebody who has the keys of a token issuer, and may be anything but helpful about it."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.envoys.certificates import leaf_file

Answer = Callable[[BaseHTTPRequestHandler], None]


def saying(text: str | bytes, status: int = 200, *, location: str = "", encoding: str = "") -> Answer:
    """Answers with a body."""
    headers = {"location": location, "content-encoding": encoding}
    body = text.encode() if isinstance(text, str) else text

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def endless(size: int, *, declared: bool) -> Answer:
    """Answers with far more than anybody wants, until the caller has had enough."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if declared:
            request.send_header("content-length", str(size))
        request.end_headers()
        block, sent = b" " * 65_536, 0
        with suppress(OSError):
            while sent < size:
                request.wfile.write(block)
                sent += len(block)
        request.close_connection = True

    return answer


def dripping(end: threading.Event) -> Answer:
    """Answers a byte at a time, and never ends."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "60000")
        request.end_headers()
        with suppress(OSError):
            while not end.wait(0.05):
                request.wfile.write(b" ")
                request.wfile.flush()
        request.close_connection = True

    return answer


class KeyServer:
    """An HTTP server in threads of its own; use as a context manager. `names`: it speaks TLS as one of these."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", port: int = 0, names: tuple[str, ...] = ()) -> None:
        self.answer = answer
        self.paths: list[str] = []
        self.server_names: list[str] = []
        self._names = names
        self._server = _Server((host, port), self._handler())
        if names:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(leaf_file(*names))
            context.sni_callback = lambda _socket, name, _context: self.server_names.append(str(name))
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.paths.append(self.path)
                owner.answer(self)

            def log_message(self, *_: Any) -> None:
                """Tests look at `paths`."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that refuse a certificate, or have had enough, are what tests are about."""


class NameServer:
    """A DNS server that knows a few names, by UDP. `ask` is told before each answer."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()
        return str(host), int(port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                query, caller = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(query), caller)

    def _answer(self, query: bytes) -> bytes:
        """One A record, or none."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question, kind = query[12 : at + 5], int.from_bytes(query[at + 1 : at + 3])
        name = ".".join(labels).lower()
        self.asked.append(name)
        known = self.addresses.get(name) if kind == 1 else None
        missing = name not in self.addresses
        flags = b"\x81\x83" if missing else b"\x81\x80"
        head = query[:2] + flags + b"\0\1" + (b"\0\1" if known else b"\0\0") + b"\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1" + (1).to_bytes(4) + b"\0\4" + socket.inet_aton(known) if known else b""
        return head + question + record
