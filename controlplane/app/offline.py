"""Files in, the complete configuration of one proxy out: the same graph, without a server."""

from collections.abc import Iterable, Mapping

import msgspec

from controlplane.app.control import resources_of
from controlplane.compile.graph import Graph
from controlplane.model import core
from controlplane.model.gateway import Gateway
from controlplane.model.problem import ObjectRef, Problem
from controlplane.model.proxy import Proxy, parse_node
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


def analyze(objects: Mapping[ObjectRef, Object], settings: Settings) -> tuple[Problem, ...]:
    """What is wrong with objects once there are proxies that need them: one of each kind. Raises for our own bugs."""
    graph = Graph(settings)
    proxies = enumerate(_proxies(objects))
    connected = [Change(graph.inputs.proxies, str(number), proxy) for number, proxy in proxies]
    graph.store.apply([*graph.changes_of(objects), *connected])
    if graph.store.failures:
        raise next(iter(graph.store.failures.values()))
    return problems_of(graph)


def _proxies(objects: Mapping[ObjectRef, Object]) -> Iterable[Proxy]:
    """A sidecar for all workloads of a namespace with the same labels, a gateway for each selector of a Gateway.

    No workload is known in manifests of rules alone: there is a sidecar in every namespace.
    """
    sidecars: dict[tuple[str, str], Mapping[str, str]] = {}
    gateways: dict[tuple[str, str], Mapping[str, str]] = {}
    for ref, value in objects.items():
        labels: Mapping[str, str] = {}
        if isinstance(value, core.Pod):
            labels = value.meta.labels
        elif isinstance(value, core.Deployment):
            labels = value.spec.template.meta.labels
        if isinstance(value, Gateway):
            gateways[ref.namespace, repr(sorted(value.spec.selector.items()))] = value.spec.selector
        if ref.namespace:
            sidecars[ref.namespace, repr(sorted(labels.items()))] = labels
    yield from (_proxy("sidecar", namespace, labels) for (namespace, _), labels in sorted(sidecars.items()))
    yield from (_proxy("router", namespace, labels) for (namespace, _), labels in sorted(gateways.items()))


def _proxy(kind: str, namespace: str, labels: Mapping[str, str]) -> Proxy:
    facts = {"NAMESPACE": namespace, "NAME": "any", "LABELS": dict(labels), "SERVICE_ACCOUNT": "default"}
    return parse_node(f"{kind}~0.0.0.0~any.{namespace}~{namespace}.svc.cluster.local", facts)


def problems_of(graph: Graph) -> tuple[Problem, ...]:
    """Everything reported in a graph, each problem once, sorted."""
    return tuple(sorted(set(_reported(graph))))


def _reported(graph: Graph) -> Iterable[Problem]:
    for _, _, found in graph.store.reports():
        yield from found
