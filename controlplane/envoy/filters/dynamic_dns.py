"""Resolves the name a request carries, for routes that lead to a dynamic forward proxy cluster.

Filter and cluster find each other by the name of their DNS cache, and Envoy wants both to describe it alike.
"""

from datetime import timedelta
from typing import Any, Final

from controlplane.envoy.duration import duration

NAME: Final = "envoy.filters.http.dynamic_forward_proxy"
SNI_NAME: Final = "envoy.filters.network.sni_dynamic_forward_proxy"
_CACHE: Final = "lateen"


def dns_cache(refresh: timedelta) -> Any:
    """The one `DnsCacheConfig` of a proxy."""
    from envoy.config.cluster.v3 import cluster_pb2  # noqa: PLC0415
    from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2  # noqa: PLC0415  rare

    cache = dns_cache_pb2.DnsCacheConfig(name=_CACHE, dns_lookup_family=cluster_pb2.Cluster.V4_PREFERRED)
    cache.dns_refresh_rate.CopyFrom(duration(refresh))
    return cache


def config(refresh: timedelta) -> Any:
    """The filter: routes to other clusters pass it untouched."""
    from envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2  # noqa: PLC0415  rare

    return dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=dns_cache(refresh))


def sni_config(refresh: timedelta, port: int) -> Any:
    """The network filter: the SNI is resolved, and called at `port`. Without it Envoy would call port 80."""
    from envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3 import (  # noqa: PLC0415  rare
        sni_dynamic_forward_proxy_pb2,
    )

    return sni_dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=dns_cache(refresh), port_value=port)


def cluster_type(refresh: timedelta) -> Any:
    """The configuration of the cluster that pairs with the filter."""
    from envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2  # noqa: PLC0415  rare

    return cluster_pb2.ClusterConfig(dns_cache_config=dns_cache(refresh), allow_insecure_cluster_options=True)
