"""What a Sidecar may say."""

from typing import Final

from controlplane.model.destinationrule import ConnectionPoolSettings, H2UpgradePolicy
from controlplane.model.gateway import Port, ServerTLSMode
from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.sidecar import (
    CaptureMode,
    EgressListener,
    IngressListener,
    OutboundTrafficMode,
    OutboundTrafficPolicy,
    Sidecar,
    SidecarSpec,
)
from controlplane.model.validate.common import (
    check_host,
    check_labels,
    check_object_name,
    check_port,
    check_protocol,
    each,
    is_dns_label,
    is_ip,
    required,
    unique,
)
from controlplane.model.validate.destinationrule import check_connection_pool
from controlplane.model.validate.findings import Findings
from controlplane.model.validate.tls import check_server_tls
from controlplane.model.validate.virtualservice import check_destination

UNIX: Final = "unix://"
_LOCAL: Final = frozenset({"127.0.0.1", "[::1]", "0.0.0.0", "[::]"})  # noqa: S104  (names of a file format, nothing binds here)
_TLS_MODES: Final = frozenset({ServerTLSMode.SIMPLE, ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL})


def validate_sidecar(sidecar: Sidecar) -> tuple[Problem, ...]:
    """All that is wrong with a Sidecar by itself."""
    found = Findings(ref_of(sidecar))
    spec = sidecar.spec
    check_object_name(found, "metadata.name", sidecar.meta.name)
    if spec.workload_selector is not None:
        check_labels(found, "spec.workloadSelector.labels", spec.workload_selector.labels)
    if spec == SidecarSpec(workload_selector=spec.workload_selector):
        found.warn("NoEffect", "spec", "says nothing about ingress, egress or policy: it changes nothing")
    unique(found, "spec.ingress", (one.port.number if one.port else None for one in spec.ingress), field=".port")
    each(found, "spec.ingress", spec.ingress, _check_ingress)
    each(found, "spec.egress", spec.egress, _check_egress)
    _check_catch_all(found, spec.egress)
    if spec.inbound_connection_pool is not None:
        _check_pool(found, "spec.inboundConnectionPool", spec.inbound_connection_pool)
    if spec.outbound_traffic_policy is not None:
        _check_policy(found, "spec.outboundTrafficPolicy", spec.outbound_traffic_policy)
    return found.done()


def _check_ingress(found: Findings, path: str, listener: IngressListener) -> None:
    if listener.port is None:
        required(found, f"{path}.port", None)
    else:
        _check_listener_port(found, f"{path}.port", listener.port, unix=False)
    if listener.bind and not is_ip(listener.bind):
        found.error("InvalidAddress", f"{path}.bind", f'"{listener.bind}" is not an IP address')
    if listener.default_endpoint:
        _check_default_endpoint(found, f"{path}.defaultEndpoint", listener.default_endpoint)
    if listener.connection_pool is not None:
        _check_pool(found, f"{path}.connectionPool", listener.connection_pool)
    if listener.tls is not None:
        if listener.tls.mode not in _TLS_MODES:
            listed = ", ".join(sorted(_TLS_MODES))
            found.error(
                "InvalidTLS", f"{path}.tls.mode", f"must be one of {listed}; found {listener.tls.mode or 'none'}"
            )
        check_server_tls(found, f"{path}.tls", listener.tls)
        if listener.tls.https_redirect:
            found.warn("NoEffect", f"{path}.tls.httpsRedirect", "only a Gateway redirects plain HTTP")


def _check_pool(found: Findings, path: str, pool: ConnectionPoolSettings) -> None:
    check_connection_pool(found, path, pool)
    if pool.http is not None and pool.http.h2_upgrade_policy not in {None, H2UpgradePolicy.DEFAULT}:
        message = "the application is spoken to in the protocol of the port; declare that as HTTP2"
        found.warn("NoEffect", f"{path}.http.h2UpgradePolicy", message)


def _check_default_endpoint(found: Findings, path: str, endpoint: str) -> None:
    if endpoint.startswith(UNIX):
        if not endpoint.removeprefix(UNIX).startswith(("/", "@")):
            found.error("InvalidAddress", path, f'"{endpoint}" is not unix:///path')
        return
    address, _, port = endpoint.rpartition(":")
    if address not in _LOCAL or not port.isascii() or not port.isdecimal() or not 1 <= int(port[:6]) <= 65535:
        message = f'"{endpoint}" is not 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or unix:///path'
        found.error("InvalidAddress", path, message)


def _check_listener_port(found: Findings, path: str, port: Port, *, unix: bool) -> None:
    if not unix and required(found, f"{path}.number", port.number):
        check_port(found, f"{path}.number", port.number)
    if port.protocol:  # else it is sniffed
        check_protocol(found, f"{path}.protocol", port.protocol)
    if port.target_port is not None:
        found.warn("DeprecatedField", f"{path}.targetPort", "targetPort has no effect; use defaultEndpoint")


def _check_egress(found: Findings, path: str, listener: EgressListener) -> None:
    unix = (listener.bind or "").startswith(UNIX)
    if required(found, f"{path}.hosts", listener.hosts):
        each(found, f"{path}.hosts", listener.hosts, _check_egress_host)
    if listener.port is not None:
        _check_listener_port(found, f"{path}.port", listener.port, unix=unix)
    if listener.bind and not unix and not is_ip(listener.bind):
        found.error("InvalidAddress", f"{path}.bind", f'"{listener.bind}" is not an IP address or unix:///path')
    if listener.port is None and listener.capture_mode not in {None, CaptureMode.DEFAULT}:
        found.warn("NoEffect", f"{path}.captureMode", "only a listener with a port of its own may be captured or bound")
    if listener.bind and listener.port is None:
        found.error("ConflictingFields", f"{path}.bind", "bind needs a port: it says where one port listens")
    if unix and listener.capture_mode not in {None, CaptureMode.DEFAULT, CaptureMode.NONE}:
        found.error("ConflictingFields", f"{path}.captureMode", "traffic to a Unix socket cannot be captured; use NONE")


def _check_egress_host(found: Findings, path: str, host: str) -> None:
    namespace, slash, name = host.partition("/")
    if not slash:
        found.error("InvalidHost", path, f'"{host}" has no namespace; write namespace/name, ./name or */name')
        return
    if (namespace.removeprefix("~") or "~") not in {".", "*", "~"} and not is_dns_label(namespace.removeprefix("~")):
        found.error("InvalidHost", path, f'"{namespace}" is not a namespace, ".", "*", "~" or "~" before one of these')
    check_host(found, path, name)


def _check_catch_all(found: Findings, listeners: tuple[EgressListener, ...]) -> None:
    """The one without a port takes what the others leave, so it is the last."""
    for i, listener in enumerate(listeners[:-1]):
        if listener.port is None:
            message = "only the last egress listener may have no port: it takes all ports"
            found.error("ConflictingFields", f"spec.egress[{i}]", message)
    unique(
        found, "spec.egress", ((one.bind, one.port.number) if one.port else None for one in listeners), field=".port"
    )


def _check_policy(found: Findings, path: str, policy: OutboundTrafficPolicy) -> None:
    if policy.egress_proxy is None:
        return
    check_destination(found, f"{path}.egressProxy", policy.egress_proxy)
    if policy.mode is OutboundTrafficMode.REGISTRY_ONLY:
        found.error("ConflictingFields", f"{path}.egressProxy", "egressProxy needs mode ALLOW_ANY")
