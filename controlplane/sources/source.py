"""What every source of objects promises.

The control plane must not serve before it has seen everything once (coming back wrong is worse than being down), and
must not care whether objects come from files, a cluster or a test. So a source is a stream of batches: the first is
the complete content, each later one is only what changed, and a batch is applied whole or not at all.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from controlplane.model.decode import Decoded
from controlplane.model.problem import Level, ObjectRef, Problem

# One decoded object of `controlplane.model`. Which one is said by its type.
Object = Any

# What changed: each object by its name, `None` for one that is gone.
Changes = Mapping[ObjectRef, Object | None]

# An object as its author wrote it -> its value, or None where nothing of it can be used, and what is wrong with it.
Decode = Callable[[Mapping[str, Any]], Decoded]


class Batch(msgspec.Struct, frozen=True):
    """One step of a source, applied whole."""

    changes: Changes
    problems: tuple[Problem, ...] = ()  # all that is wrong in this source *now*, not only since the last batch
    # Objects as written (JSON values), of every kind, whether or not the mesh knows it: Deployments for the laptop.
    manifests: Mapping[ObjectRef, Mapping[str, Any] | None] = {}


class Source(Protocol):
    """A stream of batches. The first is everything there is, even when that is nothing. Whoever stops closes it."""

    def batches(self) -> AsyncGenerator[Batch, None]: ...


def worth_saying(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Without what is said of kinds that have nothing to do with traffic: a directory of manifests is full of them."""
    return tuple(problem for problem in problems if problem.code != "KindIgnored")


def worst_first(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each once; of one level, in order of name."""
    return tuple(sorted(set(problems), key=lambda problem: (_GRAVITY[problem.level], problem)))


_GRAVITY: Mapping[Level, int] = {Level.ERROR: 0, Level.WARNING: 1, Level.INFO: 2}
