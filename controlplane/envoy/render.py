"""Encoded resources for people: protobuf JSON, route configurations whole, private keys hidden.

A cold path: `lateen compile`, `lateen proxy-config`, golden files.
"""

import json
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any, Final

from google.protobuf import json_format

from controlplane.snapshot.messages import message
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.routes import is_placeholder, route_of, whole_route
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

REDACTED: Final = "[redacted]"

_SECTIONS: Final = {
    "listeners": LISTENER,
    "clusters": CLUSTER,
    "routes": ROUTE,
    "endpoints": ENDPOINT,
    "secrets": SECRET,
}

# Messages that may lie in an `Any`, and what they are made of: JSON cannot be written of a type nobody imported.
TYPES: Final = (
    "envoy.extensions.access_loggers.file.v3.file_pb2",
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2",
    "envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2",
    "envoy.extensions.filters.http.cors.v3.cors_pb2",
    "envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2",
    "envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2",
    "envoy.extensions.filters.http.fault.v3.fault_pb2",
    "envoy.extensions.filters.http.grpc_stats.v3.config_pb2",
    "envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2",
    "envoy.extensions.filters.http.jwt_authn.v3.config_pb2",
    "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.http.router.v3.router_pb2",
    "envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2",
    "envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2",
    "envoy.extensions.filters.listener.original_src.v3.original_src_pb2",
    "envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2",
    "envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2",
    "envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.filters.network.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2",
    "envoy.extensions.filters.network.sni_cluster.v3.sni_cluster_pb2",
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.sni_dynamic_forward_proxy_pb2",
    "envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2",
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2",
    "envoy.extensions.matching.common_inputs.transport_socket.v3.transport_socket_inputs_pb2",
    "envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2",
    "envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2",
    "envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2",
    "envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2",
    "envoy.extensions.transport_sockets.tls.v3.common_pb2",
    "envoy.extensions.transport_sockets.tls.v3.secret_pb2",
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
)

# Fields of type map, and those whose content is a `Struct` (or a map of them): maps all the way down.
_MAPS: Final = frozenset({"typedFilterMetadata", "typedPerFilterConfig", "typedExtensionProtocolOptions"})
_FREE: Final = frozenset({"filterMetadata", "jsonFormat", "typedJsonFormat"})


@cache
def register_types() -> None:
    """Makes every message that we ever put into an `Any` known to protobuf."""
    for module in TYPES:
        import_module(module)


def document(resources: Iterable[Resource], *, show_secrets: bool = False) -> dict[str, list[dict[str, Any]]]:
    """All of one proxy's configuration: `listeners`, `clusters`, `routes`, `endpoints`, `secrets`, each by name."""
    by_type: dict[str, list[Resource]] = {}
    for resource in sorted(resources, key=lambda resource: resource.name):
        by_type.setdefault(resource.type_url, []).append(resource)
    by_type[ROUTE] = _whole(by_type.get(ROUTE, []), by_type.get(VIRTUAL_HOST, []))
    return {
        section: [message_dict(resource, show_secrets=show_secrets) for resource in by_type.get(type_url, [])]
        for section, type_url in _SECTIONS.items()
    }


def message_dict(resource: Resource, *, show_secrets: bool = False) -> dict[str, Any]:
    """One resource in protobuf JSON, with `@type` in every `Any`."""
    register_types()
    decoded = message(resource)
    if resource.type_url == SECRET and not show_secrets:
        redact(decoded)
    plain = json.loads(json_format.MessageToJson(decoded))  # `MessageToDict` mixes in other mappings
    return {key: _steady(value, is_map=key in _MAPS, is_free=key in _FREE) for key, value in plain.items()}


def _steady(value: Any, *, is_map: bool = False, is_free: bool = False) -> Any:
    """Protobuf's maps come in an order that changes from process to process: theirs is made that of their keys.

    Fields keep the order of their messages.
    """
    if isinstance(value, list):
        return [_steady(item, is_free=is_free) for item in value]
    if not isinstance(value, dict):
        return value
    keys = sorted(value) if is_map or is_free else value
    return {key: _steady(value[key], is_map=key in _MAPS, is_free=is_free or key in _FREE) for key in keys}


def redact(secret: Any) -> None:
    """Takes private parts out of a `Secret`; names of files are not private."""
    for owner, field in (
        (secret.tls_certificate, "private_key"),
        (secret.tls_certificate, "password"),
        (secret.generic_secret, "secret"),
    ):
        if owner.HasField(field) and getattr(owner, field).WhichOneof("specifier") != "filename":
            getattr(owner, field).inline_string = REDACTED
    for key in secret.session_ticket_keys.keys:
        key.inline_string = REDACTED


def _whole(tables: Iterable[Resource], hosts: Iterable[Resource]) -> list[Resource]:
    """Route configurations with their hosts inside, as a proxy without VHDS gets them."""
    by_table: dict[str, list[Resource]] = {}
    for host in hosts:
        if not is_placeholder(host.name):
            by_table.setdefault(route_of(host.name), []).append(host)
    return [whole_route(table, by_table.get(table.name, ())) for table in tables]
