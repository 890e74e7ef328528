"""Keeping Python's cyclic garbage collector out of the way of a large, long-lived heap.

Everything the store holds stays, and nothing in it is a cycle; yet each full collection looks at all of it (56 ms for
200,000 objects, in the middle of serving). So a build runs without the collector, and what is there afterwards is
moved out of its sight. What is left to collect while serving are the few cycles that exceptions and ended streams
leave: a rare look is enough for these, and 500 streams that each make a few objects must not cause one.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Allocations (less frees) until the young are looked at, and how often the middle and the old are then.
_RARELY: Final = (50_000, 20, 20)


@contextmanager
def paused() -> Iterator[None]:
    """No collection within the block; reference counting frees as ever."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep() -> None:
    """Never look at what is there now. Without a collection first: while serving, its pause would be felt."""
    gc.freeze()


def settle() -> None:
    """Collect once, then never look at what is left again, and seldom at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_RARELY)
