"""Every method and path on every port, and who is answered: asked of the code that answers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from controlplane.agent.probers import Prober
from controlplane.agent.status import Route, Status, readiness_routes, status_routes
from controlplane.app.metrics import Metrics
from controlplane.envoy import statistics
from controlplane.local.authority import authority_actions, authority_routes, token_action
from controlplane.local.debug import routes
from controlplane.security.endpoint import Endpoint
from controlplane.status.peers import PeerEndpoint
from controlplane.webhooks.injection.webhook import InjectionWebhook
from controlplane.webhooks.validation.webhook import ValidationWebhook
from controlplane.xds.server import METHODS

ANYBODY: Final = "anybody"
TOKEN: Final = "a workload's token"
CERTIFICATE: Final = "a workload's certificate"
INSIDE: Final = "the Pod itself"
OWNER: Final = "owner of the socket"
API_SERVER: Final = "who knows the secret in the path"
REPLICA: Final = "another replica's certificate"
KINDS: Final = (ANYBODY, TOKEN, CERTIFICATE, INSIDE, OWNER, API_SERVER, REPLICA)

# The words beside a route -> the kinds of callers that it is answered to.
CALLERS: Final[Mapping[str, frozenset[str]]] = {
    "anybody": frozenset({ANYBODY, TOKEN, CERTIFICATE, INSIDE}),
    "a workload, by token or certificate": frozenset({TOKEN, CERTIFICATE}),
    "a workload, by certificate": frozenset({CERTIFICATE}),
    "the Pod itself, over loopback": frozenset({INSIDE}),
    "the API server, who knows the path": frozenset({API_SERVER}),
    "another replica, by certificate": frozenset({REPLICA}),
}

XDS: Final = "control plane, xDS (gRPC over mutual TLS)"
IDENTITY: Final = "control plane, identities (HTTPS)"
WEBHOOKS: Final = "control plane in a cluster, webhooks (HTTPS)"
METRICS: Final = "control plane in a cluster, 15014 (HTTP)"
DEBUG: Final = "control plane, `debug.sock`"
LOCAL_XDS: Final = "control plane, `xds.sock` (only where nobody has a certificate)"
READINESS: Final = "agent, 15021 (HTTP)"
STATUS: Final = "agent, 15020 (HTTP)"
STATISTICS: Final = "Envoy, 15090 (HTTP)"
ADMIN: Final = "Envoy, `admin.sock`"


class Answered(NamedTuple):
    """One thing that is answered, and to whom."""

    port: str
    method: str
    path: str
    callers: frozenset[str]


def answered() -> Iterator[Answered]:
    """All of them."""
    workload = CALLERS["a workload, by certificate"]
    for path in METHODS:
        yield Answered(XDS, "POST", path, workload)
    for route in _endpoint().routes():
        yield Answered(IDENTITY, route.method, route.path, CALLERS[route.callers])
    nothing: Any = None
    for route in PeerEndpoint(nothing, (), nothing).routes():  # in a cluster
        yield Answered(IDENTITY, route.method, route.path, CALLERS[route.callers])
    for webhook in (InjectionWebhook(nothing, "/inject/SECRET"), ValidationWebhook("/validate/SECRET")):
        for route in webhook.routes():
            yield Answered(WEBHOOKS, route.method, route.path, CALLERS[route.callers])
    yield from _agent(METRICS, Metrics().routes())
    for method, path in sorted(_debug()):
        yield Answered(DEBUG, method, path, frozenset({OWNER}))
    for path in METHODS:
        yield Answered(LOCAL_XDS, "POST", path, frozenset({OWNER}))
    yield from _agent(READINESS, readiness_routes(_status()))
    yield from _agent(STATUS, status_routes(_status()))
    yield Answered(STATISTICS, "GET", statistics.PATH, CALLERS["anybody"])
    yield Answered(ADMIN, "GET, POST", "all of Envoy's own", frozenset({OWNER}))


PROBE: Final = "/app-health/CONTAINER/livez, readyz, startupz"


def _agent(port: str, listed: Iterable[Route]) -> Iterator[Answered]:
    for route in listed:
        yield Answered(port, route.method, route.path, CALLERS[route.callers])


async def _nothing(*_: Any) -> Any:
    raise NotImplementedError


def _status() -> Status:
    return Status(_nothing, _nothing, _nothing, {PROBE: Prober()}, _nothing, _nothing)


def _endpoint() -> Endpoint:
    nothing: Any = None
    return Endpoint(*[nothing] * 3, rate=nothing, clock=nothing, serial=nothing, lifetimes=nothing, ready=nothing)


def _debug() -> Iterator[tuple[str, str]]:
    """Of `lateen up` and of `lateen serve` together."""
    nothing: Any = None
    something: Any = object()
    asked = {**routes(nothing, nothing, something), **authority_routes(nothing)}
    yield from (("GET", path) for path in asked)
    yield from (("POST", path) for path in {**authority_actions(nothing), **token_action(nothing, "")})
