"""Protobuf fields as bytes, for the few messages that are encoded thousands of times.

Setting a field of a message costs about as much as writing its bytes, and then the message must still be built,
copied and serialized. Here a field is a function from value to bytes, made once from the message's descriptor, so
that no field number is ever written down:

    NAME = wire.text(cluster_pb2.Cluster, "name")
    NAME("outbound|80||a.b")   # tag, length, UTF-8

Fields may be joined in any order; writers keep the order of the numbers, as serializers do, so that the result can be
compared with what protobuf would have written.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from controlplane.base.varint import varint

_VARINT: Final = 0
_DELIMITED: Final = 2
_ONE_BYTE: Final = 0x80  # lengths below it need one byte


def _tag(message: Any, field: str, wire_type: int) -> bytes:
    number: int = message.DESCRIPTOR.fields_by_name[field].number
    return varint(number << 3 | wire_type)


def embedded(message: Any, field: str) -> Callable[[bytes], bytes]:
    """Writes a sub-message (or `bytes`) that is already encoded."""
    tag = _tag(message, field, _DELIMITED)
    heads = tuple(tag + bytes((length,)) for length in range(_ONE_BYTE))

    def put(payload: bytes) -> bytes:
        length = len(payload)
        if length < _ONE_BYTE:
            return heads[length] + payload
        return tag + varint(length) + payload

    return put


def nested(*fields: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Writes a sub-message of a sub-message, the outermost first: all their heads in one step.

    The heads depend on the length of the innermost alone, and most lengths come again and again.
    """

    @lru_cache(maxsize=1024)
    def heads(length: int) -> bytes:
        found = bytes(length)
        for field in reversed(fields):
            found = field(found)
        return found[: len(found) - length]

    return lambda payload: heads(len(payload)) + payload


def text(message: Any, field: str) -> Callable[[str], bytes]:
    """Writes a string."""
    tag = _tag(message, field, _DELIMITED)
    heads = tuple(tag + bytes((length,)) for length in range(_ONE_BYTE))

    def put(value: str) -> bytes:
        payload = value.encode()
        length = len(payload)
        if length < _ONE_BYTE:
            return heads[length] + payload
        return tag + varint(length) + payload

    return put


def number(message: Any, field: str) -> Callable[[int], bytes]:
    """Writes a non-negative integer or an enum; the last few thousand different ones are remembered."""
    tag = _tag(message, field, _VARINT)

    @lru_cache(maxsize=4096)
    def put(value: int) -> bytes:
        return tag + varint(value)

    return put


def encoded(message: Any) -> bytes:
    """A whole message, the same bytes every time."""
    body: bytes = message.SerializeToString(deterministic=True)
    return body
