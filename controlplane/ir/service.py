"""What can be called: services of the registry and the endpoints behind them."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from controlplane.model.problem import Origin


class Protocol(StrEnum):
    """What a port speaks. `AUTO` is sniffed on the wire."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    HTTPS = "https"  # TLS that the proxy does not terminate
    TLS = "tls"
    TCP = "tcp"
    MONGO = "mongo"
    MYSQL = "mysql"
    REDIS = "redis"
    UDP = "udp"
    AUTO = "auto"

    @property
    def is_http(self) -> bool:
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        return self in _HTTP2

    @property
    def is_tls(self) -> bool:
        return self in _TLS


_HTTP = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_HTTP2 = frozenset({Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_TLS = frozenset({Protocol.HTTPS, Protocol.TLS})


class Resolution(StrEnum):
    """How a caller finds the endpoints of a service."""

    ENDPOINTS = "endpoints"  # pushed by the control plane (EDS)
    DNS = "dns"  # every address of each name (STRICT_DNS)
    DNS_ROUND_ROBIN = "dns-round-robin"  # the first address of one name (LOGICAL_DNS)
    DYNAMIC_DNS = "dynamic-dns"  # the name the request carries (dynamic forward proxy)
    PASSTHROUGH = "passthrough"  # the address the caller dialled (ORIGINAL_DST)
    STATIC = "static"  # addresses that stand in the cluster itself; none at all means that every call fails


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    number: int
    name: str
    protocol: Protocol
    target: int | str  # port number, or name of a container's port


class Health(StrEnum):
    HEALTHY = "healthy"
    DRAINING = "draining"  # finishes what it has, gets nothing new
    UNHEALTHY = "unhealthy"


class Workload(msgspec.Struct, frozen=True):
    """What callers need to know of a Pod or a WorkloadEntry; nothing of it changes while it merely runs."""

    namespace: str
    name: str
    origin: Origin
    addresses: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    ports: Mapping[str, int] = {}  # container port, or WorkloadEntry port, by name
    service_account: str = ""  # "namespace/account"
    node: str = ""
    locality: str = ""  # "region/zone/subzone", from the node for a Pod
    network: str = ""
    weight: int = 1
    mutual_tls: bool = False  # a sidecar stands before it
    gateway: bool = False  # a Pod that is an Envoy of its own
    ready: bool = True


class Endpoint(msgspec.Struct, frozen=True):
    """One address behind one service port."""

    address: str  # IP, DNS name (only under a DNS resolution) or "unix:///path"
    port: int  # 0 for a Unix socket
    labels: Mapping[str, str]
    locality: str = ""  # "region/zone/subzone", trailing parts may be missing
    weight: int = 1
    health: Health = Health.HEALTHY
    node: str = ""
    network: str = ""
    service_account: str = ""  # "namespace/account"
    mutual_tls: bool = False  # its sidecar accepts mutual TLS of the mesh
    workload: str = ""  # "namespace/pod" or workload entry, for people
    zones: tuple[str, ...] = ()  # EndpointSlice hints: zones that should prefer it; empty = all
    more_addresses: tuple[str, ...] = ()  # of the same workload, in the other IP family (dual stack)


class Service(msgspec.Struct, frozen=True):
    """One host of the registry, from a Kubernetes Service or one host of a ServiceEntry."""

    host: str  # fully qualified, lower case; may start with "*." for a ServiceEntry
    namespace: str
    name: str  # Kubernetes name; the host itself for a ServiceEntry
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...]  # virtual IPs, or CIDR blocks of a ServiceEntry; empty for headless
    resolution: Resolution
    origin: Origin
    created: datetime | None = None
    kubernetes: bool = True
    headless: bool = False
    external: bool = False  # outside the mesh: never mutual TLS of the mesh
    static: Mapping[int, tuple[Endpoint, ...]] = {}  # by port number: endpoints declared in place (ServiceEntry)
    export_to: tuple[str, ...] = ("*",)  # "*", "." already resolved to a namespace, or namespaces
    session_affinity: bool = False  # source-IP hash
    same_node: bool = False  # internalTrafficPolicy: Local
    prefer_same_zone: bool = False  # trafficDistribution PreferClose / PreferSameZone
    prefer_same_node: bool = False  # trafficDistribution PreferSameNode
    subject_alt_names: tuple[str, ...] = ()
    selector: Mapping[str, str] = {}  # workloads behind it; empty when endpoints come otherwise
    publish_not_ready: bool = False  # endpoints count as ready whatever they say
    alias_of: str = ""  # ExternalName: the host it stands for, which the registry may know

    def port(self, number: int) -> ServicePort | None:
        return next((port for port in self.ports if port.number == number), None)
