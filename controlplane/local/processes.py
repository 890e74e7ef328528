"""One process of the mesh: started, watched, its last words kept.

Each `run` lives exactly as long as the process: it raises `ProcessEnded` when the process ends by itself, and ends the
process when it is cancelled. Starting again, with a backoff, is the supervisor's.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.base.clock import Clock
from controlplane.local import envoys
from controlplane.local.children import Child, Children, StartError
from controlplane.local.commands import PROXY_VARIABLES
from controlplane.local.node import Node
from controlplane.local.plan import ProcessSpec
from controlplane.local.ports import Identities
from controlplane.local.statedir import StateDirectory

GRACE = 5.0  # seconds between asking a process to end and making it
_LOOK_FOR_READY = 0.05
_TAIL = 4096  # bytes of a log in which the last words are looked for
_TOKEN: Final = "token"  # noqa: S105  (a file's name)
_METADATA: Final = "node.json"
_FOR_PYTHON: Final = frozenset({"PATH", "PYTHONPATH", "PYTHONHOME"})  # an agent needs nothing else of the caller's

Changed = Callable[[], None]


class ProcessEnded(Exception):  # noqa: N818  (an event)
    """A process ended that should not have."""


class Machine(msgspec.Struct, frozen=True):
    """What running a process takes."""

    children: Children
    clock: Clock
    state: StateDirectory
    envoy: Path
    identities: Identities
    environ: Mapping[str, str]  # the caller's own


class ProxyProcess:
    """One Envoy, and the agent that gets its certificate, starts it, and ends with it."""

    def __init__(self, name: str, node: Node, machine: Machine, changed: Changed) -> None:
        self.name = name
        self.ready = False
        self.last_words = ""
        self._node = node
        self._machine = machine
        self._changed = changed

    @property
    def admin(self) -> Path:
        """Envoy's admin socket."""
        return self._machine.state.admin_socket(self.name)

    async def run(self) -> None:
        """Until it ends."""
        log = self._machine.state.log(f"{self.name}.envoy")
        try:
            child = await self._start(log)
        except (OSError, StartError) as error:  # a full disk, a binary that is not for this machine
            self._ended(f"Envoy cannot be started: {error}")
            raise
        try:
            status = await self._watch(child)
        finally:
            self._set_ready(ready=False)
            await child.end(GRACE)
        self._ended(f"Envoy ended ({_in_words(status)}): {last_line(log)}")
        raise ProcessEnded(self.last_words)

    async def _start(self, log: Path) -> Child:
        """Raises OSError, StartError."""
        machine, directory = self._machine, self._machine.state.proxy(self.name)
        token = machine.identities.token(self._node.namespace, self._node.account)
        await asyncio.to_thread(write_fresh, directory, token, self._node.metadata)
        argv = agent_command(self._node, directory, machine.envoy, machine.identities)
        env = {key: value for key, value in machine.environ.items() if key in _FOR_PYTHON}
        return await machine.children.start(f"{self.name}.envoy", argv, env=env, directory=directory, log=log)

    def _ended(self, words: str) -> None:
        self.last_words = words
        self._changed()

    async def _watch(self, child: Child) -> int:
        """Its exit status; on the way, the moment it is ready."""
        ended = asyncio.ensure_future(child.wait())
        try:
            while not ended.done() and not await envoys.is_ready(self.admin):
                await asyncio.wait([ended], timeout=_LOOK_FOR_READY)
            if not ended.done():
                self._set_ready(ready=True)
            return await ended
        finally:
            ended.cancel()

    def _set_ready(self, *, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._changed()


class CommandProcess:
    """One local command."""

    def __init__(self, name: str, spec: ProcessSpec, machine: Machine, changed: Changed) -> None:
        self.name = name
        self.spec = spec
        self.pid: int | None = None
        self.started = 0.0  # monotonic
        self.last_words = ""
        self._machine = machine
        self._changed = changed

    async def run(self) -> None:
        """Until it ends."""
        spec, log = self.spec, self._machine.state.log(self.name)
        environ = {key: value for key, value in self._machine.environ.items() if key not in PROXY_VARIABLES}
        try:
            child = await self._machine.children.start(
                self.name, spec.argv, env={**environ, **spec.env}, directory=spec.directory, log=log
            )
        except StartError as error:
            self._ended(f"{spec.argv[0]} cannot be started: {error}")
            raise
        self.pid, self.started = child.pid, self._machine.clock.monotonic()
        self._changed()
        try:
            status = await child.wait()
        finally:
            self.pid = None
            await child.end(GRACE)
        self._ended(f"{Path(spec.argv[0]).name} ended ({_in_words(status)}): {last_line(log)}")
        raise ProcessEnded(self.last_words)

    def _ended(self, words: str) -> None:
        self.last_words = words.rstrip(": ")
        self._changed()


def last_line(log: Path) -> str:
    """The last thing a process said."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _in_words(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def agent_command(node: Node, directory: Path, envoy: Path, identities: Identities) -> tuple[str, ...]:
    """How one is started. Nobody waits for connections to end: what ends here was taken out of the endpoints before."""
    flags = {
        "directory": str(directory),
        "control-plane": identities.endpoint,
        "server-name": identities.server_name,
        "roots": str(identities.bundle),
        "token-file": str(directory / _TOKEN),
        "metadata-file": str(directory / _METADATA),
        "pod-name": node.name,
        "namespace": node.namespace,
        "service-account": node.account,
        "address": node.address,
        "cluster": node.cluster,
        "status-address": node.status_address,
        "envoy": str(envoy),
        "concurrency": "1",
        "drain-time": "0s",
    }
    words = (word for name, value in flags.items() for word in (f"--{name}", value))
    # -P: what lies in its directory is not to be imported.
    return (sys.executable, "-P", "-m", "controlplane.agent", node.role, *words)


def write_fresh(directory: Path, token: str, metadata: Mapping[str, Any]) -> None:
    """What the agent reads. An Envoy that was killed leaves a socket behind, which the next could not bind."""
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "admin.sock").unlink(missing_ok=True)
    (directory / _METADATA).write_bytes(msgspec.json.encode(metadata))
    secret = directory / _TOKEN
    secret.touch(mode=0o600)
    secret.write_text(token)
