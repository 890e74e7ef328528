"""What a DestinationRule may say."""

from typing import Final

from controlplane.model.destinationrule import (
    BackendUtilization,
    ConnectionPoolSettings,
    ConsistentHashLB,
    DestinationRule,
    H2UpgradePolicy,
    HTTPCookie,
    HTTPSettings,
    LoadBalancerSettings,
    LocalityLbSetting,
    OutlierDetection,
    PortTrafficPolicy,
    RetryBudget,
    SimpleLB,
    Subset,
    TCPSettings,
    TrafficPolicy,
    Tunnel,
    Warmup,
)
from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.validate.common import (
    check_at_least,
    check_duration,
    check_export_to,
    check_header_name,
    check_host,
    check_labels,
    check_name,
    check_object_name,
    check_percent,
    check_port,
    deprecated,
    each,
    exclusive,
    is_fqdn,
    is_ip,
    required,
    unique,
)
from controlplane.model.validate.findings import Findings
from controlplane.model.validate.tls import check_client_tls

MAX_PORT_POLICIES: Final = 4096
MAX_RING: Final = 8_388_608  # Envoy's limit of virtual nodes
MAX_MAGLEV: Final = 5_000_011  # Envoy's limit of the table
_HASH_KEYS: Final = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")


def validate_destination_rule(rule: DestinationRule) -> tuple[Problem, ...]:
    """All that is wrong with a DestinationRule by itself."""
    found = Findings(ref_of(rule))
    spec = rule.spec
    check_object_name(found, "metadata.name", rule.meta.name)
    if required(found, "spec.host", spec.host):
        check_host(found, "spec.host", spec.host)
    check_export_to(found, "spec.exportTo", spec.export_to)
    if spec.workload_selector is not None:
        check_labels(found, "spec.workloadSelector.matchLabels", spec.workload_selector.match_labels)
    if spec.traffic_policy is not None:
        check_traffic_policy(found, "spec.trafficPolicy", spec.traffic_policy)
    unique(found, "spec.subsets", (subset.name for subset in spec.subsets), field=".name")
    each(found, "spec.subsets", spec.subsets, _check_subset)
    return found.done()


def _check_subset(found: Findings, path: str, subset: Subset) -> None:
    if required(found, f"{path}.name", subset.name):
        check_name(found, f"{path}.name", subset.name)
    check_labels(found, f"{path}.labels", subset.labels)
    if subset.traffic_policy is not None:
        check_traffic_policy(found, f"{path}.trafficPolicy", subset.traffic_policy)


def check_traffic_policy(found: Findings, path: str, policy: TrafficPolicy) -> None:
    """The policy of a destination or subset."""
    _check_blocks(found, path, policy)
    ports = policy.port_level_settings
    if len(ports) > MAX_PORT_POLICIES:
        message = f"has {len(ports)} entries; at most {MAX_PORT_POLICIES}"
        found.error("InvalidValue", f"{path}.portLevelSettings[{MAX_PORT_POLICIES}]", message)
    numbers = (one.port.number if one.port else None for one in ports)
    unique(found, f"{path}.portLevelSettings", numbers, field=".port")
    each(found, f"{path}.portLevelSettings", ports, _check_port_policy)
    if policy.tunnel is not None:
        _check_tunnel(found, f"{path}.tunnel", policy.tunnel)
    if policy.retry_budget is not None:
        _check_retry_budget(found, f"{path}.retryBudget", policy.retry_budget)


def _check_port_policy(found: Findings, path: str, policy: PortTrafficPolicy) -> None:
    number = policy.port.number if policy.port else None
    if required(found, f"{path}.port.number", number):
        check_port(found, f"{path}.port.number", number)
    _check_blocks(found, path, policy)


def _check_blocks(found: Findings, path: str, policy: TrafficPolicy | PortTrafficPolicy) -> None:
    if policy.load_balancer is not None:
        _check_load_balancer(found, f"{path}.loadBalancer", policy.load_balancer)
    if policy.connection_pool is not None:
        check_connection_pool(found, f"{path}.connectionPool", policy.connection_pool)
    if policy.outlier_detection is not None:
        check_outlier_detection(found, f"{path}.outlierDetection", policy.outlier_detection)
    if policy.tls is not None:
        check_client_tls(found, f"{path}.tls", policy.tls)


def check_connection_pool(found: Findings, path: str, pool: ConnectionPoolSettings) -> None:
    """Limits for connections."""
    if pool.tcp is not None:
        _check_tcp(found, f"{path}.tcp", pool.tcp)
    if pool.http is not None:
        _check_http(found, f"{path}.http", pool.http)


