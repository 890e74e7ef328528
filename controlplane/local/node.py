"""Who a laptop's Envoy is: what its agent says of it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.local.addresses import OFFSET
from controlplane.local.plan import GatewayProxy, Replica
from controlplane.local.ports import BIND_ADDRESS, HTTP_PROXY_PORT, PORT_OFFSET
from controlplane.local.sidecars import POD_LABEL

SIDECAR: Final = "sidecar"
ROUTER: Final = "router"
_DOMAIN: Final = "cluster.local"


class Node(msgspec.Struct, frozen=True):
    """Who an Envoy is, in Istio's words."""

    role: str
    namespace: str
    name: str
    account: str
    address: str
    status_address: str  # where it may be asked how it is
    workload: str
    metadata: Mapping[str, Any]

    @property
    def id(self) -> str:
        """As the control plane knows it."""
        domain = f"{self.namespace}.svc.{_DOMAIN}"
        return f"{self.role}~{self.address}~{self.name}.{self.namespace}~{domain}"

    @property
    def cluster(self) -> str:
        """As its statistics and logs call it."""
        return f"{self.workload}.{self.namespace}"


def sidecar_node(replica: Replica) -> Node:
    """The Envoy beside a replica."""
    labels = {**replica.labels, POD_LABEL: replica.name}
    metadata = _metadata(replica.key, labels, replica.service_account, replica.address)
    metadata |= {
        "WORKLOAD_NAME": replica.workload.name,
        "INTERCEPTION_MODE": "NONE",
        HTTP_PROXY_PORT: str(replica.http_proxy_port),
    }
    address = replica.address
    return Node(SIDECAR, *replica.key, replica.service_account, address, address, replica.workload.name, metadata)


def gateway_node(proxy: GatewayProxy) -> Node:
    """A gateway's Envoy."""
    metadata = _metadata(proxy.key, proxy.labels, proxy.service_account, proxy.address)
    metadata["WORKLOAD_NAME"] = proxy.name
    return Node(ROUTER, *proxy.key, proxy.service_account, proxy.address, proxy.status_address, proxy.name, metadata)


def _metadata(key: tuple[str, str], labels: Mapping[str, str], account: str, address: str) -> dict[str, Any]:
    namespace, name = key
    return {
        "NAMESPACE": namespace,
        "NAME": name,
        "LABELS": dict(labels),
        "SERVICE_ACCOUNT": account,
        "INSTANCE_IPS": address,
        "CLUSTER_ID": "Kubernetes",
        BIND_ADDRESS: address,
        PORT_OFFSET: str(OFFSET),
    }
