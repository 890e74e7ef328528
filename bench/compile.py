"""What compiling costs, in CPU from decoded values in the store to bytes ready: no sockets, no decoding.

python -m bench.compile [--services 100,1000,5000] [--json]
"""

import argparse
import gc
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from bench import mesh
from controlplane.compile.graph import Graph
from controlplane.model.meta import ref_of
from controlplane.model.settings import Settings
from controlplane.runtime import garbage
from controlplane.snapshot import types
from controlplane.store import Change

RUNS = 5
CHANGES = 41  # of each kind, the median counts


def built(objects: dict, proxies: Iterable[Any]) -> tuple[Graph, float]:
    """A graph with these objects and proxies, and the CPU seconds it took."""
    graph = Graph(Settings())
    changes = graph.changes_of(objects)
    changes += [Change(graph.inputs.proxies, str(i), proxy) for i, proxy in enumerate(proxies)]
    with garbage.paused():
        start = time.process_time()
        revision = graph.store.apply(changes)
        spent = time.process_time() - start
    assert not revision.failures, revision.failures
    return graph, spent


def full_compile(objects: dict) -> float:
    """Seconds, median."""
    times = []
    for _ in range(RUNS):
        times.append(built(objects, [mesh.sidecar()])[1])
        gc.collect()
    return statistics.median(times)


def second_proxy(graph: Graph) -> float:
    """Seconds for another proxy of the same scope, with its view and all its names."""
    times = []
    for number in range(RUNS):
        start = time.process_time()
        graph.store.apply([Change(graph.inputs.proxies, f"second-{number}", mesh.sidecar(number + 1))])
        times.append(time.process_time() - start)
    return statistics.median(times)


def one_change(graph: Graph, document_of: Callable[[int], Iterable[dict]]) -> dict[str, float]:
    """CPU, functions run, resources and bytes that change for the proxies, for one kind of change; medians."""
    scope = graph.scope("0")
    assert scope is not None
    view = graph.shared_view(scope)
    spent, runs, resources, sizes = [], [], [], []
    for turn in range(CHANGES):
        values = [mesh.value_of(document) for document in document_of(turn)]
        changes = graph.changes_of({ref_of(value): value for value in values})
        trace: list[Any] = []
        if turn % 2:  # counting slows down what is counted
            graph.store.trace = trace
        start = time.process_time()
        revision = graph.store.apply(changes)
        changed = view.changes(graph.outputs.touched(revision))
        elapsed = time.process_time() - start
        graph.store.trace = None
        if turn % 2:
            runs.append(len(trace))
        else:
            spent.append(elapsed)
        found = [change.new for by_name in changed.values() for change in by_name.values() if change.new is not None]
        resources.append(len(found))
        sizes.append(sum(len(one.body) for one in found))
    return {
        "us": statistics.median(spent) * 1e6,
        "functions": statistics.median(runs),
        "resources": statistics.median(resources),
        "bytes": statistics.median(sizes),
    }


def changes_at(services: int) -> dict[str, Callable[[int], Iterable[dict]]]:
    """The four kinds of change, each different from the one before."""
    return {
        "endpoint": lambda turn: [mesh.endpoint_slice(7, range(4 + turn % 2))],
        "weight": lambda turn: [mesh.virtual_service(5, 50 + turn)],
        "destination rule": lambda turn: [mesh.destination_rule(10, f"{3 + turn}s")],
        "new service": lambda turn: mesh.documents(services + 1 + turn * 5),
    }


def scopes_cost(objects: dict, base: float) -> dict[str, float]:
    """200 distinct label sets under 20 selector rules, against one scope: compile time and memory."""
    rules = {}
    for number in range(20):
        document = mesh.destination_rule(number * 5)
        document["metadata"]["name"] += "-selective"
        document["spec"]["workloadSelector"] = {"matchLabels": {f"tier-{number}": "on"}}
        value = mesh.value_of(document)
        rules[ref_of(value)] = value
    proxies = [
        mesh.sidecar(
            number, labels={f"tier-{bit}": "on" for bit in range(20) if number >> (bit % 8) & 1} | {"id": str(number)}
        )
        for number in range(200)
    ]
    many = statistics.median(built(objects | rules, proxies)[1] for _ in range(3))
    one = statistics.median(built(objects | rules, proxies[:1])[1] for _ in range(3))
    return {"one scope s": one, "200 label sets s": many, "ratio": many / one, "against plain": many / base}


def scopes_memory(objects: dict) -> float:
    """Blocks in use for 200 label sets against one scope: a ratio of what the graph holds."""
    import tracemalloc  # noqa: PLC0415  slows everything down: not before this

    held = []
    for count in (1, 200):
        proxies = [
            mesh.sidecar(n, labels={f"tier-{b}": "on" for b in range(20) if n >> (b % 8) & 1}) for n in range(count)
        ]
        gc.collect()
        tracemalloc.start()
        graph, _ = built(objects, proxies)
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        del graph
    return held[1] / held[0]


def measure(services: int) -> dict[str, Any]:
    """All figures for one size."""
    objects = mesh.objects(services)
    garbage.settle()
    base = full_compile(objects)
    graph, _ = built(objects, [mesh.sidecar()])
    garbage.settle()
    scope = graph.scope("0")
    assert scope is not None
    view = graph.shared_view(scope)
    counted = {url.rpartition(".")[2]: view.count(url) for url in types.PUSH_ORDER}
    shown = (view.get(url, name) for url in types.PUSH_ORDER for name in view.names(url))
    size = sum(len(one.body) for one in shown if one is not None)
    return {
        "services": services,
        "full compile s": base,
        "second proxy ms": second_proxy(graph) * 1e3,
        "resources": counted,
        "bytes a proxy": size,
        "peak RSS MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "changes": {name: one_change(graph, documents) for name, documents in changes_at(services).items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", default="100,1000,5000")
    parser.add_argument("--scopes", action="store_true", help="also 200 label sets against one")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.services.split(",")]
    found: dict[str, Any] = {"sizes": [measure(size) for size in sizes]}
    if arguments.scopes:
        objects = mesh.objects(sizes[-1])
        found["scopes"] = scopes_cost(objects, found["sizes"][-1]["full compile s"])
        found["scopes"]["memory ratio"] = scopes_memory(objects)
    print(json.dumps(found, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
