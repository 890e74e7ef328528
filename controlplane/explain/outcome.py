"""What the simulator answers: the verdict, and every step that led to it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from controlplane.explain.call import Address
from controlplane.model.problem import Origin


class Stage(StrEnum):
    """The steps of a call through Envoy, in their order."""

    LISTENER = "listener"
    LISTENER_FILTERS = "listener filters"
    FILTER_CHAIN = "filter chain"
    TLS = "TLS"
    NETWORK_FILTER = "network filter"
    REQUEST = "request"  # what the HTTP connection manager makes of it before routing
    ROUTE_CONFIGURATION = "route configuration"
    VIRTUAL_HOST = "virtual host"
    ROUTE = "route"
    HTTP_FILTER = "HTTP filter"
    CLUSTER = "cluster"
    ENDPOINTS = "endpoints"


class Verdict(StrEnum):
    """How the call ends, seen by the caller."""

    FORWARDED = "forwarded"  # to one of `Outcome.destinations` that has endpoints
    ANSWERED = "answered"  # by Envoy itself: a redirect, a direct response, an error
    CLOSED = "closed"  # the connection is cut without an answer
    WAITING = "waiting"  # Envoy waits for bytes that this client will not send
    REFUSED = "refused"  # nothing listens there


class Step(msgspec.Struct, frozen=True):
    """One decision. `found` is the name of what was chosen, None where there was nothing to choose."""

    stage: Stage
    found: str | None
    why: str
    origins: tuple[Origin, ...] = ()
    message: Any = None  # the chosen Envoy message, for whoever wants to look closer
    tried: tuple[str, ...] = ()  # what came before the choice and why it was not it


class Secured(msgspec.Struct, frozen=True, order=True):
    """How the proxy secures its connection to an endpoint."""

    tls: bool = False  # plain text, or whatever the caller sends
    sni: str = ""
    alpn: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # the server's certificate must have one of these; "spiffe://td/*": begins so
    certificate: str = ""  # the secret with the certificate the proxy shows; "" = none


PLAIN = Secured()


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """A place that may get the call."""

    address: str  # "10.0.0.7:9080", "dns-name:80", "unix:/path"
    priority: int = 0
    locality: str = ""  # region/zone/subzone
    secured: Secured = PLAIN


class Failure(msgspec.Struct, frozen=True):
    """Why Envoy answers or cuts by itself."""

    flag: str  # Envoy's response flag: NR, NC, UH, FI, DPE
    status: int  # HTTP status; 0 on a TCP connection
    details: str  # %RESPONSE_CODE_DETAILS%


class Destination(msgspec.Struct, frozen=True):
    """One cluster the call may go to. With several, Envoy draws by weight."""

    cluster: str
    weight: int
    total: int  # sum of all weights
    endpoints: tuple[Endpoint, ...] = ()  # empty only with a failure
    failure: Failure | None = None
    authority: str = ""  # as the upstream sees it, after rewrites
    path: str = ""

    @property
    def share(self) -> float:
        """Part of the calls, 0..1."""
        return self.weight / self.total

    @property
    def subset(self) -> str:
        """The subset in an Istio cluster name: `outbound|9080|v2|reviews…` -> `v2`; "" for any other name."""
        parts = self.cluster.split("|")
        return parts[2] if len(parts) == 4 else ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What Envoy would do, and why."""

    verdict: Verdict
    steps: tuple[Step, ...]
    destinations: tuple[Destination, ...] = ()
    failure: Failure | None = None
    status: int = 0  # of Envoy's own answer, as the caller sees it: 200 to gRPC callers, with `grpc_status`
    grpc_status: int | None = None  # of Envoy's own answer to a gRPC call
    location: str = ""  # of a redirect
    body: bytes = b""  # of a direct response
    doubts: tuple[str, ...] = ()  # what the configuration does that this simulator does not follow

    def step(self, stage: Stage) -> Step | None:
        """The last decision of this stage: a handed-over connection passes several listeners."""
        return next((step for step in reversed(self.steps) if step.stage is stage), None)

    def name(self, stage: Stage) -> str:
        """Name of what a stage chose; "" if it was not reached or had nothing."""
        step = self.step(stage)
        return (step.found or "") if step else ""

    @property
    def ended_at(self) -> Step:
        """The step that had nothing, or else the last one."""
        return next((step for step in self.steps if step.found is None), self.steps[-1])

    @property
    def listener(self) -> str:
        return self.name(Stage.LISTENER)

    @property
    def filter_chain(self) -> str:
        return self.name(Stage.FILTER_CHAIN)

    @property
    def virtual_host(self) -> str:
        return self.name(Stage.VIRTUAL_HOST)

    @property
    def route(self) -> str:
        return self.name(Stage.ROUTE)

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(destination.cluster for destination in self.destinations)

    @property
    def cluster(self) -> str:
        """The one cluster; "" if there is none or a choice."""
        return self.destinations[0].cluster if len(self.destinations) == 1 else ""

    @property
    def subset(self) -> str:
        """The one subset; "" if there is none or a choice."""
        return self.destinations[0].subset if len(self.destinations) == 1 else ""


class Connection(msgspec.Struct, frozen=True):
    """A connection as listener filters leave it, and filter chains are matched against."""

    local: Address
    remote: Address
    direct_remote: Address  # the peer of the socket, whatever a PROXY header says
    restored: bool = False  # `local` is the original destination, not the socket's own address
    transport_protocol: str = "raw_buffer"
    server_name: str = ""  # lower-case
    application_protocols: tuple[str, ...] = ()
    terminated: bool = False  # Envoy has taken off TLS
    names: tuple[str, ...] = ()  # in the certificate the client showed then
    state: Mapping[str, str] = {}  # what filters of the chain noted for connections to endpoints
