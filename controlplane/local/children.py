"""Lateen's end of the keeper: processes to start, signal and wait for."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controlplane.local import keeper

_GRACE_OF_KEEPER = keeper.GRACE + 5  # seconds


class StartError(Exception):
    """The program could not be started; the message says why."""


class KeeperDied(Exception):  # noqa: N818  (an event)
    """The process that owns the others is gone, and so are they."""


class Child:
    """One running process."""

    def __init__(self, children: "Children", name: str, pid: int, exited: "asyncio.Future[int]") -> None:
        self._children = children
        self._name = name
        self._exited = exited
        self.pid = pid

    async def wait(self) -> int:
        """Its exit status; negative is a signal. Raises `KeeperDied`."""
        return await asyncio.shield(self._exited)

    def signal(self, number: signal.Signals) -> None:
        """To its whole process group. Too late is fine."""
        if not self._exited.done():
            self._children.send({"op": "signal", "id": self._name, "signal": int(number)})

    async def end(self, grace: float) -> None:
        """Ask it to end; after `grace` seconds make it."""
        self.signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self._exited], timeout=grace)
        if not done:
            self.signal(signal.SIGKILL)
            await asyncio.wait([self._exited], timeout=grace)


class Children:
    """All processes of the mesh. Leaving it ends them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._following: asyncio.Task[None] | None = None
        self._starting: dict[str, asyncio.Future[int]] = {}
        self._running: dict[str, asyncio.Future[int]] = {}
        self._count = 0

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  (our own program, started once; a fork, no wait)
                [sys.executable, "-I", "-S", str(Path(keeper.__file__))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={"PATH": os.defpath},
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        # Ours and not a supervisor's: it must live until the last process was seen to end.
        self._following = asyncio.get_running_loop().create_task(self._follow(reader), name="keeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        assert self._process is not None
        self._writer.close()
        await asyncio.to_thread(self._process.wait, _GRACE_OF_KEEPER)
        assert self._following is not None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def died(self) -> None:
        """Waits for ever; `KeeperDied` when all processes are lost."""
        assert self._following is not None
        await asyncio.shield(self._following)

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._happened(json.loads(line))
        for waiting in (*self._starting.values(), *self._running.values()):
            if not waiting.done():
                waiting.set_exception(KeeperDied())
                waiting.exception()  # seen: whoever waits is told, whoever does not is not warned
        raise KeeperDied

    async def start(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str], directory: str | Path, log: Path
    ) -> Child:
        """Start a program in a process group of its own, its output appended to `log`. Raises `StartError`."""
        self._count += 1
        unique = f"{name}#{self._count}"
        loop = asyncio.get_running_loop()
        starting = self._starting[unique] = loop.create_future()
        exited = self._running[unique] = loop.create_future()
        what = {"argv": list(argv), "env": dict(env), "cwd": str(directory), "log": str(log)}
        self.send({"op": "start", "id": unique, **what})
        try:
            return Child(self, unique, await asyncio.shield(starting), exited)
        except asyncio.CancelledError:
            self.send({"op": "signal", "id": unique, "signal": int(signal.SIGKILL)})
            raise
        finally:
            self._starting.pop(unique, None)

    def send(self, request: Mapping[str, Any]) -> None:
        """One line to the keeper."""
        assert self._writer is not None
        self._writer.write(json.dumps(request).encode() + b"\n")

    def _happened(self, event: Mapping[str, Any]) -> None:
        name = event["id"]
        match event["event"]:
            case "started":
                _resolve(self._starting.get(name), event["pid"])
            case "failed":
                self._running.pop(name, None)
                if (starting := self._starting.get(name)) is not None and not starting.done():
                    starting.set_exception(StartError(event["error"]))
            case "exited":
                _resolve(self._running.pop(name, None), event["status"])


def _resolve(future: "asyncio.Future[int] | None", value: int) -> None:
    if future is not None and not future.done():
        future.set_result(value)
