"""Text of users in sentences of ours: it ends up in terminals, logs and statuses, so it is printable and short."""

from typing import Final

_YES: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_NO: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
MAX_SENTENCE: Final = 500  # characters; a status has room for many problems, not for one long one


def printable(text: str, limit: int = MAX_SENTENCE) -> str:
    """On one line, without control characters, cut when it is too long."""
    cut = text[:limit]
    clean = cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)
    return clean if len(text) <= limit else f"{clean}…"


def is_true(text: str) -> bool:
    """Whether an annotation says yes, in any of the ways Go's ParseBool reads."""
    return text in _YES


def is_false(text: str) -> bool:
    """Whether an annotation says no."""
    return text in _NO
