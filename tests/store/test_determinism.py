"""Same inputs, same state: whatever the hash seed, the order of the inputs, and the way they came."""

import json
import os
import random  # noqa: TID251  seeded, to shuffle
import subprocess
import sys
from pathlib import Path
from typing import Any

from controlplane.store import Change, Store
from tests.store.mesh import Mesh, Rule, Service
from tests.store.state import visible

ROOT = Path(__file__).parents[2]


def inputs(mesh: Mesh) -> list[Change[Any, Any]]:
    names = ["a", "b", "r1", "r2"]
    keys = [(namespace, name) for namespace in "abc" for name in names]
    hosts = ["a.a", "b.a", "a.b", "*.a", "*", "x.y"]
    labels = ["red", "green", "blue"]
    return [
        *(Change(mesh.namespaces, namespace, "dev") for namespace in "ab"),
        *(Change(mesh.services, key, Service(("x.y", hosts[n % 3]), n % 3)) for n, key in enumerate(keys)),
        *(
            Change(mesh.rules, key, Rule((hosts[n % 6], hosts[n % 5]), n % 3, keys[n - 1], labels[n % 3]))
            for n, key in enumerate(keys)
        ),
        *(Change(mesh.endpoints, host, (str(n), "2")) for n, host in enumerate(hosts)),
        *(Change(mesh.proxies, key, (labels[n % 3], labels[n % 2])) for n, key in enumerate(keys)),
    ]


def build(seed: int) -> tuple[str, str]:
    """The state as text, with its entries sorted, and the log of runs. `seed` shuffles the inputs."""
    mesh = Mesh(Store())
    runs: list[tuple[str, Any]] = []
    mesh.store.trace = runs
    changes = inputs(mesh)
    shuffled = random.Random(seed)
    shuffled.shuffle(changes)
    while changes:
        size = shuffled.randint(1, 9)
        mesh.store.apply(changes[:size])
        del changes[:size]
    data, entries = visible(mesh.store)
    state = {name: sorted(map(repr, values.items())) for name, values in data.items()}
    state |= {
        f"{name} entries": sorted(repr((k, sorted(m))) for k, m in found.items()) for name, found in entries.items()
    }
    return json.dumps(state, sort_keys=True), repr(runs)


def test_the_order_of_inputs_does_not_matter():
    states = {build(seed)[0] for seed in range(5)}
    assert len(states) == 1
    assert len(states.pop()) > 5000


def test_the_hash_seed_does_not_matter_to_the_state_nor_to_the_order_of_runs():
    script = "from tests.store.test_determinism import build; print(*build(3), sep='\\n')"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(outputs) == 1
    assert outputs.pop() == "\n".join(build(3)) + "\n"
