"""Random valid meshes under real Envoys, over ADS: nothing is refused, and every Envoy has exactly what it should."""

import pytest

from tests.live.fleet import fleet
from tests.live.nodes import ground, nodes, settings
from tests.meshes import apply, changes, decoded, random_mesh

SMALL, FULL = 150, 1000
PARTS = 6  # each with Envoys of its own, so that they may run side by side
FIRST = 2000


@pytest.mark.point
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_envoys_take_every_mesh(part, size, tmp_path, proved):
    where = ground(tmp_path)
    seeds = range(FIRST + part, FIRST + size(SMALL, FULL), PARTS)
    with fleet(nodes(where), **settings()) as envoys:
        for number, seed in enumerate(seeds):
            mesh = random_mesh(seed, where)
            _show(envoys, mesh.objects(), f"seed {seed}")
            if number % 5 == 0:
                _change(envoys, mesh)
    proved(
        "3", "random meshes under five Envoys over ADS: NACKs",
        bound="0", figure=str(len(envoys.nacks)), holds=not envoys.nacks, cases=number + 1, asked=len(seeds),
    )  # fmt: skip


def _change(envoys, mesh):
    manifests = dict(mesh.manifests)
    for edit in changes(mesh, mesh.seed, 5):
        manifests = apply(manifests, edit)
        objects = {ref: decoded(manifest) for ref, manifest in manifests.items()}
        _show(envoys, objects, f"seed {mesh.seed}, {edit.what}")


def _show(envoys, objects, where):
    envoys.show(objects)
    envoys.wait_until_taken(where)
    assert envoys.nacks == [], f"{where}: {envoys.nacks}"
