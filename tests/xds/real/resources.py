"""Configuration a real Envoy takes."""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from controlplane.snapshot.resource import Ref, Resource, resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST


def _encoded(message: Any) -> bytes:
    body: bytes = message.SerializeToString(deterministic=True)
    return body


def _ads() -> Any:
    source = config_source_pb2.ConfigSource(resource_api_version=2)
    source.ads.SetInParent()
    return source


def cluster(name: str, timeout: int = 5, *, bad: bool = False) -> Resource:
    """An EDS cluster; a bad one passes our side and is refused by Envoy."""
    message = cluster_pb2.Cluster(name=name, type="EDS")
    message.connect_timeout.seconds = timeout
    message.eds_cluster_config.eds_config.CopyFrom(_ads())
    message.eds_cluster_config.service_name = name
    if bad:
        message.ClearField("eds_cluster_config")
        message.type = cluster_pb2.Cluster.STATIC
        message.load_assignment.cluster_name = name
        address = message.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "not-an-ip", 80
    return resource(CLUSTER, name, _encoded(message))


def endpoints(name: str, host: str, port: int) -> Resource:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    address = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = host, port
    return resource(ENDPOINT, name, _encoded(message))


def listener(name: str, host: str, port: int, route: str, *, prefix: str = "x") -> Resource:
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix=prefix)
    manager.rds.route_config_name = route
    manager.rds.config_source.CopyFrom(_ads())
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(router_pb2.Router())
    message = listener_pb2.Listener(name=name)
    message.address.socket_address.address = host
    message.address.socket_address.port_value = port
    chain = message.filter_chains.add()
    chain.filters.add(name="envoy.filters.network.http_connection_manager").typed_config.Pack(manager)
    return resource(LISTENER, name, _encoded(message), (Ref(ROUTE, route),))


def route(name: str) -> Resource:
    return resource(ROUTE, name, _encoded(route_pb2.RouteConfiguration(name=name)))


def host(route: str, domain: str, *, says: str = "", cluster: str = "", domains: tuple[str, ...] = ()) -> Resource:
    """A virtual host that answers by itself, or calls a cluster."""
    name = f"{route}/{domain}"
    message = route_components_pb2.VirtualHost(name=name, domains=domains or (domain,))
    action = message.routes.add()
    action.match.prefix = "/"
    if cluster:
        action.route.cluster = cluster
    else:
        action.direct_response.status = 200
        action.direct_response.body.inline_string = says
    refs = (Ref(CLUSTER, cluster),) if cluster else ()
    return resource(VIRTUAL_HOST, name, _encoded(message), refs)
