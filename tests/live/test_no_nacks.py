"""Random valid meshes under real Envoys, over ADS: nothing is refused, and every Envoy has exactly what it should."""

import pytest

from tests.live.fleet import fleet
from tests.live.nodes import ground, nodes, settings
from tests.meshes import apply, changes, decoded, random_mesh

SMALL, FULL = 10, 300


@pytest.mark.timeout(1800)
def test_envoys_take_every_mesh(size, tmp_path):
    where = ground(tmp_path)
    taken = 0
    with fleet(nodes(where), **settings()) as envoys:
        for seed in range(2000, 2000 + size(SMALL, FULL)):
            mesh = random_mesh(seed, where)
            envoys.show(mesh.objects())
            envoys.wait_until_taken(f"seed {seed}")
            assert envoys.nacks == [], f"seed {seed}: {envoys.nacks}"
            taken += sum(
                len(of_type) for member in envoys.members for of_type in envoys.resources(member.name).values()
            )
            if seed % 5 == 0:
                _change(envoys, mesh)
    print(f"{size(SMALL, FULL)} meshes, {len(nodes(where))} Envoys, {taken} resources, 0 refused")


def _change(envoys, mesh):
    manifests = dict(mesh.manifests)
    for edit in changes(mesh, mesh.seed, 5):
        manifests = apply(manifests, edit)
        envoys.show({ref: decoded(manifest) for ref, manifest in manifests.items()})
        envoys.wait_until_taken(f"seed {mesh.seed}, {edit.what}")
        assert envoys.nacks == [], f"seed {mesh.seed}, {edit.what}: {envoys.nacks}"
