"""The program behind every Pod of the examples: an HTTP server that answers with one text.

    python server.py "this is bill-service-v1"
    python server.py "hello" --failing 0.5        # every second call is answered with 503
    python server.py "hello" --slow 2             # each answer takes two seconds
    python server.py "shop" --tell                # adds what it was asked: method, host, path
    python server.py "shop" --show x-user         # adds a header of the request
    python server.py "shop" --log                 # an access log on standard output, with who called

In a container it listens on port 80 of every address; where HOST and PORT are set it listens there. Python's standard
library only, so that any Python image runs it.
"""

import argparse
import asyncio
import os


class Answers(asyncio.Protocol):
    """One connection; requests are answered in order and the connection is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._received = b""
        self._count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next_request()) is not None:
            answer = self._answer(request)
            if self._options.slow:
                asyncio.get_running_loop().call_later(self._options.slow, self._write, answer)
            else:
                self._write(answer)

    def _next_request(self) -> bytes | None:
        """The head of the next request that has arrived whole; its body is dropped."""
        head, complete, rest = self._received.partition(b"\r\n\r\n")
        length = int(self._header(head, b"content-length") or 0)
        if not complete or len(rest) < length:
            return None
        self._received = rest[length:]
        return head

    def _answer(self, head: bytes) -> bytes:
        Answers.calls += 1
        failing = self._options.failing and Answers.calls * self._options.failing % 1 < self._options.failing
        text = self._options.text + (self._told(head) if self._options.tell else "") + self._shown(head) + "\n"
        status = "503 Service Unavailable" if failing else "200 OK"
        if self._options.log:
            line = head.split(b"\r\n", 1)[0].decode(errors="replace")
            print(f'"{line}" {status[:3]} {self._caller(head)}', flush=True)
        body = b"" if head.startswith(b"HEAD ") else text.encode()
        return (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(text.encode())}\r\n\r\n"
        ).encode() + body

    calls = 0

    def _told(self, head: bytes) -> str:
        method, path, _ = head.split(b"\r\n", 1)[0].decode(errors="replace").split(" ", 2)
        return f": {method} {self._header(head, b'host').decode(errors='replace')} {path}"

    def _shown(self, head: bytes) -> str:
        name = self._options.show
        return f", {name}: {self._header(head, name.encode()).decode(errors='replace') or '-'}" if name else ""

    def _caller(self, head: bytes) -> str:
        """Whom the sidecar saw in the caller's certificate (`URI=` of X-Forwarded-Client-Cert); - without one."""
        last = self._header(head, b"x-forwarded-client-cert").decode(errors="replace").rpartition(",")[2]
        parts = dict(part.split("=", 1) for part in last.split(";") if "=" in part)
        return parts.get("URI", "-")

    @staticmethod
    def _header(head: bytes, name: bytes) -> bytes:
        for line in head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name:
                return value.strip()
        return b""

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def main() -> None:
    parser = argparse.ArgumentParser(description="answers every HTTP request with one text")
    parser.add_argument("text")
    parser.add_argument("--failing", type=float, default=0.0, help="share of calls answered with 503")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--log", action="store_true", help="one line for each call, with the caller's identity")
    parser.add_argument("--tell", action="store_true", help="add method, host and path to the text")
    parser.add_argument("--show", default="", help="add this header of the request to the text")
    options = parser.parse_args()
    host, port = os.environ.get("HOST"), int(os.environ.get("PORT", "80"))
    server = await asyncio.get_running_loop().create_server(lambda: Answers(options), host, port)
    print(f"listening on {host or 'every address'}, port {port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
