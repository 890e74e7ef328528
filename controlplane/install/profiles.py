"""Profiles: values that go well together. The rest is as `values.py` has it; files and `--set` come on top."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Profile(NamedTuple):
    """What it is for, and what it says."""

    words: str
    values: Mapping[str, Any]


DEFAULT: Final = "default"
_SMALL: Final = {"replicas": 1, "autoscaling": {"enabled": False}, "disruptionBudget": False}

PROFILES: Final[Mapping[str, Profile]] = {
    DEFAULT: Profile("two control planes and two ingress gateways, scaled by load; for production", {}),
    "minimal": Profile("the control plane alone", {"ingressGateway": {"enabled": False}}),
    "demo": Profile(
        "one of each, small, with access logs; to try it on a laptop's cluster",
        {
            "controlPlane": {**_SMALL, "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
            "ingressGateway": {
                **_SMALL,
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
                "service": {"type": "NodePort"},
            },
            "meshConfig": {"accessLogFile": "/dev/stdout"},
        },
    ),
}
