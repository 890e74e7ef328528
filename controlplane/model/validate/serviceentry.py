"""What a ServiceEntry and a WorkloadEntry may say."""

from collections.abc import Sequence
from typing import Final

from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.serviceentry import (
    Resolution,
    ServiceEntry,
    ServiceEntryPort,
    ServiceEntrySpec,
    WorkloadEntry,
    WorkloadEntrySpec,
)
from controlplane.model.validate.common import (
    check_export_to,
    check_host,
    check_labels,
    check_object_name,
    check_port,
    check_protocol,
    check_subnet,
    each,
    is_dns_label,
    is_fqdn,
    is_ip,
    is_wildcard,
    required,
    unique,
)
from controlplane.model.validate.findings import Findings

MAX_HOSTS: Final = 256
MAX_ADDRESSES: Final = 256
MAX_ADDRESS: Final = 64  # characters; the longest IPv6 block has 43
MAX_ENDPOINTS: Final = 4096
MAX_WORKLOAD_ADDRESS: Final = 256  # characters of a name or path
UNIX: Final = "unix://"
_RESOLVING: Final = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})


def validate_service_entry(entry: ServiceEntry) -> tuple[Problem, ...]:
    """All that is wrong with a ServiceEntry by itself."""
    found = Findings(ref_of(entry))
    spec = entry.spec
    check_object_name(found, "metadata.name", entry.meta.name)
    _check_hosts(found, spec)
    _check_addresses(found, spec)
    _check_ports(found, spec)
    _check_resolution(found, spec)
    _check_endpoints(found, spec)
    check_export_to(found, "spec.exportTo", spec.export_to)
    if spec.workload_selector is not None:
        check_labels(found, "spec.workloadSelector.labels", spec.workload_selector.labels)
        required(found, "spec.workloadSelector.labels", tuple(spec.workload_selector.labels))
    for i, name in enumerate(spec.subject_alt_names):
        required(found, f"spec.subjectAltNames[{i}]", name)
    return found.done()


def _check_hosts(found: Findings, spec: ServiceEntrySpec) -> None:
    required(found, "spec.hosts", spec.hosts)
    unique(found, "spec.hosts", spec.hosts)
    for i, host in enumerate(spec.hosts):
        if host == "*":
            found.error("InvalidHost", f"spec.hosts[{i}]", '"*" is every host there is; name the hosts of this service')
        else:
            check_host(found, f"spec.hosts[{i}]", host)
    _check_length(found, "spec.hosts", spec.hosts, MAX_HOSTS)


def _check_length(found: Findings, path: str, values: Sequence[object], most: int) -> None:
    if len(values) > most:
        found.error("InvalidValue", path, f"has {len(values)} entries; at most {most} are allowed")


def _check_addresses(found: Findings, spec: ServiceEntrySpec) -> None:
    unique(found, "spec.addresses", spec.addresses)
    _check_length(found, "spec.addresses", spec.addresses, MAX_ADDRESSES)
    blocks = spec.resolution in {None, Resolution.NONE, Resolution.STATIC}
    for i, address in enumerate(spec.addresses):
        if "/" in address and not blocks:
            message = f"a CIDR block needs resolution NONE or STATIC, not {spec.resolution}; use single addresses"
            found.error("InvalidAddress", f"spec.addresses[{i}]", message)
        else:
            check_subnet(found, f"spec.addresses[{i}]", address)


def _check_ports(found: Findings, spec: ServiceEntrySpec) -> None:
    if not spec.ports:
        found.warn("NoEffect", "spec.ports", "a service without ports takes no calls")
    unique(found, "spec.ports", (port.name for port in spec.ports), field=".name")
    unique(found, "spec.ports", (port.number for port in spec.ports), field=".number")
    each(found, "spec.ports", spec.ports, _check_port)
    if spec.resolution in {None, Resolution.NONE}:
        for i, port in enumerate(spec.ports):
            if port.target_port is not None:
                message = "resolution NONE sends calls where they were going; another port needs another resolution"
                found.error("ConflictingFields", f"spec.ports[{i}].targetPort", message)


def _check_port(found: Findings, path: str, port: ServiceEntryPort) -> None:
    if required(found, f"{path}.number", port.number):
        check_port(found, f"{path}.number", port.number)
    if required(found, f"{path}.name", port.name) and not is_dns_label(port.name.lower()):
        found.error("InvalidPort", f"{path}.name", f'"{port.name}" is not a port name')
    if port.protocol:
        check_protocol(found, f"{path}.protocol", port.protocol)
    check_port(found, f"{path}.targetPort", port.target_port)


