"""What goes over the loopback interface, connection by connection: the first bytes, and whether a mark is in it.

A packet socket sees every packet of the interface. That takes CAP_NET_RAW; who has none is told by `may_capture`.
"""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

_EVERY_PROTOCOL: Final = 3  # ETH_P_ALL
_IPV4, _TCP = 0x0800, 6
_BUFFER: Final = 64 * 1024 * 1024
_FORCE_RECEIVE_BUFFER: Final = 33  # SO_RCVBUFFORCE, which Python does not name
_HEAD: Final = 16  # bytes of a stream that tell TLS from plain text
_TLS_HANDSHAKE: Final = 0x16
_DISCARD: Final = 9  # a port nobody listens on


class Way(NamedTuple):
    """One direction of one connection."""

    source: tuple[str, int]
    target: tuple[str, int]


class Stream:
    """What one side of a connection said: its first bytes, and the marks seen in it."""

    def __init__(self) -> None:
        self.head = b""
        self.size = 0
        self.marks: set[bytes] = set()
        self._tail = b""

    def add(self, payload: bytes, marks: tuple[bytes, ...]) -> None:
        self.head = (self.head + payload)[:_HEAD]
        self.size += len(payload)
        joined = self._tail + payload  # a mark may be cut in two by packets
        self.marks.update(mark for mark in marks if mark in joined)
        self._tail = joined[-max(map(len, marks)) :]

    @property
    def is_tls(self) -> bool:
        """Whether it begins as a TLS handshake does."""
        return len(self.head) >= 3 and self.head[0] == _TLS_HANDSHAKE and self.head[1] == 3


class Capture:
    """Streams by way, while it runs."""

    def __init__(self, connection: socket.socket, marks: tuple[bytes, ...]) -> None:
        self.streams: dict[Way, Stream] = {}
        self.lost = 0  # packets the kernel had no room for
        self._connection = connection
        self._marks = marks
        self._last = os.urandom(16)  # what the last packet holds: others may never be silent
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Reads what is left first."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(self._last, ("127.0.0.1", _DISCARD))
        self._thread.join(60)
        assert not self._thread.is_alive(), "the last packet of the capture was lost"
        _, self.lost = struct.unpack("II", self._connection.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS

    def _read(self) -> None:
        packet = b""
        while not packet.endswith(self._last):
            packet, address = self._connection.recvfrom(65_536)
            if address[2] != socket.PACKET_OUTGOING:  # on loopback every packet is seen twice: sent and received
                self._take(packet)

    def _take(self, packet: bytes) -> None:
        found = parsed(packet)
        if found is not None:
            way, payload = found
            self.streams.setdefault(way, Stream()).add(payload, self._marks)


def parsed(packet: bytes) -> tuple[Way, bytes] | None:
    """A packet of the loopback interface (with its Ethernet header); None if it carries no bytes of TCP over IPv4."""
    (kind,) = struct.unpack_from("!H", packet, 12)
    if kind != _IPV4 or packet[23] != _TCP:
        return None
    start = 14
    length = (packet[start] & 0x0F) * 4
    (total,) = struct.unpack_from("!H", packet, start + 2)
    tcp = start + length
    source, target = struct.unpack_from("!HH", packet, tcp)
    payload = packet[tcp + (packet[tcp + 12] >> 4) * 4 : start + total]
    if not payload:
        return None
    addresses = [socket.inet_ntoa(packet[start + at : start + at + 4]) for at in (12, 16)]
    return Way((addresses[0], source), (addresses[1], target)), payload


def may_capture() -> bool:
    """Whether this process may listen to the interface."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)):
            return True
    except PermissionError:
        return False


@contextmanager
def capturing(*marks: bytes) -> Iterator[Capture]:
    """Everything on `lo` until left. `marks`: bytes to look for."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, _FORCE_RECEIVE_BUFFER, _BUFFER)
        connection.bind(("lo", 0))
        capture = Capture(connection, marks)
        capture.start()
        try:
            yield capture
        finally:
            capture.stop()
