"""Kubernetes Service -> the service callers know.

Besides Istio's reading (protocols, visibility, headless Services by the address the caller dialled) this honours what
kube-proxy honours and users therefore expect: session affinity, internalTrafficPolicy, trafficDistribution.
"""

from typing import Final

from controlplane.ir.service import Endpoint, Protocol, Resolution, Service, ServicePort
from controlplane.mesh import protocol
from controlplane.mesh.export import visibility
from controlplane.mesh.hosts import is_ip, is_local
from controlplane.mesh.problems import NO_PROBLEMS, ignored, ineffective, invalid
from controlplane.model import core
from controlplane.model.meta import origin_of
from controlplane.model.problem import Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.sidecar import OutboundTrafficMode

EXPORT_TO_ANNOTATION: Final = "networking.istio.io/exportTo"
TRAFFIC_DISTRIBUTION_ANNOTATION: Final = "networking.istio.io/traffic-distribution"
DEFAULT_AFFINITY_SECONDS: Final = 10800  # Kubernetes' default of clientIP.timeoutSeconds
_DISTRIBUTIONS: Final = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})
_AFFINITIES: Final = frozenset({"", "None", "ClientIP"})
_POLICIES: Final = frozenset({None, "", "Cluster", "Local"})
_NO_LABELS: Final[dict[str, str]] = {}


def from_service(svc: core.Service, settings: Settings) -> tuple[Service | None, tuple[Problem, ...]]:
    """The service, or None when nothing can be called by it; and what its author should know."""
    origin = origin_of(svc)
    if svc.spec.type == "ExternalName":
        return _external_name(svc, origin, settings)
    meta, spec = svc.meta, svc.spec
    ports, problems = _ports(spec.ports, origin)
    addresses, bad = _addresses(svc.vips, origin)
    distribution = _distribution(svc)
    service = Service(
        host=f"{meta.name}.{meta.namespace}.svc.{settings.cluster_domain}",
        namespace=meta.namespace,
        name=meta.name,
        ports=ports,
        addresses=addresses,
        resolution=Resolution.PASSTHROUGH if svc.headless else Resolution.ENDPOINTS,
        origin=origin,
        created=meta.created,
        headless=svc.headless,
        export_to=_export_to(svc, settings),
        session_affinity=spec.session_affinity == "ClientIP",
        same_node=spec.internal_traffic_policy == "Local",
        prefer_same_zone=distribution in {"PreferClose", "PreferSameZone"},
        prefer_same_node=distribution == "PreferSameNode",
        selector=spec.selector,
        publish_not_ready=spec.publish_not_ready_addresses,
    )
    return service, problems + bad + _wishes(svc, origin, distribution)


def _external_name(svc: core.Service, origin: Origin, settings: Settings) -> tuple[Service | None, tuple[Problem, ...]]:
    """Another name for a host: of the registry, which then answers for it (`alias_of`), or of the DNS.

    What is said here holds for the DNS. Its traffic goes to the port the caller dialled: Kubernetes answers with a
    CNAME and never looks at `targetPort`. HTTP is known by its host; other bytes go where the DNS leads.
    """
    meta, target = svc.meta, svc.spec.external_name.lower().removesuffix(".")
    if not target:
        return None, (invalid(origin.at("spec.externalName"), "an ExternalName Service needs the name it stands for"),)
    if settings.refuse_local_endpoints and is_local(target):
        text = f"{target!r} would lead callers to themselves (refuseLocalEndpoints): calls by this name are not known"
        return None, (invalid(origin.at("spec.externalName"), text),)
    ports, problems = _ports(svc.spec.ports, origin)
    service = Service(
        host=f"{meta.name}.{meta.namespace}.svc.{settings.cluster_domain}",
        namespace=meta.namespace,
        name=meta.name,
        ports=ports,
        addresses=(),
        resolution=Resolution.DNS,
        origin=origin,
        created=meta.created,
        external=True,
        static={port.number: (Endpoint(target, port.number, _NO_LABELS),) for port in ports},
        export_to=_export_to(svc, settings),
        alias_of=target,
    )
    return service, problems


def unknown_alias(service: Service, settings: Settings, *, circular: bool) -> tuple[Problem, ...]:
    """What the author of an ExternalName should know whose host is none of the registry."""
    if circular:
        text = f"{service.alias_of} leads back here: calls by this name have nowhere to go"
        return (invalid(service.origin.at("spec.externalName"), text),)
    if service.ports:
        return _refused_bytes(service, settings)
    text = "without ports calls by this name are not known to the mesh: they go where unknown calls go"
    return (ignored(service.origin.at("spec.ports"), "ExternalNameWithoutPorts", text),)


