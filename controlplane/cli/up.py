"""`lateen up`: the laptop mesh, with its live table."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import structlog
import typer

from controlplane.app.laptop import open_laptop
from controlplane.cli.refusal import Refused
from controlplane.cli.settings import read_mesh_config
from controlplane.cli.telling import ProblemTeller
from controlplane.local.lateenfile import LateenFile
from controlplane.local.mesh import Mesh
from controlplane.local.show import shown, table
from controlplane.local.statedir import Misuse, StateDirectory, state_directory
from controlplane.local.up import Request, check, first_of, running, stop_signals
from controlplane.runtime.logs import set_up_logs
from controlplane.runtime.tasks import CriticalTaskEnded

_REDRAW_EVERY = 0.5  # seconds

log = structlog.get_logger(__name__)


def up(paths: tuple[Path, ...], *, recursive: bool, mesh_config: Path | None, plain: bool) -> None:
    """Run until interrupted."""
    request = Request(paths, recursive, read_mesh_config(mesh_config))
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not plain
    try:
        file = check(request)
        with state_directory(paths, "up") as state:
            if live:
                with state.own_log.open("a") as log_file:  # the table owns the terminal
                    set_up_logs("info", log_file)
                    asyncio.run(_until_stopped(request, file, state, live=True))
                with suppress(OSError):  # the terminal may be what ended it
                    typer.echo(f"all ended; what they said is in {state.root / 'logs'}")
            else:
                set_up_logs("info", closed=_hang_up)
                asyncio.run(_until_stopped(request, file, state, live=False))
    except Misuse as wrong:
        raise Refused(str(wrong)) from wrong
    except CriticalTaskEnded as ended:
        raise Refused(f"{ended}: {ended.__cause__!r}", code=1) from ended


async def _until_stopped(request: Request, file: LateenFile, state: StateDirectory, *, live: bool) -> None:
    async with stop_signals() as stop, running(request, file, state, open_laptop) as now:
        show = _draw if live else _tell
        now.tasks.critical("show", lambda: _watched(show, now.mesh))
        await first_of(stop, now.tasks)


async def _watched(show: Callable[[Mesh], Awaitable[None]], mesh: Mesh) -> None:
    """A mesh that nobody watches any more ends."""
    try:
        await show(mesh)
    except OSError as gone:  # the terminal; perhaps only the last line, drawn because we were cancelled
        _hang_up()
        raise asyncio.CancelledError from gone


def _hang_up() -> None:
    """As a terminal tells its programs when it is closed."""
    signal.raise_signal(signal.SIGHUP)


async def _draw(mesh: Mesh) -> None:
    """The table, drawn again when something changed, at most twice a second."""
    from rich.live import Live  # noqa: PLC0415  (only where somebody looks)

    with Live(table(shown(mesh)), auto_refresh=False, transient=True) as screen:
        while True:
            mesh.changed.clear()
            screen.update(table(shown(mesh)), refresh=True)
            await mesh.changed.wait()
            await asyncio.sleep(_REDRAW_EVERY)


async def _tell(mesh: Mesh) -> None:
    """Log lines: replicas that became something else, problems that appeared, and when all is ready."""
    states: dict[str, str] = {}
    problems = ProblemTeller()
    ready: frozenset[str] = frozenset()
    while True:
        mesh.changed.clear()
        now = shown(mesh)
        states = _tell_states(states, {f"{row.namespace}/{row.name}": row.state for row in now.replicas})
        problems.tell(mesh.problems(), mesh.place_of)
        running = frozenset({*(row.name for row in now.replicas), *(row.name for row in now.gateways)})
        if now.settled and running != ready:
            log.info("ready", replicas=len(now.replicas), gateways=[row.ports for row in now.gateways])
            ready = running
        await mesh.changed.wait()


def _tell_states(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    for name, state in now.items():
        if before.get(name) != state:
            log.info("replica", name=name, state=state)
    for name in before.keys() - now.keys():
        log.info("replica", name=name, state="ended")
    return now