def _check_resolution(found: Findings, spec: ServiceEntrySpec) -> None:
    resolution = spec.resolution or Resolution.NONE
    if spec.endpoints and spec.workload_selector is not None:
        found.error("ConflictingFields", "spec.endpoints", "endpoints and workloadSelector exclude each other")
    if resolution in {Resolution.NONE, Resolution.DYNAMIC_DNS} and spec.endpoints:
        message = f"resolution {resolution} takes no endpoints; use STATIC or DNS"
        found.error("ConflictingFields", "spec.endpoints", message)
    if resolution is Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        message = "DNS_ROUND_ROBIN takes one endpoint at most; use DNS"
        found.error("ConflictingFields", "spec.endpoints", message)
    if resolution in _RESOLVING and not spec.endpoints and spec.workload_selector is None:
        for i, host in enumerate(spec.hosts):
            if is_wildcard(host):
                message = f'"{host}" cannot be resolved; give endpoints, or resolution NONE or DYNAMIC_DNS'
                found.error("InvalidHost", f"spec.hosts[{i}]", message)
    if resolution is Resolution.STATIC and not spec.endpoints and spec.workload_selector is None:
        found.warn("NoEffect", "spec.endpoints", "resolution STATIC without endpoints: calls have nowhere to go")


def _check_endpoints(found: Findings, spec: ServiceEntrySpec) -> None:
    _check_length(found, "spec.endpoints", spec.endpoints, MAX_ENDPOINTS)
    names = {port.name for port in spec.ports}
    resolves = spec.resolution in _RESOLVING
    for i, endpoint in enumerate(spec.endpoints):
        at = f"spec.endpoints[{i}]"
        _check_workload(found, at, endpoint, may_resolve=resolves)
        for name in endpoint.ports:
            if name not in names:
                found.error("InvalidPort", f"{at}.ports[{name}]", f'"{name}" is not among the ports of this service')
        if (endpoint.address or "").startswith(UNIX) and len(spec.ports) != 1:
            found.error("InvalidPort", f"{at}.address", "a Unix socket serves exactly one port; list one in spec.ports")


def validate_workload_entry(entry: WorkloadEntry) -> tuple[Problem, ...]:
    """All that is wrong with a WorkloadEntry by itself."""
    found = Findings(ref_of(entry))
    check_object_name(found, "metadata.name", entry.meta.name)
    _check_workload(found, "spec", entry.spec, may_resolve=True)
    return found.done()


def _check_workload(found: Findings, path: str, workload: WorkloadEntrySpec, *, may_resolve: bool) -> None:
    _check_address(found, f"{path}.address", workload, may_resolve=may_resolve)
    check_labels(found, f"{path}.labels", workload.labels)
    for name, number in workload.ports.items():
        check_port(found, f"{path}.ports[{name}]", number)
        if not is_dns_label(name.lower()):
            found.error("InvalidPort", f"{path}.ports[{name}]", f'"{name}" is not a port name')
    if workload.locality and len(workload.locality.split("/")) > 3:
        found.error("InvalidLocality", f"{path}.locality", f'"{workload.locality}" is not region/zone/sub-zone')


def _check_address(found: Findings, path: str, workload: WorkloadEntrySpec, *, may_resolve: bool) -> None:
    address = workload.address or ""
    if not address:
        if not workload.network:
            required(found, path, address, why=", unless network is set")
    elif len(address) > MAX_WORKLOAD_ADDRESS:
        found.error(
            "InvalidAddress", path, f"has {len(address)} characters; at most {MAX_WORKLOAD_ADDRESS} are allowed"
        )
    elif address.startswith(UNIX):
        _check_socket(found, path, address.removeprefix(UNIX), workload.ports)
    elif not is_ip(address) and not (may_resolve and is_fqdn(address)):
        names = " or a host name" if may_resolve else "; a name needs resolution DNS"
        found.error("InvalidAddress", path, f'"{address}" is not an IP address{names}')


def _check_socket(found: Findings, path: str, socket: str, ports: Sequence[str] | object) -> None:
    if not socket.startswith(("/", "@")):
        found.error("InvalidAddress", path, f'"{socket}" is not an absolute path; write unix:///path')
    if ports:
        found.error("InvalidAddress", path, "a Unix socket has no ports; remove ports")
