"""An Envoy's statistics on a port of their own, and nothing else of its admin interface.

The admin interface can end the process, change its log and show its keys' whereabouts, and knows no passwords; so it
listens on a Unix socket. What scrapers need of it is one path, which is compared as a whole: with no query, by GET.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any as AnyMessage

PATH: Final = "/stats/prometheus"
CLUSTER: Final = "prometheus_stats"  # as Istio's
LISTENER: Final = "prometheus_stats"
_SLOWEST: Final = timedelta(seconds=30)  # for a whole scrape
_BUFFER: Final = 32 * 1024  # bytes of a connection


def cluster(admin: Address) -> Cluster:
    """The admin interface."""
    endpoint = LbEndpoint(endpoint=Endpoint(address=admin))
    return Cluster(
        name=CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        load_assignment=ClusterLoadAssignment(
            cluster_name=CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
    )


def listener(address: Address) -> Listener:
    """Where scrapers call."""
    manager = HttpConnectionManager(
        codec_type=HttpConnectionManagerCodecType.HTTP1,
        stat_prefix="stats",
        route_config=RouteConfiguration(name=LISTENER, virtual_hosts=[_host()]),
        http_filters=[HttpFilter(name="envoy.filters.http.router", typed_config=AnyMessage.pack(Router()))],
        request_headers_timeout=timedelta(seconds=5),
        stream_idle_timeout=_SLOWEST,
    )
    chain = FilterChain(
        filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=AnyMessage.pack(manager))]
    )
    return Listener(
        name=LISTENER,
        address=address,
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=_BUFFER,
    )


def _host() -> VirtualHost:
    """Envoy's `path` leaves the query out of the comparison; the pseudo-header has it."""
    match = RouteMatch(path=PATH, headers=[_is(":path", PATH), _is(":method", "GET")])
    route = Route(match=match, route=RouteAction(cluster=CLUSTER, timeout=_SLOWEST))
    return VirtualHost(name="stats", domains=["*"], routes=[route])


def _is(header: str, value: str) -> HeaderMatcher:
    return HeaderMatcher(name=header, string_match=StringMatcher(exact=value))
