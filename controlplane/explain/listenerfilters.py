"""What listener filters learn about a connection before a filter chain is chosen."""

from typing import Any, Final

import msgspec
from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2

from controlplane.explain.call import Call, Speaks
from controlplane.explain.outcome import Connection

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters.listener."
TLS_INSPECTOR: Final = _FILTERS + "tls_inspector.v3.TlsInspector"
HTTP_INSPECTOR: Final = _FILTERS + "http_inspector.v3.HttpInspector"
ORIGINAL_DST: Final = _FILTERS + "original_dst.v3.OriginalDst"
PROXY_PROTOCOL: Final = _FILTERS + "proxy_protocol.v3.ProxyProtocol"
_INSPECTORS: Final = frozenset({TLS_INSPECTOR, HTTP_INSPECTOR})
KNOWN: Final = frozenset({TLS_INSPECTOR, HTTP_INSPECTOR, ORIGINAL_DST, PROXY_PROTOCOL})

# http_inspector's names. "h2c" is cleartext HTTP/2; inside TLS the ALPN list says "h2".
_SNIFFED: Final = {Speaks.HTTP10: "http/1.0", Speaks.HTTP11: "http/1.1", Speaks.HTTP2: "h2c"}


class Stopped(msgspec.Struct, frozen=True):
    """A filter ended the connection, or waits for ever for bytes that do not come."""

    why: str
    waits: bool = False


def inspect(listener: Any, call: Call, connection: Connection) -> Connection | Stopped:
    """Runs the filters in order; each sees what those before it changed.

    Until it is read, a PROXY header stands before everything else, and inspectors see that and nothing they know.
    """
    veiled = call.proxy_header is not None
    for one in listener.listener_filters:
        if one.HasField("filter_disabled") and _disabled(one.filter_disabled, connection):
            continue
        if veiled and one.typed_config.type_url in _INSPECTORS:
            continue
        veiled = veiled and one.typed_config.type_url != PROXY_PROTOCOL
        seen = _run(one.typed_config, listener, call, connection)
        if isinstance(seen, Stopped):
            return seen
        connection = seen
    # Envoy adds the original_dst filter by itself, as the last one, to a listener that hands connections over.
    return _restore(call, connection) if listener.use_original_dst.value else connection


def _run(config: Any, listener: Any, call: Call, connection: Connection) -> Connection | Stopped:
    kind = config.type_url
    if kind == ORIGINAL_DST:
        return _restore(call, connection)
    if _is_kept_waiting(kind, call):
        return _wait(listener, connection)
    if kind == PROXY_PROTOCOL:
        return _read_proxy_header(config, call, connection)
    if kind == TLS_INSPECTOR and call.tls:
        sni, alpn = call.tls.sni.lower(), call.tls.alpn  # the socket keeps the server name in lower case
        return msgspec.structs.replace(
            connection, transport_protocol="tls", server_name=sni, application_protocols=alpn
        )
    if kind == HTTP_INSPECTOR and not call.tls and call.speaks in _SNIFFED:
        return msgspec.structs.replace(connection, application_protocols=(_SNIFFED[call.speaks],))
    return connection


def _is_kept_waiting(kind: str, call: Call) -> bool:
    """Whether this filter wants to read and the client says nothing."""
    silent = call.speaks is Speaks.NOTHING and not call.tls
    return silent and (kind in _INSPECTORS or (kind == PROXY_PROTOCOL and not call.proxy_header))


def _restore(call: Call, connection: Connection) -> Connection:
    """Without a redirect by the kernel there is no original destination to restore."""
    if not call.captured_at:
        return connection
    return msgspec.structs.replace(connection, local=call.address, restored=True)


def _read_proxy_header(config: Any, call: Call, connection: Connection) -> Connection | Stopped:
    settings = proxy_protocol_pb2.ProxyProtocol.FromString(config.value)
    if call.proxy_header is None:
        allowed = settings.allow_requests_without_proxy_protocol
        return connection if allowed else Stopped("no PROXY header")
    source, destination = call.proxy_header
    moved = msgspec.structs.replace(connection, remote=source)
    if destination == connection.local:
        return moved
    return msgspec.structs.replace(moved, local=destination, restored=True)


def _wait(listener: Any, connection: Connection) -> Connection | Stopped:
    """A client that waits for the server to speak meets a filter that waits for the client."""
    if listener.HasField("listener_filters_timeout") and not listener.listener_filters_timeout.ToTimedelta():
        return Stopped("listener filters wait for the client's first bytes, without a timeout", waits=True)
    if listener.continue_on_listener_filters_timeout:
        return connection
    return Stopped("the client said nothing until listener_filters_timeout")


def _disabled(predicate: Any, connection: Connection) -> bool:
    kind = predicate.WhichOneof("rule")
    if kind == "or_match":
        return any(_disabled(rule, connection) for rule in predicate.or_match.rules)
    if kind == "and_match":
        return all(_disabled(rule, connection) for rule in predicate.and_match.rules)
    if kind == "not_match":
        return not _disabled(predicate.not_match, connection)
    if kind == "destination_port_range":
        ports = predicate.destination_port_range
        return bool(ports.start <= connection.local.port < ports.end)
    return bool(predicate.any_match)
