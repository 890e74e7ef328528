"""Where a replica listens: its own ports, and the listeners through which it reaches TCP Services."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from controlplane.ir.service import Protocol
from controlplane.local.addresses import PortBook, bound_port
from controlplane.local.manifests import Service, ServicePort, Template, tcp_ports
from controlplane.local.plan import ReplicaPort, TcpListener
from controlplane.mesh.protocol import of_service_port
from controlplane.model.problem import Level, ObjectRef, Origin, Problem

_SERVICE = ("", "Service")


def container_ports(template: Template, selecting: Sequence[Service]) -> dict[int, str]:
    """Port -> name: what the containers declare, and what Services target although nobody declared it."""
    declared = {
        port.container_port: port.name for container in template.spec.containers for port in tcp_ports(container)
    }
    for service in selecting:
        for port in service_tcp_ports(service):
            target = port.target_port if port.target_port is not None else port.port
            if isinstance(target, int):
                declared.setdefault(target, "")
    return declared


def replica_ports(declared: Mapping[int, str], selecting: Sequence[Service], book: PortBook) -> tuple[ReplicaPort, ...]:
    """The ports of one replica, as declared. Sidecars choose first: their ports are the ones the manifests name."""
    inbound = {number: book.take_for_sidecar(number) for number in declared}
    return tuple(
        ReplicaPort(number, name, inbound[number], book.take_for_command(number), _protocol(number, name, selecting))
        for number, name in declared.items()
    )


def target_of(port: ServicePort, ports: Iterable[ReplicaPort]) -> ReplicaPort | None:
    """The port of a replica that a Service port means."""
    target = port.target_port if port.target_port is not None else port.port
    attribute = "name" if isinstance(target, str) else "container"
    return next((candidate for candidate in ports if getattr(candidate, attribute) == target), None)


def unknown_targets(service: Service, ports: Sequence[ReplicaPort], workload: ObjectRef) -> Iterator[Problem]:
    """Service ports that name a port no container of this workload has."""
    ref = ObjectRef(*_SERVICE, service.metadata.namespace, service.metadata.name)
    for index, port in enumerate(service.spec.ports):
        if port.protocol == "TCP" and target_of(port, ports) is None:
            origin = Origin(ref, f"spec.ports[{index}].targetPort")
            message = f"no container of {workload} has a port named {port.target_port!r}"
            yield Problem("UnknownTargetPort", Level.ERROR, origin, message)


def tcp_listeners(services: Iterable[Service], book: PortBook) -> tuple[TcpListener, ...]:
    """A listener for each TCP port of the Services in the replica's namespace.

    On the Service's own port where that is free on the replica's address, else on another: the variables
    `<SERVICE>_SERVICE_HOST` and `_PORT` say which.
    """
    return tuple(listener for service in services for listener in _listeners_of(service, book))


def _listeners_of(service: Service, book: PortBook) -> Iterator[TcpListener]:
    numbers = frozenset(port.port for port in service.spec.ports)
    for port in service_tcp_ports(service):
        if not _is_http(port):
            # A Sidecar's listener means the Service's port of its own number, so it must not have another port's.
            number = book.take(bound_port(port.port), avoiding=numbers - {port.port})
            meta = service.metadata
            yield TcpListener(f"{meta.namespace}/{meta.name}", meta.name, port.port, port.name, number)


def service_tcp_ports(service: Service) -> Iterator[ServicePort]:
    """The ports a mesh cares about."""
    return (port for port in service.spec.ports if port.protocol == "TCP")


def _is_http(port: ServicePort) -> bool:
    return of_service_port(port.name, port.port, port.app_protocol).is_http


def _protocol(number: int, name: str, selecting: Sequence[Service]) -> Protocol:
    """What a container port speaks: what the first Service port that targets it says, else its own name."""
    for service in selecting:
        for port in service_tcp_ports(service):
            if (port.target_port if port.target_port is not None else port.port) in (number, name or number):
                return of_service_port(port.name, port.port, port.app_protocol)
    return of_service_port(name, number, None)
