"""Changes to headers, for every message that may carry them: all use the same four field names."""

from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import base_pb2

from controlplane.envoy.wire import encoded
from controlplane.ir.route import NO_HEADER_OPS, HeaderOps

_APPEND = base_pb2.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def header_fields(message: Any, ops: HeaderOps) -> bytes:
    """The header fields of a message of this class, encoded, to be joined to the rest of it."""
    return b"" if ops == NO_HEADER_OPS else _header_fields(message, ops)


@lru_cache(maxsize=1024)
def _header_fields(message: Any, ops: HeaderOps) -> bytes:
    fields = message(
        request_headers_to_remove=ops.request_remove,
        response_headers_to_remove=ops.response_remove,
    )
    for target, overwritten, appended in (
        (fields.request_headers_to_add, ops.request_set, ops.request_add),
        (fields.response_headers_to_add, ops.response_set, ops.response_add),
    ):
        target.extend(_option(name, value, _OVERWRITE) for name, value in overwritten)
        target.extend(_option(name, value, _APPEND) for name, value in appended)
    return encoded(fields)


def _option(name: str, value: str, action: int) -> Any:
    """An empty value is a value: Envoy would otherwise drop the header."""
    option = base_pb2.HeaderValueOption(append_action=action, keep_empty_value=not value)
    option.header.key, option.header.value = name, value
    return option
