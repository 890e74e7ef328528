"""Messages inside `google.protobuf.Any`: how Envoy carries everything that is an extension."""

from typing import Any

from google.protobuf import any_pb2

from controlplane.envoy.wire import encoded


def packed(message: Any) -> any_pb2.Any:
    """The message in an `Any`, the same bytes every time (`Any.Pack` alone does not promise that)."""
    return any_pb2.Any(type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}", value=encoded(message))
