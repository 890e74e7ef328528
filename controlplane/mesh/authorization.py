"""AuthorizationPolicies -> rules that judge calls to a workload."""

from collections.abc import Sequence

from controlplane.ir.authorization import Authorization
from controlplane.mesh.problems import not_enforced
from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.problem import Problem
from controlplane.model.settings import Settings


def authorization(
    selected: Sequence[AuthorizationPolicy], settings: Settings, *, http: bool
) -> tuple[Authorization | None, tuple[Problem, ...]]:
    """`selected`: those that select a workload, root namespaces first; `http`: for requests, else for connections."""
    del settings, http
    return None, not_enforced(selected)
