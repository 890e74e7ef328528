"""What an Envoy is started with: who it is, where its control plane is, and little else.

Everything that changes comes over the one aggregated stream. What stands here cannot change while Envoy runs, so it
is kept small. A cold path: written once a start, with the typed messages of `envoy-data-plane`; importing this module
costs half a second that only those pay who start Envoys.
"""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import msgspec
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
    RuntimeLayerAdminLayer,
)
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, UpstreamConnectionOptions
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    BackoffStrategy,
    ConfigSource,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    KeepaliveSettings,
    Locality,
    Node,
    PathConfigSource,
    Pipe,
    RetryPolicy,
    SocketAddress,
    TcpKeepalive,
    TransportSocket,
    WatchedDirectory,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as CommonOptions
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.metrics.v3 import StatsConfig, StatsMatcher, TagSpecifier
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SdsSecretConfig,
    Secret,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.google.protobuf import Struct

from controlplane.envoy import statistics
from controlplane.envoy.runtime import FLAGS as RUNTIME_FLAGS
from controlplane.ir import names

FILE: Final = "bootstrap.json"
XDS_CLUSTER: Final = "xds-grpc"
# DNS clusters have fields, as Istio's, that Envoy calls deprecated; it would say so at every update.
LOG_OPTIONS: Final = ("--component-log-level", "misc:error")
_CERTIFICATE_FILE: Final = names.IDENTITY_FILES[names.WORKLOAD_SECRET]
_ROOTS_FILE: Final = names.IDENTITY_FILES[names.ROOT_SECRET]
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_OWNER_ONLY: Final = 0o600
_FIRST_RETRY: Final = timedelta(milliseconds=250)
_LONGEST_RETRY: Final = timedelta(seconds=5)
_LONGEST_RETRY_HERE: Final = timedelta(seconds=1)  # on one machine, where nobody else asks
_MOST_CONNECTIONS: Final = 2**31 - 1  # no limit, said aloud: Envoy warns otherwise

