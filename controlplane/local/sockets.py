"""Who listens where, as the kernel tells it (Linux; elsewhere nothing is known).

For one purpose: telling the author of a command that ignores $HOST and $PORT where it listens instead.
"""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"
_PROC: Final = Path("/proc")


def listening_of_session(pid: int) -> tuple[tuple[str, int], ...]:
    """Where the processes of the session that `pid` leads listen: (address, port), sorted."""
    inodes = {inode for process in _session(pid) for inode in _socket_inodes(process)}
    return tuple(sorted((address, port) for address, port, inode in _listening() if inode in inodes))


def ports_held_everywhere() -> frozenset[int]:
    """Ports that somebody holds on every address, so that no loopback address of ours can have them."""
    return frozenset(port for address, port, _ in _listening() if ipaddress.ip_address(address).is_unspecified)


def holder_of(port: int) -> str:
    """Words for who listens on a port: "nginx (process 4711)", or "another program"."""
    inodes = {inode for _, number, inode in _listening() if number == port}
    for process in _numeric(_PROC):
        if inodes.intersection(_socket_inodes(process)):
            with contextlib.suppress(OSError):
                return f"{(_PROC / str(process) / 'comm').read_text().strip()} (process {process})"
    return "another program"


def can_bind(address: str, port: int) -> bool:
    """Whether this port can be had right now."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, port))
        except OSError:
            return False
    return True


def _session(leader: int) -> Iterator[int]:
    for pid in _numeric(_PROC):
        with contextlib.suppress(OSError):
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                yield pid


def _socket_inodes(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]


def _numeric(directory: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def _listening() -> Iterator[tuple[str, int, str]]:
    """(address, port, inode) of every listening TCP socket."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    address, _, port = fields[1].partition(":")
                    yield _address(address), int(port, 16), fields[9]


def _address(text: str) -> str:
    """The kernel prints addresses as words of 32 bits in the byte order of the machine."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    raw = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(raw)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
