"""What would be reported of an object if it were in the mesh: asked of a fork, and nothing that is served notices."""

from collections.abc import Callable
from typing import Any

from controlplane.compile.graph import Graph
from controlplane.model.problem import ObjectRef, Problem
from controlplane.store import Change, Revision, Store


def reported_of(
    graph: Graph, ref: ObjectRef, value: Any, is_late: Callable[[], bool] = lambda: False
) -> tuple[Problem, ...]:
    """All that the mesh as it is now says of it, for the proxies that are connected.

    It is taken away first: only what changes is reported anew, and it may be there already. One that concerns half the
    mesh takes long to work out; when `is_late` nothing is said, which is not to say that all is well.
    """
    fork = graph.store.fork()
    gone = _applied(fork, graph.changes_of({ref: None}), is_late)
    there = _applied(fork, graph.changes_of({ref: value}), is_late) if gone is not None else None
    if there is None:
        return ()
    found = (problem for reports in there.reports.values() for problem in reports if problem.origin.ref == ref)
    return tuple(dict.fromkeys(found))


def _applied(fork: Store, changes: list[Change[Any, Any]], is_late: Callable[[], bool]) -> Revision | None:
    """None: there was no time for it."""
    steps = fork.apply_steps(changes, is_late)
    try:
        next(steps)
    except StopIteration as done:
        revision: Revision = done.value
        return revision
    steps.close()
    return None
