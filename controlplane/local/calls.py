"""Many small HTTP calls through a sidecar, and what was answered. For the demo and for tests."""

import asyncio
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

K = TypeVar("K")


class Tally(msgspec.Struct, frozen=True):
    """Answers by body; what failed is counted by status, 0 where there was no answer at all."""

    answers: Mapping[bytes, int] = {}
    failures: Mapping[int, int] = {}

    @property
    def calls(self) -> int:
        return sum(self.answers.values()) + self.failed

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def count(self, text: bytes) -> int:
        """How many calls were answered with this text."""
        return self.answers.get(text, 0)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(_added(self.answers, other.answers, 1), _added(self.failures, other.failures, 1))

    def minus(self, other: "Tally") -> "Tally":
        """What was added since `other`."""
        return Tally(_added(self.answers, other.answers, -1), _added(self.failures, other.failures, -1))


class Caller:
    """Calls one URL through an HTTP proxy, over connections that are kept."""

    def __init__(self, address: str, port: int, url: str) -> None:
        self._address = address
        self._port = port
        self._url = url

    async def call(self, calls: int, headers: tuple[tuple[str, str], ...] = (), connections: int = 1) -> Tally:
        """`calls` calls over so many connections at once. Failures are counted, never raised."""
        shares = [calls // connections + (index < calls % connections) for index in range(connections)]
        tallies = await asyncio.gather(*(self._over_one(share, headers) for share in shares if share))
        total = Tally()
        for tally in tallies:
            total = total + tally
        return total

    async def _over_one(self, calls: int, headers: tuple[tuple[str, str], ...]) -> Tally:
        lines = [
            f"GET {self._url} HTTP/1.1",
            f"Host: {urlsplit(self._url).netloc}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        request = "\r\n".join([*lines, "", ""]).encode()
        answers: dict[bytes, int] = {}
        failures: dict[int, int] = {}
        connection: _Connection | None = None
        for _ in range(calls):
            try:
                connection = connection or await _Connection.open(self._address, self._port)
                status, body = await connection.exchange(request)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                status, body, connection = 0, b"", None
            if status == 200:
                answers[body] = answers.get(body, 0) + 1
            else:
                failures[status] = failures.get(status, 0) + 1
        if connection is not None:
            connection.close()
        return Tally(answers, failures)


class _Connection:
    """One kept connection; requests one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: str, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection(address, port))

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Status and body, the line end that closes it taken off."""
        self._writer.write(request)
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 30)
        status = int(head.split(b" ", 2)[1])
        body = await self._reader.readexactly(_length(head))
        return status, body.rstrip(b"\n")

    def close(self) -> None:
        self._writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise ValueError("an answer without content-length")  # Envoy sends one for all that our servers answer


def _added(first: Mapping[K, int], second: Mapping[K, int], sign: int) -> dict[K, int]:
    keys = {**first, **second}
    return {key: first.get(key, 0) + sign * second.get(key, 0) for key in keys}
