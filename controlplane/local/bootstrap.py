"""Who a laptop's Envoy says it is, and its bootstrap.

The bootstrap's typed dataclasses are imported when the first Envoy starts: half a second.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.local.addresses import OFFSET
from controlplane.local.plan import GatewayProxy, Replica
from controlplane.local.ports import BIND_ADDRESS, HTTP_PROXY_PORT, PORT_OFFSET
from controlplane.local.sidecars import POD_LABEL

_DOMAIN: Final = "cluster.local"
# Where operating systems keep the authorities they trust: Debian, Red Hat, SUSE, Alpine and macOS.
_SYSTEM_ROOTS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class Node(msgspec.Struct, frozen=True):
    """Who an Envoy is, in Istio's words."""

    id: str
    cluster: str
    metadata: Mapping[str, Any]


def sidecar_node(replica: Replica) -> Node:
    """The Envoy beside a replica."""
    labels = {**replica.labels, POD_LABEL: replica.name}
    metadata = _metadata(replica.key, labels, replica.service_account, replica.address)
    metadata |= {
        "WORKLOAD_NAME": replica.workload.name,
        "INTERCEPTION_MODE": "NONE",
        HTTP_PROXY_PORT: str(replica.http_proxy_port),
    }
    return _node("sidecar", replica.key, replica.workload.name, metadata)


def gateway_node(proxy: GatewayProxy) -> Node:
    """A gateway's Envoy."""
    metadata = _metadata(proxy.key, proxy.labels, proxy.service_account, proxy.address)
    return _node("router", proxy.key, proxy.name, metadata)


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


def _node(kind: str, key: tuple[str, str], workload: str, metadata: Mapping[str, Any]) -> Node:
    namespace, name = key
    node_id = f"{kind}~{metadata['INSTANCE_IPS']}~{name}.{namespace}~{namespace}.svc.{_DOMAIN}"
    return Node(node_id, f"{workload}.{namespace}", metadata)


def bootstrap(node: Node, xds_socket: Path, admin_socket: Path) -> str:
    """JSON for `envoy --config-path`: delta ADS over a Unix socket, admin on another."""
    from controlplane.envoy.bootstrap import ProxyBootstrap, UnixServer, bootstrap  # noqa: PLC0415  (see above)

    proxy = ProxyBootstrap(
        node_id=node.id,
        cluster=node.cluster,
        server=UnixServer(str(xds_socket)),
        admin=str(admin_socket),
        metadata=node.metadata,
        system_roots=next(filter(os.path.exists, _SYSTEM_ROOTS), ""),
    )
    return str(bootstrap(proxy, xds_socket.parent).to_json(indent=1))
