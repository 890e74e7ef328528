"""Clusters that follow from references.

A gateway holds the destinations its routes name and nothing else. A sidecar with a Sidecar resource holds what that
admits; but a rule for an admitted host may lead to hosts that are not, and a route without its cluster is a 503. So
these come along, as in Istio: their clusters and endpoints, not their names. So do those that a listener of its own
names, such as the host that has the keys of a token's issuer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from controlplane.compile.inputs import Inputs, settings_of
from controlplane.compile.layers import NO_SIDECAR, Layer
from controlplane.compile.members import Members, sidecar_layer
from controlplane.compile.outbound import Named, NamedKey, Outbound
from controlplane.compile.places import NODE, ZONE, Places
from controlplane.compile.proxies import Scopes
from controlplane.compile.registry import Registry
from controlplane.compile.rules import Rules
from controlplane.envoy import cluster as envoy_cluster
from controlplane.ir import names
from controlplane.ir.cluster import Cluster
from controlplane.ir.policy import DestinationPolicy
from controlplane.ir.service import Service
from controlplane.mesh import clusters as mesh_clusters
from controlplane.mesh.sidecar import SidecarScope
from controlplane.mesh.tenancy import exported
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource
from controlplane.store import Collection, Fetch, Store

Tagged = tuple[int, Layer, str]  # (number of the collection that refers, layer, cluster)


class Reached:
    """Clusters and endpoints of hosts that are reached through routes alone."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts it is wired to
        self,
        store: Store,
        inputs: Inputs,
        registry: Registry,
        rules: Rules,
        members: Members,
        outbound: Outbound,
        places: Places,
        scopes: Scopes,
        referring: tuple[Collection[NamedKey, Resource], ...],
    ) -> None:
        self._inputs = inputs
        self._registry = registry
        self._rules = rules
        self._members = members
        self._outbound = outbound
        self._scopes = scopes
        named = [
            store.keys(f"{one.name}Reach", store.index(f"{one.name}ByCluster", one, _referred(number)))
            for number, one in enumerate(referring)
        ]
        self._places = places
        self._places_within = store.index("PlacesBySidecar", members.layers, _place_within)
        proxies = store.keys("EgressProxies", store.index("SidecarsByEgressProxy", members.sidecars, _egress_proxy))
        reached = store.expand("Reached", store.union("ReachedByAny", *named, proxies), self._missing)
        self.clusters = store.expand("ReachedClusters", reached, self._cluster)
        self.endpoints = store.expand("ReachedAssignments", reached, self._assignment)

    def _missing(self, fetch: Fetch, key: Tagged, _: object) -> Mapping[NamedKey, bool]:
        """What the layer does not hold anyway."""
        _, layer, name = key
        host = host_of(name)
        if layer.kind == "proxy":
            scope = fetch(self._scopes.scopes, layer.proxy)
            layer = layer if scope is None else scope.shared[-1]
            if layer.sidecar == NO_SIDECAR:
                return {}
        if layer.kind != "gateway" and (not host or fetch.has(self._members.all, (sidecar_layer(layer), host))):
            return {}
        found = {(layer, name): True}
        for place in fetch.keys(self._places_within, layer):
            if place.kind in self._places.of(fetch, host):
                found[place, name] = True
        return found

    def _reached(self, fetch: Fetch, layer: Layer, name: str) -> tuple[Service, DestinationPolicy] | None:
        """The service behind a cluster's name, and how this layer's callers treat it; None if they do not see it."""
        host = host_of(name)
        service = self._registry.service_for(fetch, host, layer.namespace) if host else None
        if service is None or not exported(service.namespace, service.export_to).covers(layer.namespace):
            return None
        return service, self._rules.policy(fetch, host, layer.caller)

    def _cluster(self, fetch: Fetch, key: NamedKey, _: object) -> Named:
        layer, name = key
        settings = settings_of(fetch, self._inputs)
        for cluster in self._clusters(fetch, layer, name, settings):
            if cluster.name == name:
                return {key: envoy_cluster.encode(cluster, settings)}
        return {}

    def _clusters(self, fetch: Fetch, layer: Layer, name: str, settings: Settings) -> Iterator[Cluster]:
        reached = self._reached(fetch, layer, name)
        if reached is None:
            yield from mesh_clusters.fixed(settings)
            return
        service, policy = reached
        gateway = layer.kind == "gateway"
        captured = layer.captured and not gateway
        for port in service.ports:
            listed = self._outbound.resolved_endpoints(fetch, service, port)
            yield from mesh_clusters.outbound(
                service,
                port,
                policy,
                settings,
                gateway=gateway,
                captured=captured,
                endpoints=listed,
                at=layer.standpoint,
                peers=self._outbound.peers(fetch, service, port, settings),
            )

    def _assignment(self, fetch: Fetch, key: NamedKey, _: object) -> Named:
        layer, name = key
        reached = self._reached(fetch, layer, name)
        if reached is None:
            return {}
        service, policy = reached
        captured = layer.captured and layer.kind != "gateway"
        for port in service.ports:
            for resource in self._outbound.port_assignments(fetch, layer, service, port, policy, captured=captured):
                if resource.name == name:
                    return {key: resource}
        return {}


def _place_within(layer: Layer, _: object) -> Iterable[Layer]:
    """The Sidecar's layer that one for a place lies upon."""
    return (sidecar_layer(layer),) if layer.kind in (ZONE, NODE) and layer.sidecar != NO_SIDECAR else ()


def _egress_proxy(layer: Layer, scope: SidecarScope) -> Iterable[Tagged]:
    return () if scope.policy.proxy is None else ((-1, layer, scope.policy.proxy.cluster),)


def host_of(cluster: str) -> str:
    """The host in a cluster's name, "" for the fixed clusters."""
    return cluster.rpartition("|")[2] if names.is_outbound(cluster) else ""


def _referred(number: int) -> Callable[[NamedKey, Resource], Iterable[Tagged]]:
    """The clusters a resource names, in layers that do not hold every host anyway."""

    def referred(key: NamedKey, resource: Resource) -> Iterable[Tagged]:
        layer = key[0]
        named = (ref.name for ref in resource.refs if ref.type_url == types.CLUSTER)
        if layer.kind == "proxy":  # all its listeners name the fixed clusters, and hardly any another
            return {(number, layer, name) for name in named if host_of(name)}
        if layer.kind != "gateway" and layer.sidecar == NO_SIDECAR:
            return ()
        return {(number, layer, name) for name in named}

    return referred
