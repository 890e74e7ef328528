"""What a port speaks, from what its author says of it.

A Service says it by `appProtocol`, else by the part of the port's name before the first dash, in any case; a
ServiceEntry says it outright. Whoever says nothing Istio knows is sniffed. The order, the aliases and the ports that
are never sniffed (their servers speak first, so waiting for the client's first bytes would wait for ever) are Istio's.
"""

from typing import Final

from controlplane.ir.service import Protocol

_BY_NAME: Final = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.GRPC_WEB,
    "https": Protocol.HTTPS,
    "tls": Protocol.TLS,
    "tcp": Protocol.TCP,
    "mongo": Protocol.MONGO,
    "mysql": Protocol.MYSQL,
    "redis": Protocol.REDIS,
    "udp": Protocol.UDP,
}
# Names Kubernetes itself defines; they are no port names (a port name holds no slash).
_KUBERNETES_NAMES: Final = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.HTTPS,
}
SERVER_SPEAKS_FIRST: Final = frozenset({25, 53, 3306, 27017})  # SMTP, DNS, MySQL, MongoDB


def of_service_port(name: str, number: int, app_protocol: str | None) -> Protocol:
    """The protocol of a TCP port of a Kubernetes Service. An unknown `appProtocol` hides the name, as in Istio."""
    found = _BY_NAME.get(name) if app_protocol is None else _of_app_protocol(app_protocol)
    if found is not None:
        return found
    return _by_prefix(name if app_protocol is None else app_protocol, number)


def of_declared(declared: str) -> Protocol | None:
    """The protocol a ServiceEntry, Gateway or Sidecar port declares; empty is sniffed, None is unknown to us."""
    return _BY_NAME.get(declared.lower()) if declared else Protocol.AUTO


def is_known(app_protocol: str) -> bool:
    """Whether this `appProtocol` means something here."""
    return _of_app_protocol(app_protocol) is not None or _by_prefix(app_protocol, 0) is not Protocol.AUTO


def _of_app_protocol(text: str) -> Protocol | None:
    return _BY_NAME.get(text) or _KUBERNETES_NAMES.get(text)


def _by_prefix(name: str, number: int) -> Protocol:
    lowered = name.lower()
    if lowered.startswith("grpc-web"):
        return Protocol.GRPC_WEB
    found = _BY_NAME.get(lowered.partition("-")[0])
    if found is not None:
        return found
    return Protocol.TCP if number in SERVER_SPEAKS_FIRST else Protocol.AUTO
