"""Figures of several rounds of a benchmark."""

from collections.abc import Iterable
from typing import Any

ROUNDS = 3
OF_ROUNDS = f"best of {ROUNDS} rounds"


def least(rounds: Iterable[Any], *path: str | int) -> float:
    """The least of all rounds; `path` leads to it."""
    return min(float(each(one, *path)) for one in rounds)


def each(found: Any, *path: str | int) -> Any:
    """What is at the end of a path."""
    for step in path:
        found = found[step]
    return found
