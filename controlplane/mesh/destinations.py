"""From a destination as its author names it to the cluster a proxy knows.

What exists is asked through `Destinations`: questions narrow enough that an answer changes only when a route must
change. A destination that does not exist still becomes a route: the cluster it names is unknown to the proxy, which
answers 503 for that share, and the rule's author is told.
"""

from datetime import timedelta
from typing import Protocol

import msgspec

from controlplane.ir import names
from controlplane.ir.policy import HashKey, Tunnel
from controlplane.mesh import hosts
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.virtualservice import Destination


class TcpTimes(msgspec.Struct, frozen=True):
    """How long connections to a destination may last (`None` leaves the proxy's default), and through what they go."""

    idle_timeout: timedelta | None = None
    max_connection_duration: timedelta | None = None
    tunnel: Tunnel | None = None
    by_name_at: int = 0  # the port at which the name in the TLS hello is called; 0: endpoints are known otherwise


NO_TCP_TIMES = TcpTimes()


class Destinations(Protocol):
    """What one caller can reach. Hosts are fully qualified."""

    def ports(self, host: str) -> tuple[int, ...] | None:
        """The port numbers of a host, or None if the caller sees no such host."""

    def stands_for(self, host: str) -> str:
        """The host that another name for it (an ExternalName) stands for; every other host stands for itself."""

    def has_subset(self, host: str, subset: str) -> bool:
        """Whether rules for the host declare the subset."""

    def hash_keys(self, host: str, port: int, subset: str) -> tuple[HashKey, ...]:
        """What requests are hashed by, if the balancer of that destination hashes."""

    def tcp_times(self, host: str, port: int, subset: str) -> TcpTimes:
        """Limits of its connections."""


class Target(msgspec.Struct, frozen=True):
    """A destination with its host and port decided."""

    host: str
    port: int
    subset: str = ""

    @property
    def cluster(self) -> str:
        """The name by which proxies know it."""
        return names.outbound_cluster(self.host, self.port, self.subset)


class Reader(msgspec.Struct, frozen=True):
    """Where a destination is read: whose short names, on which port, with which services in sight."""

    namespace: str  # completes short names: the rule's namespace, not the service's
    domain: str
    listener_port: int  # taken for the port of a service that has several and a rule that names none
    destinations: Destinations


def target(destination: Destination, origin: Origin, reader: Reader) -> tuple[Target, Problem | None]:
    """What a destination means, and what is wrong with it. `origin` is the field that holds it."""
    host, ports = _existing(destination.host, reader)
    asked = destination.port.number if destination.port is not None else None
    only = ports[0] if ports is not None and len(ports) == 1 else None
    port = asked or only or reader.listener_port
    host = reader.destinations.stands_for(host) if ports is not None else host
    found = Target(host, port, destination.subset or "")
    return found, _problem(found, ports, asked, origin, reader.destinations)


def _existing(host: str, reader: Reader) -> tuple[str, tuple[int, ...] | None]:
    """The full name that exists, with its ports; the most literal one if none does."""
    qualified = hosts.qualify(host, reader.namespace, reader.domain)
    ports = reader.destinations.ports(qualified)
    if ports is not None:
        return qualified, ports
    for reading in hosts.readings(host, reader.namespace, reader.domain)[1:]:
        if (found := reader.destinations.ports(reading)) is not None:
            return reading, found
    return qualified, None


def _problem(
    found: Target, ports: tuple[int, ...] | None, asked: int | None, origin: Origin, known: Destinations
) -> Problem | None:
    if ports is None:
        return missing(origin.at("host"), f"no service {found.host} is visible from here; calls sent to it get 503")
    if found.port not in ports:
        return _no_port(found, ports, asked, origin)
    if found.subset and not known.has_subset(found.host, found.subset):
        text = f"no DestinationRule declares subset {found.subset} of {found.host}; calls sent to it get 503"
        return missing(origin.at("subset"), text)
    return None


def _no_port(found: Target, ports: tuple[int, ...], asked: int | None, origin: Origin) -> Problem:
    have = ", ".join(map(str, ports)) or "none"
    if asked is not None:
        text = f"{found.host} has no port {asked} (it has {have}); calls sent to it get 503"
        return missing(origin.at("port.number"), text)
    text = f"{found.host} has several ports ({have}) and none is {found.port}: say which with port.number"
    return Problem("VirtualServiceDestinationPortSelectorRequired", Level.ERROR, origin.at("port"), text)


def missing(origin: Origin, message: str) -> Problem:
    """Something is named that does not exist."""
    return Problem("ReferencedResourceNotFound", Level.ERROR, origin, message)
