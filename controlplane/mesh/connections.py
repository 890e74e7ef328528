"""connectionPool, outlierDetection and tls -> limits, ejection and security of connections.

Protobuf cannot tell 0 from absent for the plain numbers of a pool, so there 0 means the default, as in Istio.
"""

from typing import Final

from controlplane.ir.policy import ConnectionPool, Keepalive, OutlierDetection, TlsMode, UpstreamTls
from controlplane.model import destinationrule as api

SYSTEM_CERTIFICATES: Final = "system"
_NO_TCP: Final = api.TCPSettings()
_NO_HTTP: Final = api.HTTPSettings()
_NO_PINGS: Final = api.Http2KeepAlive()
_TLS_MODES: Final = {
    api.ClientTLSMode.DISABLE: TlsMode.DISABLE,
    api.ClientTLSMode.SIMPLE: TlsMode.SIMPLE,
    api.ClientTLSMode.MUTUAL: TlsMode.MUTUAL,
}
_PLAINTEXT: Final = UpstreamTls(TlsMode.DISABLE)


def connection_pool(settings: api.ConnectionPoolSettings, mesh: ConnectionPool) -> ConnectionPool:
    """A rule's pool; from the mesh it inherits the connect timeout and, field by field, the keep-alive."""
    tcp, http = settings.tcp or _NO_TCP, settings.http or _NO_HTTP
    pings = http.http2_keep_alive or _NO_PINGS
    return ConnectionPool(
        connect_timeout=tcp.connect_timeout or mesh.connect_timeout,
        max_connections=tcp.max_connections or None,
        tcp_idle_timeout=tcp.idle_timeout,
        max_connection_duration=tcp.max_connection_duration,
        keepalive=keepalive(tcp.tcp_keepalive, mesh.keepalive),
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_retries=http.max_retries or None,
        max_requests_per_connection=http.max_requests_per_connection or 0,
        max_concurrent_streams=http.max_concurrent_streams or None,
        http_idle_timeout=http.idle_timeout,
        use_client_protocol=bool(http.use_client_protocol),
        http2_keepalive_interval=pings.interval,
        http2_keepalive_timeout=pings.timeout,
    )


def keepalive(own: api.TcpKeepalive | None, mesh: Keepalive | None) -> Keepalive | None:
    """SO_KEEPALIVE: what a rule does not say, the mesh does."""
    if own is None:
        return mesh
    below = mesh or Keepalive()
    return Keepalive(own.probes or below.probes, own.time or below.time, own.interval or below.interval)


def http2_wish(settings: api.ConnectionPoolSettings | None) -> bool | None:
    """h2UpgradePolicy: True, False, or None for the mesh's."""
    policy = settings.http.h2_upgrade_policy if settings is not None and settings.http is not None else None
    if policy is None or policy is api.H2UpgradePolicy.DEFAULT:
        return None
    return policy is api.H2UpgradePolicy.UPGRADE


def outlier_detection(settings: api.OutlierDetection) -> OutlierDetection:
    """When an endpoint is ejected. `consecutiveErrors` is not read, as Istio does not read it any more."""
    split = bool(settings.split_external_local_origin_errors)
    return OutlierDetection(
        consecutive_5xx=settings.consecutive_5xx_errors,
        consecutive_gateway_errors=settings.consecutive_gateway_errors,
        split_local_origin=split,
        consecutive_local_origin_failures=(settings.consecutive_local_origin_failures or None) if split else None,
        interval=settings.interval,
        base_ejection_time=settings.base_ejection_time,
        max_ejection_percent=settings.max_ejection_percent or None,
        min_health_percent=settings.min_health_percent or 0,
        error_codes=settings.outlier_detection_http_error_codes,
    )


def upstream_tls(settings: api.ClientTLSSettings, *, verify: bool, certificates: bool) -> UpstreamTls | None:
    """TLS towards a destination.

    `verify`: without a bundle of its own the server is checked against the operating system's. `certificates`: proxies
    have identities; without, ISTIO_MUTUAL gives None, plaintext, and the rule's author is told (`destinationrule`).
    """
    if settings.mode is api.ClientTLSMode.ISTIO_MUTUAL:
        if not certificates:
            return None
        return UpstreamTls(TlsMode.MESH, subject_alt_names=settings.subject_alt_names, sni=settings.sni or "")
    mode = _TLS_MODES[settings.mode or api.ClientTLSMode.DISABLE]
    if mode is TlsMode.DISABLE:
        return _PLAINTEXT
    system = SYSTEM_CERTIFICATES if verify and not settings.insecure_skip_verify else ""
    return UpstreamTls(
        mode=mode,
        client_certificate=settings.client_certificate or "",
        private_key=settings.private_key or "",
        ca_certificates=settings.ca_certificates or ("" if settings.credential_name else system),
        ca_crl=settings.ca_crl or "",
        credential_name=settings.credential_name or "",
        subject_alt_names=settings.subject_alt_names,
        sni=settings.sni or "",
        skip_verify=bool(settings.insecure_skip_verify),
    )
