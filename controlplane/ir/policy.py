"""How a caller treats a destination: balancing, pools, ejection, TLS. Every default is decided here or before."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

import msgspec

from controlplane.model.problem import Origin


class Algorithm(StrEnum):
    LEAST_REQUEST = "least-request"
    ROUND_ROBIN = "round-robin"
    RANDOM = "random"
    RING_HASH = "ring-hash"
    MAGLEV = "maglev"
    PASSTHROUGH = "passthrough"  # the address the caller dialled


class HashHeader(msgspec.Struct, frozen=True, tag=True):
    name: str


class HashCookie(msgspec.Struct, frozen=True, tag=True):
    name: str
    path: str = ""
    ttl: timedelta | None = None  # None: the cookie is read, never made
    attributes: tuple[tuple[str, str], ...] = ()


class HashSourceIp(msgspec.Struct, frozen=True, tag=True):
    pass


class HashQuery(msgspec.Struct, frozen=True, tag=True):
    name: str


HashKey = HashHeader | HashCookie | HashSourceIp | HashQuery


class Warmup(msgspec.Struct, frozen=True):
    duration: timedelta
    minimum_percent: float = 10.0
    aggression: float = 1.0


class LocalityPreference(msgspec.Struct, frozen=True):
    """How locality weighs. At most one of the three tables is filled; none means "as near as possible"."""

    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()  # from -> (to -> weight)
    failover: tuple[tuple[str, str], ...] = ()  # region -> region
    failover_priority: tuple[str, ...] = ()  # labels, or label=value


class LoadBalancer(msgspec.Struct, frozen=True):
    algorithm: Algorithm = Algorithm.LEAST_REQUEST
    hash_key: HashKey | None = None
    minimum_ring_size: int = 1024
    table_size: int = 65537
    warmup: Warmup | None = None
    locality: LocalityPreference | None = None  # None: locality is not looked at
    zone_aware_min_cluster_size: int | None = None
    algorithm_chosen: bool = False  # by a rule: what the Service itself wishes (session affinity) stands back
    locality_chosen: bool = False  # by a rule: what the Service itself wishes (traffic distribution) stands back


class Keepalive(msgspec.Struct, frozen=True):
    probes: int | None = None
    time: timedelta | None = None
    interval: timedelta | None = None


class ConnectionPool(msgspec.Struct, frozen=True):
    """`None` means "no limit" for counts (Envoy's own small defaults are lifted) and "Envoy's default" for times."""

    connect_timeout: timedelta = timedelta(seconds=10)
    max_connections: int | None = None
    tcp_idle_timeout: timedelta | None = None
    max_connection_duration: timedelta | None = None
    keepalive: Keepalive | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    max_requests_per_connection: int = 0
    max_concurrent_streams: int | None = None
    http_idle_timeout: timedelta | None = None
    use_client_protocol: bool = False
    http2_keepalive_interval: timedelta | None = None
    http2_keepalive_timeout: timedelta | None = None


class OutlierDetection(msgspec.Struct, frozen=True):
    """Ejection of endpoints that err. `None`: Envoy's default for that field; 0 turns a detector off."""

    consecutive_5xx: int | None = None
    consecutive_gateway_errors: int | None = None
    split_local_origin: bool = False
    consecutive_local_origin_failures: int | None = None
    interval: timedelta | None = None
    base_ejection_time: timedelta | None = None
    max_ejection_percent: int | None = None
    min_health_percent: int = 0
    error_codes: tuple[int, ...] = ()  # empty: every 5xx


class TlsMode(StrEnum):
    DISABLE = "disable"
    SIMPLE = "simple"
    MUTUAL = "mutual"
    MESH = "mesh"  # the mesh's own identity (ISTIO_MUTUAL)


class UpstreamTls(msgspec.Struct, frozen=True):
    mode: TlsMode
    client_certificate: str = ""  # file paths
    private_key: str = ""
    ca_certificates: str = ""  # "system": the operating system's bundle; "": whatever the server shows is believed
    ca_crl: str = ""
    credential_name: str = ""  # a secret, instead of files
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    skip_verify: bool = False


class Tunnel(msgspec.Struct, frozen=True):
    protocol: str  # CONNECT or POST
    host: str
    port: int


class RetryBudget(msgspec.Struct, frozen=True):
    percent: float = 20.0
    min_concurrency: int = 3


class TrafficPolicy(msgspec.Struct, frozen=True, cache_hash=True):
    load_balancer: LoadBalancer = LoadBalancer()
    pool: ConnectionPool = ConnectionPool()
    outlier: OutlierDetection | None = None
    tls: UpstreamTls | None = None  # None: no rule says; then it is the mesh's, as each endpoint can
    tunnel: Tunnel | None = None
    proxy_protocol: int | None = None  # 1 or 2
    retry_budget: RetryBudget | None = None
    http2: bool | None = None  # h2UpgradePolicy: True upgrade, False never, None by the port's protocol
    blocked: bool = False  # a block that protects the traffic is invalid: rather no call than an open one


class Subset(msgspec.Struct, frozen=True):
    name: str
    labels: Mapping[str, str]


class DestinationPolicy(msgspec.Struct, frozen=True):
    """Everything that rules say about calls to one host, merged: what clusters, endpoints and routes are made from.

    Policies are complete: whatever a subset or a port does not say is already filled in from where it inherits.
    """

    subsets: tuple[Subset, ...] = ()
    default: TrafficPolicy = TrafficPolicy()  # no subset, no port of its own
    ports: Mapping[int, TrafficPolicy] = {}  # port -> policy, without subset
    by_subset: Mapping[str, TrafficPolicy] = {}  # subset -> policy
    by_subset_port: Mapping[tuple[str, int], TrafficPolicy] = {}
    origins: tuple[Origin, ...] = ()

    def policy(self, port: int, subset: str = "") -> TrafficPolicy:
        if not subset:
            return self.ports.get(port, self.default)
        return self.by_subset_port.get((subset, port)) or self.by_subset.get(subset, self.default)
