"""Listener filters: what is learned of a connection before a filter chain is chosen."""

from collections.abc import Sequence
from typing import Any, Final

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from controlplane.envoy.any import packed
from controlplane.ir.cluster import Direction
from controlplane.ir.listener import Listener

_TPROXY_MARK: Final = 1337  # the mark by which the capture rules know connections of the proxy


def listener_filters(listener: Listener) -> list[Any]:
    """In the order of what they read: the socket, the PROXY header before all data, the TLS hello, plain HTTP."""
    filters: list[Any] = []
    if listener.original_destination_filter:
        filters.append(_filter("original_dst", original_dst_pb2.OriginalDst()))
    if listener.transparent and listener.direction is Direction.INBOUND:
        filters.append(_filter("original_src", _original_source()))
    if listener.proxy_protocol:
        filters.append(_filter("proxy_protocol", _proxy_protocol()))
    if listener.inspect_tls:
        filters.append(_inspector("tls_inspector", tls_inspector_pb2.TlsInspector(), listener))
    if listener.inspect_http:
        filters.append(_inspector("http_inspector", http_inspector_pb2.HttpInspector(), listener))
    return filters


def _filter(name: str, config: Any) -> Any:
    return listener_components_pb2.ListenerFilter(name=f"envoy.filters.listener.{name}", typed_config=packed(config))


def _inspector(name: str, config: Any, listener: Listener) -> Any:
    message = _filter(name, config)
    if listener.uninspected_ports:
        message.filter_disabled.CopyFrom(_dialled(listener.uninspected_ports))
    return message


def _dialled(ports: Sequence[int]) -> Any:
    """A predicate: the connection was dialled for one of these ports."""
    predicates = [listener_components_pb2.ListenerFilterChainMatchPredicate() for _ in ports]
    for predicate, port in zip(predicates, ports, strict=True):
        predicate.destination_port_range.start, predicate.destination_port_range.end = port, port + 1
    if len(predicates) == 1:
        return predicates[0]  # Envoy wants at least two alternatives
    either = listener_components_pb2.ListenerFilterChainMatchPredicate()
    either.or_match.rules.extend(predicates)
    return either


def _original_source() -> Any:
    from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2  # noqa: PLC0415  rare

    return original_src_pb2.OriginalSrc(mark=_TPROXY_MARK)


def _proxy_protocol() -> Any:
    from envoy.extensions.filters.listener.proxy_protocol.v3 import proxy_protocol_pb2  # noqa: PLC0415  rare

    return proxy_protocol_pb2.ProxyProtocol()
