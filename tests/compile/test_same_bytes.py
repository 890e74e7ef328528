"""Same input, same bytes: whatever the order of arrival, in whatever process."""

import os
import subprocess
import sys
from pathlib import Path

from controlplane.compile.graph import Graph
from tests.compile.fingerprint import fingerprint
from tests.compile.meshes import as_bytes, compiled, connect, put, seen
from tests.meshes import SETTINGS, random_mesh

ROOT = Path(__file__).parents[2]


def in_another_process(hash_seed: str, shuffle: int, seeds: range) -> dict[int, str]:
    command = [sys.executable, "-m", "tests.compile.fingerprint", str(shuffle), *map(str, seeds)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    return {int(seed): digest for seed, digest in (line.split() for line in done.stdout.splitlines())}


def test_two_processes_with_other_hash_seeds_and_shuffled_input_agree(size):
    seeds = range(500, 500 + size(6, 200))
    ours = {seed: fingerprint(seed, 0) for seed in seeds}
    assert in_another_process("1", 3, seeds) == ours
    assert in_another_process("4711", 0, seeds) == ours


def test_any_order_of_arrival_gives_the_same_bytes(size):
    for seed in range(600, 600 + size(6, 300)):
        mesh = random_mesh(seed)
        first = as_bytes(seen(compiled(mesh.objects(), mesh.proxies), mesh.proxies))
        for shuffle in (1, 2):
            other = as_bytes(seen(compiled(mesh.objects(), mesh.proxies, shuffle=shuffle), mesh.proxies))
            assert other == first, f"seed {seed}, shuffle {shuffle}"


def test_objects_one_at_a_time_give_the_same_bytes(size):
    for seed in range(700, 700 + size(4, 100)):
        mesh = random_mesh(seed)
        graph = Graph(SETTINGS)
        connect(graph, mesh.proxies)
        for ref, value in reversed(mesh.objects().items()):
            put(graph, {ref: value})
        first = as_bytes(seen(compiled(mesh.objects(), mesh.proxies), mesh.proxies))
        assert as_bytes(seen(graph, mesh.proxies)) == first, f"seed {seed}"