def _check_tcp(found: Findings, path: str, tcp: TCPSettings) -> None:
    check_at_least(found, f"{path}.maxConnections", tcp.max_connections)
    check_duration(found, f"{path}.connectTimeout", tcp.connect_timeout)
    check_duration(found, f"{path}.maxConnectionDuration", tcp.max_connection_duration, zero=True)
    check_duration(found, f"{path}.idleTimeout", tcp.idle_timeout, zero=True)
    if tcp.tcp_keepalive is not None:
        check_duration(found, f"{path}.tcpKeepalive.time", tcp.tcp_keepalive.time)
        check_duration(found, f"{path}.tcpKeepalive.interval", tcp.tcp_keepalive.interval)


def _check_http(found: Findings, path: str, http: HTTPSettings) -> None:
    check_at_least(found, f"{path}.http1MaxPendingRequests", http.http1_max_pending_requests)
    check_at_least(found, f"{path}.http2MaxRequests", http.http2_max_requests)
    check_at_least(found, f"{path}.maxRequestsPerConnection", http.max_requests_per_connection)
    check_at_least(found, f"{path}.maxRetries", http.max_retries)
    check_at_least(found, f"{path}.maxConcurrentStreams", http.max_concurrent_streams)
    check_duration(found, f"{path}.idleTimeout", http.idle_timeout, zero=True)
    if http.http2_keep_alive is not None:
        check_duration(found, f"{path}.http2KeepAlive.interval", http.http2_keep_alive.interval)
        check_duration(found, f"{path}.http2KeepAlive.timeout", http.http2_keep_alive.timeout)
    if http.use_client_protocol and http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE:
        found.error("ConflictingFields", path, "useClientProtocol excludes h2UpgradePolicy UPGRADE; keep one")


def check_outlier_detection(found: Findings, path: str, outlier: OutlierDetection) -> None:
    """When an endpoint is left alone."""
    deprecated(found, path, outlier, {"consecutiveErrors": "consecutive5xxErrors or consecutiveGatewayErrors"})
    check_duration(found, f"{path}.interval", outlier.interval)
    check_duration(found, f"{path}.baseEjectionTime", outlier.base_ejection_time)
    check_percent(found, f"{path}.maxEjectionPercent", outlier.max_ejection_percent)
    check_percent(found, f"{path}.minHealthPercent", outlier.min_health_percent)
    if outlier.consecutive_local_origin_failures is not None and not outlier.split_external_local_origin_errors:
        message = "has no effect without splitExternalLocalOriginErrors: true"
        found.warn("NoEffect", f"{path}.consecutiveLocalOriginFailures", message)
    for i, code in enumerate(outlier.outlier_detection_http_error_codes):
        if not 100 <= code <= 599:
            at = f"{path}.outlierDetectionHttpErrorCodes[{i}]"
            found.error("InvalidStatus", at, f"must be a status code between 100 and 599; found {code}")


def _check_load_balancer(found: Findings, path: str, lb: LoadBalancerSettings) -> None:
    deprecated(found, path, lb, {"warmupDurationSecs": "warmup.duration"})
    if lb.simple is SimpleLB.LEAST_CONN:
        found.warn("DeprecatedField", f"{path}.simple", "LEAST_CONN is deprecated; use LEAST_REQUEST")
    exclusive(found, path, lb, ("simple", "consistentHash"))
    if lb.consistent_hash is not None:
        _check_consistent_hash(found, f"{path}.consistentHash", lb.consistent_hash)
    if lb.locality_lb_setting is not None:
        check_locality(found, f"{path}.localityLbSetting", lb.locality_lb_setting)
    if lb.warmup is not None:
        _check_warmup(found, f"{path}.warmup", lb.warmup)
    check_duration(found, f"{path}.warmupDurationSecs", lb.warmup_duration_secs, zero=True)
    if lb.backend_utilization is not None:
        _check_utilization(found, f"{path}.backendUtilization", lb.backend_utilization)
    slow = lb.warmup is not None or lb.warmup_duration_secs is not None
    if slow and (lb.consistent_hash is not None or lb.simple in {SimpleLB.RANDOM, SimpleLB.PASSTHROUGH}):
        at = f"{path}.warmup" if lb.warmup is not None else f"{path}.warmupDurationSecs"
        found.warn("NoEffect", at, "only ROUND_ROBIN and LEAST_REQUEST warm endpoints up")


def _check_utilization(found: Findings, path: str, settings: BackendUtilization) -> None:
    check_duration(found, f"{path}.blackoutPeriod", settings.blackout_period, zero=True)
    check_duration(found, f"{path}.weightExpirationPeriod", settings.weight_expiration_period, zero=True)
    check_duration(found, f"{path}.weightUpdatePeriod", settings.weight_update_period)
    check_at_least(found, f"{path}.errorUtilizationPenalty", settings.error_utilization_penalty)


