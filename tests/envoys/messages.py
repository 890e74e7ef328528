"""Walk a protobuf message as if `Any` were an ordinary field.

Envoy hides its filters and transport sockets in `Any`; a rewrite of "every SDS reference" must look into them.
"""

from collections.abc import Callable, Iterator
from typing import Any

# Imported for what they register: a message inside an `Any` can be opened only if its type is known.
from envoy.extensions.access_loggers.file.v3 import file_pb2 as _file
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _hcm
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as _tcp
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2 as _proxy
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2 as _tls
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _options
from google.protobuf import any_pb2, symbol_database
from google.protobuf.message import Message

REGISTERED = (_file, _hcm, _options, _proxy, _router, _tcp, _tls)


def walk(message: Message, change: Callable[[Any], None]) -> None:
    """Calls `change` on every message below and on `message` itself, children first; `Any`s are opened and closed."""
    for child in list(_children(message)):
        walk(child, change)
    if isinstance(message, any_pb2.Any):
        _walk_any(message, change)
    else:
        change(message)


def _walk_any(packed: any_pb2.Any, change: Callable[[Any], None]) -> None:
    try:
        inner = symbol_database.Default().GetSymbol(packed.type_url.rpartition("/")[2])()
    except KeyError:
        return  # a type this file does not import: nothing in it is ours to rewrite
    packed.Unpack(inner)
    walk(inner, change)
    packed.Pack(inner, deterministic=True)


def _children(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        entry = field.message_type
        assert entry is not None
        if entry.GetOptions().map_entry:
            if entry.fields_by_name["value"].type == field.TYPE_MESSAGE:
                yield from value.values()
        elif field.is_repeated:
            yield from value
        else:
            yield value
