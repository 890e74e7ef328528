"""What others may ask the agent, port by port. Everything is here: a path that is not listed answers 404.

The readiness port is for the platform. The status port has what a Pod's neighbours may know as well (metrics, the
application's probes), and two words that only the Pod itself may say.
"""

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Final

from controlplane.agent.http.server import Handler, Request, Response, text

READY: Final = "/healthz/ready"
QUIT: Final = "/quitquitquit"

Answer = Callable[[Request], Awaitable[Response]]


def routed(gets: Mapping[str, Answer], posts: Mapping[str, Answer] | None = None) -> Handler:
    """By exact path. Methods are GET for `gets`, and POST from this machine for `posts`."""
    orders = posts or {}

    async def handle(request: Request) -> Response:
        if (order := orders.get(request.path)) is not None:
            return await order(request) if _may_order(request) else _refuse_order(request)
        if (answer := gets.get(request.path)) is None:
            return text(404, "there is nothing here")
        return await answer(request) if request.method == "GET" else text(405, "only GET is answered here")

    return handle


def _may_order(request: Request) -> bool:
    """A page in a browser could send such a POST, too; browsers say where it came from."""
    return request.method == "POST" and is_loopback(request.peer) and "origin" not in request.headers


def _refuse_order(request: Request) -> Response:
    if request.method != "POST":
        return text(405, "only POST is answered here")
    return text(403, "only the Pod itself may ask for this")


def is_loopback(peer: str) -> bool:
    """Whether an address, as a socket gives it, is of this machine alone."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
