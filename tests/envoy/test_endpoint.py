"""Endpoints, written by hand, against the same endpoints built with protobuf's own messages."""

from typing import Any

from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from hypothesis import given
from hypothesis import strategies as st

from controlplane.envoy import endpoint
from controlplane.ir.cluster import Assignment, LocalityGroup
from controlplane.ir.service import Endpoint, Health

_HEALTH = {Health.DRAINING: health_check_pb2.DRAINING, Health.UNHEALTHY: health_check_pb2.UNHEALTHY}

ENDPOINTS = st.builds(
    Endpoint,
    address=st.one_of(st.ip_addresses().map(str), st.from_regex(r"unix:///[a-z]{1,200}", fullmatch=True)),
    port=st.integers(1, 65535),
    labels=st.just({}),
    weight=st.integers(1, 2**20),
    health=st.sampled_from(Health),
    mutual_tls=st.booleans(),
    more_addresses=st.lists(st.ip_addresses().map(str), max_size=1).map(tuple),
)
GROUPS = st.builds(
    LocalityGroup,
    locality=st.sampled_from(("", "r", "r/z", "r/z/s")),
    endpoints=st.lists(ENDPOINTS, max_size=6).map(tuple),
    priority=st.integers(0, 127),
    weight=st.none() | st.integers(1, 2**31),
)
ASSIGNMENTS = st.builds(Assignment, cluster=st.text(min_size=1), groups=st.lists(GROUPS, max_size=3).map(tuple))


@given(ASSIGNMENTS)
def test_bytes_are_what_protobuf_writes(assignment: Assignment) -> None:
    assert endpoint.encode(assignment).body == _plainly(assignment).SerializeToString(deterministic=True)


def test_a_cluster_without_endpoints_has_an_assignment_all_the_same() -> None:
    resource = endpoint.encode(Assignment("nobody", ()))
    decoded = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
    assert (resource.name, decoded.cluster_name, len(decoded.endpoints)) == ("nobody", "nobody", 0)


def _plainly(assignment: Assignment) -> Any:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=assignment.cluster)
    for group in assignment.groups:
        target = message.endpoints.add(priority=group.priority)
        parts = [*group.locality.split("/"), "", "", ""]
        target.locality.region, target.locality.zone, target.locality.sub_zone = parts[:3]
        for one in group.endpoints:
            _add(target, one)
        weight = sum(one.weight for one in group.endpoints) if group.weight is None else group.weight
        target.load_balancing_weight.value = weight
    return message


def _add(target: Any, one: Endpoint) -> None:
    message = target.lb_endpoints.add(health_status=_HEALTH.get(one.health, 0))
    _address(message.endpoint.address, one.address, one.port)
    for address in one.more_addresses:
        _address(message.endpoint.additional_addresses.add().address, address, one.port)
    if one.mutual_tls:
        message.metadata.filter_metadata["envoy.transport_socket_match"].update({"tlsMode": "istio"})
    message.load_balancing_weight.value = one.weight


def _address(target: Any, address: str, port: int) -> None:
    if address.startswith("unix://"):
        target.pipe.path = address.removeprefix("unix://")
    else:
        target.socket_address.address, target.socket_address.port_value = address, port
