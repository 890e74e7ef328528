"""Steady HTTP load on one listener, and an account of every single answer.

    with Load(address, port, "http://bill-service:9999/", connections=16) as load:
        load.wait_for(1000)     # whatever is done meanwhile is done under load
    assert not load.account.failures, load.account

A closed loop: each connection sends its next request when the last was answered, so no request is ever lost from the
account. HTTP/1.1 keep-alive, written by hand because the client must be several times faster than what it measures.
A server may end a connection after an answer that says `connection: close`; ending it while a request is out is a
failure, as is any status but 200, a refused connection, and no answer in time.

Python's standard library only: `e2e.load` runs this file in Pods, as a program (`main`).
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

_PATIENCE = 10.0  # seconds for one answer
_PATIENCE_FOR_MANY = 60.0  # seconds
_MOST_KEPT = 20  # failures remembered in full
_TOLD_EVERY = 0.1  # seconds, by the program


class Failure(NamedTuple):
    """One request that was not answered with 200."""

    at: float  # seconds since the load began
    kind: str  # "503", "reset", "refused", "timeout", "garbage"
    detail: str


class Account:
    """What was answered."""

    def __init__(self) -> None:
        self.answers: Counter[bytes] = Counter()  # 200s, by body
        self.failed: Counter[str] = Counter()  # by kind
        self.failures: list[Failure] = []  # the first few
        self.slowest = 0.0  # seconds

    @property
    def total(self) -> int:
        return self.answers.total() + self.failed.total()

    def fail(self, failure: Failure) -> None:
        self.failed[failure.kind] += 1
        if len(self.failures) < _MOST_KEPT:
            self.failures.append(failure)

    def plain(self) -> dict[str, Any]:
        """As JSON can say it; see `read`."""
        answers = {body.decode("latin-1"): count for body, count in self.answers.items()}
        return {"answers": answers, "failed": self.failed, "failures": self.failures, "slowest": self.slowest}

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Self:
        account = cls()
        account.answers = Counter({body.encode("latin-1"): count for body, count in plain["answers"].items()})
        account.failed = Counter(plain["failed"])
        account.failures = [Failure(*each) for each in plain["failures"]]
        account.slowest = plain["slowest"]
        return account

    def __str__(self) -> str:
        listed = "".join(f"\n  {each.at:.3f} s: {each.kind} {each.detail}" for each in self.failures)
        return f"{self.total:,} requests, {self.failed.total()} failed, {dict(self.failed)}{listed}"


class Load:
    """Load from the moment the `with` block is entered until it is left, or until `requests` were sent."""

    def __init__(
        self,
        address: str,
        port: int,
        url: str,
        *,
        connections: int = 16,
        requests: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        fresh: bool = False,
        pause: float = 0.0,
    ) -> None:
        """`address:port` may be a sidecar's HTTP proxy: `url` is said whole. `fresh`: each call has its connection.

        `pause`: seconds between an answer and the next call of a connection, where others need the processor, too.
        """
        self.account = Account()
        self.where = (address, port)
        self.fresh = fresh
        self.pause = pause
        lines = [f"GET {url} HTTP/1.1", f"Host: {urlsplit(url).netloc}", *(f"{key}: {value}" for key, value in headers)]
        self.request = "\r\n".join([*lines, "", ""]).encode()
        self.done = threading.Event()  # all of `requests` were answered
        self.began = 0.0
        self._left = requests  # None: no end
        self._connections = [_Caller(self) for _ in range(connections)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Lets every request that is out be answered, then ends."""
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(timeout=_PATIENCE + 5)
        assert not self._thread.is_alive(), "the load does not end"
        self._loop.close()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def wait_for(self, more: int) -> None:
        """Until so many more requests were answered, well or not."""
        goal, until = self.account.total + more, time.monotonic() + _PATIENCE_FOR_MANY
        while self.account.total < goal:
            assert time.monotonic() < until, f"waited for {goal} answers; {self.account}"
            time.sleep(0.01)

    # For the connections, on the loop

    def may_send(self) -> bool:
        """Takes one of the requests that are left."""
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0

    def fail(self, kind: str, detail: str = "") -> None:
        self.account.fail(Failure(self.seconds, kind, detail))

    def rested(self) -> None:
        """A connection has nothing more to do."""
        if all(each.resting for each in self._connections):
            self.done.set()
            self._loop.stop()

    def _run(self) -> None:
        for each in self._connections:
            self._loop.call_soon(each.go)
        self._loop.call_soon(self._watch)
        self._loop.run_forever()
        for each in self._connections:
            each.hang_up()
        self._loop.run_until_complete(asyncio.sleep(0))

    def _stop(self) -> None:
        self._left = 0

    def _watch(self) -> None:
        for each in self._connections:
            each.check(time.monotonic())
        self._loop.call_later(0.5, self._watch)