def _refused_bytes(service: Service, settings: Settings) -> tuple[Problem, ...]:
    """Only HTTP and TLS name the host they are for: the rest is unknown traffic, which a strict mesh refuses."""
    if settings.outbound_traffic_policy.mode is not OutboundTrafficMode.REGISTRY_ONLY:
        return NO_PROBLEMS
    text = (
        "outboundTrafficPolicy REGISTRY_ONLY refuses it: nothing tells these calls from others. "
        "Use a ServiceEntry with addresses"
    )
    return tuple(
        ineffective(service.origin.at("spec.ports"), f"port {port.number} speaks {port.protocol}, and {text}")
        for port in service.ports
        if not (port.protocol.is_http or port.protocol.is_tls or port.protocol is Protocol.AUTO)
    )


def _ports(
    declared: tuple[core.ServicePort, ...], origin: Origin
) -> tuple[tuple[ServicePort, ...], tuple[Problem, ...]]:
    ports: list[ServicePort] = []
    problems: list[Problem] = []
    taken: set[int] = set()
    for index, port in enumerate(declared):
        problem = _port_problem(index, port, taken, origin)
        if problem is not None:
            problems.append(problem)
            continue
        taken.add(port.port)
        spoken = protocol.of_service_port(port.name, port.port, port.app_protocol)
        if spoken is Protocol.UDP:  # a name such as "udp-x" on a TCP port: Istio ignores it too
            problems.append(_not_proxied(index, "UDP", origin))
            continue
        if spoken is Protocol.AUTO and port.app_protocol is not None and not protocol.is_known(port.app_protocol):
            problems.append(_unknown_app_protocol(index, port.app_protocol, origin))
        ports.append(ServicePort(port.port, port.name, spoken, port.target_port or port.port))
    return tuple(ports), tuple(problems) if problems else NO_PROBLEMS


def _port_problem(index: int, port: core.ServicePort, taken: set[int], origin: Origin) -> Problem | None:
    if port.protocol != "TCP":
        return _not_proxied(index, port.protocol, origin)
    if not 0 < port.port < 65536:
        return invalid(origin.at(f"spec.ports[{index}].port"), f"{port.port} is no port number (1 to 65535)")
    if port.port in taken:
        return invalid(origin.at(f"spec.ports[{index}].port"), f"port {port.port} is there already; the first counts")
    return None


def _not_proxied(index: int, transport: str, origin: Origin) -> Problem:
    text = f"{transport} is not proxied: this port works as if there were no mesh"
    return ignored(origin.at(f"spec.ports[{index}]"), "PortNotProxied", text)


def _unknown_app_protocol(index: int, app_protocol: str, origin: Origin) -> Problem:
    text = f"{app_protocol!r} is no protocol the mesh knows: the port's protocol is sniffed on the wire"
    return ignored(origin.at(f"spec.ports[{index}].appProtocol"), "UnknownAppProtocol", text)


def _addresses(vips: tuple[str, ...], origin: Origin) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    for vip in vips:
        if not is_ip(vip):
            text = f"{vip!r} is no IP address: the Service is reached by name only"
            return tuple(filter(is_ip, vips)), (invalid(origin.at("spec.clusterIPs"), text),)
    return vips, NO_PROBLEMS


def _distribution(svc: core.Service) -> str:
    return svc.meta.annotations.get(TRAFFIC_DISTRIBUTION_ANNOTATION) or svc.spec.traffic_distribution or ""


def _export_to(svc: core.Service, settings: Settings) -> tuple[str, ...]:
    annotation = svc.meta.annotations.get(EXPORT_TO_ANNOTATION)
    if annotation is None:
        return visibility(settings.default_service_export_to, svc.meta.namespace)
    return visibility((part.strip() for part in annotation.split(",")), svc.meta.namespace)


def _wishes(svc: core.Service, origin: Origin, distribution: str) -> tuple[Problem, ...]:
    """Problems of what a Service asks of its balancing."""
    affinity, local = svc.spec.session_affinity, svc.spec.internal_traffic_policy
    if not distribution and svc.spec.session_affinity_config is None and affinity in _AFFINITIES and local in _POLICIES:
        return NO_PROBLEMS
    problems: list[Problem] = []
    if affinity not in _AFFINITIES:
        problems.append(invalid(origin.at("spec.sessionAffinity"), f"{affinity!r} is neither ClientIP nor None"))
    if local not in _POLICIES:
        problems.append(invalid(origin.at("spec.internalTrafficPolicy"), f"{local!r} is neither Cluster nor Local"))
    if distribution and distribution not in _DISTRIBUTIONS:
        text = (
            f"{distribution!r} is no distribution we know ({', '.join(sorted(_DISTRIBUTIONS))}): traffic goes anywhere"
        )
        problems.append(ineffective(origin.at("spec.trafficDistribution"), text))
    config = svc.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config is not None and config.client_ip is not None else None
    if svc.spec.session_affinity == "ClientIP" and seconds not in {None, DEFAULT_AFFINITY_SECONDS}:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        text = "clients are pinned by a hash of their address, which does not time out"
        problems.append(ineffective(origin.at(path), text))
    return tuple(problems)
