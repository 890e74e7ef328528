"""One running Envoy, from a static bootstrap, for as long as a `with` block."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2

from tests.envoys.binary import envoy_binary
from tests.envoys.validate import write_bootstrap

_POLL_SECONDS = 0.01
_PATIENCE_SECONDS = 90


class EnvoyLeftError(AssertionError):
    """Envoy left before the test was done with it; the message is what it said."""


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_PATIENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class AccessLog:
    """A file Envoy writes lines to. Envoy flushes every few milliseconds here; readers wait for a count, not a time."""

    def __init__(self, path: Path, alive: Callable[[], None]) -> None:
        self.path = path
        self._alive = alive

    def lines(self, minimum: int = 0) -> list[str]:
        """All whole lines, once there are at least `minimum` of them."""
        found: list[str] = []

        def enough() -> bool:
            found[:] = self._read()
            return len(found) >= minimum

        wait_for(enough, lambda: f"{minimum} access log lines, there are {len(found)}", self._alive)
        return found

    def records(self, minimum: int = 0) -> list[dict[str, Any]]:
        """The lines of a JSON access log."""
        return [json.loads(line) for line in self.lines(minimum)]

    def _read(self) -> list[str]:
        text = self.path.read_text(errors="replace") if self.path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()


class RunningEnvoy:
    """Handle on a ready Envoy: its admin, its listeners' real addresses, its access log."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.pid = process.pid
        self.folder = folder
        self.log = AccessLog(folder / "access.log", self.check_alive)
        self._process = process

    def admin(self, path: str, method: str = "GET") -> str:
        """One call to the admin interface; its body. An answer that is not 200 is an error."""
        connection = _UnixConnection(self.folder / "admin.sock")
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"admin {path}: {response.status} {body}")
        return body

    def address(self, listener: str) -> tuple[str, int]:
        """Where this listener really is: with port 0 in the configuration, the port the kernel chose."""
        for status in json.loads(self.admin("/listeners?format=json")).get("listener_statuses", ()):
            if status["name"] == listener:
                at = status["local_address"]["socket_address"]
                return at["address"], at["port_value"]
        raise KeyError(listener)

    def stats(self, prefix: str = "") -> dict[str, int]:
        """Counters and gauges whose name starts with `prefix`."""
        found = json.loads(self.admin("/stats?format=json"))["stats"]
        return {s["name"]: s["value"] for s in found if "value" in s and s["name"].startswith(prefix)}

    def output(self) -> str:
        """What Envoy said on its standard error."""
        return (self.folder / "envoy.log").read_text(errors="replace")

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            raise EnvoyLeftError(f"envoy left with {self._process.returncode}:\n{self.output()[-4000:]}")

    def wait_for(self, true: Callable[[], bool], what: Callable[[], str]) -> None:
        """Polls until it is true, as long as Envoy lives."""
        wait_for(true, what, self.check_alive)

    def ready(self) -> bool:
        try:
            return self.admin("/ready").strip() == "LIVE"
        except (OSError, RuntimeError):
            return False  # not listening yet, or still initializing


@contextmanager
def start(
    bootstrap: Any,
    *,
    concurrency: int = 1,
    log_level: str = "warning",
    wait_ready: bool = True,
    access_log: Callable[[Any, Path], None] | None = None,
    drain_seconds: int = 1,
    prepare: Callable[[Path], None] | None = None,
) -> Iterator[RunningEnvoy]:
    """Runs Envoy with this Bootstrap message; on leaving, ends the process that was started, and only that.

    The admin interface goes to a Unix socket in a private folder, whatever the bootstrap says. `access_log` gets
    a copy of the bootstrap and the path of `RunningEnvoy.log`, to put loggers where the test wants them. A listener
    that is removed keeps its connections and routes for `drain_seconds`. `prepare` is called with the folder Envoy
    will be started in.
    """
    with tempfile.TemporaryDirectory(prefix="lateen-envoy-") as name:
        folder = Path(name)
        own = bootstrap_pb2.Bootstrap()
        own.CopyFrom(bootstrap)
        own.admin.address.pipe.path = str(folder / "admin.sock")
        own.admin.address.pipe.mode = 0o600
        if prepare:
            prepare(folder)
        if access_log:
            access_log(own, folder / "access.log")
        process = _spawn(own, folder, concurrency, log_level, drain_seconds)
        envoy = RunningEnvoy(process, folder)
        try:
            if wait_ready:
                wait_for(envoy.ready, lambda: f"Envoy ready:\n{envoy.output()[-4000:]}", envoy.check_alive)
            yield envoy
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Asks, then insists."""
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(
    true: Callable[[], bool],
    what: Callable[[], str],
    alive: Callable[[], None],
    patience: float = _PATIENCE_SECONDS,
) -> None:
    """Polls until it is true; fails with words when it never is, or at once when Envoy is gone."""
    deadline = time.monotonic() + patience
    while not true():
        alive()
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:.0f} s for {what()}")
        time.sleep(_POLL_SECONDS)


def _spawn(
    bootstrap: Any, folder: Path, concurrency: int, log_level: str, drain_seconds: int
) -> "subprocess.Popen[bytes]":
    command = [str(envoy_binary()), "-c", str(write_bootstrap(bootstrap, folder)), "--disable-hot-restart"]
    command += ["--concurrency", str(concurrency), "--log-level", log_level]
    command += ["--file-flush-interval-msec", "20", "--drain-time-s", str(drain_seconds)]
    with (folder / "envoy.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
