"""Files in, the complete configuration of one proxy out: the same graph, without a server."""

from collections.abc import Iterable, Mapping

import msgspec

from controlplane.app.control import resources_of
from controlplane.compile.graph import Graph
from controlplane.model.problem import ObjectRef, Problem
from controlplane.model.proxy import Proxy
from controlplane.model.settings import Settings
from controlplane.snapshot.resource import Resource
from controlplane.sources.source import Object
from controlplane.store import Change

CONNECTION = "0"


class Compiled(msgspec.Struct, frozen=True):
    """What one proxy would be sent, and what is wrong with the objects it is made from."""

    resources: tuple[Resource, ...]
    problems: tuple[Problem, ...]


def compile_proxy(objects: Mapping[ObjectRef, Object], proxy: Proxy, settings: Settings) -> Compiled:
    """The configuration of `proxy` in a mesh of `objects`. Raises only for our own bugs."""
    graph = Graph(settings)
    graph.store.apply([*graph.changes_of(objects), Change(graph.inputs.proxies, CONNECTION, proxy)])
    if graph.store.failures:
        raise next(iter(graph.store.failures.values()))
    scope = graph.scope(CONNECTION)
    assert scope is not None
    view = graph.proxy_view(scope, graph.shared_view(scope))
    return Compiled(tuple(resources_of(view)), problems_of(graph))


def problems_of(graph: Graph) -> tuple[Problem, ...]:
    """Everything reported in a graph, each problem once, sorted."""
    return tuple(sorted(set(_reported(graph))))


def _reported(graph: Graph) -> Iterable[Problem]:
    for _, _, found in graph.store.reports():
        yield from found
