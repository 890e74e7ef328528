"""Where calls to a service port arrive in a sidecar whose traffic is captured."""

import msgspec

from controlplane.ir import names
from controlplane.ir.service import Protocol, Service, ServicePort


class Placement(msgspec.Struct, frozen=True):
    """Where a service port lives in a captured sidecar."""

    wildcard: bool  # it takes part in 0.0.0.0_<port>
    addresses: tuple[str, ...] = ()  # it has listeners <address>_<port>
    table: str = ""  # the route table its virtual host stands in
    http: bool = False  # it makes 0.0.0.0_<port> speak HTTP


_NOWHERE = Placement(wildcard=False)


def placement(service: Service, port: ServicePort) -> Placement:
    """Where calls to a service port arrive."""
    if port.protocol is Protocol.UDP:
        return _NOWHERE
    shared = names.sidecar_route(port.number)
    if port.protocol.is_http:
        return Placement(wildcard=True, table=shared, http=True)
    addresses = tuple(address for address in service.addresses if "/" not in address)
    wildcard = len(addresses) < len(service.addresses) or not addresses
    if port.protocol is not Protocol.AUTO:
        return Placement(wildcard=wildcard, addresses=addresses)
    if addresses:
        return Placement(wildcard=wildcard, addresses=addresses, table=names.sniffed_route(service.host, port.number))
    return Placement(wildcard=True, table=shared, http=True)


def is_sniffed(table: str) -> bool:
    """Whether this route table is that of one service on a port whose protocol is sniffed."""
    return ":" in table
