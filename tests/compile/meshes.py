"""Compiling a whole mesh, and what its proxies then see, as bytes."""

from collections.abc import Iterable, Mapping
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

from controlplane.compile.graph import Graph
from controlplane.compile.view import ProxyView
from controlplane.model.problem import ObjectRef
from controlplane.model.proxy import Proxy
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.store import Change
from tests.meshes import SETTINGS, Mesh

Seen = dict[tuple[str, str], Resource]  # (type URL, name) -> resource


def connect(graph: Graph, proxies: Iterable[Proxy]) -> None:
    revision = graph.store.apply([Change(graph.inputs.proxies, proxy.name, proxy) for proxy in proxies])
    assert not revision.failures, revision.failures


def put(graph: Graph, objects: Mapping[ObjectRef, Any]) -> None:
    revision = graph.store.apply(graph.changes_of(objects))
    assert not revision.failures, revision.failures


def view_of(graph: Graph, name: str) -> ProxyView:
    """A new view of what a proxy is to have."""
    scope = graph.scope(name)
    assert scope is not None
    return graph.proxy_view(scope, graph.shared_view(scope))


def seen_by(graph: Graph, proxy: Proxy) -> Seen:
    """All that a proxy is to have."""
    view = view_of(graph, proxy.name)
    found = (
        (type_url, name, view.get(type_url, name)) for type_url in types.PUSH_ORDER for name in view.names(type_url)
    )
    return {(type_url, name): resource for type_url, name, resource in found if resource is not None}


def seen(graph: Graph, proxies: Iterable[Proxy]) -> dict[str, Seen]:
    return {proxy.name: seen_by(graph, proxy) for proxy in proxies}


def as_bytes(all_seen: Mapping[str, Seen]) -> dict[tuple[str, str, str], tuple[bytes, str]]:
    """What goes over the wire, by proxy, type and name."""
    return {
        (proxy, *key): (resource.body, resource.version)
        for proxy, found in all_seen.items()
        for key, resource in found.items()
    }


def problems(graph: Graph) -> set[Any]:
    return {problem for _, _, found in graph.store.reports() for problem in found}


def compiled(
    objects: Mapping[ObjectRef, Any], proxies: Iterable[Proxy], *, settings: Settings | None = None, shuffle: int = 0
) -> Graph:
    """From scratch, in an order that a seed makes; 0 leaves it."""
    graph = Graph(settings or SETTINGS)
    items = list(objects.items())
    if shuffle:
        Random(shuffle).shuffle(items)
        half = len(items) // 2
        put(graph, dict(items[:half]))
        connect(graph, proxies)
        put(graph, dict(items[half:]))
    else:
        put(graph, dict(items))
        connect(graph, proxies)
    return graph


def compiled_mesh(mesh: Mesh) -> Graph:
    return compiled(mesh.objects(), mesh.proxies)
