"""Mutual TLS of the mesh, towards servers: sockets that show the proxy's own identity and take those of the
destination alone.

Nearly every cluster has one, and they differ in a few names only. So the bytes of a socket are joined from what stands
before the names, the names, and what stands behind them; and what stands before depends on lengths alone.

A cluster whose port is sniffed carries HTTP and other bytes, and the server must know which before it reads them: all
it has by then is the ALPN of the handshake. Two sockets then differ in that. Connections of filter chains that forward
bytes carry a mark (`marked_as_bytes`), and by this mark the cluster chooses; what has no mark is a request, whoever
made it (docs/adr/0011-mesh-tls.md).
"""

from functools import lru_cache
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.matching.common_inputs.transport_socket.v3 import transport_socket_inputs_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from google.protobuf import any_pb2
from xds.type.matcher.v3 import matcher_pb2

from controlplane.envoy import tls, wire
from controlplane.envoy.any import packed
from controlplane.ir import names as ir_names
from controlplane.ir.cluster import MeshTls, Upstream

RAW_SOCKET: Final = "envoy.transport_sockets.raw_buffer"
MATCH_FILTER: Final = "envoy.transport_socket_match"  # the metadata of endpoints that sockets are chosen by
MODE: Final = "tlsMode"
MUTUAL: Final = "istio"
MARK_FILTER: Final = "envoy.filters.network.set_filter_state"

_MARK: Final = "io.lateen.protocol"
_BYTES: Final = "bytes"
# Names of sockets, as Istio gives them.
_SOCKET_MUTUAL: Final = "tlsMode-istio"
_SOCKET_MUTUAL_BYTES: Final = "tlsMode-istio-bytes"
_SOCKET_PLAIN: Final = "tlsMode-disabled"
_ALONE: Final = ""  # the only one has none

# Servers know calls of the mesh, and whether they are HTTP, by these.
_HTTP1: Final = ("istio-http/1.1", "istio")
_HTTP2: Final = ("istio-h2", "istio", "h2")
_OTHER: Final = ("istio",)
_ALPN: Final = {Upstream.HTTP1: _HTTP1, Upstream.HTTP2: _HTTP2, Upstream.AUTO: _HTTP1, Upstream.TCP: _OTHER}

_OnMatch = matcher_pb2.Matcher.OnMatch
_Match = cluster_pb2.Cluster.TransportSocketMatch
_Socket = base_pb2.TransportSocket
_Common = tls_pb2.CommonTlsContext
_Combined = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext
_Validation = common_pb2.CertificateValidationContext

_MATCHES: Final = wire.embedded(cluster_pb2.Cluster, "transport_socket_matches")
_MATCHER: Final = wire.embedded(cluster_pb2.Cluster, "transport_socket_matcher")
_SOCKET: Final = wire.embedded(cluster_pb2.Cluster, "transport_socket")
_SOCKET_OF_MATCH: Final = wire.embedded(_Match, "transport_socket")
_TLS_NAME: Final = wire.text(_Socket, "name")(tls.TLS_SOCKET)
_TLS_CONFIG: Final = wire.embedded(_Socket, "typed_config")
_TYPE_URL: Final = wire.text(any_pb2.Any, "type_url")(
    f"type.googleapis.com/{tls_pb2.UpstreamTlsContext.DESCRIPTOR.full_name}"
)
_VALUE: Final = wire.embedded(any_pb2.Any, "value")
_COMMON: Final = wire.embedded(tls_pb2.UpstreamTlsContext, "common_tls_context")
_SNI: Final = wire.text(tls_pb2.UpstreamTlsContext, "sni")
_COMBINED: Final = wire.embedded(_Common, "combined_validation_context")
_CHECKS: Final = wire.embedded(_Combined, "default_validation_context")
_ROOTS: Final = wire.encoded(_Combined(validation_context_sds_secret_config=tls.secret_config(ir_names.ROOT_SECRET)))


def fields(mesh: MeshTls, upstream: Upstream) -> bytes:
    """The fields of a `Cluster` that say how its connections are secured. `upstream`: the HTTP it speaks."""
    names = _names(mesh.names) if mesh.names else _members(mesh.trust_domains)
    sni = mesh.sni.encode()
    if not (mesh.by_endpoint or mesh.sniffed):
        return _placed(_ALONE, _ALPN[upstream], names, sni)
    found = _placed(_SOCKET_MUTUAL, _ALPN[upstream], names, sni)
    if mesh.sniffed:
        found += _placed(_SOCKET_MUTUAL_BYTES, _OTHER, names, sni) + _matcher(by_endpoint=mesh.by_endpoint)
    return found + _plain() if mesh.by_endpoint else found


