"""ServiceEntry -> one service for each of its hosts.

What cannot work is taken out in the smallest unit (a host, a port, an address, an endpoint), so that a mistake in one
endpoint does not take the others' traffic away, and nothing reaches Envoy that makes it refuse a whole resource.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Final

import msgspec

from controlplane.ir.service import Endpoint, Protocol, Resolution, Service, ServicePort
from controlplane.mesh import protocol
from controlplane.mesh.endpoints import leads_to_itself
from controlplane.mesh.export import visibility
from controlplane.mesh.hosts import UNIX, is_ip, is_local, is_ours
from controlplane.mesh.problems import ignored, ineffective, invalid, outdoes
from controlplane.mesh.service import TRAFFIC_DISTRIBUTION_ANNOTATION
from controlplane.mesh.workload import LOCALITY_LABEL, NETWORK_LABEL, TLS_MODE_LABEL, network_problems
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.serviceentry import (
    Location,
    ServiceEntry,
    ServiceEntryPort,
    ServiceEntrySpec,
    WorkloadEntrySpec,
)
from controlplane.model.serviceentry import Resolution as Declared
from controlplane.model.settings import Settings

_RESOLUTIONS: Final = {
    Declared.NONE: Resolution.PASSTHROUGH,
    Declared.STATIC: Resolution.ENDPOINTS,
    Declared.DNS: Resolution.DNS,
    Declared.DNS_ROUND_ROBIN: Resolution.DNS_ROUND_ROBIN,
    Declared.DYNAMIC_DNS: Resolution.DYNAMIC_DNS,
}
_NAMES_RESOLVE: Final = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})
_PROXY_FINDS_IT: Final = frozenset({Resolution.PASSTHROUGH, Resolution.DYNAMIC_DNS})
_NO_BLOCKS: Final = frozenset({*_NAMES_RESOLVE, Resolution.DYNAMIC_DNS})
_NO_LABELS: Final[Mapping[str, str]] = {}


class _Reading(msgspec.Struct):
    """One ServiceEntry while it is read, and what has been found wrong so far."""

    spec: ServiceEntrySpec
    namespace: str
    resolution: Resolution
    origin: Origin  # of `spec`
    refuse_local: bool
    problems: list[Problem]

    def reject(self, path: str, message: str) -> None:
        """Note a value that cannot be used."""
        self.problems.append(invalid(self.origin.at(path), message))


def from_service_entry(se: ServiceEntry, settings: Settings) -> tuple[tuple[Service, ...], tuple[Problem, ...]]:
    """One service for each usable host; and what the author should know."""
    if se.invalid:
        return (), ()
    resolution = _RESOLUTIONS[se.spec.resolution or Declared.NONE]
    reading = _Reading(
        se.spec, se.meta.namespace, resolution, origin_of(se, "spec"), settings.refuse_local_endpoints, []
    )
    ports, addresses, selector = _ports(reading), _addresses(reading), _selector(reading)
    listed = _listed(reading)
    _check_addresses(reading, ports, addresses)
    distribution = se.meta.annotations.get(TRAFFIC_DISTRIBUTION_ANNOTATION, "")
    export_to = visibility(se.spec.export_to or settings.default_service_export_to, se.meta.namespace)
    services = [
        Service(
            host=host,
            namespace=se.meta.namespace,
            name=host,
            ports=ports,
            addresses=addresses,
            resolution=resolution,
            origin=origin_of(se),
            created=se.meta.created,
            kubernetes=False,
            external=se.spec.location is not Location.MESH_INTERNAL,
            static=_static(reading, host, ports, listed),
            export_to=export_to,
            prefer_same_zone=distribution in {"PreferClose", "PreferSameZone"},
            prefer_same_node=distribution == "PreferSameNode",
            subject_alt_names=se.spec.subject_alt_names,
            selector=selector,
        )
        for host in _hosts(reading)
    ]
    return tuple(services), tuple(reading.problems)


def united(declared: Sequence[Service]) -> tuple[Service, tuple[Problem, ...]]:
    """One service of all that one namespace declares for one host, the oldest declaration first.

    Ports and listed endpoints add up, as in Istio. How endpoints are found is the oldest's word: who says otherwise
    has no effect, and is told.
    """
    first, *others = declared
    service, problems = first, []
    for other in others:
        if (other.resolution, other.selector) == (first.resolution, first.selector):
            problems += _port_conflicts(service, other)
            service = _added(service, other)
        else:
            text = f"no effect: {first.origin}, which is older, finds the endpoints of {first.host} in another way"
            problems.append(Problem("Conflicted", Level.ERROR, other.origin.at("spec.hosts"), text))
            told = f"{other.origin.ref} finds the endpoints of {first.host} in another way"
            problems.append(outdoes(first.origin.at("spec.hosts"), told))
    return service, tuple(problems)


def _added(service: Service, other: Service) -> Service:
    known = {port.number for port in service.ports}
    static = dict(service.static)
    for number, listed in other.static.items():
        places = {(one.address, one.port): one for one in (*listed, *static.get(number, ()))}
        static[number] = tuple([places[place] for place in sorted(places)])
    return msgspec.structs.replace(
        service,
        ports=(*service.ports, *(port for port in other.ports if port.number not in known)),
        addresses=tuple(dict.fromkeys((*service.addresses, *other.addresses))),
        subject_alt_names=tuple(dict.fromkeys((*service.subject_alt_names, *other.subject_alt_names))),
        static=static,
    )


def _port_conflicts(service: Service, other: Service) -> list[Problem]:
    problems: list[Problem] = []
    for port in other.ports:
        known = service.port(port.number)
        if known is not None and known.protocol is not port.protocol:
            text = f"{service.origin}, which is older, has port {port.number} of {service.host} speak {known.protocol}"
            problems.append(Problem("Conflicted", Level.WARNING, other.origin.at("spec.ports"), text))
            told = f"{other.origin.ref} has port {port.number} of {service.host} speak {port.protocol}"
            problems.append(outdoes(service.origin.at("spec.ports"), told))
    return problems


def _hosts(reading: _Reading) -> list[str]:
    """Host names that can be called, lower case, each once."""
    found: dict[str, None] = {}
    for index, written in enumerate(reading.spec.hosts):
        host = written.lower().removesuffix(".")
        problem = _host_problem(host, reading)
        if problem:
            reading.reject(f"hosts[{index}]", problem)
        else:
            found[host] = None
    return list(found)


def _host_problem(host: str, reading: _Reading) -> str:
    if host in {"", "*"}:
        return "a ServiceEntry needs a name of its own: neither nothing nor everything"
    if "*" in host.removeprefix("*.") or not _is_word(host):
        return f"{host!r} is no host name; a wildcard stands in front and alone, as in *.example.com"
    if host.startswith("*.") and reading.resolution in _NAMES_RESOLVE and _asks_its_own_name(reading.spec):
        return f"{host!r} has no address in the DNS: list endpoints, or use resolution NONE or DYNAMIC_DNS"
    return ""


def _is_word(text: str) -> bool:
    return bool(text) and text.isprintable() and " " not in text


def _asks_its_own_name(spec: ServiceEntrySpec) -> bool:
    """Whether a DNS resolution asks for the host itself, because nothing else is listed."""
    return not spec.endpoints and spec.workload_selector is None


def _ports(reading: _Reading) -> tuple[ServicePort, ...]:
    ports: dict[int, ServicePort] = {}
    for index, port in enumerate(reading.spec.ports):
        number = port.number or 0
        if not 0 < number < 65536 or number in ports or (port.target_port or 0) > 65535:
            reading.reject(f"ports[{index}]", "this is no port number, or it is there already: left out")
            continue
        spoken = _protocol(reading, index, port)
        if spoken is not None:
            ports[number] = ServicePort(number, port.name, spoken, port.target_port or number)
    return tuple(ports.values())


def _protocol(reading: _Reading, index: int, port: ServiceEntryPort) -> Protocol | None:
    """What a port speaks; None when it is not proxied."""
    at = reading.origin.at(f"ports[{index}].protocol")
    spoken = protocol.of_declared(port.protocol)
    if spoken is Protocol.UDP:
        text = "UDP is not proxied: this port works as if there were no mesh"
        reading.problems.append(ignored(at, "PortNotProxied", text))
        return None
    if spoken is None:
        text = f"{port.protocol!r} is no protocol the mesh knows: it is sniffed on the wire"
        reading.problems.append(Problem("UnknownProtocol", Level.WARNING, at, text))
        return Protocol.AUTO
    if reading.resolution is Resolution.DYNAMIC_DNS and not (
        spoken.is_http or spoken.is_tls or spoken is Protocol.AUTO
    ):
        reading.reject(f"ports[{index}].protocol", "DYNAMIC_DNS needs a name in each call, HTTP's or TLS's: left out")
        return None
    return spoken


def _addresses(reading: _Reading) -> tuple[str, ...]:
    """Virtual addresses and CIDR blocks, a block of one address as that address."""
    found: dict[str, None] = {}
    for index, text in enumerate(reading.spec.addresses):
        address = _address_or_block(text)
        if address is None:
            reading.reject(f"addresses[{index}]", f"{text!r} is neither an IP address nor a CIDR block: left out")
        elif "/" in address and reading.resolution in _NO_BLOCKS:
            reading.reject(f"addresses[{index}]", f"a block ({text}) needs resolution NONE or STATIC: left out")
        else:
            found[address] = None
    return tuple(found)


def _address_or_block(text: str) -> str | None:
    if "/" not in text:
        return text if is_ip(text) else None
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _check_addresses(reading: _Reading, ports: Sequence[ServicePort], addresses: Sequence[str]) -> None:
    """Without an address a TCP port is caught on every address: it takes calls meant for others."""
    if addresses or reading.resolution is Resolution.DYNAMIC_DNS:
        return
    for port in ports:
        if not (port.protocol.is_http or port.protocol.is_tls or port.protocol is Protocol.AUTO):
            text = f"TCP port {port.number} is caught on every address, because the entry has none of its own"
            at = reading.origin.at("addresses")
            reading.problems.append(Problem("ServiceEntryAddressesRequired", Level.WARNING, at, text))


def _selector(reading: _Reading) -> Mapping[str, str]:
    """Labels of the workloads behind it; empty when endpoints come otherwise."""
    spec = reading.spec
    if spec.workload_selector is None:
        if reading.resolution is Resolution.ENDPOINTS and not spec.endpoints:
            reading.reject("endpoints", "resolution STATIC needs endpoints or a workloadSelector: every call fails")
        return _NO_LABELS
    if reading.resolution in _PROXY_FINDS_IT:
        text = "with this resolution the proxy finds the address itself"
        reading.problems.append(ineffective(reading.origin.at("workloadSelector"), text))
    elif spec.endpoints:
        reading.reject(
            "workloadSelector", "only one of endpoints and workloadSelector may be: the selector is left out"
        )
    elif not spec.workload_selector.labels:
        reading.reject("workloadSelector.labels", "an empty selector selects nothing: every call fails")
    else:
        return spec.workload_selector.labels
    return _NO_LABELS


def _listed(reading: _Reading) -> list[WorkloadEntrySpec]:
    """The listed endpoints that can be used."""
    if reading.spec.endpoints and reading.resolution in _PROXY_FINDS_IT:
        text = "with this resolution the proxy finds the address itself"
        reading.problems.append(ineffective(reading.origin.at("endpoints"), text))
        return []
    usable: list[WorkloadEntrySpec] = []
    for index, entry in enumerate(reading.spec.endpoints):
        problem = _endpoint_problem(reading, entry)
        if not problem and usable and reading.resolution is Resolution.DNS_ROUND_ROBIN:
            problem = "resolution DNS_ROUND_ROBIN takes one endpoint, the first"
        if problem:
            reading.reject(f"endpoints[{index}]", f"{problem}: this endpoint is left out")
        else:
            reading.problems += network_problems(entry.network or "", reading.origin.at(f"endpoints[{index}]"))
            usable.append(entry)
    return usable


def _endpoint_problem(reading: _Reading, entry: WorkloadEntrySpec) -> str:
    address = entry.address or ""
    if any(number > 65535 for number in entry.ports.values()):
        return "a port number is at most 65535"
    if address.startswith(UNIX):
        return _socket_problem(reading, address)
    if not _is_word(address) or "*" in address:
        return f"{address!r} is neither an address nor a DNS name"
    if reading.resolution is Resolution.ENDPOINTS and not is_ip(address):
        return f"{address!r} is no IP address; names need resolution DNS"
    if reading.refuse_local and is_local(address):
        return leads_to_itself(address, refuse_local=True)
    return ""


def _socket_problem(reading: _Reading, address: str) -> str:
    path = address.removeprefix(UNIX)
    if reading.resolution in _NAMES_RESOLVE:
        return "a Unix socket is no DNS name; it needs resolution STATIC"
    if reading.refuse_local or is_ours(address):
        return leads_to_itself(address, refuse_local=reading.refuse_local)
    return "" if path.startswith(("/", "@")) else f"{path!r} is no absolute path"


def _static(
    reading: _Reading, host: str, ports: Sequence[ServicePort], listed: Sequence[WorkloadEntrySpec]
) -> dict[int, tuple[Endpoint, ...]]:
    """Endpoints by port number: those listed, or for a DNS resolution that lists nothing the host's own name."""
    if listed:
        return {port.number: _endpoints(port, listed, reading.namespace) for port in ports}
    if reading.resolution in _NAMES_RESOLVE and _asks_its_own_name(reading.spec):
        if reading.refuse_local and is_local(host):
            reading.reject("hosts", leads_to_itself(host, refuse_local=True))
            return {}
        return {port.number: (Endpoint(host, _target(port), _NO_LABELS),) for port in ports}
    return {}


def _endpoints(port: ServicePort, listed: Sequence[WorkloadEntrySpec], namespace: str) -> tuple[Endpoint, ...]:
    found: dict[tuple[str, int], Endpoint] = {}
    for entry in listed:
        address = entry.address or ""
        number = 0 if address.startswith(UNIX) else entry.ports.get(port.name) or _target(port)
        found.setdefault((address, number), _endpoint(entry, address, number, namespace))
    return tuple([found[key] for key in sorted(found)])


def _target(port: ServicePort) -> int:
    return port.target if isinstance(port.target, int) else port.number


def _endpoint(entry: WorkloadEntrySpec, address: str, number: int, namespace: str) -> Endpoint:
    """One listed endpoint. Its labels say what injection would: locality, network, whether a sidecar stands there."""
    labels = entry.labels
    return Endpoint(
        address,
        number,
        labels,
        locality=entry.locality or labels.get(LOCALITY_LABEL, "").replace(".", "/"),
        weight=entry.weight or 1,
        network=entry.network or labels.get(NETWORK_LABEL, ""),
        service_account=f"{namespace}/{entry.service_account}" if entry.service_account else "",
        mutual_tls=labels.get(TLS_MODE_LABEL) == "istio",
    )
