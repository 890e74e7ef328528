"""The process that owns all the others, so that none outlives the mesh.

A mesh on a laptop is dozens of processes. Ctrl-C can be handled; `kill -9` of lateen cannot, and would leave Envoys
and servers holding ports. So lateen starts nothing itself: this small program does, in a session of its own, holding
one end of a socket. When the other end closes, for whatever reason, it ends everything it started, with everything
those started, and itself. Should it be killed, the kernel ends its children (PR_SET_PDEATHSIG, Linux).

Run as a script, isolated (`python -I -S keeper.py`), with the socket as standard input: standard library only, one
thread, so that forking is safe; the control plane, with its gRPC threads, must not fork.

Lines of JSON. In:  {"op": "start", "id", "argv", "env", "cwd", "log"}  {"op": "signal", "id", "signal"}
               Out: {"event": "started", "id", "pid"}  {"event": "failed", "id", "error"}
                    {"event": "exited", "id", "status"}     status as `subprocess` has it: negative is a signal
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

Prctl = Callable[..., int]

GRACE = 5.0  # seconds between asking children to end and making them
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Serve the socket that is standard input until it closes; then end every process below this one."""
    prctl = _prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what our children leave behind becomes ours, not init's
    for unheard in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # only the socket tells us when to end
        signal.signal(unheard, _do_nothing)  # not SIG_IGN: that is inherited, and no child could be asked to end
    wake = _wake_on_child_exit()
    control = socket.socket(fileno=0)
    keeper = Keeper(control, prctl)
    with contextlib.suppress(OSError):  # the other end may be gone at any moment
        _serve(keeper, control, wake)
    keeper.end_all()


def _serve(keeper: "Keeper", control: socket.socket, wake: socket.socket) -> None:
    buffer = b""
    while True:
        readable, _, _ = select.select([control, wake], [], [])
        if wake in readable:
            wake.recv(4096)
            keeper.reap()
        if control in readable:
            chunk = control.recv(65536)
            if not chunk:
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                keeper.obey(json.loads(line))


class Keeper:
    """The children, by the name their owner gave them."""

    def __init__(self, control: socket.socket, prctl: Prctl) -> None:
        self._control = control
        self._prctl = prctl
        self._children: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def obey(self, request: dict) -> None:  # type: ignore[type-arg]
        """One line from the other end."""
        if request["op"] == "start":
            self._start(request)
        else:
            for pid, (name, _) in self._children.items():
                if name == request["id"]:
                    _signal_group(pid, request["signal"])

    def reap(self) -> None:
        """Tell about children that ended, and end what they left in their process group."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                name, process = self._children.pop(pid)
                process.returncode = os.waitstatus_to_exitcode(status)
                _signal_group(pid, signal.SIGKILL)
                self._tell({"event": "exited", "id": name, "status": process.returncode})

    def end_all(self) -> None:
        """Ask, wait, insist; then whatever is still below us."""
        for pid in self._children:
            _signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while self._children and time.monotonic() < deadline:
            self._reap_quietly()
            time.sleep(0.01)
        for pid in self._children:
            _signal_group(pid, signal.SIGKILL)
        while _has_children():
            for pid in _descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._reap_quietly()
            time.sleep(0.01)

    def _start(self, request: dict) -> None:  # type: ignore[type-arg]
        name = request["id"]
        try:
            with open(request["log"], "ab", buffering=0) as log:  # noqa: PTH123  (pathlib is slow to import)
                process = subprocess.Popen(  # noqa: S603  (starting the user's commands is what this is for)
                    request["argv"],
                    env=request["env"],
                    cwd=request["cwd"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=self._die_with_us,  # noqa: PLW1509  (one thread: nothing to deadlock with)
                )
        except (OSError, ValueError) as error:
            self._tell({"event": "failed", "id": name, "error": str(error)})
            return
        self._children[process.pid] = (name, process)
        self._tell({"event": "started", "id": name, "pid": process.pid})

    def _die_with_us(self) -> None:
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def _reap_quietly(self) -> None:
        with contextlib.suppress(OSError):
            self.reap()

    def _tell(self, event: dict) -> None:  # type: ignore[type-arg]
        self._control.sendall(json.dumps(event).encode() + b"\n")


def _prctl() -> Prctl:
    """Linux's prctl; elsewhere a function that does nothing (there the closed socket alone ends the children)."""
    if not sys.platform.startswith("linux"):
        return lambda *_: 0
    prctl: Prctl = ctypes.CDLL(None).prctl
    return prctl


def _do_nothing(*_: object) -> None:
    """A signal was here."""


def _wake_on_child_exit() -> socket.socket:
    reader, writer = socket.socketpair()
    writer.setblocking(False)  # noqa: FBT003
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _do_nothing)
    return reader


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _descendants(pid: int) -> list[int]:
    """All processes below `pid` (Linux). As their subreaper we are above whatever they left behind, too."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208  (see above)
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:  # noqa: PTH123
                fields = stat.read().rpartition(b")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


if __name__ == "__main__":
    main()
