"""Resources as the protobuf messages they encode: for people, tests and the simulator, never on the hot path."""

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

CLASSES: Final[Mapping[str, Any]] = {
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
    VIRTUAL_HOST: route_components_pb2.VirtualHost,
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    SECRET: secret_pb2.Secret,
}


def message(resource: Resource) -> Any:
    """The message in a resource's bytes."""
    return CLASSES[resource.type_url].FromString(resource.body)
