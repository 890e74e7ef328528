"""Who this workload's Envoy says it is, in Istio's words: a claim, for the control plane to check."""

import json
from collections.abc import Mapping
from typing import Any, Final

from controlplane.agent.authority import Node

_TEXT: Final = "ISTIO_META_"
_JSON: Final = "ISTIO_METAJSON_"


def node(role: str, metadata: Mapping[str, Any], *, domain: str, cluster: str, locality: str) -> Node:
    """From its metadata, which has NAME, NAMESPACE and INSTANCE_IPS. "": what follows from them."""
    name, namespace = metadata["NAME"], metadata["NAMESPACE"]
    address = str(metadata["INSTANCE_IPS"]).partition(",")[0]
    return Node(
        id=f"{role}~{address}~{name}.{namespace}~{domain or f'{namespace}.svc.cluster.local'}",
        cluster=cluster or f"{_workload(metadata)}.{namespace}",
        metadata=metadata,
        locality=locality,
    )


def of_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """ISTIO_META_CLUSTER_ID=Kubernetes is CLUSTER_ID; ISTIO_METAJSON_… holds JSON. Raises ValueError."""
    found: dict[str, Any] = {}
    for name, value in sorted(environment.items()):
        if name.startswith(_TEXT):
            found[name.removeprefix(_TEXT)] = value
        elif name.startswith(_JSON):
            try:
                found[name.removeprefix(_JSON)] = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{name} holds no JSON: {error}") from error
    return found


def parse_labels(text: str) -> dict[str, str]:
    """The downward API's `key="value"` lines, values escaped as in JSON. What is none is left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        try:
            label = json.loads(value) if equals else None
        except (ValueError, RecursionError):
            continue
        if isinstance(label, str):
            found[key] = label
    return found


def _workload(metadata: Mapping[str, Any]) -> str:
    labels = metadata.get("LABELS")
    app = labels.get("app") if isinstance(labels, Mapping) else None
    return str(metadata.get("WORKLOAD_NAME") or app or metadata["NAME"])
