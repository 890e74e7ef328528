"""Lateen's image in Pods that give it as little as they can."""

from typing import Any

from e2e.cluster.images import LATEEN
from e2e.kubectl import Kubectl
from e2e.manifests import container, pod

_NOTHING = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CAPTURE = {
    "runAsUser": 0,
    "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


# Prints modules that had to be compiled when they were imported.
_NOT_COMPILED = """
import os, sys
import asyncio, controlplane.cli.entrance, kubernetes.client
print("checked")
for name, module in sys.modules.items():
    spec = getattr(module, "__spec__", None)
    if spec and spec.cached and (spec.origin or "").endswith(".py") and not os.path.exists(spec.cached):
        print(name)
"""


def _runs(name: str, *command: str, **more: Any) -> dict[str, Any]:
    return {
        **container(name, *command, **{"securityContext": _NOTHING, **more}),
        "image": LATEEN,
        "imagePullPolicy": "Never",
    }


def test_everything_in_it_runs_without_rights_and_with_nothing_to_write_to(kubectl: Kubectl) -> None:
    programs = [
        _runs("control-plane", "lateen", "version"),
        _runs("agent", "python3", "-P", "-m", "controlplane.agent", "--help"),
        _runs("envoy", "envoy", "--version"),
    ]
    rules = _runs("rules", "iptables-save", securityContext=_CAPTURE)
    legacy = _runs("rules-legacy", "ip6tables-legacy-save", "-t", "nat", securityContext=_CAPTURE)
    kubectl.apply(pod("image", *programs, rules, legacy, restartPolicy="Never"))
    kubectl.waited("pod/image", "jsonpath={.status.phase}=Succeeded")

    assert "lateen" in kubectl("logs", "image", "--container=control-plane")
    assert "usage" in kubectl("logs", "image", "--container=agent").lower()
    assert "/1.40." in kubectl("logs", "image", "--container=envoy")


def test_it_starts_fast_because_its_modules_are_compiled(kubectl: Kubectl) -> None:
    """With a root that is read only nothing is compiled once and for all but at build time."""
    kubectl.apply(pod("image", _runs("idle", "python3", "-c", "import time; time.sleep(600)")))
    kubectl.waited("pod/image", "condition=Ready")
    assert kubectl.ran("image", "python3", "-c", _NOT_COMPILED).split() == ["checked"]
