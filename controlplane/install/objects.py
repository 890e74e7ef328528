"""Kubernetes objects as plain documents: what they are called, where an API server has them, in which order they go."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import yaml

Object = dict[str, Any]


class Kind(NamedTuple):
    """Where an API server has objects of this kind."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of one object, or of all of a namespace, or of all."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}{f'/{name}' if name else ''}"


# In the order in which they can be made; taken away in the opposite one.
KINDS: Final = (
    Kind("v1", "Namespace", "namespaces", namespaced=False),
    Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    Kind("coordination.k8s.io/v1", "Lease", "leases"),
    Kind("networking.k8s.io/v1", "IngressClass", "ingressclasses", namespaced=False),
    Kind("v1", "Service", "services"),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        namespaced=False,
    ),
    Kind(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        namespaced=False,
    ),
)
BY_NAME: Final = {kind.kind: kind for kind in KINDS}
_ORDER: Final = {kind.kind: place for place, kind in enumerate(KINDS)}


class Ref(NamedTuple):
    """One object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def path(self) -> str:
        return BY_NAME[self.kind].path(self.namespace, self.name)


def ref_of(obj: Mapping[str, Any]) -> Ref:
    """What it is called."""
    meta = obj["metadata"]
    return Ref(obj["kind"], meta.get("namespace", ""), meta["name"])


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """Its labels."""
    return obj["metadata"].get("labels") or {}


def in_order(objects: Iterable[Object]) -> list[Object]:
    """So that each finds what it needs when they are made one after the other."""
    return sorted(objects, key=lambda obj: _place(ref_of(obj)))


def _place(ref: Ref) -> tuple[int, str, str]:
    return _ORDER[ref.kind], ref.namespace, ref.name


def make(kind: str, name: str, namespace: str = "", *, labels: Mapping[str, str], **fields: Any) -> Object:
    """An object of a kind we know."""
    found = BY_NAME[kind]
    meta: Object = {"name": name}
    if found.namespaced:
        assert namespace, f"{kind} {name} needs a namespace"
        meta["namespace"] = namespace
    return {"apiVersion": found.api_version, "kind": kind, "metadata": meta | {"labels": dict(labels)}, **fields}


class _Plain(yaml.SafeDumper):
    """Without anchors: values that are the same object here are not to each other's readers."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def to_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    """Documents for `kubectl apply -f -`."""
    return yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
