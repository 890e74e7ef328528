"""gRPC for browsers, on gateway ports whose protocol is GRPC-WEB."""

from typing import Any, Final

NAME: Final = "envoy.filters.http.grpc_web"


def config() -> Any:
    """The filter has no options."""
    from envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2  # noqa: PLC0415  rare: not paid at start-up

    return grpc_web_pb2.GrpcWeb()
