"""A policy for one workload costs what it changes: counted, at 100 services and at 5,000, alone and among many.

What a namespace has much of (workloads, and policies for each of them) must not be walked because one of them changed.
"""

from collections import Counter
from typing import Any, NamedTuple

import pytest

from bench import mesh
from controlplane.compile.graph import Graph
from controlplane.model.meta import ref_of
from controlplane.snapshot import types
from controlplane.store import Change

SIZES = (100, 5000)
FEW, MANY = 3, 60
CALLER = "0"


class Cost(NamedTuple):
    """What one change cost, and whom."""

    functions: Counter[str]
    resources: dict[str, set[str]]  # by connection, of its own; "" for what all share


def built(services: int, proxies: int) -> Graph:
    graph = Graph(mesh.SETTINGS)
    connected = [Change(graph.inputs.proxies, str(number), mesh.sidecar(number)) for number in range(proxies)]
    assert not graph.store.apply([*graph.changes_of(mesh.objects(services)), *connected]).failures
    return graph


def applied(graph: Graph, *documents: dict[str, Any]) -> Cost:
    views = {connection: view_of(graph, connection) for connection, _ in graph.store.items(graph.inputs.proxies)}
    ran: list[Any] = []
    graph.store.trace = ran
    revision = graph.store.apply(graph.changes_of({ref_of(one): one for one in map(mesh.value_of, documents)}))
    graph.store.trace = None
    assert not revision.failures
    touched = graph.outputs.touched(revision)
    found = {connection: names(view.changes(touched)) for connection, view in views.items()}
    found[""] = names(views[CALLER].shared_view.changes(touched))
    return Cost(Counter(name for name, *_ in ran), {who: changed for who, changed in found.items() if changed})


def view_of(graph: Graph, connection: str) -> Any:
    scope = graph.scope(connection)
    assert scope is not None
    return graph.proxy_view(scope, graph.shared_view(scope))


def names(changes: Any) -> set[str]:
    return {name for by_name in changes.values() for name in by_name}


def refusing(index: int) -> dict[str, Any]:
    """For the workloads of one service: no mutual TLS."""
    namespace, name = mesh.service_name(index)
    document = mesh.peer_authentication("DISABLE", 5000)
    document["metadata"] = {"name": name, "namespace": namespace}
    document["spec"]["selector"] = {"matchLabels": {"app": name}}
    return document


CHANGES = {
    "mode": (mesh.peer_authentication("PERMISSIVE", 5000), mesh.peer_authentication("STRICT", 5000)),
    "port": (mesh.peer_authentication("STRICT", 5000), mesh.peer_authentication("STRICT", 5001)),
    "rule": (mesh.authorization_policy("a"), mesh.authorization_policy("b")),
    "first rule": (mesh.peer_authentication("STRICT", 5000), mesh.authorization_policy("a")),
}


@pytest.fixture(scope="module")
def small_and_large() -> tuple[Graph, Graph]:
    return built(SIZES[0], FEW), built(SIZES[1], FEW)


@pytest.fixture(scope="module")
def few_and_many() -> tuple[Graph, Graph]:
    """The same mesh with few workloads and with many, each of which has policies of its own and a proxy."""
    found = built(20, FEW), built(20, MANY)
    for graph, count in zip(found, (FEW, MANY), strict=True):
        for number in range(1, count):
            policies = mesh.peer_authentication("STRICT", 5000, number), mesh.authorization_policy("a", number)
            applied(graph, *policies)
    return found


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("graphs", ["small_and_large", "few_and_many"])
def test_one_listener_of_one_proxy(kind, graphs, request):
    before, after = CHANGES[kind]
    costs = []
    for graph in request.getfixturevalue(graphs):
        applied(graph, before)
        costs.append(applied(graph, after))
    assert costs[0].resources == {"0": {"virtualInbound"}}
    assert costs[0] == costs[1]
    assert costs[0].functions.total() <= 15


def test_a_policy_that_says_the_same_in_other_words_is_silent(small_and_large):
    same = mesh.peer_authentication("STRICT", 5000)
    same["spec"]["portLevelMtls"]["5001"] = {"mode": "UNSET"}
    for graph in small_and_large:
        applied(graph, mesh.peer_authentication("STRICT", 5000))
        assert not applied(graph, mesh.peer_authentication("STRICT", 5000)).functions
        renamed = mesh.authorization_policy("a") | {"metadata": {"name": "client-0", "namespace": "ns-7"}}
        assert not applied(graph, renamed).resources, "nobody has these labels there"


def test_workloads_that_refuse_mutual_tls_are_called_otherwise_and_nothing_else_is(small_and_large):
    """In a namespace where somebody refuses already: the first to do so has all its services asked again."""
    costs = []
    for graph in small_and_large:
        applied(graph, refusing(0))
        costs.append(applied(graph, refusing(20)))
    subsets = {f"outbound|80|{subset}|svc-20.ns-0.svc.cluster.local" for subset in ("", "v1", "v2")}
    assert costs[0].resources == {"": subsets}
    assert costs[0] == costs[1]
    found = view_of(small_and_large[0], CALLER).get(types.ENDPOINT, "outbound|80||svc-20.ns-0.svc.cluster.local")
    assert b"tlsMode" not in found.body
