"""How a cluster secures its connection to an endpoint: which of its transport sockets it takes, and what that says."""

from collections.abc import Mapping
from typing import Any, Final

from envoy.extensions.matching.common_inputs.transport_socket.v3 import transport_socket_inputs_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from controlplane.explain.outcome import PLAIN, Secured

_PREFIX: Final = "type.googleapis.com/envoy.extensions."
_TLS: Final = _PREFIX + "transport_sockets.tls.v3.UpstreamTlsContext"
_PROXY: Final = _PREFIX + "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_INPUTS: Final = _PREFIX + "matching.common_inputs.transport_socket.v3."
_CRITERIA: Final = "envoy.transport_socket_match"  # the metadata of endpoints that `transport_socket_matches` look at
_NONE: Final[Mapping[str, Any]] = {}

State = Mapping[str, str]


def secured(cluster: Any, metadata: Any | None, state: State) -> Secured:
    """`metadata`: the endpoint's, None for one it says nothing of; `state`: what the connection's filters set."""
    return _read(_socket(cluster, metadata, state))


def _socket(cluster: Any, metadata: Any | None, state: State) -> Any:
    if cluster.HasField("transport_socket_matcher"):
        name = _named(cluster.transport_socket_matcher, metadata, state)
        named = (one.transport_socket for one in cluster.transport_socket_matches if one.name == name)
        return next(named, cluster.transport_socket)
    own = _fields(metadata, _CRITERIA)
    fitting = (one.transport_socket for one in cluster.transport_socket_matches if _fits(one.match, own))
    return next(fitting, cluster.transport_socket)


def _fits(wanted: Any, own: Mapping[str, Any]) -> bool:
    return all(key in own and own[key] == value for key, value in wanted.fields.items())


def _fields(metadata: Any | None, of: str) -> Mapping[str, Any]:
    return metadata.filter_metadata[of].fields if metadata is not None and of in metadata.filter_metadata else _NONE


def _named(matcher: Any, metadata: Any | None, state: State) -> str:
    """The name a matcher tree of exact values comes to; "" for none. Envoy knows others, and we make none of these."""
    tree = matcher.matcher_tree
    value = _input(tree.input.typed_config, metadata, state)
    branches = tree.exact_match_map.map
    found = branches.get(value, matcher.on_no_match)
    if found.WhichOneof("on_match") == "matcher":
        return _named(found.matcher, metadata, state)
    config = found.action.typed_config
    return str(transport_socket_inputs_pb2.TransportSocketNameAction.FromString(config.value).name)


def _input(config: Any, metadata: Any | None, state: State) -> str:
    if config.type_url == _INPUTS + "FilterStateInput":
        return state.get(transport_socket_inputs_pb2.FilterStateInput.FromString(config.value).key, "")
    asked = transport_socket_inputs_pb2.EndpointMetadataInput.FromString(config.value)
    found = _fields(metadata, asked.filter)
    key = asked.path[0].key
    return str(found[key].string_value) if key in found else ""


def _read(socket: Any) -> Secured:
    config = socket.typed_config
    if config.type_url == _PROXY:
        return _read(
            upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport.FromString(config.value).transport_socket
        )
    if config.type_url != _TLS:
        return PLAIN
    context = tls_pb2.UpstreamTlsContext.FromString(config.value)
    common = context.common_tls_context
    checks = common.combined_validation_context.default_validation_context
    names = tuple(_text(one.matcher) for one in checks.match_typed_subject_alt_names)
    own = [one.name for one in common.tls_certificate_sds_secret_configs]
    return Secured(
        tls=True,
        sni=context.sni,
        alpn=tuple(common.alpn_protocols),
        names=names,
        certificate=own[0] if own else "",
    )


def _text(matcher: Any) -> str:
    return f"{matcher.prefix}*" if matcher.WhichOneof("match_pattern") == "prefix" else str(matcher.exact)
