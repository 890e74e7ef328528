"""Protobuf's variable-length integers, for those who write messages as bytes."""

from functools import lru_cache

_ONE_BYTE = 0x80  # smaller values need one byte


@lru_cache(maxsize=16_384)  # most are lengths of a few hundred bytes
def varint(value: int) -> bytes:
    """The wire form of a non-negative integer."""
    if value < _ONE_BYTE:
        return bytes((value,))
    out = bytearray()
    while value >= _ONE_BYTE:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
