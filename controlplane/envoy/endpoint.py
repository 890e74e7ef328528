"""Endpoints: what changes all day long, and so the cheapest thing we make."""

from functools import lru_cache
from typing import Final

from envoy.config.core.v3 import address_pb2, base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from controlplane.envoy import mesh_tls, wire
from controlplane.envoy.address import is_unix, socket_address
from controlplane.ir.cluster import Assignment, LocalityGroup
from controlplane.ir.service import Endpoint, Health
from controlplane.snapshot.resource import Resource, resource
from controlplane.snapshot.types import ENDPOINT

_Assignment = endpoint_pb2.ClusterLoadAssignment
_Group = endpoint_components_pb2.LocalityLbEndpoints
_Lb = endpoint_components_pb2.LbEndpoint
_Endpoint = endpoint_components_pb2.Endpoint

_CLUSTER: Final = wire.text(_Assignment, "cluster_name")
_GROUP: Final = wire.embedded(_Assignment, "endpoints")
_LB: Final = wire.embedded(_Group, "lb_endpoints")
_SOCKET: Final = wire.nested(
    wire.embedded(_Lb, "endpoint"),
    wire.embedded(_Endpoint, "address"),
    wire.embedded(address_pb2.Address, "socket_address"),
)
_IP: Final = wire.text(address_pb2.SocketAddress, "address")
_PORT: Final = wire.number(address_pb2.SocketAddress, "port_value")

_HEALTH: Final = {
    Health.HEALTHY: b"",
    Health.DRAINING: wire.encoded(_Lb(health_status=health_check_pb2.DRAINING)),
    Health.UNHEALTHY: wire.encoded(_Lb(health_status=health_check_pb2.UNHEALTHY)),
}


def encode(assignment: Assignment) -> Resource:
    """The endpoints of one cluster. No endpoints is an answer too: the cluster is warm, and calls get 503."""
    body = _CLUSTER(assignment.cluster) + groups(assignment.groups)
    return resource(ENDPOINT, assignment.cluster, body, (), assignment.origins)


def groups(found: tuple[LocalityGroup, ...]) -> bytes:
    """The `endpoints` of a `ClusterLoadAssignment`, encoded."""
    return b"".join([_GROUP(_group(group)) for group in found])


def inline(cluster: str, endpoints: tuple[Endpoint, ...], grouped: tuple[LocalityGroup, ...] = ()) -> bytes:
    """A whole `ClusterLoadAssignment` for a cluster whose endpoints stand in it: grouped, or one group, no locality."""
    group = (LocalityGroup(locality="", endpoints=endpoints),) if endpoints else ()
    return _CLUSTER(cluster) + groups(grouped or group)


def _group(group: LocalityGroup) -> bytes:
    weight = group.weight if group.weight is not None else sum([endpoint.weight for endpoint in group.endpoints])
    parts = [_locality(group.locality)]
    parts += [_LB(_lb_endpoint(endpoint)) for endpoint in group.endpoints]
    parts.append(_group_tail(weight, group.priority))
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _locality(locality: str) -> bytes:
    region, zone, subzone = (*locality.split("/", 2), "", "")[:3]
    message = _Group(locality=base_pb2.Locality(region=region, zone=zone, sub_zone=subzone))
    return wire.encoded(message)


@lru_cache(maxsize=1024)
def _group_tail(weight: int, priority: int) -> bytes:
    message = _Group(priority=priority)
    message.load_balancing_weight.value = weight
    return wire.encoded(message)


def _lb_endpoint(endpoint: Endpoint) -> bytes:
    return _where(endpoint) + _HEALTH[endpoint.health] + _lb_tail(endpoint.weight, endpoint.mutual_tls)


def _where(endpoint: Endpoint) -> bytes:
    if endpoint.more_addresses or is_unix(endpoint.address):
        return _unusual(endpoint)
    return _SOCKET(_IP(endpoint.address) + _PORT(endpoint.port))


def _unusual(endpoint: Endpoint) -> bytes:
    """Unix sockets, and workloads with an address in each IP family."""
    message = _Lb()
    message.endpoint.address.CopyFrom(socket_address(endpoint.address, endpoint.port))
    for address in endpoint.more_addresses:
        message.endpoint.additional_addresses.add().address.CopyFrom(socket_address(address, endpoint.port))
    return wire.encoded(message)


@lru_cache(maxsize=1024)
def _lb_tail(weight: int, mutual_tls: bool) -> bytes:  # noqa: FBT001  a cached function takes its key by position
    message = _Lb()
    if mutual_tls:
        message.metadata.filter_metadata[mesh_tls.MATCH_FILTER][mesh_tls.MODE] = mesh_tls.MUTUAL
    message.load_balancing_weight.value = weight
    return wire.encoded(message)
