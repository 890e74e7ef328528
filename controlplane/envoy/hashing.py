"""What a consistent-hash balancer hashes: route-level keys for HTTP, the source address for bytes."""

from typing import Any

from envoy.config.route.v3 import route_components_pb2
from envoy.type.v3 import hash_policy_pb2

from controlplane.envoy.duration import duration
from controlplane.ir.policy import HashCookie, HashHeader, HashKey, HashQuery

_Policy = route_components_pb2.RouteAction.HashPolicy


def http_hash(key: HashKey) -> Any:
    """A `RouteAction.HashPolicy`."""
    if isinstance(key, HashHeader):
        return _Policy(header=_Policy.Header(header_name=key.name))
    if isinstance(key, HashCookie):
        return _cookie(key)
    if isinstance(key, HashQuery):
        return _Policy(query_parameter=_Policy.QueryParameter(name=key.name))
    return _Policy(connection_properties=_Policy.ConnectionProperties(source_ip=True))


def _cookie(key: HashCookie) -> Any:
    policy = _Policy(cookie=_Policy.Cookie(name=key.name, path=key.path))
    if key.ttl is not None:
        policy.cookie.ttl.CopyFrom(duration(key.ttl))
    for name, value in key.attributes:
        policy.cookie.attributes.add(name=name, value=value)
    return policy


def source_ip_hash() -> Any:
    """A `HashPolicy` of tcp_proxy."""
    return hash_policy_pb2.HashPolicy(source_ip=hash_policy_pb2.HashPolicy.SourceIp())