def _placed(socket: str, alpn: tuple[str, ...], names: bytes, sni: bytes) -> bytes:
    """A field of a `Cluster` with a socket."""
    before, between = _around(socket, alpn, len(names), len(sni))
    return before + names + between + sni


@lru_cache(maxsize=16_384)
def _around(socket: str, alpn: tuple[str, ...], names: int, sni: int) -> tuple[bytes, bytes]:
    """What stands before the names to check, and between them and the server's name, by the lengths of both."""
    common = _Common(alpn_protocols=alpn)
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3
    common.tls_certificate_sds_secret_configs.append(tls.secret_config(ir_names.WORKLOAD_SECRET))
    between = _ROOTS + _SNI("x" * sni)[:-sni]
    context = _COMMON(wire.encoded(common) + _COMBINED(_CHECKS(bytes(names)) + _ROOTS)) + _SNI("x" * sni)
    inner = _TLS_NAME + _TLS_CONFIG(_TYPE_URL + _VALUE(context))
    whole = _SOCKET(inner) if socket == _ALONE else _MATCHES(_criteria(socket) + _SOCKET_OF_MATCH(inner))
    return whole[: len(whole) - names - len(between) - sni], between


def _names(names: tuple[str, ...]) -> bytes:
    """The names of a `CertificateValidationContext`."""
    return b"".join([_identity(name.encode()) if "://" in name else _name(name) for name in names])


def _name(name: str) -> bytes:
    return wire.encoded(_Validation(match_typed_subject_alt_names=[tls.exactly(name)]))


def _identity(name: bytes) -> bytes:
    """The same as `_name` for a URI, which nearly all are."""
    return _before_identity(len(name)) + name


@lru_cache(maxsize=1024)
def _before_identity(length: int) -> bytes:
    like = _name("://".ljust(length, "x"))
    return like[: len(like) - length]


@lru_cache(maxsize=16)
def _members(trust_domains: tuple[str, ...]) -> bytes:
    """The same for every workload of these trust domains."""
    return wire.encoded(_Validation(match_typed_subject_alt_names=map(tls.anybody_of, trust_domains)))


@lru_cache(maxsize=16)
def _criteria(name: str) -> bytes:
    """The fields of a `TransportSocketMatch` beside its socket: its name, and which endpoints it is for."""
    match = _Match(name=name)
    match.match.SetInParent()
    if name == _SOCKET_MUTUAL:
        match.match[MODE] = MUTUAL
    return wire.encoded(match)


@lru_cache(maxsize=1)
def _plain() -> bytes:
    """For endpoints that ask for nothing."""
    raw = _Socket(name=RAW_SOCKET, typed_config=packed(raw_buffer_pb2.RawBuffer()))
    return _MATCHES(_criteria(_SOCKET_PLAIN) + _SOCKET_OF_MATCH(wire.encoded(raw)))


@lru_cache(maxsize=2)
def _matcher(*, by_endpoint: bool) -> bytes:
    """Which socket a connection takes: by the mark of those that carry bytes, and by what the endpoint can do."""
    found = matcher_pb2.Matcher(on_no_match=_take(_SOCKET_MUTUAL))
    mark = transport_socket_inputs_pb2.FilterStateInput(key=_MARK)
    _branch(found, "envoy.matching.inputs.transport_socket_filter_state", mark, _BYTES, _take(_SOCKET_MUTUAL_BYTES))
    if by_endpoint:
        outer = matcher_pb2.Matcher(on_no_match=_take(_SOCKET_PLAIN))
        mode = transport_socket_inputs_pb2.EndpointMetadataInput(filter=MATCH_FILTER)
        mode.path.add(key=MODE)
        _branch(outer, "envoy.matching.inputs.endpoint_metadata", mode, MUTUAL, _OnMatch(matcher=found))
        found = outer
    return _MATCHER(wire.encoded(found))


def _branch(matcher: Any, name: str, asked: Any, value: str, then: Any) -> None:
    matcher.matcher_tree.input.name = name
    matcher.matcher_tree.input.typed_config.CopyFrom(packed(asked))
    matcher.matcher_tree.exact_match_map.map[value].CopyFrom(then)


def _take(name: str) -> Any:
    action = transport_socket_inputs_pb2.TransportSocketNameAction(name=name)
    found = _OnMatch()
    found.action.name = "envoy.matching.action.transport_socket.name"
    found.action.typed_config.CopyFrom(packed(action))
    return found


@lru_cache(maxsize=1)
def mark() -> Any:
    """The network filter that marks a connection as bytes: its `Config`."""
    config = set_filter_state_pb2.Config()
    value = config.on_new_connection.add(object_key=_MARK, factory_key="envoy.string")
    value.format_string.text_format_source.inline_string = _BYTES
    value.shared_with_upstream = value.ONCE
    return config
