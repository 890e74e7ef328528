"""What runs on the laptop: the plan, as values.

Everything the runner does is decided here, from values, so that it can be tested without a process: which replicas
there are, where each listens, what it runs with which environment, and the ordinary Kubernetes and Istio objects
(Pods, EndpointSlices, Sidecars) that tell the mesh about them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from controlplane.ir.service import Protocol
from controlplane.local.lateenfile import LateenFile
from controlplane.local.manifests import Manifest, Manifests, Probe, Service
from controlplane.model.problem import ObjectRef, Problem

# (program, directory it is started in) -> whether this machine has it.
Exists = Callable[[str, Path], bool]


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """All that a plan depends on."""

    manifests: Manifests
    file: LateenFile
    mesh: str  # says which mesh on this machine this is: the same directory, the same addresses
    directory: Path  # where containers' own commands run
    exists: Exists
    python: str  # what {python} stands for
    busy: frozenset[int] = frozenset()  # ports held on every address by somebody else
    http_proxy_port: int = 15080


class ReplicaPort(msgspec.Struct, frozen=True):
    """One port of a replica, as three parties know it."""

    container: int  # as the manifests say
    name: str
    inbound: int  # where its sidecar takes traffic, on the replica's address
    command: int  # where its command listens, on the replica's address
    protocol: Protocol


class TcpListener(msgspec.Struct, frozen=True):
    """Where the commands of one replica reach one TCP port of a Service."""

    host: str  # "ledger.bank.svc.cluster.local" without the domain: "bank/ledger"
    service: str
    port: int  # the Service's
    name: str
    number: int  # the listener's, on the replica's address


class ProcessSpec(msgspec.Struct, frozen=True):
    """One container's stand-in."""

    container: str
    argv: tuple[str, ...]
    directory: str
    env: Mapping[str, str]  # on top of the caller's own


class ReadyCheck(msgspec.Struct, frozen=True):
    """How a replica is found ready. No probe and no port: running is ready."""

    probe: Probe
    port: int = 0  # where to look, resolved; 0 for exec and for "running is enough"
    env: Mapping[str, str] = {}
    directory: str = ""


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One Pod of the laptop: an address, a sidecar, commands."""

    namespace: str
    name: str
    workload: ObjectRef
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = {}
    service_account: str = "default"
    address: str
    http_proxy_port: int
    ports: tuple[ReplicaPort, ...] = ()
    listeners: tuple[TcpListener, ...] = ()
    processes: tuple[ProcessSpec, ...] = ()
    check: ReadyCheck
    missing: str = ""  # why its command cannot run; "" when it can
    identity: str = ""  # changes when the replica must be started anew

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    def port(self, container: int) -> ReplicaPort | None:
        """The port the manifests call `container`."""
        return next((port for port in self.ports if port.container == container), None)

    def named_port(self, name: str) -> ReplicaPort | None:
        """The port with this name."""
        return next((port for port in self.ports if port.name == name), None)


class GatewayPort(msgspec.Struct, frozen=True):
    """One server port of a gateway and where it is bound."""

    number: int
    bound: int
    protocol: str
    gateway: ObjectRef


class GatewayProxy(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway Envoy."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    service_account: str
    address: str
    status_address: str  # its own, where several share the address people look at first
    ports: tuple[GatewayPort, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)


class Plan(msgspec.Struct, frozen=True):
    """What should run, and what the mesh should be told about it."""

    replicas: tuple[Replica, ...] = ()
    gateways: tuple[GatewayProxy, ...] = ()
    services: tuple[Service, ...] = ()
    objects: Mapping[ObjectRef, Manifest] = {}  # Pods and Sidecars; EndpointSlices depend on health: `objects`
    withheld: frozenset[ObjectRef] = frozenset()  # the user's objects that `objects` already speak for
    problems: tuple[Problem, ...] = ()
