"""What the processes of a mesh really listen on, as the kernel says."""

import re  # noqa: TID251  (our own patterns, on the kernel's text)
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

_LISTENING: Final = "0A"
_ACCEPTS: Final = "00010000"  # of a Unix socket: somebody may connect


class Listening(NamedTuple):
    """One socket."""

    pid: int
    address: str
    port: int


def tree(pid: int) -> set[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
            children.setdefault(parent, []).append(int(entry.name))
    found, rest = {pid}, [pid]
    while rest:
        below = children.get(rest.pop(), [])
        found.update(below)
        rest.extend(below)
    return found


def tcp(pids: set[int]) -> set[Listening]:
    """Their TCP sockets."""
    by_inode = _inodes(pids)
    found = set()
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and fields[9] in by_inode:
                address, _, port = fields[1].partition(":")
                found.add(Listening(by_inode[fields[9]], _address(address), int(port, 16)))
    return found


def udp(pids: set[int]) -> set[Listening]:
    """UDP sockets that are bound, and connected to nobody."""
    by_inode = _inodes(pids)
    found = set()
    for family in ("udp", "udp6"):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in by_inode and fields[2].endswith(":0000"):
                address, _, port = fields[1].partition(":")
                found.add(Listening(by_inode[fields[9]], _address(address), int(port, 16)))
    return found


def unix(pids: set[int]) -> list[tuple[int, str]]:
    """(process, path) of Unix sockets that take connections; abstract names begin with "@"."""
    by_inode = _inodes(pids)
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return [
        (by_inode[fields[6]], fields[7])
        for fields in lines
        if len(fields) > 7 and fields[3] == _ACCEPTS and fields[6] in by_inode
    ]


def _inodes(pids: set[int]) -> dict[str, int]:
    return {inode: pid for pid in sorted(pids, reverse=True) for inode in _sockets(pid)}


def _sockets(pid: int) -> Iterator[str]:
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                match = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
            except OSError:
                continue
            if match is not None:
                yield match[1]
    except OSError:
        return


def _address(text: str) -> str:
    """Words of 32 bits, each in this machine's order of bytes."""
    raw = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    found = ip_address(socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw))
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
