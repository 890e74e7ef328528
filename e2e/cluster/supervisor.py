"""Starts the node's programs, starts again what ends, buries orphans, and does what it is told over a socket.

The first process of a namespace is everybody's last parent: the shims of containers come to it when those who started
them end, and stay as zombies if it does not wait for them. So this is the one place that waits, for any child, in one
thread.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from e2e.cluster.programs import Program

_AGAIN = 0.5  # seconds until what ended is started again
_POLL = 0.05  # seconds between two looks for what a program needs


class _Process:
    """One program: wanted or not, running or not."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.wanted = True
        self.pid = 0
        self.starts = 0
        self.deaths = 0  # that nobody asked for
        self.told = False  # to end, by a signal that is under way
        self.last_exit: int | None = None
        self.not_before = 0.0

    @property
    def waits(self) -> bool:
        return self.wanted and not self.pid

    def may_start(self, now: float) -> bool:
        needs = self.program.needs
        return self.waits and now >= self.not_before and (needs is None or needs.exists())

    def status(self) -> dict[str, Any]:
        told = ("pid", "wanted", "starts", "deaths", "last_exit")
        return {name: getattr(self, name) for name in told}

    def ended(self, status: int, now: float) -> None:
        self.deaths += not self.told
        self.pid, self.told, self.last_exit, self.not_before = 0, False, status, now + _AGAIN


class Supervisor:
    """`control`: where the socket is made. `logs`: a file for each program."""

    def __init__(self, programs: Mapping[str, Program], logs: Path, control: Path) -> None:
        self._processes = {name: _Process(program) for name, program in programs.items()}
        self._logs = logs
        self._control = control
        self._running: dict[int, _Process] = {}

    def run(self) -> None:
        """Until the process is killed."""
        woken, wakes = socket.socketpair()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._control))
        listener.listen()
        for one in (woken, wakes, listener):
            one.settimeout(0)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(4096))
            selector.register(listener, selectors.EVENT_READ, lambda: self._serve(listener))
            while True:
                self._start_what_may(monotonic())
                for key, _ in selector.select(_POLL if any(one.waits for one in self._processes.values()) else None):
                    key.data()
                self._bury()

    def _start_what_may(self, now: float) -> None:
        for name, process in self._processes.items():
            if process.may_start(now):
                self._start(name, process)

    def _start(self, name: str, process: _Process) -> None:
        with (self._logs / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(
                process.program.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        started.returncode = 0  # whoever waits for any child waits for this one: Popen is not to
        process.pid = started.pid
        process.starts += 1
        self._running[started.pid] = process

    def _bury(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if process := self._running.pop(pid, None):
                process.ended(os.waitstatus_to_exitcode(status), monotonic())

    def _serve(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(1.0)
        with connection, connection.makefile("rw") as stream:
            try:
                answer = self._obey(json.loads(stream.readline()))
            except (OSError, ValueError, KeyError) as error:
                answer = {"error": repr(error)}
            stream.write(json.dumps(answer) + "\n")

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Requests name a program, and what is wanted of it; without either, this only tells."""
        if name := request.get("program"):
            process = self._processes[name]
            process.wanted = bool(request["wanted"])
            process.not_before = 0.0
            if process.pid and (number := request.get("signal")):
                process.told = True
                os.kill(process.pid, number)
        return {name: process.status() for name, process in self._processes.items()}
