"""Tells the node's first process what is wanted of a program. For those inside the node."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import msgspec

from e2e.cluster.addresses import CONTROL

_PATIENCE = 30.0  # seconds until a program that was told to end has ended


class State(msgspec.Struct, frozen=True):
    pid: int  # 0: is not running
    wanted: bool
    starts: int
    deaths: int  # that nobody asked for
    last_exit: int | None  # negative: a signal's number


def states() -> dict[str, State]:
    """Of every program, by name."""
    return _asked({})


def start(program: str) -> None:
    _asked({"program": program, "wanted": True})


def stop(program: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Returns when it has ended; it stays away until it is started. (An API server that is asked takes a minute.)"""
    _asked({"program": program, "wanted": False, "signal": int(number)})
    until = monotonic() + _PATIENCE
    while states()[program].pid:
        if monotonic() > until:
            raise TimeoutError(f"{program} does not end")
        sleep(0.05)


def kill(program: str) -> None:
    """It is started again at once, as any program that ends by itself."""
    _asked({"program": program, "wanted": True, "signal": int(signal.SIGKILL)})


@contextmanager
def stopped(program: str, number: signal.Signals = signal.SIGKILL) -> Iterator[None]:
    """Within, it is away."""
    try:
        stop(program, number)
        yield
    finally:
        start(program)


def _asked(request: dict[str, Any]) -> dict[str, State]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5.0)
        connection.connect(str(CONTROL))
        with connection.makefile("rw") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            answer = json.loads(stream.readline())
    if "error" in answer:
        raise ValueError(answer["error"])
    return msgspec.convert(answer, dict[str, State])
