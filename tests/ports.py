"""Ports for those who must be told a number: Envoy's listeners, agents, control planes in a process of their own.

A port that was only seen to be free may be gone when it is bound: the kernel gives it to somebody's connection, or
another test sees it, too. So these lie outside the range that the kernel gives out, and each is kept for as long as
the process that asked for it lives, by the name of a socket that only one process of the machine can have.
"""

import os
import socket
from pathlib import Path
from typing import Final

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")  # what the kernel gives out: first and last
_FEWEST: Final = 2000
_FIRST: Final = 22_000  # above what meshes of tests bind

_kept: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody has on any address, and that no other test is given."""
    ports = _not_given_out()
    start = int.from_bytes(os.urandom(4))
    for offset in range(len(ports)):
        port = ports[(start + offset) % len(ports)]
        if _is_free(port) and _keep(port):
            return port
    raise AssertionError("all ports are taken")


def _not_given_out() -> range:
    first, last = map(int, _RANGE.read_text().split())
    above = range(last + 1, 65_536)
    return above if len(above) >= _FEWEST else range(_FIRST, first)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _keep(port: int) -> bool:
    """Whether it was nobody's. The name goes with the process."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0lateen-tests-port-{port}")
    except OSError:
        mark.close()
        return False
    _kept.append(mark)
    return True