# Parts of statistic names that become labels; the expressions are Envoy's own, never a user's.
_TAGS: Final = (
    ("cluster_name", r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    ("http_conn_manager_prefix", r"^http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("authz_enforce_result", r"rbac(\.(allowed|denied))"),
)
# What Istio's proxies keep unless asked for more: statistics are a proxy's largest use of memory.
MINIMAL_STATS: Final = (
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "runtime",
    "istio",
)


class UnixServer(msgspec.Struct, frozen=True):
    """A control plane on this machine, behind a socket that only its owner may open."""

    path: str


class TlsServer(msgspec.Struct, frozen=True):
    """A control plane over mutual TLS. The files may be replaced while Envoy runs, by a rename in `folder`.

    Relative paths are those of where Envoy is started.
    """

    host: str
    port: int
    folder: str
    chain: str
    key: str
    roots: str
    server_name: str  # the name its certificate must have


class ProxyBootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy and its control plane."""

    node_id: str  # "sidecar~10.0.0.7~reviews-v1-abc.default~default.svc.cluster.local"
    cluster: str
    server: UnixServer | TlsServer
    admin: str  # path of a Unix socket, or "address:port"
    prometheus: str = (
        ""  # "address:port" where its statistics, and nothing else of its admin interface, are; "": nowhere
    )
    metadata: Mapping[str, Any] = {}
    locality: str = ""  # "region/zone/subzone"
    delta: bool = True
    stats: tuple[str, ...] | None = None  # prefixes of the statistics to keep; None: all
    system_roots: str = ""  # the machine's bundle of authorities; "": who is to be verified with it is not called


def files(proxy: ProxyBootstrap, folder: Path) -> Mapping[str, str]:
    """The files an Envoy needs, by name, to be put into `folder`; `FILE` is the one to start it with.

    With `Path()` they are the same for every folder that Envoy is started in.
    """
    found = {FILE: bootstrap(proxy, folder).to_json(indent=2)}
    if isinstance(proxy.server, TlsServer):
        found[_CERTIFICATE_FILE] = _sds_document(_certificate(proxy.server))
        found[_ROOTS_FILE] = _sds_document(_roots(proxy.server))
    return found


def bootstrap(proxy: ProxyBootstrap, folder: Path) -> Bootstrap:
    """The bootstrap message; `folder` is where the files it names will be."""
    region, zone, subzone = (*proxy.locality.split("/", 2), "", "")[:3]
    return Bootstrap(
        node=Node(
            id=proxy.node_id,
            cluster=proxy.cluster,
            metadata=Struct.from_dict(dict(proxy.metadata)),
            locality=Locality(region=region, zone=zone, sub_zone=subzone),
        ),
        admin=Admin(address=_address_of(proxy.admin)),
        dynamic_resources=_dynamic_resources(proxy.server, delta=proxy.delta),
        static_resources=_static(proxy, folder),
        layered_runtime=_runtime(),
        overload_manager=_overload_manager(),
        stats_config=_stats(proxy.stats),
    )


def _static(proxy: ProxyBootstrap, folder: Path) -> BootstrapStaticResources:
    found = BootstrapStaticResources(
        clusters=[_xds_cluster(proxy.server, folder)], secrets=_system_roots(proxy.system_roots)
    )
    if proxy.prometheus:
        found.clusters.append(statistics.cluster(_address_of(proxy.admin)))
        found.listeners.append(statistics.listener(_address_of(proxy.prometheus)))
    return found


def _dynamic_resources(server: UnixServer | TlsServer, *, delta: bool) -> BootstrapDynamicResources:
    """Envoy is not ready before its first listeners and clusters came, however long that takes."""
    source = ConfigSource(
        ads=AggregatedConfigSource(), initial_fetch_timeout=timedelta(0), resource_api_version=ApiVersion.V3
    )
    return BootstrapDynamicResources(
        lds_config=source,
        cds_config=source,
        ads_config=ApiConfigSource(
            api_type=ApiConfigSourceApiType.DELTA_GRPC if delta else ApiConfigSourceApiType.GRPC,
            transport_api_version=ApiVersion.V3,
            set_node_on_first_message_only=True,
            grpc_services=[GrpcService(envoy_grpc=_grpc_stream(server))],
        ),
    )


def _grpc_stream(server: UnixServer | TlsServer) -> GrpcServiceEnvoyGrpc:
    """Envoy forgets its failures only when it is sent something, and a reconnect that finds nothing changed is sent
    nothing: left alone, it waits longer from restart to restart, up to 30 s.
    """
    longest = _LONGEST_RETRY_HERE if isinstance(server, UnixServer) else _LONGEST_RETRY
    back_off = BackoffStrategy(base_interval=_FIRST_RETRY, max_interval=longest)
    return GrpcServiceEnvoyGrpc(cluster_name=XDS_CLUSTER, retry_policy=RetryPolicy(retry_back_off=back_off))


def _xds_cluster(server: UnixServer | TlsServer, folder: Path) -> Cluster:
    if isinstance(server, UnixServer):
        return _grpc_cluster(ClusterDiscoveryType.STATIC, Address(pipe=Pipe(path=server.path)))
    kind = ClusterDiscoveryType.STATIC if _is_ip(server.host) else ClusterDiscoveryType.STRICT_DNS
    cluster = _grpc_cluster(kind, _socket_address(server.host, server.port))
    cluster.transport_socket = _transport_socket(server, folder)
    cluster.upstream_connection_options = UpstreamConnectionOptions(tcp_keepalive=TcpKeepalive(keepalive_time=300))
    return cluster


def _grpc_cluster(kind: ClusterDiscoveryType, address: Address) -> Cluster:
    endpoint = LbEndpoint(endpoint=Endpoint(address=address))
    return Cluster(
        name=XDS_CLUSTER,
        type=kind,
        connect_timeout=timedelta(seconds=1),
        load_assignment=ClusterLoadAssignment(
            cluster_name=XDS_CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
        typed_extension_protocol_options={_HTTP_OPTIONS: AnyMessage.pack(_http2())},
    )


def _http2() -> HttpProtocolOptions:
    """With a ping, so that a connection that died silently is noticed and made anew.

    Each stream has a connection of its own. The control plane knows who calls by the connection's certificate and ends
    streams in time before that does; the next must come with the certificate of its day.
    """
    keepalive = KeepaliveSettings(interval=timedelta(seconds=30), timeout=timedelta(seconds=10))
    return HttpProtocolOptions(
        common_http_protocol_options=CommonOptions(max_requests_per_connection=1),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(connection_keepalive=keepalive)
        ),
    )


def _transport_socket(server: TlsServer, folder: Path) -> TransportSocket:
    name = SubjectAltNameMatcher(
        san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(exact=server.server_name)
    )
    common = CommonTlsContext(
        tls_certificate_sds_secret_configs=[
            _sds_config(names.WORKLOAD_SECRET, folder / _CERTIFICATE_FILE, server.folder)
        ],
        combined_validation_context=CommonTlsContextCombinedCertificateValidationContext(
            default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=[name]),
            validation_context_sds_secret_config=_sds_config(names.ROOT_SECRET, folder / _ROOTS_FILE, server.folder),
        ),
        alpn_protocols=["h2"],
    )
    context = UpstreamTlsContext(sni=server.server_name, common_tls_context=common)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=AnyMessage.pack(context))


def _sds_config(name: str, document: Path, watched: str) -> SdsSecretConfig:
    path = PathConfigSource(path=str(document), watched_directory=WatchedDirectory(path=watched))
    source = ConfigSource(path_config_source=path, resource_api_version=ApiVersion.V3)
    return SdsSecretConfig(name=name, sds_config=source)


def _certificate(server: TlsServer) -> Secret:
    pair = TlsCertificate(
        certificate_chain=DataSource(filename=server.chain),
        private_key=DataSource(filename=server.key),
        watched_directory=WatchedDirectory(path=server.folder),
    )
    return Secret(name=names.WORKLOAD_SECRET, tls_certificate=pair)


def _roots(server: TlsServer) -> Secret:
    roots = CertificateValidationContext(
        trusted_ca=DataSource(filename=server.roots), watched_directory=WatchedDirectory(path=server.folder)
    )
    return Secret(name=names.ROOT_SECRET, validation_context=roots)


def _system_roots(bundle: str) -> list[Secret]:
    """What `DestinationRule`s of mode SIMPLE verify servers with, unless they name other authorities."""
    if not bundle:
        return []
    roots = CertificateValidationContext(trusted_ca=DataSource(filename=bundle))
    return [Secret(name=names.SYSTEM_ROOTS, validation_context=roots)]


def _sds_document(secret: Secret) -> str:
    text: str = DiscoveryResponse(resources=[AnyMessage.pack(secret)]).to_json(indent=2)
    return text


def _runtime() -> LayeredRuntime:
    """Our layer below, an operator's live changes above."""
    return LayeredRuntime(
        layers=[
            RuntimeLayer(name="global config", static_layer=Struct.from_dict(dict(RUNTIME_FLAGS))),
            RuntimeLayer(name="admin", admin_layer=RuntimeLayerAdminLayer()),
        ]
    )


def _overload_manager() -> OverloadManager:
    connections = DownstreamConnectionsConfig(max_active_downstream_connections=_MOST_CONNECTIONS)
    monitor = ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections", typed_config=AnyMessage.pack(connections)
    )
    return OverloadManager(resource_monitors=[monitor])


def _stats(prefixes: tuple[str, ...] | None) -> StatsConfig:
    config = StatsConfig(
        use_all_default_tags=False,
        stats_tags=[TagSpecifier(tag_name=name, regex=regex) for name, regex in _TAGS],
    )
    if prefixes is not None:
        patterns = [StringMatcher(prefix=prefix) for prefix in prefixes]
        config.stats_matcher = StatsMatcher(inclusion_list=ListStringMatcher(patterns=patterns))
    return config


def _address_of(place: str) -> Address:
    host, _, port = place.rpartition(":")
    if not host or "/" in place or place.startswith("@"):
        return Address(pipe=Pipe(path=place, mode=_OWNER_ONLY))
    return _socket_address(host.strip("[]"), int(port))


def _socket_address(host: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
