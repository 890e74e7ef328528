"""Text of users in sentences of ours: it ends up in terminals, logs and statuses, so it is printable and short."""

from typing import Final

MAX_SENTENCE: Final = 500  # characters; a status has room for many problems, not for one long one


def printable(text: str, limit: int = MAX_SENTENCE) -> str:
    """On one line, without control characters, cut when it is too long."""
    cut = text[:limit]
    clean = cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)
    return clean if len(text) <= limit else f"{clean}…"
