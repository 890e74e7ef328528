"""One process of the mesh: started, watched, its last words kept.

Each `run` lives exactly as long as the process: it raises `ProcessEnded` when the process ends by itself, and ends the
process when it is cancelled. Starting again, with a backoff, is the supervisor's.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from controlplane.base.clock import Clock
from controlplane.local import envoys
from controlplane.local.bootstrap import Node, bootstrap
from controlplane.local.children import Child, Children, StartError
from controlplane.local.commands import PROXY_VARIABLES
from controlplane.local.plan import ProcessSpec
from controlplane.local.statedir import StateDirectory

GRACE = 5.0  # seconds between asking a process to end and making it
_LOOK_FOR_READY = 0.05
_TAIL = 4096  # bytes of a log in which the last words are looked for

Changed = Callable[[], None]


class ProcessEnded(Exception):  # noqa: N818  (an event)
    """A process ended that should not have."""


class Machine(msgspec.Struct, frozen=True):
    """What running a process takes."""

    children: Children
    clock: Clock
    state: StateDirectory
    envoy: Path
    environ: Mapping[str, str]  # the caller's own


class EnvoyProcess:
    """One Envoy."""

    def __init__(self, name: str, node: Node, machine: Machine, changed: Changed) -> None:
        self.name = name
        self.ready = False
        self.last_words = ""
        self.pid: int | None = None
        self._node = node
        self._machine = machine
        self._changed = changed

    @property
    def admin(self) -> Path:
        """Its admin socket."""
        return self._machine.state.admin_socket(self.name)

    async def run(self) -> None:
        """Until it ends."""
        log = self._machine.state.log(f"{self.name}.envoy")
        try:
            child = await self._start(log)
        except (OSError, StartError) as error:  # a full disk, a binary that is not for this machine
            self._ended(f"Envoy cannot be started: {error}")
            raise
        self.pid = child.pid
        try:
            status = await self._watch(child)
        finally:
            self._set_ready(ready=False)
            self.pid = None
            await child.end(GRACE)
        self._ended(f"Envoy ended ({_in_words(status)}): {last_line(log)}")
        raise ProcessEnded(self.last_words)

    async def _start(self, log: Path) -> Child:
        """Raises OSError, StartError."""
        state = self._machine.state
        document = await asyncio.to_thread(bootstrap, self._node, state.xds_socket, self.admin)
        await asyncio.to_thread(_write_fresh, state.bootstrap(self.name), document, self.admin)
        argv = envoys.envoy_command(self._machine.envoy, state.bootstrap(self.name))
        return await self._machine.children.start(f"{self.name}.envoy", argv, env={}, directory=state.run, log=log)

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


def _write_fresh(path: Path, document: str, socket: Path) -> None:
    socket.unlink(missing_ok=True)  # of an Envoy that was killed: the next could not bind it
    path.write_text(document)
