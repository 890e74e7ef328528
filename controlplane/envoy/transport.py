"""Transport sockets of clusters: what lies between the HTTP or TCP of a connection and its bytes."""

from typing import Any, Final

from envoy.config.core.v3 import base_pb2, proxy_protocol_pb2

from controlplane.envoy import pool, refs, tls
from controlplane.envoy.any import packed
from controlplane.ir import names
from controlplane.ir.cluster import Cluster, Upstream
from controlplane.ir.policy import TlsMode, UpstreamTls
from controlplane.snapshot.resource import Ref

_PROXY_SOCKET: Final = "envoy.transport_sockets.upstream_proxy_protocol"
_RAW_SOCKET: Final = "envoy.transport_sockets.raw_buffer"

# Servers know calls of the mesh by these protocols; with no filter that sees the caller's HTTP version, the cluster's
# own protocol decides.
_MESH_ALPN: Final = {
    Upstream.HTTP1: ("istio-http/1.1", "istio"),
    Upstream.HTTP2: ("istio-h2", "istio", "h2"),
    Upstream.AUTO: ("istio",),
    Upstream.TCP: ("istio",),
}
_VERSIONS: Final = {
    1: proxy_protocol_pb2.ProxyProtocolConfig.V1,
    2: proxy_protocol_pb2.ProxyProtocolConfig.V2,
}


def client_tls(cluster: Cluster) -> UpstreamTls | None:
    """The TLS this cluster speaks to its endpoints. `AUTO` is plaintext until proxies have identities."""
    tls_policy = cluster.policy.tls
    if tls_policy is None or tls_policy.mode in (TlsMode.DISABLE, TlsMode.AUTO):
        return None
    return tls_policy


def transport_socket(cluster: Cluster) -> Any | None:
    """A `TransportSocket`, or None for plain bytes."""
    client = client_tls(cluster)
    inner = None if client is None else _socket(tls.TLS_SOCKET, _context(cluster, client))
    if cluster.policy.proxy_protocol is None:
        return inner
    return _proxy_protocol(_VERSIONS[cluster.policy.proxy_protocol], inner)


def secrets(cluster: Cluster) -> tuple[Ref, ...]:
    """The secrets its TLS asks for."""
    client = client_tls(cluster)
    return () if client is None else refs.in_order(refs.secret(name) for name in tls.upstream_secrets(client) if name)


def wants_auto_sni(cluster: Cluster) -> bool:
    """With no SNI of its own, a connection takes the host of its first request."""
    client = client_tls(cluster)
    return client is not None and client.mode is not TlsMode.MESH and not client.sni


def wants_auto_san(cluster: Cluster, *, verify: bool) -> bool:
    """The name that was called is the name the certificate must have, where no rule lists others."""
    client = client_tls(cluster)
    return verify and client is not None and not _sans(cluster, client) and tls.verifies(client)


def _sans(cluster: Cluster, client: UpstreamTls) -> tuple[str, ...]:
    return client.subject_alt_names or cluster.service_sans


def _context(cluster: Cluster, client: UpstreamTls) -> Any:
    mesh = client.mode is TlsMode.MESH
    sni = client.sni or (names.sni_cluster(cluster.host, cluster.port, cluster.subset) if mesh else "")
    return tls.upstream_context(client, sni=sni, sans=_sans(cluster, client), alpn=_alpn(cluster, mesh=mesh))


def _alpn(cluster: Cluster, *, mesh: bool) -> tuple[str, ...]:
    http2 = pool.is_http2(cluster.policy, cluster.upstream)
    if mesh:
        return _MESH_ALPN[Upstream.HTTP2 if http2 else cluster.upstream]
    return ("h2",) if http2 else ()


def _socket(name: str, config: Any) -> Any:
    return base_pb2.TransportSocket(name=name, typed_config=packed(config))


def _proxy_protocol(version: int, inner: Any | None) -> Any:
    from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2  # noqa: PLC0415  rare
    from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2  # noqa: PLC0415  rare

    outer = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport()
    outer.config.version = version
    outer.transport_socket.CopyFrom(inner if inner is not None else _socket(_RAW_SOCKET, raw_buffer_pb2.RawBuffer()))
    return _socket(_PROXY_SOCKET, outer)
