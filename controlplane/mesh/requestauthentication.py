"""RequestAuthentications -> the tokens a workload believes."""

from collections.abc import Sequence

from controlplane.ir.tokens import Tokens
from controlplane.mesh.problems import not_enforced
from controlplane.model.problem import Problem
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.settings import Settings


def tokens(selected: Sequence[RequestAuthentication], settings: Settings) -> tuple[Tokens | None, tuple[Problem, ...]]:
    """`selected`: those that select a workload, root namespaces first."""
    del settings
    return None, not_enforced(selected)
