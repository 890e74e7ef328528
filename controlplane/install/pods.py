"""What all Pods of ours have in common: no root, no capabilities, nothing writable but what is named, one token."""

from collections.abc import Mapping
from typing import Any, Final

from controlplane.install.objects import Object
from controlplane.install.values import Autoscaling, Pods, Toleration, Values

USER: Final = 1337  # as Istio's: traffic of this user and group is what capture leaves alone
STATE: Final = "/var/lib/lateen"
_API_TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105  (a place)
_TOKEN_SECONDS: Final = 3607  # as the API server's own: it is replaced at four fifths of that


def pod(
    values: Values, pods: Pods, selector: Mapping[str, str], labels: Mapping[str, str], spec: Mapping[str, Any]
) -> Object:
    """A Pod template. `spec` has containers and volumes; what runs as whom and where is said here."""
    meta: Object = {"labels": {**pods.labels, **selector, **labels}}
    if pods.annotations:
        meta["annotations"] = dict(pods.annotations)
    common: Object = {
        "automountServiceAccountToken": False,
        "securityContext": _security(spec.get("sysctls", ())),
        **_scheduling(pods, selector),
    }
    if values.image_pull_secrets:
        common["imagePullSecrets"] = [{"name": name} for name in values.image_pull_secrets]
    return {"metadata": meta, "spec": common | {key: value for key, value in spec.items() if key != "sysctls"}}


def _security(sysctls: Any) -> Object:
    found: Object = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return found | ({"sysctls": list(sysctls)} if sysctls else {})


def container(values: Values, pods: Pods, name: str, arguments: list[str], **fields: Any) -> Object:
    """A container of our one image."""
    return {
        "name": name,
        "image": values.image,
        "imagePullPolicy": str(values.image_pull_policy),
        "command": ["lateen"],
        "args": arguments,
        "resources": {
            key: dict(found)
            for key, found in (("requests", pods.resources.requests), ("limits", pods.resources.limits))
            if found
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **fields,
    }


def from_pod(name: str, path: str) -> Object:
    """An environment variable that says something of the Pod itself."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def memory(name: str, size: str) -> Object:
    """A directory that no disk sees."""
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": size}}


def api_token() -> tuple[Object, Object]:
    """Volume and mount of a token for the API server, where every client looks for it."""
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_SECONDS}}
    roots = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    where = {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}}
    volume = {"name": "api-token", "projected": {"defaultMode": 0o440, "sources": [token, roots, where]}}
    return volume, {"name": "api-token", "mountPath": _API_TOKEN, "readOnly": True}


def _scheduling(pods: Pods, selector: Mapping[str, str]) -> Object:
    """Apart from one another where that can be had; a cluster of one node has them all."""
    found: Object = {
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", **_same(selector)}}
                ]
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                **_same(selector),
            }
        ],
    }
    if pods.node_selector:
        found["nodeSelector"] = dict(pods.node_selector)
    if pods.tolerations:
        found["tolerations"] = [_toleration(one) for one in pods.tolerations]
    if pods.priority_class_name:
        found["priorityClassName"] = pods.priority_class_name
    return found


def _same(selector: Mapping[str, str]) -> Object:
    return {"labelSelector": {"matchLabels": dict(selector)}}


def _toleration(one: Toleration) -> Object:
    named = zip(one.__struct_encode_fields__, one.__struct_fields__, strict=True)
    return {name: getattr(one, field) for name, field in named if getattr(one, field) is not None}


def replicas(pods: Pods) -> Object:
    """Nothing where an autoscaler decides: applying the manifest again would undo what it decided."""
    return {} if pods.autoscaling.enabled else {"replicas": pods.replicas}


def disruption_budget(pods: Pods) -> bool:
    """Whether there is one: of a single replica it would only keep nodes from being drained."""
    return pods.disruption_budget and pods.fewest > 1


def scaler(target: str, scaling: Autoscaling) -> Object:
    """The spec of a HorizontalPodAutoscaler."""
    utilization = {"type": "Utilization", "averageUtilization": scaling.target_cpu}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        "minReplicas": scaling.min_replicas,
        "maxReplicas": max(scaling.min_replicas, scaling.max_replicas),
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
    }
