"""An application that answers as a test wants it, for probes and scrapes."""

import socket
import ssl
import threading
from collections.abc import Callable
from typing import NamedTuple, Self

from tests.envoys.certificates import leaf_file


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    peer: str


Reply = Callable[[Asked], bytes]


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole HTTP/1.1 answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers])
    return head.encode() + b"\r\n\r\n" + body


class Application:
    """Use as a context manager. `reply` makes the bytes that go back; `slow` holds each answer until it is set."""

    def __init__(self, host: str = "127.0.0.1", *, tls: bool = False) -> None:
        self.reply: Reply = lambda _: answer(b"fine")
        self.asked: list[Asked] = []
        self.connections = 0
        self.held = threading.Event()
        self.held.set()
        self._socket = socket.create_server((host, 0))
        self.host, self.port = self._socket.getsockname()[:2]
        self._tls: ssl.SSLContext | None = None
        if tls:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(leaf_file("somebody.else"))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, peer[0]), daemon=True).start()

    def _serve(self, connection: socket.socket, peer: str) -> None:
        try:
            with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as stream:
                stream.settimeout(30)
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (chunk := stream.recv(4096)):
                        return
                    head += chunk
                line, *rest = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
                method, path, _ = line.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
                asked = Asked(method, path, headers, peer)
                self.asked.append(asked)
                self.held.wait(30)
                stream.sendall(self.reply(asked))
        except OSError:
            connection.close()
