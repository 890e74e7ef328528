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
from itertools import chain, count
from typing import Any, NamedTuple

from bench import mesh, report
from bench.machine import apart
from controlplane.compile.graph import Graph
from controlplane.model.meta import ref_of
from controlplane.runtime import garbage
from controlplane.snapshot import types
from controlplane.store import Change

RUNS = 5  # of everything; the median counts
CHANGES = 8  # in one run: the mean of these is the run's figure


def built(objects: dict, proxies: Iterable[Any]) -> tuple[Graph, float]:
    """A graph with these objects and proxies, and the CPU seconds it took."""
    graph = Graph(mesh.SETTINGS)
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
    """CPU, functions run, resources and bytes that change for the proxies, for one kind of change."""
    scope = graph.scope("0")
    assert scope is not None
    view = graph.proxy_view(scope, graph.shared_view(scope))
    turns = count()
    timed = [[apply_one(graph, view, document_of(next(turns))) for _ in range(CHANGES)] for _ in range(RUNS)]
    traced = [apply_one(graph, view, document_of(next(turns)), trace=[]) for _ in range(RUNS)]
    of_all = [*chain.from_iterable(timed), *traced]
    return {
        "us": statistics.median(statistics.mean(one.us for one in run) for run in timed),
        "functions": statistics.median(one.functions for one in traced),
        "resources": statistics.median(one.resources for one in of_all),
        "bytes": statistics.median(one.bytes for one in of_all),
    }


class Applied(NamedTuple):
    """One change."""

    us: float
    functions: int
    resources: int
    bytes: int


def apply_one(graph: Graph, view: Any, documents: Iterable[dict], trace: list[Any] | None = None) -> Applied:
    """`trace`: to count functions, which slows down what is counted."""
    changes = graph.changes_of({ref_of(value): value for value in map(mesh.value_of, documents)})
    graph.store.trace = trace
    start = time.process_time()
    revision = graph.store.apply(changes)
    touched = graph.outputs.touched(revision)
    changed = (view.shared_view.changes(touched), view.changes(touched))
    elapsed = time.process_time() - start
    graph.store.trace = None
    by_names = chain.from_iterable(types_of.values() for types_of in changed)
    found = [change.new for by_name in by_names for change in by_name.values() if change.new is not None]
    return Applied(elapsed * 1e6, len(trace or ()), len(found), sum(len(one.body) for one in found))


def changes_at(services: int) -> dict[str, Callable[[int], Iterable[dict]]]:
    """The kinds of change that reach every proxy, each different from the one before."""
    return {
        "endpoint": lambda turn: [mesh.endpoint_slice(7, range(4 + turn % 2))],
        "weight": lambda turn: [mesh.virtual_service(5, 50 + turn)],
        "destination rule": lambda turn: [mesh.destination_rule(10, f"{3 + turn}s")],
        "new service": lambda turn: mesh.documents(services + 1 + turn * 5),
    }


def policies() -> dict[str, Callable[[int], Iterable[dict]]]:
    """Changes of policies for one workload: of the proxy beside it, and of no other."""
    return {
        "peer authentication": lambda turn: [mesh.peer_authentication("STRICT", 5000 + turn)],
        "authorization": lambda turn: [mesh.authorization_policy(f"account-{turn}")],
    }


SETS, SELECTIVE = 200, 20


def selective_rules() -> dict:
    """DestinationRules that hold for the workloads of one tier each."""
    rules = {}
    for number in range(SELECTIVE):
        document = mesh.destination_rule(number * 5)
        document["metadata"]["name"] += "-selective"
        document["spec"]["workloadSelector"] = {"matchLabels": {f"tier-{number}": "on"}}
        value = mesh.value_of(document)
        rules[ref_of(value)] = value
    return rules


def label_sets() -> list[Any]:
    """Proxies with labels of their own, each in some of the tiers."""
    return [
        mesh.sidecar(
            number,
            labels={f"tier-{bit}": "on" for bit in range(SELECTIVE) if number >> (bit % 8) & 1} | {"id": str(number)},
        )
        for number in range(SETS)
    ]


def scopes_cost(objects: dict) -> dict[str, float]:
    """200 distinct label sets under 20 selector rules, against one of them: compile time and memory."""
    mesh_of_rules, proxies = objects | selective_rules(), label_sets()
    one, many = (
        statistics.median(built(mesh_of_rules, some)[1] for _ in range(RUNS)) for some in (proxies[:1], proxies)
    )
    held_by_one, held_by_many = held(mesh_of_rules, proxies[:1]), held(mesh_of_rules, proxies)
    return {
        "one scope s": one,
        "200 label sets s": many,
        "ratio": many / one,
        "one scope MB": held_by_one / 1024**2,
        "200 label sets MB": held_by_many / 1024**2,
        "memory ratio": held_by_many / held_by_one,
    }


def held(objects: dict, proxies: Iterable[Any]) -> int:
    """Bytes of all that a graph holds; nearly the same each time, so once."""
    import tracemalloc  # noqa: PLC0415  slows everything down: not before this

    gc.collect()
    tracemalloc.start()
    graph, _ = built(objects, proxies)
    found, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del graph
    return found


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
        "changes": {
            name: one_change(graph, documents) for name, documents in (changes_at(services) | policies()).items()
        },
    }


def of_size(services: int) -> Any:
    """In a process of its own, so that its memory is its own."""
    return apart("compile", "--services", str(services))["sizes"][0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", default="100,1000,5000")
    parser.add_argument("--scopes", action="store_true", help="also 200 label sets against one")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.services.split(",")]
    found: dict[str, Any] = {"sizes": [measure(sizes[0])] if len(sizes) == 1 else [of_size(size) for size in sizes]}
    if arguments.scopes:
        found["scopes"] = scopes_cost(mesh.objects(sizes[-1]))
    print(json.dumps(found) if arguments.json else report.of_compile(found))


if __name__ == "__main__":
    main()
