"""Random meshes, as a person would write them: Kubernetes and Istio manifests without a mistake in them.

    mesh = random_mesh(seed)                    # manifests and proxies; the same for the same seed
    objects = mesh.objects()                    # decoded, as a source hands them on
    for change in changes(mesh, seed): ...      # one thing at a time: created, edited, deleted
    coverage(mesh)                              # which fields and values occur

"Without a mistake" is what an object says by itself: nothing is refused when it is decoded. What it refers to may
be missing, claimed by others or gone a moment later, as in any mesh that lives.
"""

from collections.abc import Mapping
from typing import Any, Final

from controlplane.model.meshconfig import decode_settings
from tests.meshes.changes import apply, changes
from tests.meshes.coverage import coverage
from tests.meshes.ground import Ground
from tests.meshes.mesh import Manifests, Mesh, decoded, random_mesh
from tests.meshes.security import IDENTITIES, TRUST_DOMAINS

# Proxies have identities, and those of an older trust domain are still about; all of it stands on one machine.
MESH_CONFIG: Final[Mapping[str, Any]] = {
    "workloadCertificates": True,
    "trustDomain": TRUST_DOMAINS[0],
    "trustDomainAliases": list(TRUST_DOMAINS[1:]),
    "refuseLocalEndpoints": False,
}
SETTINGS: Final = decode_settings(MESH_CONFIG)[0]

__all__ = [
    "IDENTITIES",
    "MESH_CONFIG",
    "SETTINGS",
    "Ground",
    "Manifests",
    "Mesh",
    "apply",
    "changes",
    "coverage",
    "decoded",
    "random_mesh",
]
