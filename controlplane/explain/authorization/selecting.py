"""Which policies are for a workload."""

from collections.abc import Iterable, Mapping

from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.settings import Settings


def selecting(
    policies: Iterable[AuthorizationPolicy], namespace: str, labels: Mapping[str, str], settings: Settings
) -> list[AuthorizationPolicy]:
    """Those of its namespace and of the root namespaces whose selector, if they have one, fits its labels."""
    homes = {*settings.root_namespaces, namespace}
    return [one for one in policies if one.meta.namespace in homes and _selects(one, labels)]


def _selects(policy: AuthorizationPolicy, labels: Mapping[str, str]) -> bool:
    spec = policy.spec
    if spec.selector is None:
        return not (spec.target_ref or spec.target_refs)
    wanted = spec.selector.match_labels
    return spec.selector.invalid or all(labels.get(name) == value for name, value in wanted.items())