def _check_consistent_hash(found: Findings, path: str, lb: ConsistentHashLB) -> None:
    deprecated(found, path, lb, {"minimumRingSize": "ringHash.minimumRingSize"})
    exclusive(found, path, lb, _HASH_KEYS, need_one=True)
    exclusive(found, path, lb, ("ringHash", "maglev"))
    if lb.use_source_ip is False:
        found.error("InvalidLoadBalancer", f"{path}.useSourceIp", "false is no hash key; set true or another key")
    if lb.http_header_name is not None:
        check_header_name(found, f"{path}.httpHeaderName", lb.http_header_name.removeprefix(":"))
    if lb.http_cookie is not None:
        _check_cookie(found, f"{path}.httpCookie", lb.http_cookie)
    if lb.http_query_parameter_name is not None:
        required(found, f"{path}.httpQueryParameterName", lb.http_query_parameter_name)
    ring = lb.ring_hash.minimum_ring_size if lb.ring_hash else lb.minimum_ring_size
    if ring is not None and ring > MAX_RING:
        message = f"must be at most {MAX_RING}, Envoy's limit; found {ring}"
        found.error("InvalidLoadBalancer", f"{path}.ringHash", message)
    if lb.maglev is not None and lb.maglev.table_size is not None:
        _check_table_size(found, f"{path}.maglev.tableSize", lb.maglev.table_size)


def _check_table_size(found: Findings, path: str, size: int) -> None:
    if size > MAX_MAGLEV or not _is_prime(size):
        message = f"must be a prime of at most {MAX_MAGLEV}, or Envoy refuses it; found {size}"
        found.error("InvalidLoadBalancer", path, message)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _check_cookie(found: Findings, path: str, cookie: HTTPCookie) -> None:
    if required(found, f"{path}.name", cookie.name):
        check_header_name(found, f"{path}.name", cookie.name)  # a cookie name is the same token
    check_duration(found, f"{path}.ttl", cookie.ttl, zero=True)
    for i, attribute in enumerate(cookie.attributes):
        required(found, f"{path}.attributes[{i}].name", attribute.name)


def _check_warmup(found: Findings, path: str, warmup: Warmup) -> None:
    if required(found, f"{path}.duration", warmup.duration):
        check_duration(found, f"{path}.duration", warmup.duration)
    check_percent(found, f"{path}.minimumPercent", warmup.minimum_percent)
    check_at_least(found, f"{path}.aggression", warmup.aggression, 1)


def check_locality(found: Findings, path: str, setting: LocalityLbSetting) -> None:
    """One of distribute, failover, failoverPriority; weights that sum to 100."""
    modes = ("distribute", "failover", "failoverPriority")
    exclusive(found, path, setting, modes[:2])
    exclusive(found, path, setting, (modes[0], modes[2]))
    for i, one in enumerate(setting.distribute):
        at = f"{path}.distribute[{i}]"
        _check_locality_name(found, f"{at}.from", one.from_)
        for name in one.to:
            _check_locality_name(found, f"{at}.to[{name}]", name)
        if sum(one.to.values()) != 100:
            found.error("InvalidLocality", f"{at}.to", f"weights must sum to 100; these sum to {sum(one.to.values())}")
    for i, pair in enumerate(setting.failover):
        at = f"{path}.failover[{i}]"
        if pair.from_ == pair.to:
            found.error("InvalidLocality", at, f'"{pair.to}" cannot fail over to itself')
        for field, region in (("from", pair.from_), ("to", pair.to)):
            if not region or "/" in region or "*" in region:
                found.error("InvalidLocality", f"{at}.{field}", f'"{region}" is not a region, without zone or "*"')


def _check_locality_name(found: Findings, path: str, name: str) -> None:
    parts = name.split("/")
    wild = "*" in parts[:-1] or any("*" in part and part != "*" for part in parts)
    if not all(parts) or len(parts) > 3 or wild:
        message = f'"{name}" is not region/zone/sub-zone; "*" may stand at the end only'
        found.error("InvalidLocality", path, message)


def _check_tunnel(found: Findings, path: str, tunnel: Tunnel) -> None:
    if tunnel.protocol is not None and tunnel.protocol not in {"CONNECT", "POST"}:
        found.error("InvalidValue", f"{path}.protocol", f'must be CONNECT or POST; found "{tunnel.protocol}"')
    host = tunnel.target_host
    if required(found, f"{path}.targetHost", host) and not (is_fqdn(host) or is_ip(host)):
        found.error("InvalidHost", f"{path}.targetHost", f'"{host}" is not a host name or address')
    if required(found, f"{path}.targetPort", tunnel.target_port):
        check_port(found, f"{path}.targetPort", tunnel.target_port)


def _check_retry_budget(found: Findings, path: str, budget: RetryBudget) -> None:
    check_percent(found, f"{path}.percent", budget.percent)
    check_duration(found, f"{path}.budgetInterval", budget.budget_interval)
