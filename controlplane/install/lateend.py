"""The control plane in a cluster: a Deployment, the Services that lead to it, and what keeps it there."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.base.digest import digest
from controlplane.install import command
from controlplane.install.names import (
    ACCOUNT,
    BASE,
    CONTROL_PLANE,
    IDENTITY_PORT,
    METRICS_PORT,
    NAME,
    PEERS,
    REVISION,
    WEBHOOK_PORT,
    XDS_PORT,
    Place,
    labels,
)
from controlplane.install.objects import Object, make
from controlplane.install.pods import (
    STATE,
    api_token,
    container,
    disruption_budget,
    from_pod,
    memory,
    pod,
    replicas,
    scaler,
)
from controlplane.install.values import VERSION, ControlPlane, Values
from controlplane.install.webhooks import injection_settings
from controlplane.mesh.service import EXPORT_TO_ANNOTATION
from controlplane.mesh.tenancy import NO_ONE

APP: Final = "lateend"
_SETTINGS_DIGEST: Final = "lateen.dev/settings"
_PORTS: Final = (
    ("grpc-xds", XDS_PORT),
    ("https-identity", IDENTITY_PORT),
    ("https-webhook", WEBHOOK_PORT),
    ("http-monitoring", METRICS_PORT),
)
_SCRAPED: Final = {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)}


def control_plane(values: Values, place: Place, mesh: Mapping[str, Any]) -> list[Object]:
    """Of one revision. `mesh`: its MeshConfig."""
    own, data = values.control_plane, _data(values, place, mesh)
    ours, selector = labels(CONTROL_PLANE, place.revision, APP), _selector(place)
    name, namespace = place.control_plane, place.namespace
    found = [
        make("ConfigMap", place.settings, namespace, labels=ours, data=data),
        make("Service", name, namespace, labels=ours, spec=_service(selector)),
        make("Deployment", name, namespace, labels=ours, spec=_deployment(values, place, data)),
    ]
    if disruption_budget(own):
        spec = {"minAvailable": 1, "selector": {"matchLabels": selector}}
        found.append(make("PodDisruptionBudget", name, namespace, labels=ours, spec=spec))
    if own.autoscaling.enabled:
        scaling = scaler(name, own.autoscaling)
        found.append(make("HorizontalPodAutoscaler", name, namespace, labels=ours, spec=scaling))
    return found


def peers(place: Place) -> Object:
    """Where replicas find one another, ready or not, of all revisions.

    No proxy sees it: it would have listeners with the replicas' addresses, and drain them for each that comes or goes.
    """
    ports = [{"name": name, "port": port, "targetPort": port} for name, port in _PORTS[:2]]
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": APP}, "ports": ports}
    found = make("Service", PEERS, place.namespace, labels=labels(BASE, name=APP), spec=spec)
    found["metadata"]["annotations"] = {EXPORT_TO_ANNOTATION: NO_ONE}
    return found


def settings_text(mesh: Mapping[str, Any]) -> str:
    """As YAML, which JSON is: equal settings are equal text."""
    return json.dumps(mesh, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _data(values: Values, place: Place, mesh: Mapping[str, Any]) -> dict[str, str]:
    """The settings, and what an upgrade and a look at the installation have to know of it."""
    return {
        "mesh": settings_text(mesh),
        "injection": settings_text(injection_settings(values, place)),
        "values": settings_text(msgspec.to_builtins(values)),
        "version": VERSION,
    }


def _selector(place: Place) -> dict[str, str]:
    return {"app": APP, REVISION: place.revision}


def _service(selector: Mapping[str, str]) -> Object:
    """API servers ask webhooks on 443."""
    ports = [
        {"name": name, "port": 443 if port == WEBHOOK_PORT else port, "targetPort": port, "protocol": "TCP"}
        for name, port in _PORTS
    ]
    return {"selector": dict(selector), "ports": ports}


def _deployment(values: Values, place: Place, data: Mapping[str, str]) -> Object:
    own, selector = values.control_plane, _selector(place)
    more = {NAME: APP, "sidecar.istio.io/inject": "false"}
    token, token_mount = api_token()
    spec = {
        "serviceAccountName": ACCOUNT,
        "containers": [_container(values, own, place, token_mount)],
        "volumes": [
            token,
            {"name": "settings", "configMap": {"name": place.settings}},
            {"name": "cacerts", "secret": {"secretName": "cacerts", "optional": True, "defaultMode": 0o440}},
            memory("state", "64Mi"),
            memory("tmp", "64Mi"),
        ],
    }
    template = pod(values, own, selector, more, spec)
    # A change of settings is a rollout: one replica after the other, and back if it does not come up.
    settings = digest((data["mesh"] + data["injection"]).encode())
    annotations = {**_SCRAPED, **template["metadata"].get("annotations", {}), _SETTINGS_DIGEST: settings}
    template["metadata"]["annotations"] = annotations
    return {
        **replicas(own),
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }


def _container(values: Values, own: ControlPlane, place: Place, token_mount: Object) -> Object:
    return container(
        values,
        own,
        "lateend",
        command.control_plane(place, own),
        workingDir=STATE,
        env=[
            from_pod("POD_NAME", "metadata.name"),
            from_pod("POD_NAMESPACE", "metadata.namespace"),
            from_pod("POD_IP", "status.podIP"),
            {"name": "HOME", "value": STATE},
        ],
        ports=[{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _PORTS],
        startupProbe=_probe("/healthz/live", period=1, failures=120),
        readinessProbe=_probe("/healthz/ready", period=2, failures=3),
        livenessProbe=_probe("/healthz/live", period=10, failures=6),
        volumeMounts=[
            token_mount,
            {"name": "settings", "mountPath": command.SETTINGS, "readOnly": True},
            {"name": "cacerts", "mountPath": command.PLUGGED_AUTHORITY, "readOnly": True},
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (the Pod's own, in memory)
        ],
    )


def _probe(path: str, *, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "https-identity", "scheme": "HTTPS"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
