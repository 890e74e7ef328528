"""What would be reported of an object if it were in the mesh: asked of a fork, and nothing that is served notices."""

from typing import Any

from controlplane.compile.graph import Graph
from controlplane.model.problem import ObjectRef, Problem


def reported_of(graph: Graph, ref: ObjectRef, value: Any) -> tuple[Problem, ...]:
    """All that the mesh as it is now says of it, for the proxies that are connected.

    It is taken away first: only what changes is reported anew, and it may be there already.
    """
    fork = graph.store.fork()
    fork.apply(graph.changes_of({ref: None}))
    revision = fork.apply(graph.changes_of({ref: value}))
    found = (problem for reports in revision.reports.values() for problem in reports if problem.origin.ref == ref)
    return tuple(dict.fromkeys(found))
