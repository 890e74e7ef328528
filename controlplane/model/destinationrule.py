"""DestinationRule: what a client does with a connection once the destination is known."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.value import Duration, Int32, Mark, UInt32, UInt64, Value, WireEnum


class SimpleLB(WireEnum):
    """Load balancing without a key."""

    UNSPECIFIED = "UNSPECIFIED", 0
    LEAST_CONN = "LEAST_CONN", 1  # deprecated: LEAST_REQUEST
    RANDOM = "RANDOM", 2
    PASSTHROUGH = "PASSTHROUGH", 3
    ROUND_ROBIN = "ROUND_ROBIN", 4
    LEAST_REQUEST = "LEAST_REQUEST", 5


class H2UpgradePolicy(WireEnum):
    """Whether HTTP/1.1 connections to a destination become HTTP/2."""

    DEFAULT = "DEFAULT", 0
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE", 1
    UPGRADE = "UPGRADE", 2


class ClientTLSMode(WireEnum):
    """How a client secures a connection."""

    DISABLE = "DISABLE", 0
    SIMPLE = "SIMPLE", 1
    MUTUAL = "MUTUAL", 2
    ISTIO_MUTUAL = "ISTIO_MUTUAL", 3


class ProxyProtocolVersion(WireEnum):
    """Version of the PROXY protocol header."""

    V1 = "V1", 0
    V2 = "V2", 1


class CookieAttribute(Value):
    """An attribute of a generated cookie, such as `SameSite`."""

    name: str = ""  # Name of the attribute.
    value: str | None = None  # Its value; absent for attributes such as Secure.


class HTTPCookie(Value):
    """A cookie as hash key; it is made when the request has none and `ttl` is set."""

    name: str = ""  # Name of the cookie.
    path: str | None = None  # Path to set for the cookie.
    ttl: Duration | None = None  # Lifetime of the cookie; 0s makes a session cookie.
    attributes: tuple[CookieAttribute, ...] = ()  # Further attributes of a generated cookie.


class RingHash(Value):
    """Ketama-like consistent hashing."""

    minimum_ring_size: UInt64 | None = None  # Least number of virtual nodes on the ring; default 1024.


class Maglev(Value):
    """Consistent hashing by a lookup table."""

    table_size: UInt64 | None = None  # Size of the table, a prime; default 65537.


class ConsistentHashLB(Value):
    """Soft session affinity: one hash key, and how the ring is made."""

    http_header_name: str | None = None  # Hash on this request header.
    http_cookie: HTTPCookie | None = None  # Hash on a cookie.
    use_source_ip: bool | None = None  # Hash on the source IP address.
    http_query_parameter_name: str | None = None  # Hash on this query parameter.
    ring_hash: RingHash | None = None  # The default.
    maglev: Maglev | None = None  # Use Maglev instead of a ring.
    minimum_ring_size: UInt64 | None = None  # Deprecated: use ringHash.minimumRingSize.


class Distribute(Value):
    """Weights of localities for callers of one locality."""

    from_: str = msgspec.field(default="", name="from")  # Locality of the callers: region/zone/sub-zone.
    to: Mapping[str, UInt32] = {}  # Weight for each upstream locality; they sum to 100.


class Failover(Value):
    """Where a region fails over to."""

    from_: str = msgspec.field(default="", name="from")  # Region of the callers.
    to: str = ""  # Region that takes over.


class LocalityLbSetting(Value):
    """How traffic spreads over localities; one of distribute, failover, failoverPriority."""

    distribute: tuple[Distribute, ...] = ()  # Explicit weights.
    failover: tuple[Failover, ...] = ()  # Explicit failover between regions.
    failover_priority: tuple[str, ...] = ()  # Labels, most important first, that rank endpoints for failover.
    enabled: bool | None = None  # Whether locality load balancing is on; default: the mesh's.


class ZoneAwareLbSetting(Value):
    """Envoy's own zone aware routing."""

    enabled: bool | None = None  # Whether it is on.
    min_cluster_size: UInt32 | None = None  # Least number of hosts for it to act; default 6.
    failover: tuple[Failover, ...] = ()  # Explicit failover between regions.
    failover_priority: tuple[str, ...] = ()  # Labels that rank endpoints for failover.


