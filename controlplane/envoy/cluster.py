"""Clusters: where requests go, and how.

A mesh has thousands and nearly all of them treat their endpoints alike, so what a traffic policy makes of a cluster
is built once per policy and joined to what is its own: name, metadata, TLS, endpoints that stand in it.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec
from envoy.config.cluster.v3 import cluster_pb2

from controlplane.envoy import balancer, endpoint, metadata, pool, source, transport, wire
from controlplane.envoy.any import packed
from controlplane.envoy.duration import duration
from controlplane.envoy.filters import dynamic_dns
from controlplane.ir.cluster import Cluster, Direction, Upstream
from controlplane.ir.policy import Algorithm, TrafficPolicy
from controlplane.ir.service import Resolution
from controlplane.model.settings import Settings
from controlplane.snapshot.resource import Resource, resource
from controlplane.snapshot.types import CLUSTER

_Cluster = cluster_pb2.Cluster

_NAME: Final = wire.text(_Cluster, "name")
_EDS: Final = wire.embedded(_Cluster, "eds_cluster_config")
_EDS_SOURCE: Final = wire.embedded(_Cluster.EdsClusterConfig, "eds_config")(wire.encoded(source.ads()))
_EDS_SERVICE: Final = wire.text(_Cluster.EdsClusterConfig, "service_name")
_METADATA: Final = wire.embedded(_Cluster, "metadata")
_LOAD: Final = wire.embedded(_Cluster, "load_assignment")

_TYPES: Final = {
    Resolution.ENDPOINTS: _Cluster.EDS,
    Resolution.DNS: _Cluster.STRICT_DNS,
    Resolution.DNS_ROUND_ROBIN: _Cluster.LOGICAL_DNS,
    Resolution.PASSTHROUGH: _Cluster.ORIGINAL_DST,
    Resolution.STATIC: _Cluster.STATIC,
}
_DNS: Final = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)
_RULE_KIND: Final = "DestinationRule"
# An address the application dialled itself is not forgotten between its calls.
_NEVER: Final = timedelta(days=36_500)  # Envoy's clocks end before protobuf's longest duration


def encode(cluster: Cluster, settings: Settings) -> Resource:
    """One cluster. A cluster that only DNS can make warm `waits`: it travels apart from the others."""
    if cluster.policy.blocked:
        cluster = _blocked(cluster)
    resolution, client = _resolution(cluster), transport.client_tls(cluster)
    common = _common(
        cluster.policy,
        cluster.upstream,
        resolution,
        cluster.direction,
        transport.wants_auto_sni(client),
        transport.wants_auto_san(cluster, client, verify=settings.verify_certificate_at_client),
        settings.dns_refresh_rate,
    )
    parts = [_NAME(cluster.name), common]
    if resolution is Resolution.ENDPOINTS:
        parts.append(_EDS(_EDS_SOURCE + _EDS_SERVICE(cluster.name)))
    elif resolution in _DNS or resolution is Resolution.STATIC:
        parts.append(_LOAD(endpoint.inline(cluster.name, cluster.endpoints, cluster.groups)))
    if fields := _metadata(cluster):
        parts.append(_METADATA(metadata.istio(fields)))
    parts.append(transport.fields(cluster, client))
    if cluster.bind_address:
        parts.append(_bind(cluster.bind_address))
    body = b"".join(parts)
    secrets = transport.secrets(client)
    return resource(CLUSTER, cluster.name, body, secrets, cluster.origins, waits=resolution in _DNS)


def _blocked(cluster: Cluster) -> Cluster:
    """A destination that must not be called: it exists, so that routes to it answer, and has no endpoint."""
    policy = TrafficPolicy(pool=cluster.policy.pool)
    return msgspec.structs.replace(
        cluster, resolution=Resolution.STATIC, endpoints=(), groups=(), policy=policy, mesh_tls=None
    )


def _resolution(cluster: Cluster) -> Resolution:
    """A balancer may overrule it: "the address the caller dialled" needs no endpoints."""
    if cluster.policy.load_balancer.algorithm is Algorithm.PASSTHROUGH:
        return Resolution.PASSTHROUGH
    return cluster.resolution


@lru_cache(maxsize=4096)
def _common(  # noqa: PLR0913, PLR0917  a cached function takes its key by position
    policy: TrafficPolicy,
    upstream: Upstream,
    resolution: Resolution,
    direction: Direction,
    auto_sni: bool,  # noqa: FBT001
    auto_san: bool,  # noqa: FBT001
    dns_refresh_rate: timedelta,
) -> bytes:
    """All fields that clusters with the same policy share."""
    message = _Cluster()
    message.connect_timeout.CopyFrom(duration(policy.pool.connect_timeout))
    message.circuit_breakers.CopyFrom(pool.circuit_breakers(policy.pool, policy.retry_budget))
    balancer.set_balancer(message, policy.load_balancer)
    balancer.set_common(message, policy.load_balancer, policy.outlier)
    _set_discovery(message, resolution, direction, dns_refresh_rate)
    if policy.outlier is not None and direction is Direction.OUTBOUND:
        message.outlier_detection.CopyFrom(balancer.outlier_detection(policy.outlier))
    if policy.pool.keepalive is not None:
        keepalive = pool.tcp_keepalive(policy.pool.keepalive)
        message.upstream_connection_options.tcp_keepalive.CopyFrom(keepalive)
    options = pool.http_options(policy, upstream, auto_sni=auto_sni, auto_san=auto_san)
    if options is not None:
        message.typed_extension_protocol_options[pool.HTTP_OPTIONS].CopyFrom(packed(options))
    return wire.encoded(message)


def _set_discovery(message: Any, resolution: Resolution, direction: Direction, dns_refresh_rate: timedelta) -> None:
    if resolution is Resolution.DYNAMIC_DNS:
        message.cluster_type.name = "envoy.clusters.dynamic_forward_proxy"
        message.cluster_type.typed_config.CopyFrom(packed(dynamic_dns.cluster_type(dns_refresh_rate)))
        message.lb_policy = _Cluster.CLUSTER_PROVIDED
        return
    message.type = _TYPES[resolution]
    if resolution is Resolution.PASSTHROUGH:
        _set_original_destination(message, direction)
    elif resolution in _DNS:
        message.dns_refresh_rate.CopyFrom(duration(dns_refresh_rate))
        message.respect_dns_ttl = True
        message.dns_lookup_family = _Cluster.V4_PREFERRED
        message.wait_for_warm_on_init.value = False  # a silent DNS server must delay nobody else


def _set_original_destination(message: Any, direction: Direction) -> None:
    for field in ("ring_hash_lb_config", "maglev_lb_config", "least_request_lb_config", "round_robin_lb_config"):
        message.ClearField(field)
    message.common_lb_config.ClearField("locality_config_specifier")
    message.lb_policy = _Cluster.CLUSTER_PROVIDED
    if direction is Direction.INBOUND:
        message.cleanup_interval.CopyFrom(duration(_NEVER))


def _metadata(cluster: Cluster) -> bytes:
    """What Istio says of a cluster: the rule that shaped it, its service port, service and subset."""
    if not cluster.host:
        return b""
    fields = [metadata.config_field(origin.ref) for origin in cluster.origins if origin.ref.kind == _RULE_KIND][:1]
    fields.append(metadata.port_field(cluster.port))
    fields.append(metadata.services_field(_service_name(cluster), cluster.host, cluster.namespace))
    if cluster.subset:
        fields.append(metadata.subset_field(cluster.subset))
    return b"".join(fields)


def _service_name(cluster: Cluster) -> str:
    """The Kubernetes name if there is one, else the host."""
    name, _, rest = cluster.host.partition(".")
    return name if rest.startswith(f"{cluster.namespace}.svc.") else cluster.host


@lru_cache(maxsize=64)
def _bind(address: str) -> bytes:
    """Connections to the application come from this address, so that they are known from others."""
    message = _Cluster()
    message.upstream_bind_config.source_address.address = address
    message.upstream_bind_config.source_address.port_value = 0
    return wire.encoded(message)
