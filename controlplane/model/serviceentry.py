"""ServiceEntry and WorkloadEntry: services and workloads the platform does not know of."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.value import Mark, UInt32, Value, WireEnum


class Location(WireEnum):
    """Whether a service belongs to the mesh."""

    MESH_EXTERNAL = "MESH_EXTERNAL", 0
    MESH_INTERNAL = "MESH_INTERNAL", 1


class Resolution(WireEnum):
    """How addresses of a service are found."""

    NONE = "NONE", 0
    STATIC = "STATIC", 1
    DNS = "DNS", 2
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN", 3
    DYNAMIC_DNS = "DYNAMIC_DNS", 4


class ServiceEntryPort(Value):
    """A port of the service."""

    number: UInt32 | None = None  # Port number.
    protocol: str = ""  # HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS, ...
    name: str = ""  # Label of the port.
    target_port: UInt32 | None = None  # Port at the endpoints; default: number.


class WorkloadSelector(Value):
    """Selects workloads by their labels."""

    labels: Mapping[str, str] = {}  # All of these labels, with these values.


class WorkloadEntrySpec(Value):
    """A workload: an endpoint of a ServiceEntry, or on its own."""

    address: str | None = None  # IP address, DNS name or unix:///path.
    ports: Mapping[str, UInt32] = {}  # Port number for each port name of the service.
    labels: Mapping[str, str] = {}  # Labels, as of a Pod.
    network: str | None = None  # Network it is on.
    locality: str | None = None  # region/zone/sub-zone.
    weight: UInt32 | None = None  # Share of requests; default 1.
    service_account: str | None = None  # Its identity.


class ServiceEntrySpec(Value):
    """A service the platform does not know of."""

    hosts: tuple[str, ...] = ()  # Names of the service.
    addresses: tuple[str, ...] = ()  # Virtual addresses or CIDR blocks.
    ports: tuple[ServiceEntryPort, ...] = ()  # Its ports.
    location: Location | None = None  # Default MESH_EXTERNAL.
    resolution: Resolution | None = None  # Default NONE.
    endpoints: tuple[WorkloadEntrySpec, ...] = ()  # Its endpoints.
    workload_selector: WorkloadSelector | None = None  # Its endpoints, by label (WorkloadEntries and Pods).
    export_to: tuple[str, ...] = ()  # Namespaces that see it: ".", "*" or names.
    subject_alt_names: tuple[str, ...] = ()  # Further names the server certificates may carry.


class ServiceEntry(Value):
    """A service the platform does not know of. An invalid object as a whole has no effect."""

    GROUP: ClassVar[str] = "networking.istio.io"
    KIND: ClassVar[str] = "ServiceEntry"

    meta: Meta = msgspec.field(name="metadata")
    spec: ServiceEntrySpec = msgspec.field(default_factory=ServiceEntrySpec)
    invalid: Mark = False


class WorkloadEntry(Value):
    """A workload the platform does not know of. An invalid object as a whole has no effect."""

    GROUP: ClassVar[str] = "networking.istio.io"
    KIND: ClassVar[str] = "WorkloadEntry"

    meta: Meta = msgspec.field(name="metadata")
    spec: WorkloadEntrySpec = msgspec.field(default_factory=WorkloadEntrySpec)
    invalid: Mark = False
