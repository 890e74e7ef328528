"""Envoy messages for tests that need only a few: protobuf JSON without the ceremony."""

from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from controlplane.explain import Resources
from tests.explain.generate.worlds import ADS, REGISTERED

assert REGISTERED  # protobuf JSON opens only types that are imported

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy.extensions."


def resources(
    *listeners: Json, routes: tuple[Json, ...] = (), up: tuple[str, ...] = ("up",), **kinds: Any
) -> Resources:
    """Listeners, route configurations, and an EDS cluster with one endpoint for each name in `up`."""
    clusters = [*(eds(name) for name in up), *kinds.get("clusters", ())]
    static = {"listeners": list(listeners), "clusters": clusters, "secrets": kinds.get("secrets", [])}
    found = json_format.ParseDict({"static_resources": static}, bootstrap_pb2.Bootstrap()).static_resources
    loads = [load(name, [{"endpoint": at("10.0.0.7", 8080)}]) for name in up]
    parsed = [
        json_format.ParseDict(one, endpoint_pb2.ClusterLoadAssignment()) for one in (*loads, *kinds.get("loads", ()))
    ]
    tables = [json_format.ParseDict(one, route_pb2.RouteConfiguration()) for one in routes]
    return Resources.of([*found.listeners, *found.clusters, *found.secrets, *parsed, *tables])


def at(ip: str, port: int) -> Json:
    return {"address": {"socket_address": {"address": ip, "port_value": port}}}


def eds(name: str, **fields: Any) -> Json:
    return {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}, **fields}


def load(name: str, endpoints: list[Json], **locality: Any) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints, **locality}]}


def listener(name: str, ip: str, port: int, *chains: Json, **fields: Any) -> Json:
    return {"name": name, **at(ip, port), "filter_chains": list(chains), **fields}


def listener_filter(folder: str, kind: str) -> Json:
    return {"name": folder, "typed_config": {"@type": f"{TYPE}filters.listener.{folder}.v3.{kind}"}}


def tcp(cluster: str, **match: Any) -> Json:
    config = {"@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": cluster}
    return {"filter_chain_match": match, "filters": [{"name": "tcp", "typed_config": config}]}


def http(table: Json | str, *, filters: tuple[Json, ...] = (), **fields: Any) -> Json:
    """A chain that ends in a connection manager; `table` inline, or the name of one over RDS."""
    rds = {"rds": {"route_config_name": table, "config_source": ADS}}
    router = {"name": "router", "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"}}
    config = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "http_filters": [*filters, router],
        **(rds if isinstance(table, str) else {"route_config": table}),
        **fields,
    }
    return {"filters": [{"name": "http", "typed_config": config}]}


def table(*routes: Json, name: str = "80", domains: tuple[str, ...] = ("*",)) -> Json:
    return {"name": name, "virtual_hosts": [{"name": "h", "domains": list(domains), "routes": list(routes)}]}


def to(cluster: str, **match: Any) -> Json:
    return {"match": match or {"prefix": "/"}, "route": {"cluster": cluster}}
