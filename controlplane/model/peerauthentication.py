"""PeerAuthentication: whether callers of a workload must prove who they are."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.selecting import PolicySelector
from controlplane.model.value import Mark, Value, WireEnum


class MutualTLSMode(WireEnum):
    """What a workload takes from its callers."""

    UNSET = "UNSET", 0
    DISABLE = "DISABLE", 1
    PERMISSIVE = "PERMISSIVE", 2
    STRICT = "STRICT", 3


class MutualTLS(Value):
    """What a workload, or one of its ports, takes."""

    mode: MutualTLSMode | None = None  # UNSET or absent: as the namespace, the mesh, PERMISSIVE.
    invalid: Mark = False


class PeerAuthenticationSpec(Value):
    """Whether callers must prove who they are."""

    selector: PolicySelector | None = None  # Workloads it is for; absent = all of the namespace.
    mtls: MutualTLS | None = None  # For all ports.
    port_level_mtls: Mapping[str, MutualTLS] = {}  # By port of the workload; needs a selector.


class PeerAuthentication(Value):
    """Whether callers of a workload must prove who they are."""

    GROUP: ClassVar[str] = "security.istio.io"
    KIND: ClassVar[str] = "PeerAuthentication"

    meta: Meta = msgspec.field(name="metadata")
    spec: PeerAuthenticationSpec = msgspec.field(default_factory=PeerAuthenticationSpec)
    invalid: Mark = False
