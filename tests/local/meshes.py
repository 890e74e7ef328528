"""A whole mesh in a process of its own, as its user would start it, without any privilege."""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self, TextIO

from controlplane.local.lateenfile import NAME as LATEENFILE
from controlplane.local.statedir import NAME, StateDirectory, running
from controlplane.runtime.unixhttp import request_blocking

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
# (example, which of its further rules are put in force)
EVERY_EXAMPLE = (
    *((str(path.parent.relative_to(EXAMPLES)), "") for path in sorted(EXAMPLES.rglob(LATEENFILE))),
    *((str(path.parents[1].relative_to(EXAMPLES)), path.name) for path in sorted(EXAMPLES.rglob("rules/*.yaml"))),
)
NOBODY = 65534
_PR_CAPBSET_DROP = 24


@cache
def unprivileged() -> dict[str, Any]:
    """Arguments for Popen that give a child no right of root's.

    Another user, where that user can read this checkout and its interpreter; else root without a single capability.
    """
    if os.geteuid() != 0:
        return {}
    other: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    probe = [sys.executable, "-c", "import controlplane"]
    try:
        readable = subprocess.run(probe, cwd=REPOSITORY, check=False, capture_output=True, **other).returncode == 0
    except PermissionError:
        readable = False
    return other if readable else {"preexec_fn": _drop_capabilities}


def _drop_capabilities() -> None:
    for capability in range(64):
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def lay_out(tmp_path: Path, example: str | None = None, **files: str) -> Path:
    """A directory to run that an unprivileged user may write: a copy of an example, or `files`."""
    directory = tmp_path / (example or "mesh")
    shutil.copy(EXAMPLES / "server.py", tmp_path / "server.py")
    if example is None:
        directory.mkdir()
    else:
        shutil.copytree(EXAMPLES / example, directory, ignore=shutil.ignore_patterns(".lateen", "certificate.yaml"))
    for name, text in files.items():
        (directory / (LATEENFILE if name == "lateen" else f"{name}.yaml")).write_text(text)
    give_away(tmp_path)
    return directory


def give_away(path: Path) -> None:
    """To the user the mesh runs as, with the directories above made passable."""
    if "user" not in unprivileged():
        return
    for parent in path.parents:
        if any(part.startswith("pytest-") for part in parent.parts):  # those of the workers, too
            parent.chmod(0o755)
    for each in (path, *path.rglob("*")):
        os.chown(each, NOBODY, NOBODY)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "controlplane.cli.main", *arguments]


def take_gateway_ports(directories: tuple[Path, ...]) -> TextIO | None:
    """Gateways listen on 127.0.0.1, where people look for them: one mesh with a gateway at a time on a machine.

    Whatever else runs these tests waits; the ports are free again when the file is closed.
    """
    manifests = (path for directory in directories for path in directory.glob("*.yaml"))
    if not any("kind: Gateway" in path.read_text(errors="replace") for path in manifests):
        return None
    lock = (Path(tempfile.gettempdir()) / f"lateen-tests-{os.geteuid()}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


class Up:
    """`lateen up`, until left."""

    def __init__(self, *directories: Path, arguments: tuple[str, ...] = ()) -> None:
        self.directory = directories[0]
        self.output = self.directory.parent / "up.log"
        self._ports = take_gateway_ports(directories)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command("up", "--plain", *arguments, *map(str, directories)),
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=output,
                stderr=subprocess.STDOUT,
                **unprivileged(),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = 20) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        ended = self.process.wait(seconds)
        if self._ports is not None:
            self._ports.close()
        return ended

    def text(self) -> str:
        return self.output.read_text()

    def ask(self, target: str) -> Any:
        facts = running(self.directory)
        if facts is None:
            raise ConnectionError("not running")
        status, body = request_blocking(Path(facts["debug"]), target)
        assert status == 200, body
        return json.loads(body)

    def run_directory(self) -> Path:
        """Where its sockets are, and a folder for each Envoy."""
        facts = running(self.directory)
        assert facts
        return Path(facts["debug"]).parent

    def proxy_directory(self, name: str) -> Path:
        """What one Envoy and its agent keep. `name`: "namespace.pod"."""
        return StateDirectory(self.directory / NAME, self.run_directory()).proxy(name)

    def mesh(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.ask("/mesh")
        return found

    def settled(self, seconds: float = 60) -> Self:
        """Wait until everything is ready. It may not have been entered yet, so it is not left running if not."""
        try:
            self.until(lambda: self.mesh()["settled"], seconds)
        except BaseException:
            self.stop()
            raise
        return self

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := condition():
                    return found
            except OSError:
                pass
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def replicas(self, workload: str) -> list[Mapping[str, Any]]:
        return [row for row in self.mesh()["replicas"] if row["workload"] == workload]

    def proxy_of(self, workload: str) -> tuple[str, int]:
        """Where the sidecar of a workload takes HTTP calls."""
        host, _, port = self.replicas(workload)[0]["http_proxy"].removeprefix("http://").rpartition(":")
        return host, int(port)

    def call(self, workload: str, url: str, **headers: str) -> tuple[int, str]:
        """One call as a command of `workload` makes it: status and text."""
        return call(self.proxy_of(workload), url, **headers)

    def synced(self, seconds: float = 60) -> None:
        """Wait until no proxy waits for anything."""
        self.until(
            lambda: all(
                each["state"] in ("SYNCED", "NOT SENT")
                for proxy in self.ask("/proxies")
                for each in proxy["types"].values()
            ),
            seconds,
        )


def compiled_as_it_runs(up: Up) -> dict[str, tuple[Any, Any]]:
    """Of every proxy: what it is sent, and what `lateen compile` makes of the same objects."""
    objects = json.dumps(up.ask("/objects"))
    settings = up.output.with_name("settings.json")
    settings.write_text(json.dumps(up.ask("/settings")))
    found = {}
    for status in up.ask("/proxies"):
        kind, ip, full_name, _ = status["id"].split("~")
        name, _, namespace = full_name.rpartition(".")
        bootstrap = json.loads((up.proxy_directory(f"{namespace}.{name}") / "bootstrap.json").read_text())
        arguments = ("--type", kind, "--ip", ip, "--name", name, "--namespace", namespace, "-f", "-")
        metadata = json.dumps(bootstrap["node"]["metadata"])
        done = subprocess.run(
            command("compile", *arguments, "--metadata", metadata, "--mesh-config", str(settings)),
            input=objects,
            capture_output=True,
            text=True,
            check=True,
            cwd=REPOSITORY,
        )
        document = json.loads(done.stdout)
        del document["problems"]
        found[full_name] = (up.ask(f"/config?proxy={full_name}"), document)
    return found


def call(proxy: tuple[str, int], url: str, **headers: str) -> tuple[int, str]:
    """One HTTP call through a proxy. Envoy keeps a connection it was asked to close for a second: nobody waits for it."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(HTTPConnection(*proxy, timeout=10)) as connection:
        connection.request("GET", url, headers={"Host": url.split("/")[2], "Connection": "close", **sent})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def processes_below(directory: Path) -> list[int]:
    """Processes whose command line names this directory, or that run in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
                home = (entry / "cwd").readlink()
            except OSError:
                continue
            if str(directory).encode() in line or home.is_relative_to(directory):
                found.append(int(entry.name))
    return found
