"""Where a proxy accepts traffic and how it tells one kind from another."""

from datetime import timedelta
from enum import StrEnum

import msgspec

from controlplane.ir.cluster import Direction
from controlplane.ir.guard import OPEN, Guard
from controlplane.ir.policy import HashKey, Tunnel
from controlplane.ir.route import VirtualHost, WeightedCluster
from controlplane.model.problem import Origin


class ServerTlsMode(StrEnum):
    SIMPLE = "simple"
    MUTUAL = "mutual"  # a client certificate is demanded
    OPTIONAL_MUTUAL = "optional-mutual"  # verified when given
    MESH = "mesh"  # identities of the mesh (ISTIO_MUTUAL)


class ServerTls(msgspec.Struct, frozen=True):
    """Certificates come from secrets (by SDS name) or from files."""

    mode: ServerTlsMode
    secrets: tuple[str, ...] = ()  # SDS names, at most two (one per key kind)
    ca_secret: str = ""  # SDS name of the bundle that client certificates are checked against
    certificates: tuple[tuple[str, str], ...] = ()  # (chain file, key file)
    ca_file: str = ""
    crl_file: str = ""
    subject_alt_names: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()  # MESH: whose identities are taken
    spki_pins: tuple[str, ...] = ()
    hash_pins: tuple[str, ...] = ()
    skip_verify: bool = False
    min_version: str = "TLSV1_2"
    max_version: str = ""  # empty: Envoy's newest
    cipher_suites: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ("h2", "http/1.1")


class ChainMatch(msgspec.Struct, frozen=True):
    """Empty fields match everything."""

    destination_port: int | None = None
    destination_ranges: tuple[str, ...] = ()  # addresses or CIDR blocks
    source_ranges: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()  # exact or "*.suffix"
    transport: str = ""  # "tls" or "raw_buffer"
    application_protocols: tuple[str, ...] = ()


MATCH_ALL = ChainMatch()


class HttpChain(msgspec.Struct, frozen=True, tag=True):
    """Speaks HTTP. Routes come by name (`route`) or stand in place (`virtual_hosts`)."""

    stat_prefix: str
    route: str = ""
    virtual_hosts: tuple[VirtualHost, ...] = ()
    route_name: str = ""  # name of an inline route configuration
    use_remote_address: bool = False
    gateway: bool = False  # sanitizes and sets forwarded-client-cert as the edge of the mesh
    idle_timeout: timedelta | None = None
    server_name: str = "istio-envoy"
    xff_trusted_hops: int = 0
    allow_absolute_url: bool = True  # forward-proxy requests
    grpc_web: bool = False  # browsers' gRPC is translated
    dynamic_dns: bool = False  # some route leads to a `Resolution.DYNAMIC_DNS` cluster
    guard: Guard = OPEN


class TcpChain(msgspec.Struct, frozen=True, tag=True):
    """Forwards bytes."""

    stat_prefix: str
    destinations: tuple[WeightedCluster, ...]
    idle_timeout: timedelta | None = None
    max_connection_duration: timedelta | None = None
    hash_key: HashKey | None = None  # only a source-IP hash has a meaning here
    tunnel: Tunnel | None = None
    by_name_at: int = 0  # resolve the SNI and call it at this port (`Resolution.DYNAMIC_DNS`); 0: not
    by_sni: bool = False  # the cluster named by the SNI (AUTO_PASSTHROUGH); `destinations` then only names the fallback
    guard: Guard = OPEN


Network = HttpChain | TcpChain


class FilterChain(msgspec.Struct, frozen=True):
    name: str
    match: ChainMatch
    network: Network
    tls: ServerTls | None = None
    origins: tuple[Origin, ...] = ()


class Listener(msgspec.Struct, frozen=True):
    name: str
    address: str  # IP or "unix:///path"
    port: int  # 0 for a Unix socket
    direction: Direction
    chains: tuple[FilterChain, ...]
    default_chain: FilterChain | None = None
    extra_addresses: tuple[str, ...] = ()  # e.g. "::" beside "0.0.0.0"
    bind_to_port: bool = True
    use_original_destination: bool = False  # hand over to the listener of the dialled address
    original_destination_filter: bool = False  # learn the dialled address from the socket
    transparent: bool = False  # TPROXY
    inspect_tls: bool = False
    inspect_http: bool = False
    proxy_protocol: bool = False
    uninspected_ports: tuple[int, ...] = ()  # dialled ports where no inspector waits: the server may speak first
    inspection_timeout: timedelta | None = None  # None: wait for the first bytes for ever
    continue_on_inspection_timeout: bool = True
    gateway: bool = False
    origins: tuple[Origin, ...] = ()


class RouteTable(msgspec.Struct, frozen=True):
    """A route configuration without its virtual hosts, which travel one by one."""

    name: str
    gateway: bool = False  # gateways ignore the port in a request's host
    origins: tuple[Origin, ...] = ()
