"""PeerAuthentications -> what each port of a workload takes from its callers.

The closest one that says something wins: of the workload, of its namespace, of the mesh; of several equally close ones
the oldest.
"""

from collections.abc import Sequence

from controlplane.ir.guard import PeerMode, Peers
from controlplane.mesh.problems import not_enforced
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.problem import Problem
from controlplane.model.settings import Settings


def peers(selected: Sequence[PeerAuthentication], settings: Settings) -> tuple[Peers, tuple[Problem, ...]]:
    """`selected`: those that select a workload, closest first."""
    del settings
    return Peers(PeerMode.DISABLE), not_enforced(selected)
