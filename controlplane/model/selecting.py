"""How policies name what they are for: workloads by label, or objects by name."""

from collections.abc import Mapping

from controlplane.model.value import Mark, Value


class PolicySelector(Value):
    """Selects workloads by their labels."""

    invalid: Mark = False

    match_labels: Mapping[str, str] = {}  # All of these labels, with these values.


class PolicyTargetReference(Value):
    """An object the policy is attached to, in the policy's own namespace."""

    group: str = ""  # API group of the object.
    kind: str = ""  # Kind of the object.
    name: str = ""  # Name of the object.
    namespace: str = ""  # Must be left out: the policy's own.
