"""HTTP/2 as nobody ought to speak it: frames of one connection, made fast, and the same for the same seed.

`tame` frames are all ones that a server reads on after (RFC 9113): streams begun and reset, gRPC messages that are none,
settings, windows and priorities that change without end, frames of types nobody knows. A `wild` one may be anything.
"""

import struct
from random import Random  # noqa: TID251  the same frames for the same seed
from typing import Final

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from controlplane.xds.server import METHODS

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PROMISE, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OPEN: Final = 6  # streams of ours at once; the port lets a connection have eight
_TYPES: Final = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, "", "x", "type.googleapis.com/" + "x" * 200, "\0")
_PATHS: Final = (*METHODS, *METHODS, "/", "/x/y", METHODS[0] + "x", "/grpc.health.v1.Health/Check", "*", "", "/" * 300)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


MARK: Final = frame(SETTINGS, 0, 0)  # each is acknowledged when everything before it was read
MARKED: Final = frame(SETTINGS, ACK, 0)


def settings_in(frames: list[bytes]) -> int:
    """How many of them are to be acknowledged."""
    return sum(one[3] == SETTINGS and not one[4] & ACK for one in frames)


class Frames:
    """Those of one connection."""

    def __init__(self, random: Random, node: str) -> None:
        """`node`: an id that the caller's certificate may claim."""
        self._random = random
        self._node = node
        self._next = 1
        self._open: list[int] = []
        self._makers = (*[self._call] * 6, *[self._said] * 6, *[self._reset] * 4, *[self._odd] * 4)

    def tame(self, many: int) -> list[bytes]:
        """So many at least."""
        found: list[bytes] = []
        while len(found) < many:
            found += self._random.choice(self._makers)()
        return found

    def wild(self) -> list[bytes]:
        """A few that break the rules, or other frames cut, changed, doubled and moved."""
        random = self._random
        if random.random() < 0.5:
            return [self._forbidden()]
        content = bytearray(b"".join(self.tame(4)))
        for _ in range(random.randint(1, 3)):
            mutate(random, content)
        return [bytes(content)]

    # Frames a server reads on after

    def _call(self) -> list[bytes]:
        """Another stream; the oldest makes room."""
        found = self._reset() if len(self._open) >= OPEN else []
        number, self._next = self._next, self._next + 2
        random = self._random
        block = self._headers()
        if random.random() < 0.1:
            cut = random.randrange(len(block))  # in the middle of a name, as likely as not
            found += [frame(HEADERS, 0, number, block[:cut]), frame(CONTINUATION, END_HEADERS, number, block[cut:])]
        else:
            found.append(frame(HEADERS, END_HEADERS, number, block))
        if random.random() < 0.4:  # at once: the flood that costs a server most
            return [*found, frame(RESET, 0, number, struct.pack(">I", random.randrange(16)))]
        self._open.append(number)
        return found

    def _headers(self) -> bytes:
        """Written out, none of them indexed: what is read next does not depend on what was read before."""
        more = [(f"x-{self._random.randrange(9)}", "y" * self._random.randrange(100)) for _ in range(3)]
        pseudo = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "x"),
            (":path", self._random.choice(_PATHS)),
        ]
        named = [*pseudo, ("content-type", "application/grpc"), ("te", "trailers"), *more]
        return b"".join(b"\x10" + _text(name) + _text(value) for name, value in named)

    def _said(self) -> list[bytes]:
        """A message, on a stream that there is; it may be whole."""
        if not self._open:
            return self._call()
        random = self._random
        body = message(random, self._node)
        if random.random() < 0.2:
            mutate(random, body)
        flag = random.choice((0, 0, 0, 0, 0, 1, 7))
        size = len(body) if random.random() < 0.9 else random.choice((0, 1, len(body) + 1, 1 << 24, 2**32 - 1))
        payload = struct.pack(">BI", flag, size) + body
        number = random.choice(self._open)
        if random.random() < 0.2:
            self._open.remove(number)
            return [frame(DATA, END_STREAM, number, payload)]
        cut = random.randrange(len(payload))
        return [frame(DATA, 0, number, payload[:cut]), frame(DATA, 0, number, payload[cut:])]

    def _reset(self) -> list[bytes]:
        if not self._open:
            return self._odd()
        return [frame(RESET, 0, self._open.pop(0), struct.pack(">I", self._random.randrange(2**32)))]

    def _odd(self) -> list[bytes]:
        random = self._random
        stream = random.choice(self._open) if self._open else 0
        match random.randrange(6):
            case 0:
                return [frame(WINDOW, 0, stream, struct.pack(">I", random.randint(1, 100)))]
            case 1:
                other = random.randrange(2, 2**31, 2)
                return [frame(PRIORITY, 0, stream or 1, struct.pack(">IB", other, random.randrange(256)))]
            case 2:
                payload = struct.pack(">HI", random.randrange(0x10, 0x8000), random.randrange(2**32))
                return [frame(SETTINGS, 0, 0, payload)]
            case 3:
                return [frame(SETTINGS, 0, 0, struct.pack(">HI", 4, random.randrange(2**16)))]
            case 4:
                return [frame(PING, ACK, 0, random.randbytes(8))]
            case _:
                unknown, garbage = random.randrange(0x20, 0xC0), random.randbytes(random.randrange(40))
                return [frame(unknown, random.randrange(256), stream, garbage)]

    # Frames it need not read on after

    def _forbidden(self) -> bytes:
        random = self._random
        number = self._next
        garbage = random.randbytes(random.randint(1, 60))
        match random.randrange(17):
            case 0:
                return frame(HEADERS, END_HEADERS, number, garbage)  # HPACK that is none
            case 1:
                return frame(HEADERS, END_HEADERS, number, b"\x3f" + b"\xff" * 8 + b"\x7f")  # a table as large as that
            case 2:
                return frame(HEADERS, 0, number, b"") + frame(CONTINUATION, 0, number, garbage) * 50
            case 3:
                return frame(CONTINUATION, END_HEADERS, number, garbage)
            case 4:
                return frame(WINDOW, 0, 0, struct.pack(">I", 2**31 - 1)) * 2
            case 5:
                return frame(WINDOW, 0, 0, struct.pack(">I", 0))
            case 6:
                return frame(
                    SETTINGS, 0, 0, struct.pack(">HI", random.randrange(1, 7), random.choice((2**31, 2**32 - 1)))
                )
            case 7:
                return frame(SETTINGS, 0, random.randrange(4), garbage)
            case 8:
                return frame(PING, 0, 0, b"12345678") * 100
            case 9:
                return frame(PING, random.randrange(2), random.randrange(4), garbage)
            case 10:
                return frame(DATA, PADDED, random.choice((0, 1, number, *self._open)), garbage)
            case 11:
                return frame(PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + self._headers())
            case 12:
                return frame(HEADERS, END_HEADERS, random.choice((0, 1, 2, 2**31 - 1)), self._headers())
            case 13:
                return struct.pack(">HBBBI", 0xFFFF, 0xFF, random.randrange(10), 0, number) + garbage  # 16 MiB of it
            case 14:
                return frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0) + garbage)
            case 15:
                return MARKED  # of settings that were never made
            case _:
                return frame(random.randrange(256), random.randrange(256), random.randrange(2**32), garbage)


