"""Whether this network namespace speaks IPv6, and the one address more that it needs then.

Envoy hands inbound connections on from an address that says so: 127.0.0.6 is on every loopback interface, since that
has all of 127.0.0.0/8. Of IPv6 it has ::1 alone, so ::6 is added.
"""

import errno
import fcntl
import socket
import struct
from enum import IntEnum
from pathlib import Path
from typing import Final

_TABLE: Final = Path("/proc/net/if_inet6")
_LINK: Final = 0x20  # scope: reaches neighbours only
_SIOCSIFADDR: Final = 0x8916
_PAST: Final = "::6"


class IPv6(IntEnum):
    """How far."""

    NONE = 0
    LINK = 1  # neighbours on the same link can reach us
    GLOBAL = 2


def ipv6(table: str | None = None) -> IPv6:
    """Of the interfaces that lead anywhere; from the kernel's table: address, index, length, scope, flags, name."""
    found = IPv6.NONE
    for line in (_read() if table is None else table).splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[5] != "lo":
            found = max(found, IPv6.LINK if int(fields[3], 16) == _LINK else IPv6.GLOBAL)
    return found


def add_source() -> None:
    """::6 on loopback; that it is there already is fine. Raises OSError."""
    request = struct.pack("=16sIi", socket.inet_pton(socket.AF_INET6, _PAST), 128, socket.if_nametoindex("lo"))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCSIFADDR, request)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise


def _read() -> str:
    try:
        return _TABLE.read_text()
    except OSError:
        return ""  # a kernel without IPv6
