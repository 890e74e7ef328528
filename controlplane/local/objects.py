"""Pods and EndpointSlices, as a kubelet and the endpoint controller would write them."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from controlplane.local.listening import service_tcp_ports, target_of
from controlplane.local.manifests import GATEWAY_TEMPLATE, Manifest, Service
from controlplane.local.plan import GatewayProxy, Plan, Replica
from controlplane.local.sidecars import POD_LABEL
from controlplane.mesh.workload import TLS_MODE_LABEL
from controlplane.model.problem import ObjectRef

_NODE = "localhost"


class Health(StrEnum):
    """What is known of a replica."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    TERMINATING = "terminating"  # still answers what was begun, gets nothing new


class _Endpoint(msgspec.Struct, frozen=True):
    """One replica behind one Service."""

    ports: tuple[tuple[str, int, str | None], ...]  # name, number, appProtocol
    replica: Replica


def pod_ref(namespace: str, name: str) -> ObjectRef:
    """The name of a Pod."""
    return ObjectRef("", "Pod", namespace, name)


def replica_pod(replica: Replica, health: Health = Health.STARTING) -> Manifest:
    """The Pod of a replica."""
    owner = {"kind": replica.workload.kind, "name": replica.workload.name, "controller": True}
    meta = {
        "name": replica.name,
        "namespace": replica.namespace,
        "labels": {**replica.labels, POD_LABEL: replica.name, TLS_MODE_LABEL: "istio"},
        "annotations": dict(replica.annotations),
        "ownerReferences": [owner],
    }
    ports = [{"name": port.name, "containerPort": port.inbound} for port in replica.ports]
    return _pod(meta, replica.address, replica.service_account, ports, ready=health is Health.READY)


def gateway_pod(proxy: GatewayProxy) -> Manifest:
    """The Pod of a gateway. It takes mutual TLS only where a server of a Gateway says so: no label promises it."""
    meta = {
        "name": proxy.name,
        "namespace": proxy.namespace,
        "labels": dict(proxy.labels),
        "annotations": {GATEWAY_TEMPLATE: "gateway"},
    }
    return _pod(meta, proxy.address, proxy.service_account, [], ready=True)


def _pod(meta: Mapping[str, Any], address: str, account: str, ports: list[dict[str, Any]], *, ready: bool) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {
            "serviceAccountName": account,
            "nodeName": _NODE,
            "containers": [{"name": "app", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def endpoint_slices(plan: Plan, health: Mapping[tuple[str, str], Health]) -> dict[ObjectRef, Manifest]:
    """The slices of all Services with a selector. `health` by (namespace, name); unknown replicas are starting."""
    slices: dict[ObjectRef, Manifest] = {}
    for service in plan.services:
        if service.spec.selector:
            slices |= _slices_of(service, plan.replicas, health)
    return slices


def _slices_of(
    service: Service, replicas: Iterable[Replica], health: Mapping[tuple[str, str], Health]
) -> dict[ObjectRef, Manifest]:
    """One slice for each set of port numbers: a slice has one list of ports for all its endpoints."""
    by_ports: dict[tuple[tuple[str, int, str | None], ...], list[Replica]] = {}
    for endpoint in _endpoints(service, replicas):
        by_ports.setdefault(endpoint.ports, []).append(endpoint.replica)
    slices: dict[ObjectRef, Manifest] = {}
    for index, ports in enumerate(sorted(by_ports)):
        manifest = _slice(service, index, ports, [_endpoint(service, one, health) for one in by_ports[ports]])
        meta = manifest["metadata"]
        slices[ObjectRef("discovery.k8s.io", "EndpointSlice", meta["namespace"], meta["name"])] = manifest
    return slices


def _endpoints(service: Service, replicas: Iterable[Replica]) -> Iterator[_Endpoint]:
    for replica in replicas:
        if service.selects(replica.namespace, replica.labels):
            found = ((port, target_of(port, replica.ports)) for port in service_tcp_ports(service))
            ports = tuple((port.name, target.inbound, port.app_protocol) for port, target in found if target)
            yield _Endpoint(ports, replica)


def _slice(
    service: Service, index: int, ports: Iterable[tuple[str, int, str | None]], endpoints: list[dict[str, Any]]
) -> Manifest:
    name, namespace = service.metadata.name, service.metadata.namespace
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-local-{index}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "lateen"},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": port_name, "port": number, "protocol": "TCP", **({"appProtocol": app} if app else {})}
            for port_name, number, app in ports
        ],
        "endpoints": endpoints,
    }


def _endpoint(service: Service, replica: Replica, health: Mapping[tuple[str, str], Health]) -> dict[str, Any]:
    state = health.get(replica.key, Health.STARTING)
    return {
        "addresses": [replica.address],
        "conditions": {
            "ready": state is Health.READY or service.spec.publish_not_ready_addresses,
            "serving": state in (Health.READY, Health.TERMINATING),
            "terminating": state is Health.TERMINATING,
        },
        "targetRef": {"kind": "Pod", "namespace": replica.namespace, "name": replica.name},
        "nodeName": _NODE,
    }
