"""A destination as a proxy holds it: one Envoy cluster in traffic words."""

from enum import StrEnum

import msgspec

from controlplane.ir.policy import TrafficPolicy
from controlplane.ir.service import Endpoint, Resolution
from controlplane.model.problem import Origin


class Upstream(StrEnum):
    """Which HTTP the proxy speaks to the endpoints."""

    TCP = "tcp"  # no HTTP
    HTTP1 = "http1"
    HTTP2 = "http2"
    AUTO = "auto"  # what ALPN or the caller's protocol says (sniffed ports, useClientProtocol)


class Direction(StrEnum):
    OUTBOUND = "outbound"
    INBOUND = "inbound"


class MeshTls(msgspec.Struct, frozen=True):
    """Mutual TLS of the mesh: the proxy shows its own identity, and asks for one of those the destination may have."""

    sni: str
    names: tuple[str, ...] = ()  # what the server's certificate must be made out to: one of these
    trust_domains: tuple[str, ...] = ()  # where no name is known: whose identities are taken
    by_endpoint: bool = False  # endpoints that cannot do it are called in plain text
    sniffed: bool = False  # HTTP and other bytes arrive as what they are: the port is declared as neither


class Cluster(msgspec.Struct, frozen=True):
    """For `Resolution.ENDPOINTS` the endpoints travel apart (EDS); otherwise they stand in `groups`, as in an
    assignment, or without any order among them in `endpoints`.
    """

    name: str
    direction: Direction
    resolution: Resolution
    upstream: Upstream
    policy: TrafficPolicy
    origins: tuple[Origin, ...]
    host: str = ""  # the service, for metadata and SNI
    namespace: str = ""
    port: int = 0
    subset: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    groups: tuple["LocalityGroup", ...] = ()
    bind_address: str = ""  # inbound: source address of connections to the application
    service_sans: tuple[str, ...] = ()  # names its servers may have, where a rule asks for TLS and lists none
    mesh_tls: MeshTls | None = None
    external: bool = False


class Assignment(msgspec.Struct, frozen=True):
    """The endpoints of one cluster, in order of preference: `groups[0]` has priority 0."""

    cluster: str
    groups: tuple["LocalityGroup", ...]
    origins: tuple[Origin, ...] = ()


class LocalityGroup(msgspec.Struct, frozen=True):
    locality: str
    endpoints: tuple[Endpoint, ...]  # sorted by address and port
    priority: int = 0
    weight: int | None = None
