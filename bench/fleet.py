"""The processes with simulated proxies, driven from the process that serves them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

PROCESSES = 2
PATIENCE = 300.0  # seconds until a measurement that does not end is an error


class Seen(NamedTuple):
    """What all proxies together saw since a round began; times on this machine's monotonic clock."""

    first: float
    last: float
    bytes: int
    resources: int
    responses: int


class Fleet:
    """Some processes of `bench.proxies`."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process], proxies: int) -> None:
        self._processes = processes
        self.proxies = proxies
        self.pids = [process.pid for process in processes]

    async def connect(self) -> None:
        """All of them, at once."""
        await self._tell({"do": "connect"})

    async def synced(self, counts: Mapping[str, int]) -> tuple[float, Seen]:
        """Each has that many resources of each type: when the first had, and what all saw."""
        await self._tell({"do": "expect", "counts": dict(counts)})
        first = await self._hear("first")
        return min(each["last"] for each in first), _together(await self._hear("all"))

    async def round(self, types: Sequence[str]) -> None:
        """From here on each waits for a response of each of these types."""
        await self._tell({"do": "round", "types": list(types)})
        await self._hear("ready")

    async def ended(self) -> None:
        """Every proxy had a response of each type."""
        await self._hear("all")

    async def reconnect(self) -> None:
        """All streams break, and new ones begin with the versions that each has."""
        await self._tell({"do": "reconnect"})
        await self._hear("ready")

    async def seen(self) -> Seen:
        """Since the last round or connect began."""
        await self._tell({"do": "report"})
        return _together(await self._hear("report"))

    async def _tell(self, order: Mapping[str, Any]) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(order).encode() + b"\n")
            await process.stdin.drain()

    async def _hear(self, event: str) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*(_line(process, event) for process in self._processes))


async def _line(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of simulated proxies left before it said {event}")
    said: dict[str, Any] = json.loads(line)
    assert said["event"] == event, said
    return said


def _together(parts: Sequence[Mapping[str, Any]]) -> Seen:
    sums = (sum(part[name] for part in parts) for name in ("bytes", "resources", "responses"))
    firsts = [part["first"] for part in parts if part["first"]]
    return Seen(min(firsts, default=0.0), max(part["last"] for part in parts), *sums)


@asynccontextmanager
async def fleet(target: str, proxies: int, tls: str = "", processes: int = PROCESSES) -> AsyncIterator[Fleet]:
    """That many proxies; the processes end with the block."""
    started = []
    share = -(-proxies // processes)
    try:
        for first in range(0, proxies, share):
            command = ["-m", "bench.proxies", "--target", target, "--first", str(first)]
            command += ["--count", str(min(share, proxies - first)), "--tls", tls]
            pipe = asyncio.subprocess.PIPE
            started.append(await asyncio.create_subprocess_exec(sys.executable, *command, stdin=pipe, stdout=pipe))
        yield Fleet(started, proxies)
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()
