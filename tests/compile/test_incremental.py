"""The clever against the simple: random meshes, random changes, and compiling from scratch as the judge."""

from collections import Counter

import pytest

from controlplane.compile.graph import Graph
from tests.compile.meshes import as_bytes, compiled, connect, problems, put, seen
from tests.meshes import SETTINGS, Mesh, apply, changes, decoded, random_mesh
from tests.meshes.changes import KINDS

SMALL, FULL = 12, 400
CHANGES = 25


def change_by_change(mesh: Mesh, *, assert_mode: bool) -> None:
    graph = Graph(SETTINGS)
    put(graph, mesh.objects())
    connect(graph, mesh.proxies)
    graph.store.assert_mode = assert_mode
    manifests = dict(mesh.manifests)
    for number, edit in enumerate(changes(mesh, mesh.seed, CHANGES)):
        manifests = apply(manifests, edit)
        put(graph, {ref: one and decoded(one) for ref, one in edit.manifests.items()})
        if assert_mode and number % 5:
            continue  # the store has judged this one itself
        scratch = compiled({ref: decoded(one) for ref, one in manifests.items()}, mesh.proxies)
        where = f"seed {mesh.seed}, change {number}: {edit.what} {[str(ref) for ref in edit.manifests]}"
        assert differences(as_bytes(seen(graph, mesh.proxies)), as_bytes(seen(scratch, mesh.proxies))) == [], where
        assert problems(graph) == problems(scratch), where


def differences(found, expected):
    """Keys only: bytes tell nobody anything."""
    return sorted(str(key) for key in {*found, *expected} if found.get(key) != expected.get(key))


@pytest.mark.parametrize("part", range(4))
def test_after_any_change_all_is_as_if_compiled_from_scratch(size, part):
    for seed in range(part, size(SMALL, FULL), 4):
        change_by_change(random_mesh(seed), assert_mode=seed % 6 == 0)


def test_the_judge_would_notice():
    """A changed weight, an unknown revision: bytes that differ are seen to differ."""
    mesh = random_mesh(1)
    one = as_bytes(seen(compiled(mesh.objects(), mesh.proxies), mesh.proxies))
    kinds = {edit.what: edit for edit in changes(mesh, 5, 60)}
    after = apply(mesh.manifests, kinds["delete namespace"])
    other = compiled({ref: decoded(manifest) for ref, manifest in after.items()}, mesh.proxies)
    assert len(one) > 200
    assert differences(one, as_bytes(seen(other, mesh.proxies)))


def test_changes_of_all_kinds_are_made():
    made = Counter(edit.what for seed in range(8) for edit in changes(random_mesh(seed), seed, 60))
    assert all(made[kind] > 3 for kind in KINDS), made
