"""Real agents as processes of their own, started as users start them."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from tests.agent.endpoint import NAME, Endpoint
from tests.envoys.binary import envoy_binary
from tests.envoys.upstreams import loopback_address
from tests.ports import free_port

PATIENCE = 30.0  # seconds
PROGRAM = (sys.executable, "-m", "controlplane.agent")


def wait_for(true: Callable[[], Any], what: Callable[[], str] | str, seconds: float = PATIENCE) -> Any:
    """Polls until it is true; what it then was."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what if isinstance(what, str) else what()}")
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class RunningAgent:
    """One agent, with what it said."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", directory: Path, address: str, ports: tuple[int, int]
    ) -> None:
        self.process = process
        self.directory = directory
        self.address = address
        self.readiness_port, self.status_port = ports
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())

    def ended(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended, and everything it said was read."""
        code = self.process.wait(seconds)
        self._reading.join(seconds)
        return code

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        found = [json.loads(line) for line in list(self.lines) if line.startswith('{"timestamp"')]
        return [event for event in found if event["event"] == name]

    def said(self, name: str, count: int = 1, seconds: float = PATIENCE) -> list[dict[str, Any]]:
        """The same, once there are so many."""
        wait_for(lambda: len(self.events(name)) >= count, lambda: f"{count} x {name!r} in\n{self.output}", seconds)
        return self.events(name)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def envoy_pid(self) -> int:
        pid: int = self.said("Envoy started")[0]["pid"]
        return pid

    def get(
        self, path: str, *, port: int = 0, method: str = "GET", headers: Mapping[str, str] = {}
    ) -> tuple[int, str, HTTPResponse]:
        """Status, body, and the rest."""
        connection = HTTPConnection(self.address, port or self.status_port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode(), response
        finally:
            connection.close()

    def readiness(self) -> tuple[int, str]:
        try:
            status, words, _ = self.get("/healthz/ready", port=self.readiness_port)
        except OSError:
            return 0, "nobody listens yet"
        return status, words.strip()

    def wait_until_ready(self) -> None:
        wait_for(lambda: self.readiness()[0] == 200, lambda: f"readiness, it is {self.readiness()}:\n{self.output}")

    def metric(self, series: str) -> float:
        """One of the agent's own."""
        _, body, _ = self.get("/metrics")
        return float(next(line for line in body.splitlines() if line.startswith(f"{series} ")).split()[-1])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def memory(self) -> int:
        """Resident, in kB."""
        return memory(self.process.pid)


def memory(pid: int) -> int:
    """Resident, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def command(endpoint: Endpoint, directory: Path, address: str, ports: tuple[int, int], **more: str) -> list[str]:
    """How one is started, with flags alone."""
    flags = {
        "directory": str(directory),
        "control_plane": f"127.0.0.1:{endpoint.port}",
        "server_name": NAME,
        "roots": str(endpoint.bundle),
        "token_file": str(endpoint.token),
        "pod_name": "cart-1",
        "namespace": "shop",
        "address": address,
        "status_address": address,
        "readiness_port": str(ports[0]),
        "status_port": str(ports[1]),
        "envoy": str(envoy_binary()),
        "concurrency": "1",
        "drain_time": "1s",
        **more,
    }
    return [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)]


@contextmanager
def running(
    endpoint: Endpoint,
    directory: Path,
    *,
    role: str = "sidecar",
    environment: Mapping[str, str] = {},
    address: str = "",
    program: tuple[str, ...] = PROGRAM,
    **flags: str,
) -> Iterator[RunningAgent]:
    """An agent beside a real Envoy; ended on leaving, and its Envoy with it."""
    address = address or loopback_address()
    ports = free_port(), free_port()
    argv = [*program, role, *command(endpoint, directory, address, ports, **flags)]
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={"PATH": os.defpath, **environment}
    )
    agent = RunningAgent(process, directory, address, ports)
    try:
        yield agent
    finally:
        process.kill()
        process.wait()
        agent._reading.join(PATIENCE)
        assert process.stderr is not None
        process.stderr.close()
