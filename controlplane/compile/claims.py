"""Names that several hosts of one route table would answer for: one keeps each, or Envoy refuses the whole table.

A host's own name is its alone. What may be claimed twice are virtual addresses (the hosts of one ServiceEntry share
them, and nothing keeps two ServiceEntries from naming the same) and the short forms of a Service's name, which a
ServiceEntry may have for its full one (`reviews.default`). Addresses go by age; a form of a name is the Kubernetes
Service's, except for the bare one, which is its owner's only by courtesy.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from controlplane.compile.layers import MESH, NO_SIDECAR, Layer
from controlplane.compile.members import Member, Members, sidecar_layer
from controlplane.compile.registry import HostKey, Registry, seniority
from controlplane.compile.tables import HostPlace, tables_of
from controlplane.ir.service import Service
from controlplane.mesh import hosts
from controlplane.model.problem import Level, Problem
from controlplane.store import Fetch, Store


class Claims:
    """Asks who else would answer for a name."""

    def __init__(self, store: Store, registry: Registry, members: Members) -> None:
        self._registry = registry
        self._members = members
        self._by_address = store.index("ServicesByAddress", registry.services, _addresses)

    def lost(
        self, fetch: Fetch, layer: Layer, service: Service, place: HostPlace, domain: str
    ) -> tuple[frozenset[str], tuple[Problem, ...]]:
        """The names (without port) that a host leaves to others of its table, and what its author should know."""
        found: dict[str, Service] = {}
        for address in single_addresses(service):
            if winner := self._older(fetch, layer, service, place, address):
                found[hosts.in_authority(address)] = winner
        if not service.kubernetes and (winner := self._meant(fetch, layer, service, place, domain)):
            found[service.host] = winner
        problems = tuple(_problem(service, name, winner) for name, winner in found.items())
        if self._is_called_bare(layer, service) and self._present(fetch, layer, service.name, place):
            found[service.name] = service
        return frozenset(found), problems

    @staticmethod
    def _is_called_bare(layer: Layer, service: Service) -> bool:
        return service.kubernetes and layer.namespace == service.namespace

    def holder(self, fetch: Fetch, layer: Layer, table: str, dialled: int, address: str) -> Service | None:
        """A host of a table that answers for an address."""
        for host, _ in fetch.keys(self._by_address, address):
            for place in self._places(fetch, layer, host):
                if (place[2].table, place[2].dialled) == (table, dialled) and address in place[1].service.addresses:
                    return place[1].service
        return None

    def _older(self, fetch: Fetch, layer: Layer, service: Service, place: HostPlace, address: str) -> Service | None:
        """The other host that keeps an address: one everybody sees before one that few see, then the oldest."""
        claims = fetch.keys(self._by_address, address)
        if len(claims) == 1 and claims[0][0] == service.host:
            return None  # as nearly always
        claimants = {host for host, _ in claims}
        ranked: list[tuple[Any, Service]] = []
        for host in sorted(claimants):
            for depth, member in self._present(fetch, layer, host, place):
                if address in member.service.addresses:
                    ranked.append(((depth, seniority(member.service)), member.service))
        first = min(ranked, key=lambda pair: pair[0], default=(None, service))[1]
        return first if first.host != service.host else None

    def _meant(self, fetch: Fetch, layer: Layer, service: Service, place: HostPlace, domain: str) -> Service | None:
        """The Kubernetes Service that has a ServiceEntry's name among the forms of its own."""
        host = service.host
        short = host.removeprefix("*.").removesuffix(f".svc.{domain}").removesuffix(".svc")
        full = f"{short}.svc.{domain}"
        if short.count(".") != 1 or host == full:
            return None
        for _, member in self._present(fetch, layer, full, place):
            meant = member.alias or member.service
            if meant.kubernetes and (meant.headless or not host.startswith("*")):
                return meant
        return None

    def _present(self, fetch: Fetch, layer: Layer, host: str, place: HostPlace) -> list[tuple[int, Member]]:
        """A host as the layers of a caller hold it beside another, those that most callers see first."""
        return [
            (depth, member)
            for depth, member, other in self._places(fetch, layer, host)
            if (other.table, other.dialled) == (place.table, place.dialled)
        ]

    def _places(self, fetch: Fetch, layer: Layer, host: str) -> Iterator[tuple[int, Member, HostPlace]]:
        for depth, one in enumerate(stack(layer)):
            member = fetch(self._members.all, (one, host))
            if member is not None:
                for place in tables_of(one, member, self._members.scope(fetch, one)):
                    yield depth, member, place


def single_addresses(service: Service) -> Iterator[str]:
    """Addresses that are not blocks."""
    return (address for address in service.addresses if "/" not in address)


def _addresses(_: HostKey, service: Service) -> Iterable[str]:
    return single_addresses(service)


def stack(layer: Layer) -> tuple[Layer, ...]:
    """The layers whose hosts share tables with those of `layer`, the one that most callers see first."""
    if layer == MESH or layer.kind == "forward":
        return (layer,)
    if layer.sidecar != NO_SIDECAR:
        return (sidecar_layer(layer),)
    return (MESH, Layer("namespace", layer.namespace))


def _problem(loser: Service, name: str, winner: Service) -> Problem:
    text = f"{name} already means {winner.host}: calls by this name go there"
    return Problem("Conflicted", Level.WARNING, loser.origin, text)
