"""What others may ask the agent, port by port. Everything is here: a path that is not listed answers 404.

The readiness port is for the platform. The status port has what a Pod's neighbours may know as well (metrics, the
application's health). Each has one order that only the Pod itself may give.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from controlplane.agent.http.server import Handler, Request, Response, text
from controlplane.agent.probers import Prober

QUIT: Final = "/quitquitquit"
DRAIN: Final = "/drain"
_READY: Final = "/healthz/ready"
_METRICS: Final = ("/stats/prometheus", "/metrics")  # Istio's, and where scrapers look by themselves
_ANYBODY: Final = "anybody"
_INSIDE: Final = "the Pod itself, over loopback"
_PASSED_ON: Final = frozenset({"origin", "via", "x-forwarded-for", "x-forwarded-proto", "x-request-id"})
_ENVOYS_OWN: Final = frozenset({"127.0.0.6", "::6", "::ffff:127.0.0.6"})  # where inbound connections go on from

Answer = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """One thing that is answered; `callers` says to whom, in words."""

    method: str
    path: str  # exactly
    answer: Answer
    callers: str = _ANYBODY
    inside: bool = False  # only for who is on this machine


class Status(NamedTuple):
    """What answers."""

    ready: Answer
    metrics: Answer
    probe: Callable[[Prober, Request], Awaitable[Response]]
    probers: Mapping[str, Prober]
    quit: Answer
    drain: Answer


def readiness_routes(status: Status) -> Iterable[Route]:
    """Of the readiness port."""
    yield Route("GET", _READY, status.ready)
    yield Route("POST", DRAIN, status.drain, _INSIDE, inside=True)


def status_routes(status: Status) -> Iterable[Route]:
    """Of the status port."""
    yield Route("GET", _READY, status.ready)
    for path in _METRICS:
        yield Route("GET", path, status.metrics)
    for path, prober in status.probers.items():
        yield Route("GET", path, partial(status.probe, prober))
    yield Route("POST", QUIT, status.quit, _INSIDE, inside=True)


def routed(routes: Iterable[Route]) -> Handler:
    """Finds whom to ask."""
    known = {route.path: route for route in routes}

    async def handle(request: Request) -> Response:
        route = known.get(request.path)
        if route is None:
            return text(404, "there is nothing here")
        if request.method != route.method:
            return text(405, f"only {route.method} is answered here")
        if route.inside and not _is_inside(request):
            return text(403, "only the Pod itself may ask for this")
        return await route.answer(request)

    return handle


def _is_inside(request: Request) -> bool:
    """A page in somebody's browser on this machine could send such a request, and Envoy, for whoever calls it: browsers
    say where it is from, and Envoy adds what it knows, or comes from an address of its own.
    """
    passed_on = request.peer in _ENVOYS_OWN or not _PASSED_ON.isdisjoint(request.headers)
    return is_loopback(request.peer) and not passed_on


def is_loopback(peer: str) -> bool:
    """Whether an address, as a socket gives it, is of this machine alone."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
