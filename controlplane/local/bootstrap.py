"""The bootstrap of a laptop's Envoy, and who it says it is.

A cold path that people look at: typed dataclasses of `envoy_data_plane`, imported when the first Envoy starts (half a
second that `lateen --help` must not pay).
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.local.addresses import OFFSET
from controlplane.local.plan import GatewayProxy, Replica
from controlplane.local.ports import BIND_ADDRESS, HTTP_PROXY_PORT, PORT_OFFSET
from controlplane.local.sidecars import POD_LABEL

_XDS_CLUSTER: Final = "xds-grpc"  # Istio's name for it
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTION_MONITOR: Final = "envoy.resource_monitors.global_downstream_max_connections"
_DOMAIN: Final = "cluster.local"


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
    """JSON for `envoy --config-path`: delta ADS over a Unix socket, admin on another, nothing else."""
    from envoy_data_plane.envoy.config.bootstrap import v3 as boot  # noqa: PLC0415  (see above)
    from envoy_data_plane.envoy.config.core import v3 as core  # noqa: PLC0415
    from envoy_data_plane.google.protobuf import Struct  # noqa: PLC0415

    ads = core.ConfigSource(ads=core.AggregatedConfigSource(), resource_api_version=core.ApiVersion.V3)
    document = boot.Bootstrap(
        node=core.Node(id=node.id, cluster=node.cluster, metadata=Struct.from_dict(dict(node.metadata))),
        admin=boot.Admin(address=core.Address(pipe=core.Pipe(path=str(admin_socket), mode=0o600))),
        dynamic_resources=boot.BootstrapDynamicResources(lds_config=ads, cds_config=ads, ads_config=_delta_ads(core)),
        overload_manager=_connection_limit(),
        static_resources=boot.BootstrapStaticResources(clusters=[_xds_cluster(xds_socket)]),
    )
    return str(document.to_json(indent=1))


def _connection_limit() -> Any:
    """Envoy asks for one; no laptop has as many sockets."""
    from envoy_data_plane.envoy.config.overload import v3 as overload  # noqa: PLC0415
    from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections import v3 as connections  # noqa: PLC0415
    from envoy_data_plane.google.protobuf import Any as Packed  # noqa: PLC0415

    limit = connections.DownstreamConnectionsConfig(max_active_downstream_connections=100_000)
    return overload.OverloadManager(
        resource_monitors=[overload.ResourceMonitor(name=_CONNECTION_MONITOR, typed_config=Packed.pack(limit))]
    )


def _delta_ads(core: Any) -> Any:
    service = core.GrpcService(envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=_XDS_CLUSTER))
    return core.ApiConfigSource(
        api_type=core.ApiConfigSourceApiType.DELTA_GRPC,
        transport_api_version=core.ApiVersion.V3,
        grpc_services=[service],
        set_node_on_first_message_only=True,
    )


def _xds_cluster(socket: Path) -> Any:
    from envoy_data_plane.envoy.config.cluster import v3 as cluster  # noqa: PLC0415
    from envoy_data_plane.envoy.config.core import v3 as core  # noqa: PLC0415
    from envoy_data_plane.envoy.config.endpoint import v3 as endpoint  # noqa: PLC0415
    from envoy_data_plane.envoy.extensions.upstreams.http import v3 as http  # noqa: PLC0415
    from envoy_data_plane.google.protobuf import Any as Packed  # noqa: PLC0415

    # Without keepalive a control plane that hangs would never be left for the one that replaces it.
    keepalive = core.KeepaliveSettings(interval=timedelta(seconds=30), timeout=timedelta(seconds=10))
    http2 = http.HttpProtocolOptionsExplicitHttpConfig(
        http2_protocol_options=core.Http2ProtocolOptions(connection_keepalive=keepalive)
    )
    address = core.Address(pipe=core.Pipe(path=str(socket)))
    locality = endpoint.LocalityLbEndpoints(
        lb_endpoints=[endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=address))]
    )
    return cluster.Cluster(
        name=_XDS_CLUSTER,
        type=cluster.ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        load_assignment=endpoint.ClusterLoadAssignment(cluster_name=_XDS_CLUSTER, endpoints=[locality]),
        typed_extension_protocol_options={
            _HTTP_OPTIONS: Packed.pack(http.HttpProtocolOptions(explicit_http_config=http2))
        },
    )
