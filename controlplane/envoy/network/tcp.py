"""Bytes: the TCP proxy of one filter chain."""

from typing import Any, Final

from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from controlplane.envoy.access_log import access_logs
from controlplane.envoy.duration import duration
from controlplane.envoy.hashing import source_ip_hash
from controlplane.ir.listener import TcpChain
from controlplane.ir.policy import HashSourceIp, Tunnel
from controlplane.ir.route import WeightedCluster
from controlplane.model.settings import Settings

NAME: Final = "envoy.filters.network.tcp_proxy"
SNI_NAME: Final = "envoy.filters.network.sni_cluster"


def proxy(chain: TcpChain, settings: Settings) -> Any:
    """A `TcpProxy`."""
    message = tcp_proxy_pb2.TcpProxy(stat_prefix=chain.stat_prefix)
    _set_destinations(message, chain.destinations)
    message.access_log.extend(access_logs(settings))
    if chain.idle_timeout is not None:
        message.idle_timeout.CopyFrom(duration(chain.idle_timeout))
    if chain.max_connection_duration is not None:
        message.max_downstream_connection_duration.CopyFrom(duration(chain.max_connection_duration))
    if isinstance(chain.hash_key, HashSourceIp):
        message.hash_policy.append(source_ip_hash())
    if chain.tunnel is not None:
        _set_tunnel(message.tunneling_config, chain.tunnel)
    return message


def sni_cluster() -> Any:
    """The filter that takes the cluster from the SNI; it stands before the proxy."""
    from envoy.extensions.filters.network.sni_cluster.v3 import sni_cluster_pb2  # noqa: PLC0415  rare

    return sni_cluster_pb2.SniCluster()


def _set_destinations(message: Any, destinations: tuple[WeightedCluster, ...]) -> None:
    if len(destinations) == 1:
        message.cluster = destinations[0].cluster
        return
    for destination in destinations:
        message.weighted_clusters.clusters.add(name=destination.cluster, weight=destination.weight)


def _set_tunnel(config: Any, tunnel: Tunnel) -> None:
    host = f"[{tunnel.host}]" if ":" in tunnel.host else tunnel.host
    config.hostname = f"{host}:{tunnel.port}"
    config.use_post = tunnel.protocol.upper() == "POST"
