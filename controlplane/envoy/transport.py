"""Transport sockets of clusters: what lies between the HTTP or TCP of a connection and its bytes."""

from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, proxy_protocol_pb2

from controlplane.envoy import mesh_tls, pool, refs, tls, wire
from controlplane.envoy.any import packed
from controlplane.ir.cluster import Cluster, Upstream
from controlplane.ir.policy import TlsMode, UpstreamTls
from controlplane.snapshot.resource import Ref

_PROXY_SOCKET: Final = "envoy.transport_sockets.upstream_proxy_protocol"
_SOCKET: Final = wire.embedded(cluster_pb2.Cluster, "transport_socket")
_VERIFIED: Final = (TlsMode.SIMPLE, TlsMode.MUTUAL)
_VERSIONS: Final = {
    1: proxy_protocol_pb2.ProxyProtocolConfig.V1,
    2: proxy_protocol_pb2.ProxyProtocolConfig.V2,
}


def fields(cluster: Cluster, client: UpstreamTls | None) -> bytes:
    """The fields of a `Cluster` that say how its connections are secured; none for plain bytes.

    `client`: here and below, the cluster's `client_tls`.
    """
    made = _secured(cluster, client)
    if cluster.policy.proxy_protocol is None:
        return made
    return _behind_header(_VERSIONS[cluster.policy.proxy_protocol], made)


def _secured(cluster: Cluster, client: UpstreamTls | None) -> bytes:
    if cluster.mesh_tls is not None:
        return mesh_tls.fields(cluster.mesh_tls, _speaks(cluster))
    return b"" if client is None else _SOCKET(wire.encoded(_socket(tls.TLS_SOCKET, _context(cluster, client))))


def client_tls(cluster: Cluster) -> UpstreamTls | None:
    """The TLS a rule asks for towards its endpoints, that of the mesh apart."""
    asked = cluster.policy.tls
    return asked if asked is not None and asked.mode in _VERIFIED else None


def secrets(client: UpstreamTls | None) -> tuple[Ref, ...]:
    """The secrets its TLS asks for."""
    return () if client is None else refs.in_order(refs.secret(name) for name in tls.upstream_secrets(client) if name)


def wants_auto_sni(client: UpstreamTls | None) -> bool:
    """With no SNI of its own, a connection takes the host of its first request."""
    return client is not None and not client.sni


def wants_auto_san(cluster: Cluster, client: UpstreamTls | None, *, verify: bool) -> bool:
    """The name that was called is the name the certificate must have, where no rule lists others."""
    return client is not None and verify and not _sans(cluster, client) and tls.verifies(client)


def _sans(cluster: Cluster, client: UpstreamTls) -> tuple[str, ...]:
    return client.subject_alt_names or cluster.service_sans


def _context(cluster: Cluster, client: UpstreamTls) -> Any:
    alpn = ("h2",) if _speaks(cluster) is Upstream.HTTP2 else ()
    return tls.upstream_context(client, sni=client.sni, sans=_sans(cluster, client), alpn=alpn)


def _speaks(cluster: Cluster) -> Upstream:
    """HTTP/2 also where a policy wishes it."""
    return Upstream.HTTP2 if pool.is_http2(cluster.policy, cluster.upstream) else cluster.upstream


def _socket(name: str, config: Any) -> Any:
    return base_pb2.TransportSocket(name=name, typed_config=packed(config))


def _behind_header(version: int, made: bytes) -> bytes:
    """The same with a PROXY header before everything else. Rare, so it may be taken apart and put together again."""
    from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2  # noqa: PLC0415  rare

    cluster = cluster_pb2.Cluster.FromString(made)
    for match in cluster.transport_socket_matches:
        match.transport_socket.CopyFrom(_with_header(version, match.transport_socket))
    if not cluster.transport_socket_matches:
        bare = not cluster.HasField("transport_socket")
        raw = _socket(mesh_tls.RAW_SOCKET, raw_buffer_pb2.RawBuffer())
        cluster.transport_socket.CopyFrom(_with_header(version, raw if bare else cluster.transport_socket))
    return wire.encoded(cluster)


def _with_header(version: int, inner: Any) -> Any:
    from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2  # noqa: PLC0415  rare

    outer = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport()
    outer.config.version = version
    outer.transport_socket.CopyFrom(inner)
    return _socket(_PROXY_SOCKET, outer)
