"""Sidecar: what a workload sees of the mesh, and what it serves."""

from typing import ClassVar

import msgspec

from controlplane.model.destinationrule import ConnectionPoolSettings
from controlplane.model.gateway import Port, ServerTLSSettings
from controlplane.model.meta import Meta
from controlplane.model.serviceentry import WorkloadSelector
from controlplane.model.value import Mark, Value, WireEnum
from controlplane.model.virtualservice import Destination


class CaptureMode(WireEnum):
    """How traffic gets to a listener."""

    DEFAULT = "DEFAULT", 0
    IPTABLES = "IPTABLES", 1
    NONE = "NONE", 2


class OutboundTrafficMode(WireEnum):
    """What happens to calls to hosts nobody declared."""

    REGISTRY_ONLY = "REGISTRY_ONLY", 0
    ALLOW_ANY = "ALLOW_ANY", 1


class IngressListener(Value):
    """A port the workload serves. An invalid one is closed: it must not be served as if nothing were said of it."""

    invalid: Mark = False

    port: Port | None = None  # The port.
    bind: str | None = None  # Address to bind to; default: the workload's.
    capture_mode: CaptureMode | None = None  # How traffic gets here.
    default_endpoint: str | None = None  # 127.0.0.1:PORT, 0.0.0.0:PORT (the workload's address) or unix:///path.
    tls: ServerTLSSettings | None = None  # TLS from clients outside the mesh.
    connection_pool: ConnectionPoolSettings | None = None  # Limits for connections to the application.


class EgressListener(Value):
    """Hosts the workload may call, on one port or on all."""

    port: Port | None = None  # The port; absent = the ports of the hosts.
    bind: str | None = None  # Address or Unix socket to bind to.
    capture_mode: CaptureMode | None = None  # How traffic gets here.
    hosts: tuple[str, ...] = ()  # namespace/name: "." = this namespace, "*" = all, "~" = none.


class OutboundTrafficPolicy(Value):
    """What happens to calls to hosts nobody declared."""

    mode: OutboundTrafficMode | None = None  # Default ALLOW_ANY.
    egress_proxy: Destination | None = None  # Send them here (ALLOW_ANY).


class SidecarSpec(Value):
    """What a workload sees, and what it serves."""

    workload_selector: WorkloadSelector | None = None  # Workloads it is for; absent = all of the namespace.
    ingress: tuple[IngressListener, ...] = ()  # Ports served; absent = those of the workload's services.
    egress: tuple[EgressListener, ...] = ()  # Hosts that may be called; absent = all.
    inbound_connection_pool: ConnectionPoolSettings | None = None  # Limits for connections to the application.
    outbound_traffic_policy: OutboundTrafficPolicy | None = None  # Calls to hosts nobody declared.


class Sidecar(Value):
    """What a workload sees of the mesh. An invalid object as a whole has no effect."""

    GROUP: ClassVar[str] = "networking.istio.io"
    KIND: ClassVar[str] = "Sidecar"

    meta: Meta = msgspec.field(name="metadata")
    spec: SidecarSpec = msgspec.field(default_factory=SidecarSpec)
    invalid: Mark = False
