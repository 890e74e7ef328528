"""Connection pools: circuit breaker thresholds, HTTP towards the endpoints, TCP keepalive."""

from typing import Any, Final

from envoy.config.cluster.v3 import circuit_breaker_pb2
from envoy.config.core.v3 import address_pb2, protocol_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from controlplane.envoy.duration import duration
from controlplane.ir.cluster import Upstream
from controlplane.ir.policy import ConnectionPool, Keepalive, OutlierDetection, RetryBudget, TrafficPolicy

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED: Final = 2**32 - 1
_MOST_STREAMS: Final = 2**31 - 1


def circuit_breakers(pool: ConnectionPool, budget: RetryBudget | None) -> Any:
    """`CircuitBreakers` with Envoy's small defaults lifted: 1024 and 3 trip long before anybody asked for limits."""
    breakers = circuit_breaker_pb2.CircuitBreakers()
    limits = breakers.thresholds.add(track_remaining=True)
    limits.max_connections.value = _limit(pool.max_connections)
    limits.max_pending_requests.value = _limit(pool.max_pending_requests)
    limits.max_requests.value = _limit(pool.max_requests)
    limits.max_retries.value = _limit(pool.max_retries)
    if budget is not None:
        limits.retry_budget.budget_percent.value = budget.percent
        limits.retry_budget.min_retry_concurrency.value = budget.min_concurrency
    return breakers


def _limit(value: int | None) -> int:
    return UNLIMITED if value is None else value


def http_options(policy: TrafficPolicy, upstream: Upstream, *, auto_sni: bool, auto_san: bool) -> Any | None:
    """`HttpProtocolOptions` of a cluster, or None where Envoy's default (HTTP/1.1, no limits) is what is meant."""
    options = http_protocol_options_pb2.HttpProtocolOptions()
    _set_common(options, policy.pool)
    _set_errors(options, policy.outlier)
    if auto_sni:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = auto_san
    speaks = _speaks(policy, upstream)
    if speaks is Upstream.HTTP2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(_http2(policy.pool))
    elif speaks is Upstream.AUTO:
        options.use_downstream_protocol_config.http_protocol_options.SetInParent()
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(_http2(policy.pool))
    elif options.ByteSize():
        options.explicit_http_config.http_protocol_options.SetInParent()
    else:
        return None
    return options


def _speaks(policy: TrafficPolicy, upstream: Upstream) -> Upstream:
    if policy.http2 or upstream is Upstream.HTTP2:
        return Upstream.HTTP2
    return Upstream.AUTO if policy.pool.use_client_protocol else upstream


def is_http2(policy: TrafficPolicy, upstream: Upstream) -> bool:
    """Whether every connection to the endpoints is HTTP/2."""
    return _speaks(policy, upstream) is Upstream.HTTP2


def _set_common(options: Any, pool: ConnectionPool) -> None:
    common = protocol_pb2.HttpProtocolOptions()
    idle = pool.http_idle_timeout if pool.http_idle_timeout is not None else pool.tcp_idle_timeout
    if idle is not None:
        common.idle_timeout.CopyFrom(duration(idle))
    if pool.max_connection_duration is not None:
        common.max_connection_duration.CopyFrom(duration(pool.max_connection_duration))
    if pool.max_requests_per_connection:
        common.max_requests_per_connection.value = pool.max_requests_per_connection
    if common.ByteSize():
        options.common_http_protocol_options.CopyFrom(common)


def _set_errors(options: Any, outlier: OutlierDetection | None) -> None:
    """Which answers count against an endpoint, when not every 5xx does."""
    if outlier is None or not outlier.error_codes:
        return
    matcher = options.outlier_detection.error_matcher
    rules = [matcher] if len(outlier.error_codes) == 1 else [matcher.or_match.rules.add() for _ in outlier.error_codes]
    for rule, code in zip(rules, outlier.error_codes, strict=True):
        header = rule.http_response_headers_match.headers.add(name=":status")
        header.string_match.exact = str(code)


def _http2(pool: ConnectionPool) -> Any:
    """HTTP/2 with as many streams on a connection as the server admits: Envoy stops at 1024 by itself since 1.36."""
    options = protocol_pb2.Http2ProtocolOptions()
    limit = pool.max_concurrent_streams
    options.max_concurrent_streams.value = _MOST_STREAMS if limit is None else limit
    if pool.http2_keepalive_interval is not None:
        options.connection_keepalive.interval.CopyFrom(duration(pool.http2_keepalive_interval))
    if pool.http2_keepalive_timeout is not None:
        options.connection_keepalive.timeout.CopyFrom(duration(pool.http2_keepalive_timeout))
    return options


def tcp_keepalive(keepalive: Keepalive) -> Any:
    """`TcpKeepalive`: whole seconds, at least one."""
    message = address_pb2.TcpKeepalive()
    if keepalive.probes is not None:
        message.keepalive_probes.value = keepalive.probes
    if keepalive.time is not None:
        message.keepalive_time.value = max(1, int(keepalive.time.total_seconds()))
    if keepalive.interval is not None:
        message.keepalive_interval.value = max(1, int(keepalive.interval.total_seconds()))
    return message
