"""Labels and annotations of a Pod that has a proxy: what others look for, and a note that it was done."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from controlplane.model.validate.common import is_label_value
from controlplane.webhooks.injection import annotations as names
from controlplane.webhooks.injection.decision import REVISION, STATUS
from controlplane.webhooks.injection.pod import Pod, Workload
from controlplane.webhooks.injection.settings import DEFAULT_REVISION, InjectionSettings

_DEFAULT_CONTAINER: Final = ("kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container")


class Added(msgspec.Struct, frozen=True, rename="camel"):
    """What injection put into a Pod, by name: in the shape in which Istio's tools read it."""

    init_containers: Sequence[str] | None
    containers: Sequence[str] | None
    volumes: Sequence[str]
    image_pull_secrets: Sequence[str] | None
    revision: str


def labels(settings: InjectionSettings, pod: Pod, workload: Workload, *, takes_tls: bool) -> dict[str, str]:
    """Those the Pod lacks. What would be no label is left out: a workload's name may be longer than one.

    `takes_tls`: calls to the application meet a proxy, which speaks mutual TLS. Callers go by it.
    """
    found = {
        names.CANONICAL_NAME: _first(pod.labels, "app.kubernetes.io/name", "app") or workload.name,
        names.CANONICAL_REVISION: _first(pod.labels, "app.kubernetes.io/version", "version") or "latest",
        REVISION: settings.revision or DEFAULT_REVISION,
    }
    if takes_tls:
        found[names.TLS_MODE] = "istio"
    return {name: value for name, value in found.items() if name not in pod.labels and value and is_label_value(value)}


def annotations(pod: Pod, added: Added) -> dict[str, str]:
    """The note, and which container `kubectl logs` and `exec` mean."""
    found = {STATUS: msgspec.json.encode(added).decode()}
    if pod.spec.applications:
        first = pod.spec.applications[0].name
        found |= {name: first for name in _DEFAULT_CONTAINER if name not in pod.annotations}
    return found


def _first(labels: Mapping[str, str], *keys: str) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")
