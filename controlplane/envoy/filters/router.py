"""The last HTTP filter: it does what the route says."""

from typing import Any, Final

from envoy.extensions.filters.http.router.v3 import router_pb2

NAME: Final = "envoy.filters.http.router"


def config() -> Any:
    """Envoy's defaults."""
    return router_pb2.Router()
