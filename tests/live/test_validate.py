"""`envoy --mode validate` on what random meshes compile to, everything inlined: it looks where ADS is silent.

Over ADS Envoy takes a route whose cluster does not exist, and an endpoint that nobody calls; a bootstrap with
`validate_clusters` does not. What names clusters that are missing by definition is left to test_no_nacks.
"""

import pytest

from controlplane.explain import decode
from controlplane.snapshot import types
from tests.compile.meshes import compiled_mesh, seen
from tests.envoys import validate
from tests.live.nodes import ground
from tests.meshes import random_mesh

SMALL, FULL = 50, 300


@pytest.mark.point
@pytest.mark.timeout(600)
def test_envoy_takes_what_meshes_compile_to_as_its_bootstrap(size, tmp_path, proved):
    where, judged, strict, refused = ground(tmp_path), 0, 0, []
    for seed in range(3000, 3000 + size(SMALL, FULL)):
        mesh = random_mesh(seed, where)
        graph = compiled_mesh(mesh)
        proxy = mesh.proxies[seed % len(mesh.proxies)]
        found = seen(graph, [proxy])[proxy.name]
        names = {name for type_url, name in found if type_url == types.CLUSTER}
        complete = all(ref.name in names for one in found.values() for ref in one.refs if ref.type_url == types.CLUSTER)
        resources, _ = decode(found.values())
        told = validate(resources, validate_clusters=complete)
        refused += [f"seed {seed}, {proxy.name}: {each}" for each in told]
        judged, strict = judged + 1, strict + complete
    print(*refused, sep="\n")
    assert strict >= judged // 4
    proved(
        "3", "random meshes: configurations that `envoy --mode validate` refuses",
        bound="0", figure=f"{len(refused)}, {strict} of them with validate_clusters",
        holds=not refused, cases=judged, asked=size(SMALL, FULL),
    )  # fmt: skip
