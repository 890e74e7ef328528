"""In which route tables of a layer a host has a virtual host."""

from collections.abc import Iterator
from typing import NamedTuple

from controlplane.compile.layers import Layer
from controlplane.compile.members import Member
from controlplane.ir import names
from controlplane.ir.service import Protocol, ServicePort
from controlplane.mesh import outbound
from controlplane.mesh import sidecar as mesh_sidecar
from controlplane.mesh.sidecar import SidecarScope


class HostPlace(NamedTuple):
    """Where a virtual host stands, for which port of its service, and which port callers dial."""

    table: str
    port: ServicePort
    dialled: int


def tables_of(layer: Layer, member: Member, scope: SidecarScope | None) -> Iterator[HostPlace]:
    """The places of a member's virtual hosts in a layer."""
    service = member.service
    if layer.kind == "forward":
        for port in service.ports:
            if port.protocol.is_http or port.protocol is Protocol.AUTO:
                yield HostPlace(names.HTTP_PROXY, port, port.number)
        return
    for egress in (scope.egress[i] for i in member.egress) if scope is not None else ():
        port_there = mesh_sidecar.service_port(egress, service) if egress.table else None
        if port_there is not None:
            yield HostPlace(egress.table, port_there, egress.port or port_there.number)
    if member.placed:
        for port in member.ordinary_ports:
            table = outbound.placement(service, port).table
            if table and not (member.alias and outbound.is_sniffed(table)):  # there every name is the service's
                yield HostPlace(table, port, port.number)