class _Caller(asyncio.Protocol):
    """One connection, made again when it ends."""

    def __init__(self, load: Load) -> None:
        self.resting = False
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._buffer = b""
        self._sent = 0.0  # when the request that is out was sent; 0 when none is

    def go(self) -> None:
        """Sends the next request, if there is one."""
        if not self._load.may_send():
            self.resting = True
            self._load.rested()
        elif self._transport is None:
            self._sent = time.monotonic()
            self._connecting = asyncio.ensure_future(self._connect())
        else:
            self._sent = time.monotonic()
            self._transport.write(self._load.request)

    def check(self, now: float) -> None:
        if self._transport is not None and self._sent and now - self._sent > _PATIENCE:
            self.hang_up()
            self._failed("timeout")

    def hang_up(self) -> None:
        transport, self._transport, self._buffer = self._transport, None, b""
        if transport is not None:
            transport.abort()

    async def _connect(self) -> None:
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, *self._load.where)
        except OSError as error:
            await asyncio.sleep(0.01)
            self._failed("refused", str(error))
        else:
            self._transport = transport
            transport.write(self._load.request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None or not self._transport.is_closing():
            return  # we hung up ourselves
        self._transport = None
        if self._sent:
            got, self._buffer = self._buffer, b""
            self._failed("reset", f"{exc} after {got[:80]!r}")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, complete, rest = self._buffer.partition(b"\r\n\r\n")
        if not complete:
            return
        length, closes = _head(head)
        if len(rest) < length:
            return
        self._buffer = b""
        if len(rest) > length:
            self.hang_up()
            self._failed("garbage", f"{rest[length:][:80]!r} after an answer")
            return
        if closes or self._load.fresh:
            self.hang_up()
        self._answered(head, rest)

    def _answered(self, head: bytes, body: bytes) -> None:
        account = self._load.account
        account.slowest = max(account.slowest, time.monotonic() - self._sent)
        self._sent = 0.0
        if head.startswith(b"HTTP/1.1 200 "):
            account.answers[body] += 1
        else:
            self._load.fail(head[9:12].decode(), f"{body[:200]!r} {head!r}")
        if self._load.pause:
            asyncio.get_running_loop().call_later(self._load.pause, self.go)
        else:
            self.go()

    def _failed(self, kind: str, detail: str = "") -> None:
        self._sent = 0.0
        self._load.fail(kind, detail)
        self.go()


def _head(head: bytes) -> tuple[int, bool]:
    """Length of the body, and whether the server ends the connection after it."""
    length, closes = 0, False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-length":
            length = int(value)
        elif name == b"connection":
            closes = value.strip().lower() == b"close"
    return length, closes


def main() -> None:
    """`python load.py OPTIONS`: JSON, `Load`'s own words and `name`.

    The account is in NAME.json all the while, and on standard output in the end. NAME.stop ends it.
    """
    options = json.loads(sys.argv[1])
    name = options.pop("name")
    stop, told = Path(f"{name}.stop"), Path(f"{name}.json")
    options["headers"] = tuple(options.get("headers", {}).items())
    with Load(**options) as load:
        while not stop.exists() and not load.done.wait(_TOLD_EVERY):
            _tell(told, load.account)
    _tell(told, load.account)
    print(json.dumps(load.account.plain()))


def _tell(path: Path, account: Account) -> None:
    """Whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(account.plain()))
    unfinished.replace(path)


if __name__ == "__main__":
    main()
