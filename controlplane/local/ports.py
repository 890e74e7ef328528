"""What the laptop mesh needs of a control plane, and nothing more.

`local` and `cli` are written against these protocols; `controlplane.app` offers them. What local promises in return:

* One event loop. Every method is called on it and returns without waiting for a proxy.
* `apply` is called with everything before `start_serving`, and with what changed afterwards.
* Each Envoy has an agent, which gets its certificate and bootstrap from `Identities`, and connects by delta ADS over
  mutual TLS with Istio's node id
  (`sidecar~127.3.4.5~bill-service-v1-5d9f4-0.istio-demo~istio-demo.svc.cluster.local`) and metadata: NAMESPACE, NAME,
  LABELS, SERVICE_ACCOUNT, INSTANCE_IPS, CLUSTER_ID, INTERCEPTION_MODE=NONE, and the three keys below.

What local expects of compile for such proxies:

* `INTERCEPTION_MODE=NONE`: no virtualOutbound/virtualInbound; explicit listeners only, of the proxy's Sidecar.
* `HTTP_PROXY_PORT` (Istio's key; wins over `proxyHttpPort`): one HTTP listener on the proxy's own address, route
  configuration `http_proxy`.
* `LATEEN_BIND_ADDRESS`: what listeners bind that would bind the wildcard address. A laptop must not offer its
  gateways to the network it sits in, and a wildcard would take the port from every other loopback address.
* `LATEEN_PORT_OFFSET`: added to every *bound* port below 1024; names (`http.80`, `0.0.0.0_80`) keep the port that the
  Gateway or Sidecar says. No right to bind port 80 is needed.
* Sidecar `ingress[].defaultEndpoint: 0.0.0.0:PORT` is the proxy's own address (as in Istio).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.runtime.tasks import Supervisor
from controlplane.security.authorities import Authorities
from controlplane.snapshot.resource import Resource
from controlplane.sources.source import Changes

BIND_ADDRESS: Final = "LATEEN_BIND_ADDRESS"
PORT_OFFSET: Final = "LATEEN_PORT_OFFSET"
PORT_IN_USE: Final = "PortInUse"  # the code of a problem
HTTP_PROXY_PORT: Final = "HTTP_PROXY_PORT"


class SyncState(StrEnum):
    """What a proxy has of one xDS type; the words of `istioctl proxy-status`."""

    SYNCED = "SYNCED"  # everything sent was acknowledged
    STALE = "STALE"  # sent, not yet acknowledged
    REFUSED = "REFUSED"  # the last answer was a NACK: what was refused is quarantined
    NOT_SENT = "NOT SENT"


class TypeStatus(msgspec.Struct, frozen=True):
    """One xDS type on one stream."""

    state: SyncState
    resources: int = 0  # how many the proxy holds
    message: str = ""  # Envoy's words, after a NACK
    told: bool = False  # anything was sent on this stream: a proxy that came back may have had it all


class ProxyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One connected proxy."""

    id: str  # node id
    name: str  # "bill-service-v1-5d9f4-0.istio-demo"
    type: str  # "sidecar", "router"
    connected_seconds: float
    envoy_version: str = ""
    types: Mapping[str, TypeStatus] = {}  # by short name: "CDS", "EDS", "LDS", "RDS", "VHDS", "SDS"


class ProxyReached(msgspec.Struct, frozen=True):
    """A proxy that is sent something because of an object, and whether it has it."""

    name: str  # as in `ProxyStatus.name`
    state: SyncState  # SYNCED, STALE or REFUSED
    message: str = ""  # of the proxy's, if it says no


class Reached(msgspec.Struct, frozen=True):
    """How far an object has got, as one control plane knows."""

    is_read: bool  # it is in force here
    proxies: tuple[ProxyReached, ...] = ()


class BusyPort(msgspec.Struct, frozen=True):
    """Where a proxy cannot listen because something else does."""

    proxy: str  # as in `ProxyStatus.name`
    address: str
    port: int
    origins: tuple[Origin, ...] = ()  # who asked for it

    def problems(self, holder: str = "another program") -> Iterator[Problem]:
        """`holder`: in words."""
        where = f"port {self.port} of {self.address}"
        text = f"{where} is held by {holder}, so {self.proxy} cannot listen there: end that, or use another port"
        for origin in self.origins:
            yield Problem(PORT_IN_USE, Level.ERROR, origin, f"{text}; what {self.proxy} had before goes on")


# What `lateen compile` prints, without its "problems": type name ("listeners", "clusters", "routes", "endpoints",
# "secrets") -> resources in protobuf JSON, sorted by name, route configurations whole.
ConfigDump = Mapping[str, Sequence[Mapping[str, Any]]]


class ControlPlane(Protocol):
    """A running control plane."""

    def apply(self, changes: Changes) -> None:
        """One revision: all of `changes` or nothing. `None` removes. EDS goes out at once."""
        ...

    def start_serving(self) -> None:
        """All sources were applied once: answer proxies from here on."""
        ...

    async def set_mesh_config(self, config: Mapping[str, Any]) -> None:
        """Other mesh-wide settings, with MeshConfig's field names; what is wrong in them is one of `problems`."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """The mesh-wide settings in force, with MeshConfig's field names."""
        ...

    def problems(self) -> tuple[Problem, ...]:
        """What compile and the proxies (NACKs) found wrong, now. Decoding problems are the source's to tell."""
        ...

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """Who is connected, sorted by name."""
        ...

    def reached(self, ref: ObjectRef | None) -> Reached:
        """Whether what an object says is on all proxies it concerns; None: whatever there is, on all proxies."""
        ...

    def busy_ports(self) -> tuple[BusyPort, ...]:
        """Where proxies cannot listen, now; these are among `problems`, with the code PortInUse."""
        ...

    def call_back(self, name: str) -> None:
        """Ask a proxy to connect anew: what failed for a reason of its machine is tried again."""
        ...

    def resources(self, name: str) -> tuple[Resource, ...] | None:
        """All that the proxy of this name (or node id) is to have, with its keys; None if it is not connected."""
        ...

    def config(self, name: str) -> ConfigDump | None:
        """What the proxy called `name` (as in `ProxyStatus.name`, or its node id) is sent; private keys redacted."""
        ...

    async def dump(self, name: str) -> ConfigDump | None:
        """`config` without keeping others from their turn: it takes seconds for ten thousand hosts."""
        ...


class Identities(Protocol):
    """Who vouches for what runs here."""

    @property
    def endpoint(self) -> str:
        """Where agents ask: "127.0.0.1:41234"."""
        ...

    @property
    def server_name(self) -> str:
        """What is in its certificate."""
        ...

    @property
    def bundle(self) -> Path:
        """The file that agents trust it by."""
        ...

    def token(self, namespace: str, account: str) -> str:
        """Proof that whoever has it is this account's."""
        ...


class Laptop(NamedTuple):
    """What runs in this process, for what runs on this machine."""

    control: ControlPlane
    identities: Identities
    authorities: Authorities


# (mesh settings with MeshConfig's field names, folder of the authority, who runs its tasks) -> what then runs, closed
# on exit. Raises `statedir.Misuse`.
OpenLaptop = Callable[[Mapping[str, Any], Path, Supervisor], AbstractAsyncContextManager[Laptop]]