class BackendUtilization(Value):
    """Weights from the load that backends report (ORCA)."""

    blackout_period: Duration | None = None  # How long a new backend must report before its weight counts.
    weight_expiration_period: Duration | None = None  # How long a report is believed.
    weight_update_period: Duration | None = None  # How often weights are computed.
    error_utilization_penalty: float | None = None  # How much errors raise the utilization.
    metric_names_for_computing_utilization: tuple[str, ...] = ()  # Custom metrics to use.


class Warmup(Value):
    """Slow start of new endpoints."""

    duration: Duration | None = None  # How long a new endpoint warms up.
    minimum_percent: float | None = None  # Share of its weight an endpoint starts with; default 10.
    aggression: float | None = None  # Speed of the increase; 1 is linear, larger is faster at first.


class LoadBalancerSettings(Value):
    """How an endpoint is picked."""

    simple: SimpleLB | None = None  # Balancing without a key; default LEAST_REQUEST.
    consistent_hash: ConsistentHashLB | None = None  # Balancing by a key of the request.
    locality_lb_setting: LocalityLbSetting | None = None  # Overrides the mesh-wide setting as a whole.
    zone_aware_lb_setting: ZoneAwareLbSetting | None = None  # Zone aware routing by Envoy.
    backend_utilization: BackendUtilization | None = None  # Balancing by reported load.
    warmup: Warmup | None = None  # Slow start; with ROUND_ROBIN and LEAST_REQUEST only.
    warmup_duration_secs: Duration | None = None  # Deprecated: use warmup.duration.


class TcpKeepalive(Value):
    """SO_KEEPALIVE; what is absent is the operating system's."""

    probes: UInt32 | None = None  # Probes without answer before the connection is dead.
    time: Duration | None = None  # Idle time before the first probe.
    interval: Duration | None = None  # Time between probes.


class TCPSettings(Value):
    """Limits for all connections."""

    max_connections: Int32 | None = None  # Most connections to a destination; default 2^32-1.
    connect_timeout: Duration | None = None  # Default 10s.
    tcp_keepalive: TcpKeepalive | None = None  # Sets SO_KEEPALIVE.
    max_connection_duration: Duration | None = None  # Longest life of a connection; default none.
    idle_timeout: Duration | None = None  # Default 1h.


class Http2KeepAlive(Value):
    """HTTP/2 pings."""

    interval: Duration | None = None  # Time between pings.
    timeout: Duration | None = None  # Time to wait for the answer.


class HTTPSettings(Value):
    """Limits for HTTP connections."""

    http1_max_pending_requests: Int32 | None = None  # Most requests waiting for a connection; default 2^32-1.
    http2_max_requests: Int32 | None = None  # Most requests under way; default 2^32-1.
    max_requests_per_connection: Int32 | None = None  # 0 = unlimited, the default; 1 disables keep-alive.
    max_retries: Int32 | None = None  # Most retries under way; default 2^32-1.
    idle_timeout: Duration | None = None  # Default 1h.
    h2_upgrade_policy: H2UpgradePolicy | None = None  # Whether to speak HTTP/2 to the destination.
    use_client_protocol: bool | None = None  # Speak to the destination what the client speaks.
    max_concurrent_streams: Int32 | None = None  # Most streams on one HTTP/2 connection; default 2^31-1.
    http2_keep_alive: Http2KeepAlive | None = None  # HTTP/2 pings.


class ConnectionPoolSettings(Value):
    """Limits for the connections to a destination."""

    tcp: TCPSettings | None = None  # For TCP and HTTP.
    http: HTTPSettings | None = None  # For HTTP.


class OutlierDetection(Value):
    """When an endpoint that fails is left alone for a while."""

    consecutive_errors: Int32 | None = None  # Deprecated: use consecutiveGatewayErrors or consecutive5xxErrors.
    split_external_local_origin_errors: bool | None = None  # Count connect failures apart from answers.
    consecutive_local_origin_failures: UInt32 | None = None  # Connect failures before ejection; default 5.
    consecutive_gateway_errors: UInt32 | None = None  # 502, 503, 504 before ejection; 0 or absent = off.
    consecutive_5xx_errors: UInt32 | None = msgspec.field(
        default=None, name="consecutive5xxErrors"
    )  # 5xx before ejection; default 5, 0 = off.
    interval: Duration | None = None  # Time between sweeps; default 10s.
    base_ejection_time: Duration | None = None  # Shortest ejection, times the number of ejections; default 30s.
    max_ejection_percent: Int32 | None = None  # Most hosts ejected at once; default 10.
    min_health_percent: Int32 | None = None  # Below this share of healthy hosts all are used; default 0.
    outlier_detection_http_error_codes: tuple[UInt32, ...] = ()  # Status codes that count as errors; default 5xx.


