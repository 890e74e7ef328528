"""What a Gateway may say."""

from typing import Final

from controlplane.model.gateway import Gateway, Port, Server, ServerTLSMode
from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.validate.common import (
    check_host_or_ip,
    check_labels,
    check_object_name,
    check_port,
    check_protocol,
    each,
    is_dns_label,
    is_ip,
    required,
)
from controlplane.model.validate.findings import Findings
from controlplane.model.validate.tls import check_server_tls

_HTTP: Final = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
_ENCRYPTED: Final = frozenset({"HTTPS", "TLS"})


def validate_gateway(gateway: Gateway) -> tuple[Problem, ...]:
    """All that is wrong with a Gateway by itself."""
    found = Findings(ref_of(gateway))
    check_object_name(found, "metadata.name", gateway.meta.name)
    required(found, "spec.servers", gateway.spec.servers)
    check_labels(found, "spec.selector", gateway.spec.selector)
    if not gateway.spec.selector:
        found.warn("RequiredField", "spec.selector", "without a selector every gateway pod opens these ports")
    each(found, "spec.servers", gateway.spec.servers, _check_server)
    _check_port_names(found, gateway.spec.servers)
    return found.done()


def _check_port_names(found: Findings, servers: tuple[Server, ...]) -> None:
    """Route configurations are named by port name, so a name must stand for one port."""
    seen: dict[str, int] = {}
    for i, server in enumerate(servers):
        name = server.port.name if server.port else ""
        if name and name in seen:
            message = f'port name "{name}" is taken by servers[{seen[name]}]; give each server its own'
            found.error("DuplicateValue", f"spec.servers[{i}].port.name", message)
        seen.setdefault(name, i)


def _check_server(found: Findings, path: str, server: Server) -> None:
    if required(found, f"{path}.hosts", server.hosts):
        each(found, f"{path}.hosts", server.hosts, check_server_host)
    if server.default_endpoint:
        found.warn("NoEffect", f"{path}.defaultEndpoint", "has no effect, in Istio neither")
    unix = _check_bind(found, f"{path}.bind", server.bind)
    if server.port is None:
        required(found, f"{path}.port", None)
        return
    _check_server_port(found, f"{path}.port", server.port, unix=unix)
    _check_tls_fits(found, path, server, server.port.protocol.upper())
    if server.tls is not None:
        check_server_tls(found, f"{path}.tls", server.tls)


def _check_server_port(found: Findings, path: str, port: Port, *, unix: bool) -> None:
    check_protocol(found, f"{path}.protocol", port.protocol)
    required(found, f"{path}.name", port.name)
    if not unix and required(found, f"{path}.number", port.number):
        check_port(found, f"{path}.number", port.number)
    if port.target_port is not None:
        found.warn("DeprecatedField", f"{path}.targetPort", "targetPort has no effect; remove it")


def _check_bind(found: Findings, path: str, bind: str | None) -> bool:
    """Whether it is a Unix socket."""
    unix = bool(bind) and str(bind).startswith("unix://")
    if bind and not unix and not is_ip(bind):
        found.error("InvalidAddress", path, f'"{bind}" is not an IP address or unix:///path')
    return unix


def _check_tls_fits(found: Findings, path: str, server: Server, protocol: str) -> None:
    if protocol in _ENCRYPTED and server.tls is None:
        found.error("InvalidTLS", f"{path}.tls", f"tls is required for protocol {protocol}")
    elif protocol in _HTTP and server.tls is not None and not server.tls.https_redirect:
        found.error("InvalidTLS", f"{path}.tls", f"protocol {protocol} is plain text; use HTTPS, or only httpsRedirect")
    elif protocol not in _HTTP and server.tls is not None and server.tls.https_redirect:
        found.warn("NoEffect", f"{path}.tls.httpsRedirect", "only plain HTTP is redirected; set it on the HTTP server")
    if protocol == "HTTPS" and server.tls and server.tls.mode is ServerTLSMode.AUTO_PASSTHROUGH:
        found.error("InvalidTLS", f"{path}.tls.mode", "AUTO_PASSTHROUGH needs protocol TLS")


def check_server_host(found: Findings, path: str, host: str) -> None:
    """[namespace/]name: "." is the Gateway's namespace, "*" any."""
    namespace, slash, name = host.partition("/")
    if slash and namespace not in {".", "*"} and not is_dns_label(namespace):
        found.error("InvalidHost", path, f'"{namespace}" is not a namespace, "." or "*"')
    check_host_or_ip(found, path, name if slash else host)