def _text(value: str) -> bytes:
    """Of HPACK, without Huffman's code."""
    raw = value.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, size = len(raw) - 127, b""
    while rest >= 128:
        size, rest = size + bytes((rest % 128 | 128,)), rest // 128
    return b"\x7f" + size + bytes((rest,)) + raw


def message(random: Random, node: str) -> bytearray:
    """What a proxy says, field by field as protobuf has them: mostly not what its certificate lets it."""
    names = (b"", b"x", b"*", b"\xff\xfe", b"kubernetes://key", b"a|b||c" * 20)
    type_url = random.choice(_TYPES).encode()
    who = random.choice((node.encode(), node.encode(), node.encode(), b"", b"sidecar~1~2~3", b"\xff"))
    parts = [_field(1, _field(1, who)), _field(2, type_url)]
    parts += [_field(random.choice((3, 4)), random.choice(names)) for _ in range(random.randrange(4))]
    if random.random() < 0.3:
        parts.append(_field(random.randrange(1, 200), random.randbytes(random.randrange(30))))
    if random.random() < 0.1:
        parts.append(b"\x0b" * random.randint(1, 200))  # groups that nest and do not end
    if random.random() < 0.1:
        parts.append(_field(6, random.choice(names)))
    return bytearray(b"".join(parts))


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = b""
    while value >= 128:
        found, value = found + bytes((value & 127 | 128,)), value >> 7
    return found + bytes((value,))


def mutate(random: Random, content: bytearray) -> None:
    """Somewhere, once."""
    at = random.randrange(len(content)) if content else 0
    match random.randrange(5):
        case 0 if content:
            content[at] = random.randrange(256)
        case 1:
            del content[at : at + random.randint(1, 20)]
        case 2:
            content[at:at] = content[at : at + random.randint(1, 40)] * random.randint(1, 10)
        case 3:
            content[at:at] = random.choice((b"\0", b"\xff" * 9, b"\x80" * 12, random.randbytes(9)))
        case _:
            content[:] = content[at:] + content[:at]