class ClientTLSSettings(Value):
    """TLS towards a destination. Invalid settings must not mean plaintext: the destination answers 503."""

    invalid: Mark = False

    mode: ClientTLSMode | None = None  # How the connection is secured.
    client_certificate: str | None = None  # File with the client certificate (MUTUAL).
    private_key: str | None = None  # File with its key (MUTUAL).
    ca_certificates: str | None = None  # File with the authorities to trust.
    credential_name: str | None = None  # Secret with the certificates, instead of files.
    subject_alt_names: tuple[str, ...] = ()  # Names the server certificate may carry.
    sni: str | None = None  # Server name to ask for; default: the request's host.
    insecure_skip_verify: bool | None = None  # Do not verify the server certificate.
    ca_crl: str | None = None  # File with a certificate revocation list.


class Tunnel(Value):
    """Tunnels TCP through a proxy that understands CONNECT. Invalid settings must not mean no tunnel."""

    invalid: Mark = False

    protocol: str | None = None  # CONNECT or POST; default CONNECT.
    target_host: str = ""  # Host to ask the proxy for.
    target_port: UInt32 | None = None  # Port to ask the proxy for.


class ProxyProtocol(Value):
    """Sends a PROXY protocol header first."""

    version: ProxyProtocolVersion | None = None  # Default V1.


class RetryBudget(Value):
    """Limits retries to a share of the requests under way."""

    percent: float | None = None  # Share of active requests that may be retries; default 20.
    min_retry_concurrency: UInt32 | None = None  # Retries that are always allowed; default 3.
    budget_interval: Duration | None = None  # Time over which requests are counted.


class PortSelector(Value):
    """A port of the destination."""

    number: UInt32 | None = None  # Port number.


class PortTrafficPolicy(Value):
    """The policy of one port: it replaces the destination's as a whole, absent blocks are not inherited."""

    port: PortSelector | None = None  # The port of the service this is for.
    load_balancer: LoadBalancerSettings | None = None  # How an endpoint is picked.
    connection_pool: ConnectionPoolSettings | None = None  # Limits for connections.
    outlier_detection: OutlierDetection | None = None  # Ejection of failing endpoints.
    tls: ClientTLSSettings | None = None  # TLS towards the destination.


class TrafficPolicy(Value):
    """What a client does with connections to a destination or subset."""

    load_balancer: LoadBalancerSettings | None = None  # How an endpoint is picked.
    connection_pool: ConnectionPoolSettings | None = None  # Limits for connections.
    outlier_detection: OutlierDetection | None = None  # Ejection of failing endpoints.
    tls: ClientTLSSettings | None = None  # TLS towards the destination.
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()  # Policies of single ports.
    tunnel: Tunnel | None = None  # Tunnelling of TCP.
    proxy_protocol: ProxyProtocol | None = None  # PROXY protocol header.
    retry_budget: RetryBudget | None = None  # Limit of retries.


class Subset(Value):
    """Named part of a destination's endpoints."""

    name: str = ""  # Name, used by routes.
    labels: Mapping[str, str] = {}  # Labels of the endpoints that belong to it.
    traffic_policy: TrafficPolicy | None = None  # Overrides the destination's, block by block.


class WorkloadLabels(Value):
    """Selects workloads by their labels."""

    match_labels: Mapping[str, str] = {}  # All of these labels, with these values.


class DestinationRuleSpec(Value):
    """What clients do with connections to a host."""

    host: str = ""  # Name of the service; short names are completed with the rule's namespace.
    traffic_policy: TrafficPolicy | None = None  # Policy for all subsets and ports.
    subsets: tuple[Subset, ...] = ()  # Named parts of the endpoints.
    export_to: tuple[str, ...] = ()  # Namespaces whose clients see it: ".", "*" or names.
    workload_selector: WorkloadLabels | None = None  # Only clients with these labels.


class DestinationRule(Value):
    """Policy of clients towards a destination."""

    GROUP: ClassVar[str] = "networking.istio.io"
    KIND: ClassVar[str] = "DestinationRule"

    meta: Meta = msgspec.field(name="metadata")
    spec: DestinationRuleSpec = msgspec.field(default_factory=DestinationRuleSpec)
    invalid: Mark = False
