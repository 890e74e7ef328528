"""The mesh-wide settings, with Istio's MeshConfig names and defaults.

Unlike the kinds, a `Settings` carries its defaults: there is one, everything reads it, nothing merges it.
"""

from datetime import timedelta

import msgspec

from controlplane.model.destinationrule import (
    ConnectionPoolSettings,
    H2UpgradePolicy,
    LocalityLbSetting,
    OutlierDetection,
    TcpKeepalive,
)
from controlplane.model.extensionprovider import ExtensionProvider
from controlplane.model.sidecar import OutboundTrafficMode
from controlplane.model.value import Duration, Int32, UInt32, Value, WireEnum
from controlplane.model.virtualservice import HTTPRetry


class AccessLogEncoding(WireEnum):
    """How an access log line is written."""

    TEXT = "TEXT", 0
    JSON = "JSON", 1


class PathNormalization(WireEnum):
    """How paths are normalized before they are matched."""

    DEFAULT = "DEFAULT", 0
    NONE = "NONE", 1
    BASE = "BASE", 2
    MERGE_SLASHES = "MERGE_SLASHES", 3
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES", 4


class JwksResolver(WireEnum):
    """Who asks issuers of tokens for their keys."""

    ENVOY = "envoy", 0
    CONTROL_PLANE = "control-plane", 1


class Tenancy(WireEnum):
    """Whose rules may act on calls to a host: its owner's, or everybody's as in Istio."""

    OWNER = "owner", 0
    ISTIO = "istio", 1


class IngressControllerMode(WireEnum):
    """Which Ingresses are ours of those that name no class of ours."""

    UNSPECIFIED = "UNSPECIFIED", 0  # STRICT
    OFF = "OFF", 1  # and no others either
    DEFAULT = "DEFAULT", 2  # those that name none at all
    STRICT = "STRICT", 3  # none


class MinProtocolVersion(WireEnum):
    """The oldest TLS that is spoken inside the mesh."""

    TLS_AUTO = "TLS_AUTO", 0  # TLSV1_2
    TLSV1_2 = "TLSV1_2", 1
    TLSV1_3 = "TLSV1_3", 2


class MeshMTLS(Value):
    """Mutual TLS between proxies."""

    min_protocol_version: MinProtocolVersion = MinProtocolVersion.TLS_AUTO


class MeshOutboundTrafficPolicy(Value):
    """Calls to hosts nobody declared."""

    mode: OutboundTrafficMode = OutboundTrafficMode.ALLOW_ANY


class MeshPathNormalization(Value):
    """How paths are normalized."""

    normalization: PathNormalization = PathNormalization.DEFAULT


class DefaultTrafficPolicy(Value):
    """What all outbound clusters start from."""

    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None


class Settings(Value):
    """What holds for the whole mesh. Only what is read is here; `meshconfig` says so of the rest."""

    outbound_traffic_policy: MeshOutboundTrafficPolicy = MeshOutboundTrafficPolicy()
    locality_lb_setting: LocalityLbSetting = LocalityLbSetting(enabled=True)
    connect_timeout: Duration = timedelta(seconds=10)
    dns_refresh_rate: Duration = timedelta(seconds=60)
    protocol_detection_timeout: Duration = timedelta(0)
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespaces: tuple[str, ...] = ("lateen-system", "istio-system")  # the first is where we are installed
    access_log_file: str = ""  # "" = no access log
    access_log_format: str = ""  # "" = Istio's default
    access_log_encoding: AccessLogEncoding = AccessLogEncoding.TEXT
    default_http_retry_policy: HTTPRetry | None = None
    default_inbound_http_retry_policy: HTTPRetry | None = None
    default_traffic_policy: DefaultTrafficPolicy | None = None
    default_service_export_to: tuple[str, ...] = ("*",)
    default_virtual_service_export_to: tuple[str, ...] = ("*",)
    default_destination_rule_export_to: tuple[str, ...] = ("*",)
    h2_upgrade_policy: H2UpgradePolicy = H2UpgradePolicy.DO_NOT_UPGRADE
    tcp_keepalive: TcpKeepalive | None = None
    path_normalization: MeshPathNormalization = MeshPathNormalization()
    extension_providers: tuple[ExtensionProvider, ...] = ()
    proxy_listen_port: Int32 = 15001
    proxy_inbound_listen_port: Int32 = 15006
    proxy_http_port: Int32 = 0  # 0 = no http_proxy listener
    verify_certificate_at_client: bool = True
    num_trusted_proxies: UInt32 = 0  # gatewayTopology.numTrustedProxies
    cluster_domain: str = "cluster.local"
    tenancy: Tenancy = Tenancy.OWNER
    jwks_resolver: JwksResolver = JwksResolver.ENVOY
    jwks_allowed_networks: tuple[str, ...] = ()  # private blocks where the control plane may ask for keys all the same
    scope_gateway_to_namespace: bool = False
    workload_certificates: bool = False  # proxies have identities: without, nobody can speak mutual TLS of the mesh
    enable_auto_mtls: bool = True  # clients use it where the endpoint can and no rule says otherwise
    mesh_mtls: MeshMTLS = msgspec.field(name="meshMTLS", default=MeshMTLS())
    ingress_controller_mode: IngressControllerMode = IngressControllerMode.STRICT
    ingress_class: str = "istio"  # the name that Istio's users write, beside our own
    ingress_service: str = "istio-ingressgateway"  # of the gateway: [namespace/]name; its addresses are the Ingresses'
    ingress_selector: str = ""  # the gateway's label `istio`; "" = the name of a Service of your own, or ingressgateway
    privileged_port_offset: Int32 = 0  # workloads' ports below 1024 are this much higher: nobody may open these here
    refuse_local_endpoints: bool = True  # loopback, link-local, Unix sockets; a mesh on one machine lives there

    @property
    def trusted_domains(self) -> tuple[str, ...]:
        """Trust domains whose workloads are taken for what their certificates say, our own first."""
        return tuple(dict.fromkeys((self.trust_domain, *self.trust_domain_aliases)))

    @property
    def mutual_tls(self) -> bool:
        """Whether calls are secured without any rule."""
        return self.workload_certificates and self.enable_auto_mtls

    @property
    def root_namespace(self) -> str:
        """Where we are installed."""
        return self.root_namespaces[0] if self.root_namespaces else ""
