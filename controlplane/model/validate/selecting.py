"""What a policy may say of whom it is for."""

from typing import Final, Protocol

from controlplane.model.selecting import PolicySelector, PolicyTargetReference
from controlplane.model.validate.common import check_labels, exclusive
from controlplane.model.validate.findings import Findings

MAX_TARGETS: Final = 16
MAX_LABELS: Final = 4096  # as in Istio's schema


class _Selecting(Protocol):
    @property
    def selector(self) -> PolicySelector | None: ...

    @property
    def target_ref(self) -> PolicyTargetReference | None: ...

    @property
    def target_refs(self) -> tuple[PolicyTargetReference, ...]: ...


def check_selecting(found: Findings, path: str, spec: _Selecting) -> None:
    """Workloads by their labels, or objects by their names: never both."""
    exclusive(found, path, spec, ("selector", "targetRef", "targetRefs"))
    labels = spec.selector.match_labels if spec.selector is not None else {}
    if len(labels) > MAX_LABELS:
        message = f"{len(labels)} labels; at most {MAX_LABELS} are allowed"
        found.error("InvalidValue", f"{path}.selector.matchLabels", message)
    else:
        check_labels(found, f"{path}.selector.matchLabels", labels)
    if len(spec.target_refs) > MAX_TARGETS:
        message = f"names {len(spec.target_refs)} objects; at most {MAX_TARGETS} are allowed"
        found.error("InvalidValue", f"{path}.targetRefs", message)
