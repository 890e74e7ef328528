"""An ingress gateway: an Envoy with its agent, found by the labels that Istio's users select theirs by."""

from collections.abc import Mapping
from typing import Any, Final

from controlplane.install import command
from controlplane.install.names import (
    GATEWAY,
    INGRESS_GATEWAY,
    ISTIO_REVISION,
    NAME,
    READINESS_PORT,
    STATUS_PORT,
    Place,
    labels,
)
from controlplane.install.objects import Object, make
from controlplane.install.pods import STATE, container, disruption_budget, from_pod, memory, pod, replicas, scaler
from controlplane.install.rights import grant
from controlplane.install.values import IngressGateway, Service, ServicePort, ServiceType, Values
from controlplane.install.webhooks import bundle_name
from controlplane.security.tokenreview import AUDIENCE

SELECTOR: Final = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
_TEMPLATES: Final = "inject.istio.io/templates"
_TOKEN_SECONDS: Final = 43_200
_DRAIN_SECONDS: Final = 45  # for connections that are open when a Pod is taken away


def ingress_gateway(values: Values, place: Place, trust_domain: str) -> list[Object]:
    """Nothing where none is wanted."""
    own = values.ingress_gateway
    if not own.enabled:
        return []
    ours, namespace = labels(INGRESS_GATEWAY, place.revision, GATEWAY) | SELECTOR, place.namespace
    found = [
        make("ServiceAccount", GATEWAY, namespace, labels=ours, automountServiceAccountToken=False),
        *grant(place, namespace, INGRESS_GATEWAY, place.revision),
        make("Service", GATEWAY, namespace, labels=ours, **_service(own.service)),
        make("Deployment", GATEWAY, namespace, labels=ours, spec=_deployment(values, own, place, trust_domain)),
    ]
    if disruption_budget(own):
        spec = {"minAvailable": 1, "selector": {"matchLabels": SELECTOR}}
        found.append(make("PodDisruptionBudget", GATEWAY, namespace, labels=ours, spec=spec))
    if own.autoscaling.enabled:
        found.append(
            make("HorizontalPodAutoscaler", GATEWAY, namespace, labels=ours, spec=scaler(GATEWAY, own.autoscaling))
        )
    if own.service.annotations:
        (service,) = (obj for obj in found if obj["kind"] == "Service")
        service["metadata"]["annotations"] = dict(own.service.annotations)
    return found


def _service(own: Service) -> Object:
    spec: Object = {"type": str(own.type), "selector": dict(SELECTOR), "ports": [_port(port) for port in _ports(own)]}
    if own.type is not ServiceType.CLUSTER_IP:
        spec["externalTrafficPolicy"] = str(own.external_traffic_policy)
    if own.type is ServiceType.LOAD_BALANCER and own.load_balancer_class:
        spec["loadBalancerClass"] = own.load_balancer_class
    if own.load_balancer_source_ranges:
        spec["loadBalancerSourceRanges"] = list(own.load_balancer_source_ranges)
    return {"spec": spec}


def _ports(own: Service) -> tuple[ServicePort, ...]:
    """The first one is what load balancers ask whether a node is healthy."""
    return (ServicePort(name="status-port", port=READINESS_PORT), *own.ports)


def _port(port: ServicePort) -> Object:
    found: Object = {
        "name": port.name,
        "port": port.port,
        "targetPort": port.target_port or port.port,
        "protocol": str(port.protocol),
    }
    return found | ({"nodePort": port.node_port} if port.node_port else {})


def _deployment(values: Values, own: IngressGateway, place: Place, trust_domain: str) -> Object:
    more = {
        NAME: GATEWAY,
        ISTIO_REVISION: place.revision,
        "service.istio.io/canonical-name": GATEWAY,
        "sidecar.istio.io/inject": "false",
    }
    spec = {
        "serviceAccountName": GATEWAY,
        "terminationGracePeriodSeconds": _DRAIN_SECONDS + 15,
        # Gateways listen on the ports their servers name, 80 and 443 among them, and nobody here is root.
        "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        "containers": [_container(values, own, place, trust_domain)],
        "volumes": _volumes(bundle_name(values)),
    }
    template = pod(values, own, SELECTOR, more, spec)
    # By this the control plane knows a gateway's Pod: the account alone could be any proxy's of the namespace.
    template["metadata"].setdefault("annotations", {})[_TEMPLATES] = "gateway"
    return {
        **replicas(own),
        "selector": {"matchLabels": dict(SELECTOR)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": template,
    }


def _container(values: Values, own: IngressGateway, place: Place, trust_domain: str) -> Object:
    return container(
        values,
        own,
        "istio-proxy",
        [*command.gateway(place), "--drain-until-idle=true", f"--longest-drain={_DRAIN_SECONDS}s"],
        env=[
            from_pod("POD_NAME", "metadata.name"),
            from_pod("POD_NAMESPACE", "metadata.namespace"),
            from_pod("INSTANCE_IP", "status.podIP"),
            from_pod("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            from_pod("ISTIO_META_NODE_NAME", "spec.nodeName"),
            {"name": "ISTIO_META_WORKLOAD_NAME", "value": GATEWAY},
            {"name": "ISTIO_META_CLUSTER_ID", "value": "Kubernetes"},
            {"name": "TRUST_DOMAIN", "value": trust_domain},
            {"name": "HOME", "value": STATE},
        ],
        ports=[
            {"name": "status-port", "containerPort": READINESS_PORT, "protocol": "TCP"},
            {"name": "http-status", "containerPort": STATUS_PORT, "protocol": "TCP"},
        ],
        startupProbe=_probe(period=1, failures=60),
        readinessProbe=_probe(period=5, failures=3),
        volumeMounts=[
            {"name": "state", "mountPath": STATE},
            {"name": "istio-token", "mountPath": "/var/run/secrets/tokens", "readOnly": True},
            {"name": "trust-bundle", "mountPath": "/var/run/secrets/istio", "readOnly": True},
            {"name": "podinfo", "mountPath": "/etc/istio/pod", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (the Pod's own, in memory)
        ],
    )


def _volumes(bundle: str) -> list[Mapping[str, Any]]:
    token = {"path": "istio-token", "audience": AUDIENCE, "expirationSeconds": _TOKEN_SECONDS}
    items = [
        {"path": name, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.{name}"}}
        for name in ("labels", "annotations")
    ]
    return [
        memory("state", "64Mi"),
        {"name": "istio-token", "projected": {"defaultMode": 0o440, "sources": [{"serviceAccountToken": token}]}},
        {"name": "trust-bundle", "configMap": {"name": bundle}},
        {"name": "podinfo", "downwardAPI": {"items": items}},
        memory("tmp", "64Mi"),
    ]


def _probe(*, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": "/healthz/ready", "port": READINESS_PORT},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 3,
    }
