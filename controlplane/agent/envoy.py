"""Envoy as our child: started once, watched, and never left alone.

Should the agent be killed, the kernel kills Envoy (PR_SET_PDEATHSIG, Linux): a proxy whose certificates nobody renews
must not go on. It has a process group of its own, because whoever signals ours, a terminal or a supervisor, wants it
drained first. Elsewhere it stays in ours, so that it ends with it.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.agent.admin import SOCKET
from controlplane.agent.generations import BOOTSTRAP

_PR_SET_PDEATHSIG: Final = 1
_KILL_AFTER: Final = 5.0  # seconds between asking and insisting


class NoEnvoy(Exception):  # noqa: N818  (a fact about the machine)
    """It cannot be started; the message says why."""


class EnvoyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How it is started."""

    binary: str
    concurrency: int  # worker threads; 0: as many as there are processors
    drain_seconds: int  # over how long connections are asked to end
    log_level: str
    component_log_level: str


def command(options: EnvoyOptions) -> tuple[str, ...]:
    """Its command line, for the agent's directory as working directory."""
    workers = ("--concurrency", str(options.concurrency)) if options.concurrency else ()
    components = ("--component-log-level", options.component_log_level) if options.component_log_level else ()
    return (
        options.binary,
        "--config-path", BOOTSTRAP,
        "--disable-hot-restart",  # it would need shared memory and an id of its own per Envoy
        "--drain-time-s", str(options.drain_seconds),
        "--drain-strategy", "immediate",  # everybody is asked as soon as draining begins
        "--file-flush-interval-msec", "1000",  # people read access logs
        "--log-format", "[%Y-%m-%d %T.%e][%l][%n] %v",
        "--log-level", options.log_level,
        *components, *workers,
    )  # fmt: skip


def check(options: EnvoyOptions) -> None:
    """Raises `NoEnvoy` now, rather than once there is a certificate."""
    binary = options.binary
    places = [binary] if "/" in binary else [os.path.join(place, binary) for place in os.get_exec_path()]  # noqa: PTH118  text in, text out
    if not any(os.access(place, os.X_OK) for place in places):
        raise NoEnvoy(f"{binary} cannot be started: there is no such program")


class EnvoyProcess:
    """One that runs, or did."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def wait(self) -> int:
        """Its exit status; negative is a signal."""
        return await self._process.wait()

    async def end(self) -> None:
        """Ask, then insist. Connections that are left are cut."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is None:
                self._process.send_signal(number)
            try:
                async with asyncio.timeout(_KILL_AFTER):
                    await self._process.wait()
            except TimeoutError:
                continue
            return


async def start_envoy(options: EnvoyOptions, directory: Path) -> EnvoyProcess:
    """In its directory, its output where ours goes. Raises `NoEnvoy`.

    From the main thread: the kernel's "parent" is the thread that started it.
    """
    prctl = _prctl()
    _remove_socket(directory)
    try:
        process = await asyncio.create_subprocess_exec(
            *command(options),
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=_dying_with(os.getpid(), prctl) if prctl is not None else None,
            process_group=0 if prctl is not None else None,
        )
    except OSError as error:
        raise NoEnvoy(f"{options.binary} cannot be started: {error.strerror or error}") from error
    return EnvoyProcess(process)


def _remove_socket(directory: Path) -> None:
    """Of an Envoy that was killed: the next could not bind it."""
    (directory / SOCKET).unlink(missing_ok=True)


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"{name} (out of memory?)" if -status == signal.SIGKILL else name


def _prctl() -> Callable[..., Any] | None:
    """Looked up before the fork: in the child nothing may take a lock that another thread held."""
    return ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None


def _dying_with(parent: int, prctl: Callable[..., Any]) -> Callable[[], None]:
    def between_fork_and_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return between_fork_and_exec
