"""How deep a JSON text nests, without parsing it.

Parsers recurse: a megabyte of `[` is a stack overflow in some, and a slow error in others. So the depth of what a
stranger sends is looked at first, in a few passes that C makes over the bytes, whatever they are.
"""

from typing import Final

_SPARED: Final = b'[]{}"'
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in _SPARED)
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")


def nests_deeper(text: bytes, limit: int) -> bool:
    """Whether lists and objects nest deeper than `limit`. True as well for text whose brackets do not pair up."""
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = unescaped.translate(_ALIKE, delete=_OTHERS)
    left = b"".join(brackets.split(b'"')[::2])  # every other part stands in a string
    for _ in range(limit):
        if not left or b"[" * (limit + 1) in left:
            break
        left = left.replace(b"[]", b"")  # the innermost, all at once
    return bool(left)
