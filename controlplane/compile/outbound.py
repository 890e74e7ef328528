"""Outbound traffic: from the hosts of a layer to its clusters, endpoints, virtual hosts, tables and listeners.

Each kind of resource is derived from members on its own, so that a weight moves one virtual host and an endpoint
moves one assignment. What several hosts share (a listener on a port, a route table) is derived from the *existence*
of a member with that port: the second service on port 80 changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from controlplane.compile.claims import Claims, stack
from controlplane.compile.inputs import Inputs, settings_of
from controlplane.compile.layers import MESH, NO_SIDECAR, Layer
from controlplane.compile.members import SELF_RESOLVED, Member, MemberKey, Members
from controlplane.compile.places import NODE, Places
from controlplane.compile.registry import Registry, seniority
from controlplane.compile.rules import Routing, Rules, routing_reach
from controlplane.compile.tables import HostPlace, tables_of
from controlplane.envoy import cluster as envoy_cluster
from controlplane.envoy import endpoint as envoy_endpoint
from controlplane.envoy import listener as envoy_listener
from controlplane.envoy import route as envoy_route
from controlplane.ir import names
from controlplane.ir.listener import FilterChain, RouteTable
from controlplane.ir.policy import DestinationPolicy, HashKey
from controlplane.ir.service import Endpoint, Protocol, Resolution, Service, ServicePort
from controlplane.mesh import clusters as mesh_clusters
from controlplane.mesh import destinationrule as mesh_destinationrule
from controlplane.mesh import hosts, l4routes, outbound
from controlplane.mesh import sidecar as mesh_sidecar
from controlplane.mesh import virtualservice as mesh_virtualservice
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import NO_TCP_TIMES, TcpTimes
from controlplane.mesh.problems import ineffective
from controlplane.mesh.sidecar import Egress, SidecarScope
from controlplane.mesh.tenancy import exported
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService
from controlplane.snapshot.resource import Resource
from controlplane.store import Fetch, Query, Store

MemberFunction = Callable[[Fetch, MemberKey, Member], tuple[Resource, ...]]
Sets = Query[MemberKey, tuple[Resource, ...]]
NamedKey = tuple[Layer, str]  # (layer, resource name)
Named = Mapping[NamedKey, Resource]


NO_LABELS: Mapping[str, str] = {}


class RoutingFacts(msgspec.Struct, frozen=True):
    """What routes ask of a destination's policy, so that the rest of it may change without waking them."""

    subsets: frozenset[str]
    hash_keys: Mapping[tuple[int, str], tuple[HashKey, ...]]
    times: Mapping[tuple[int, str], TcpTimes]


class Reachable:
    """`Destinations` for one caller, answered through recorded fetches."""

    def __init__(self, fetch: Fetch, outbound_part: "Outbound", caller: Caller) -> None:
        self._fetch = fetch
        self._part = outbound_part
        self._caller = caller
        self._known: dict[str, RoutingFacts] = {}
        self._services: dict[str, tuple[Service | None, Service | None]] = {}

    def ports(self, host: str) -> tuple[int, ...] | None:
        service, target = self._service(host)
        if service is None or not exported(service.namespace, service.export_to).covers(self._caller.namespace):
            return None
        if target is not None:
            return self.ports(target.host)
        return tuple(port.number for port in service.ports if port.protocol is not Protocol.UDP)

    def port_named(self, host: str, name: str) -> int | None:
        service = self._part.registry.service_for(self._fetch, host, self._caller.namespace)
        ports = service.ports if service is not None else ()
        found = (port.number for port in ports if port.name == name and port.protocol is not Protocol.UDP)
        return next(found, None)

    def stands_for(self, host: str) -> str:
        _, target = self._service(host)
        return host if target is None else target.host

    def has_subset(self, host: str, subset: str) -> bool:
        return subset in self._facts(host).subsets

    def hash_keys(self, host: str, port: int, subset: str) -> tuple[HashKey, ...]:
        return self._facts(host).hash_keys.get((port, subset), ())

    def tcp_times(self, host: str, port: int, subset: str) -> TcpTimes:
        return self._facts(host).times.get((port, subset), NO_TCP_TIMES)

    def _service(self, host: str) -> tuple[Service | None, Service | None]:
        """A host, and what it stands for if it is an ExternalName: asked for each destination, mostly the same one."""
        found = self._services.get(host)
        if found is None:
            service = self._part.registry.service_for(self._fetch, host, self._caller.namespace)
            target = None if service is None else self._part.registry.concrete(self._fetch, service)
            found = self._services[host] = (service, target)
        return found

    def _facts(self, host: str) -> RoutingFacts:
        """Asked for each destination and each subset of it, mostly of one host: fetched once."""
        facts = self._known.get(host)
        if facts is None:
            facts = self._known[host] = self._part.facts(self._fetch, host, self._caller)
        return facts


class Outbound:
    """Collections of encoded outbound resources, keyed by (layer, name)."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts it is wired to
        self, store: Store, inputs: Inputs, registry: Registry, rules: Rules, places: Places, members: Members
    ) -> None:
        self.inputs = inputs
        self.registry = registry
        self.rules = rules
        self._places_of_callers = places
        self._members = members
        self._claims = Claims(store, registry, members)
        self._facts = store.query("RoutingFacts", self._routing_facts)
        self._cluster_sets = store.query("ClusterSets", self._admitted(self._clusters_of))
        self._assignment_sets = store.query("AssignmentSets", self._admitted(self._assignments_of))
        self._host_sets = store.query("VirtualHostSets", self._admitted(self._virtual_hosts_of))
        self.clusters = store.expand("Clusters", members.all, self._clusters)
        self.endpoints = store.expand("Assignments", members.all, self._assignments)
        self.virtual_hosts = store.expand("VirtualHosts", members.all, self._virtual_hosts)

        self._by_place = store.index("MembersByPlace", members.all, _places_of)
        self._places = store.keys("Places", self._by_place)
        tables = store.expand("Tables", self._places, self._tables_among)
        self.tables = store.expand("RouteTables", tables, self._table)
        self.catch_alls = store.expand("CatchAlls", tables, self._catch_all)
        self.vip_listeners = store.expand("VipListeners", self._places, self._vip_listener)
        self.wildcard_listeners = store.expand("WildcardListeners", self._places, self._wildcard_listener)
        explicit = store.expand("ExplicitEgress", members.sidecars, _explicit)
        self.explicit_listeners = store.expand("ExplicitListeners", explicit, self._explicit_listener)
        explicit_tables = store.expand("ExplicitTableNames", members.sidecars, _explicit_tables)
        self.explicit_tables = store.expand("ExplicitTables", explicit_tables, self._table)
        self.explicit_catch_alls = store.expand("ExplicitCatchAlls", explicit_tables, self._explicit_catch_all)

        by_parent = store.index("OwnersByParent", registry.owners, _parent_of)
        parents = store.keys("ParentsOfOwners", by_parent)
        covering = store.index("ParentsByWildcard", parents, lambda one, _: (one, *hosts.wildcards_above(one)))
        self._covering = store.keys("WildcardsOverOwners", covering)
        literal_hosts = store.keys("RoutedHosts", rules.mesh.index)
        self._literal_callers = store.derive("LiteralHosts", literal_hosts, self._literal)
        by_caller = store.index("LiteralsByCaller", self._literal_callers, lambda _, callers: callers)
        layers = store.index("LayersByLiteralCaller", members.layers, _literal_callers_of)
        literal_pairs = store.match("LiteralPairs", layers, by_caller)
        self.literals = store.expand("LiteralVirtualHosts", literal_pairs, self._literal_host)

    # What routes may ask of policies

    def facts(self, fetch: Fetch, host: str, caller: Caller) -> RoutingFacts:
        facts = fetch(self._facts, self.rules.caller_key(fetch, host, caller))
        assert facts is not None
        return facts

    def _routing_facts(self, fetch: Fetch, key: tuple[str, str, tuple[tuple[str, str], ...]]) -> RoutingFacts:
        host, namespace, labels = key
        caller = Caller(namespace, dict(labels))
        policy = self.rules.policy(fetch, host, caller)
        service = self.registry.service_for(fetch, host, namespace)
        subsets = ("", *(subset.name for subset in policy.subsets))
        places = [(port.number, subset) for port in (service.ports if service else ()) for subset in subsets]
        hashed = {place: mesh_destinationrule.hash_keys(policy, *place, service=service) for place in places}
        times = {(port, subset): _times(policy, port, subset, service) for port, subset in places}
        return RoutingFacts(
            frozenset(subsets[1:]),
            {place: keys for place, keys in hashed.items() if keys},
            {place: limits for place, limits in times.items() if limits != NO_TCP_TIMES},
        )

    # Clusters and endpoints

    def _clusters(self, fetch: Fetch, key: MemberKey, member: Member) -> Named:
        layer, host = key
        if not member.parts.clusters:
            return {}
        shared = self._once(fetch, self._cluster_sets, layer, host)
        return _named(layer, self._clusters_of(fetch, key, member) if shared is None else shared)

    def _admitted(self, function: MemberFunction) -> Callable[[Fetch, MemberKey], tuple[Resource, ...] | None]:
        """`function` for a pair that no layer in use needs to hold."""

        def run(fetch: Fetch, key: MemberKey) -> tuple[Resource, ...] | None:
            member = self._members.admit(fetch, *key)
            return None if member is None else function(fetch, key, member)

        return run

    def _once(self, fetch: Fetch, sets: Sets, layer: Layer, host: str) -> tuple[Resource, ...] | None:
        """What layers share that differ in labels, or places, this host does not ask for; None where that cannot be."""
        if layer.kind != "labels":
            return None
        _, _, labels = self.rules.caller_key(fetch, host, layer.caller)
        kinds = self._places_of_callers.of(fetch, host) if layer.locality or layer.node else ()
        node = layer.node if NODE in kinds else ""
        locality = layer.locality if kinds else ""
        return fetch(sets, (msgspec.structs.replace(layer, labels=labels, locality=locality, node=node), host)) or ()

    def _clusters_of(self, fetch: Fetch, key: MemberKey, member: Member) -> tuple[Resource, ...]:
        layer, host = key
        service = member.service
        settings = settings_of(fetch, self.inputs)
        policy = self.rules.policy(fetch, host, layer.caller)
        return tuple(
            envoy_cluster.encode(cluster, settings)
            for port in service.ports
            if port.protocol is not Protocol.UDP
            for cluster in mesh_clusters.outbound(
                service,
                port,
                policy,
                settings,
                captured=layer.captured,
                endpoints=self.resolved_endpoints(fetch, service, port),
                at=layer.standpoint,
                peers=self.peers(fetch, service, port, settings),
            )
        )

    def peers(
        self, fetch: Fetch, service: Service, port: ServicePort, settings: Settings
    ) -> mesh_clusters.Peers | None:
        """Who is behind a port; None where proxies have no identities, and nobody asks."""
        if not settings.workload_certificates:
            return None
        accounts = self.registry.accounts(fetch, service)
        return mesh_clusters.Peers(accounts, lambda: self.registry.all_capable(fetch, service, port))

    def _assignments(self, fetch: Fetch, key: MemberKey, member: Member) -> Named:
        layer, host = key
        if not member.parts.endpoints:
            return {}
        shared = self._once(fetch, self._assignment_sets, layer, host)
        return _named(layer, self._assignments_of(fetch, key, member) if shared is None else shared)

    def _assignments_of(self, fetch: Fetch, key: MemberKey, member: Member) -> tuple[Resource, ...]:
        layer, host = key
        service = member.service
        policy = self.rules.policy(fetch, host, layer.caller)
        return tuple(
            resource
            for port in service.ports
            if port.protocol is not Protocol.UDP
            for resource in self.port_assignments(fetch, layer, service, port, policy, captured=layer.captured)
        )

    def resolved_endpoints(self, fetch: Fetch, service: Service, port: ServicePort) -> tuple[Endpoint, ...] | None:
        """Endpoints of a service that proxies resolve themselves: they stand in its cluster."""
        if service.kubernetes or service.resolution not in SELF_RESOLVED:
            return None
        return fetch(self.registry.endpoints, (service.host, service.namespace, port.number))

    def port_assignments(  # noqa: PLR0913  a port, its policy, and who asks
        self,
        fetch: Fetch,
        layer: Layer,
        service: Service,
        port: ServicePort,
        policy: DestinationPolicy,
        *,
        captured: bool,
    ) -> Iterator[Resource]:
        """Endpoints of one service port: of all of it, and of each subset."""
        for subset, labels in (("", NO_LABELS), *((subset.name, subset.labels) for subset in policy.subsets)):
            traffic = mesh_clusters.effective(service, policy.policy(port.number, subset))
            if not mesh_clusters.takes_assignment(service, traffic, captured=captured):
                continue
            assignment = mesh_clusters.assignment(
                names.outbound_cluster(service.host, port.number, subset),
                fetch(self.registry.endpoints, (service.host, service.namespace, port.number)) or (),
                labels,
                traffic.load_balancer,
                service=service,
                outlier=traffic.outlier is not None,
                locality=layer.locality,
                node=layer.node,
                caller_labels=layer.caller.labels,
            )
            yield envoy_endpoint.encode(assignment)

    # Virtual hosts

    def _virtual_hosts(self, fetch: Fetch, key: MemberKey, member: Member) -> Named:
        layer, host = key
        if not member.parts.hosts:
            return {}
        shared = self._once(fetch, self._host_sets, layer, host)
        return _named(layer, self._virtual_hosts_of(fetch, key, member) if shared is None else shared)

    def _virtual_hosts_of(self, fetch: Fetch, key: MemberKey, member: Member) -> tuple[Resource, ...]:
        layer, _ = key
        winner = self.rules.winner(fetch, member.service.host, member.service.namespace, layer.caller)
        if winner is not None and member.service.host in winner.hosts:
            fetch.report(*mesh_virtualservice.idle(winner.vs, member.service))
        scope = self._members.scope(fetch, layer)
        made = (self._virtual_host(fetch, layer, member, place, winner) for place in tables_of(layer, member, scope))
        return tuple(resource for resource in made if resource is not None)

    def _virtual_host(
        self, fetch: Fetch, layer: Layer, member: Member, place: HostPlace, winner: Routing | None
    ) -> Resource | None:
        settings = settings_of(fetch, self.inputs)
        service, port = member.service, place.port
        routes = None
        if winner is not None:
            routes, problems = mesh_virtualservice.http_routes(
                winner.rules,
                vs=winner.vs,
                caller=layer.caller,
                listener_port=place.dialled,
                destinations=Reachable(fetch, self, layer.caller),
                settings=settings,
            )
            fetch.report(*problems)
        host = outbound.virtual_host(
            service,
            port,
            routes,
            caller_namespace=layer.namespace or None,
            settings=settings,
            hash_keys=() if routes is not None else self._hash_keys(fetch, service, port, layer.caller),
            listener_port=place.dialled,
        )
        if outbound.is_sniffed(place.table):
            return envoy_route.encode_virtual_host(place.table, outbound.only_virtual_host(host))
        if (alias := member.alias) is not None:
            domains = hosts.domains(alias, place.dialled, layer.namespace or None, settings.cluster_domain)
            host = outbound.alias_virtual_host(host, alias, port.number, domains)
        lost, conflicts = self._claims.lost(fetch, layer, member.alias or service, place, settings.cluster_domain)
        fetch.report(*conflicts)
        host = outbound.without_names(host, lost)
        if layer.kind == "forward":
            host = outbound.proxy_virtual_host(host, port.number)
        return envoy_route.encode_virtual_host(place.table, host) if host.domains else None

    def _hash_keys(self, fetch: Fetch, service: Service, port: ServicePort, caller: Caller) -> tuple[HashKey, ...]:
        if not service.session_affinity and not self.rules.is_ruled(fetch, service.host):
            return ()
        return self.facts(fetch, service.host, caller).hash_keys.get((port.number, ""), ())

    # Route tables: they exist while some member uses them

    def _tables_among(self, fetch: Fetch, place: "Place", _: object) -> Mapping[NamedKey, bool]:
        """The tables of ordinary ports, where no explicit listener has the same."""
        if place.kind != "table":
            return {}
        scope = self._members.scope(fetch, place.layer)
        explicit = scope is not None and any(egress.table == place.at for egress in scope.egress)
        return {} if explicit and place.layer.kind == "sidecar" else {(place.layer, place.at): True}

    def _table(self, _: Fetch, key: NamedKey, __: object) -> Named:
        return {key: envoy_route.encode_table(RouteTable(key[1]))}

    def _catch_all(self, fetch: Fetch, key: NamedKey, _: object) -> Named:
        layer, table = key
        if outbound.is_sniffed(table):
            return {}
        captured = layer.captured or layer.sidecar == NO_SIDECAR  # as in the layers below, or there would be two
        return self._encoded_catch_all(fetch, layer, table, captured=captured and table != names.HTTP_PROXY)

    def _explicit_catch_all(self, fetch: Fetch, key: NamedKey, egress: Egress) -> Named:
        return self._encoded_catch_all(fetch, *key, captured=not egress.bound)

    def _encoded_catch_all(self, fetch: Fetch, layer: Layer, table: str, *, captured: bool) -> Named:
        policy = outbound.outbound_policy(self._members.scope(fetch, layer), settings_of(fetch, self.inputs))
        resource = envoy_route.encode_virtual_host(table, outbound.catch_all(policy, captured=captured))
        return {(layer, resource.name): resource}

    # Listeners

    def _chains(
        self, fetch: Fetch, layer: Layer, service: Service, port: ServicePort, listener_port: int | None = None
    ) -> tuple[FilterChain, ...]:
        winner = self.rules.winner(fetch, service.host, service.namespace, layer.caller)
        rules: tuple[VirtualService, ...] = (winner.vs,) if winner and l4routes.applies_l4(winner.vs) else ()
        addresses: tuple[str, ...] = ()
        if service.headless and not port.protocol.is_http:
            endpoints = fetch(self.registry.endpoints, (service.host, service.namespace, port.number)) or ()
            addresses = tuple(sorted({endpoint.address for endpoint in endpoints}))
        chains, problems = outbound.service_chains(
            service,
            port,
            vs=rules,
            caller=layer.caller,
            destinations=Reachable(fetch, self, layer.caller),
            settings=settings_of(fetch, self.inputs),
            hash_keys=self._hash_keys(fetch, service, port, layer.caller),
            addresses=addresses,
            listener_port=listener_port,
        )
        fetch.report(*problems)
        return chains

    def _sharing(self, fetch: Fetch, place: "Place", number: int) -> list[outbound.Member]:
        """The services of a layer that share an address or a port, with those of the mesh layer below it."""
        found: dict[str, outbound.Member] = {}
        for one in _with_below(place):
            for (_, host), member in fetch.values(self._by_place, one):
                port = member.service.port(number)
                if host not in found and port is not None:
                    chains = self._chains(fetch, place.layer, member.service, port)
                    found[host] = outbound.Member(member.service, port, chains)
        return _oldest_first(found.values())

    def _exists(self, fetch: Fetch, place: "Place") -> bool:
        return any(fetch.has(self._places, one) for one in _with_below(place))

    def forwards_dynamically(self, fetch: Fetch, layer: Layer) -> bool:
        """Whether the forward proxy of a layer has hosts that are found by the name each request carries."""
        return fetch.has(self._places, Place("dynamic", layer, names.HTTP_PROXY))

    def _vip_listener(self, fetch: Fetch, place: "Place", _: object) -> Named:
        if place.kind != "address":
            return {}
        address, number = place.at
        members = self._sharing(fetch, place, number)
        settings = settings_of(fetch, self.inputs)
        listener, problems = outbound.vip_listener(address, number, members, settings)
        fetch.report(*problems)
        return {(place.layer, listener.name): envoy_listener.encode(listener, settings)}

    def _wildcard_listener(self, fetch: Fetch, place: "Place", _: object) -> Named:
        if place.kind != "port":
            return {}
        number: int = place.at
        members = self._sharing(fetch, place._replace(kind="tcp"), number)
        settings = settings_of(fetch, self.inputs)
        policy = outbound.outbound_policy(self._members.scope(fetch, place.layer), settings)
        listener, problems = outbound.wildcard_listener(
            number,
            members=members,
            http=self._exists(fetch, place._replace(kind="http")),
            policy=policy,
            settings=settings,
            dynamic_dns=self._exists(fetch, place._replace(kind="dynamic")),
        )
        fetch.report(*problems)
        return {(place.layer, listener.name): envoy_listener.encode(listener, settings)}

    def _explicit_listener(self, fetch: Fetch, key: tuple[Layer, int], egress: Egress) -> Named:
        layer, _ = key
        found: dict[str, outbound.Member] = {}  # once, however many names a service has
        for _, member in () if egress.protocol.is_http else fetch.values(self._by_place, Place("egress", *key)):
            port = mesh_sidecar.service_port(egress, member.service)
            if port is not None and member.service.host not in found:
                chains = self._chains(fetch, layer, member.service, port, listener_port=egress.port)
                found[member.service.host] = outbound.Member(member.service, port, chains)
        settings = settings_of(fetch, self.inputs)
        policy = outbound.outbound_policy(self._members.scope(fetch, layer), settings)
        listener, problems = mesh_sidecar.egress_listener(
            egress, members=_oldest_first(found.values()), policy=policy, settings=settings
        )
        fetch.report(*problems)
        return {} if listener is None else {(layer, listener.name): envoy_listener.encode(listener, settings)}

    # Hosts that only a VirtualService names

    def _literal(self, fetch: Fetch, host: str, _: object) -> frozenset[str] | None:
        """The callers for whom a VirtualService's host exists although nothing declares it; "" = everybody."""
        settings = settings_of(fetch, self.inputs)
        domain = settings.cluster_domain
        if self._is_declared(fetch, host, domain):
            return None
        callers: set[str] = set()
        for _, routing in self.rules.mesh.candidates(fetch, host):
            if host not in routing.hosts:
                continue  # a wildcard that covers it, or the service its short name might have meant
            acting = routing_reach(routing.vs, None, settings)
            callers |= acting.namespaces | ({""} if acting.everyone else set())
        return frozenset(callers) or None

    def _is_declared(self, fetch: Fetch, host: str, domain: str) -> bool:
        """Whether the registry has the host, or for a wildcard: any host below it, as in Istio.

        Names below a headless Service's are its Pods'.
        """
        if fetch.has(self._covering, host) or any(
            fetch.has(self.registry.owners, one) for one in hosts.readings(host, "", domain)
        ):
            return True
        if not host.startswith("*."):
            return False
        above = (fetch(self.registry.owners, one) for one in hosts.readings(host[2:], "", domain))
        return any(owner is not None and owner.headless for owner in above)

    def _literal_host(self, fetch: Fetch, key: tuple[Layer, str], _: object) -> Named:
        layer, host = key
        winner = self.rules.winner(fetch, host, None, layer.caller)
        scope = self._members.scope(fetch, layer)
        if winner is None or (scope is not None and not scope.admits(winner.vs.meta.namespace, host)):
            return {}
        table = names.HTTP_PROXY if layer.kind == "forward" else names.sidecar_route(LITERAL_PORT)
        if not winner.rules:
            text = (
                f"nothing declares {host}, and rules for connections are for the ports of a service: use a ServiceEntry"
            )
            fetch.report(ineffective(origin_of(winner.vs, "spec.hosts"), text))
            return {}
        if host.startswith("*") and host.count(".") == 1:
            text = (
                f"no service is called {host}, and alone it could mean the Pods of a headless Service; say more of it"
            )
            fetch.report(ineffective(origin_of(winner.vs, "spec.hosts"), text))
            return {}
        if (holder := self._claims.holder(fetch, layer, table, LITERAL_PORT, host)) is not None:
            text = f"{host} is an address of {holder.host}: name that host to route calls to it"
            fetch.report(Problem("Conflicted", Level.WARNING, origin_of(winner.vs, "spec.hosts"), text))
            return {}
        settings = settings_of(fetch, self.inputs)
        routes, problems = mesh_virtualservice.http_routes(
            winner.rules,
            vs=winner.vs,
            caller=layer.caller,
            listener_port=LITERAL_PORT,
            destinations=Reachable(fetch, self, layer.caller),
            settings=settings,
        )
        fetch.report(*problems)
        if routes is None:
            return {}
        literal = outbound.literal_virtual_host(
            host, LITERAL_PORT, routes, origins=(origin_of(winner.vs, "spec.hosts"),)
        )
        resource = envoy_route.encode_virtual_host(table, literal)
        tables = (self.tables, self.explicit_tables)
        if not any(fetch.has(found, (one, table)) for found in tables for one in stack(layer)):
            text = f"nothing declares {host}, and no service speaks HTTP on port {LITERAL_PORT}: captured calls miss it"
            fetch.report(ineffective(origin_of(winner.vs, "spec.hosts"), text))
        return {(layer, resource.name): resource}


LITERAL_PORT = 80  # where a host lives that only a VirtualService names, as in Istio


def _parent_of(host: str, _: Service) -> Iterable[str]:
    return (above,) if (above := hosts.wildcard_above(host)) else ()


def _named(layer: Layer, resources: Iterable[Resource]) -> Named:
    return {(layer, resource.name): resource for resource in resources}


def _oldest_first(members: Iterable[outbound.Member]) -> list[outbound.Member]:
    return sorted(members, key=lambda member: seniority(member.service))


def _times(policy: DestinationPolicy, port: int, subset: str, service: Service | None) -> TcpTimes:
    traffic = policy.policy(port, subset)
    called = service.port(port) if service is not None and service.resolution is Resolution.DYNAMIC_DNS else None
    at = 0 if called is None or not isinstance(called.target, int) else called.target
    return TcpTimes(traffic.pool.tcp_idle_timeout, traffic.pool.max_connection_duration, traffic.tunnel, at)


class Place(NamedTuple):
    """Something that members of a layer share: it exists while one of them needs it."""

    kind: str  # "table", "address", "port" (any wildcard listener), "http", "tcp", "dynamic" (what is on it), "egress"
    layer: Layer
    at: Any  # table name, (address, port), port number, number of the egress listener


def _places_of(key: MemberKey, member: Member) -> Iterable[Place]:
    layer, _ = key
    dynamic = member.service.resolution is Resolution.DYNAMIC_DNS
    if layer.kind == "forward":
        table = Place("table", layer, names.HTTP_PROXY)
        return (table, table._replace(kind="dynamic")) if dynamic else (table,)
    found = [Place("egress", layer, i) for i in member.egress]
    if not member.parts.listeners or not member.placed:
        return found
    for port in member.ordinary_ports:
        place = outbound.placement(member.service, port)
        if member.alias is not None and (not place.http or outbound.is_sniffed(place.table)):
            continue  # found by its address, whatever it is called
        if place.table:
            found.append(Place("table", layer, place.table))
        found.extend(Place("address", layer, (address, port.number)) for address in place.addresses)
        if place.wildcard:
            found.append(Place("port", layer, port.number))
            if place.http:
                found.append(Place("http", layer, port.number))
                if dynamic:
                    found.append(Place("dynamic", layer, port.number))
            if not port.protocol.is_http and member.alias is None:
                found.append(Place("tcp", layer, port.number))
    return found


def _with_below(place: Place) -> tuple[Place, ...]:
    """A namespace's layer lies on the mesh layer: what is shared there is shared here."""
    return (place, place._replace(layer=MESH)) if place.layer.kind == "namespace" else (place,)


def _explicit(_: Fetch, layer: Layer, scope: SidecarScope) -> Mapping[tuple[Layer, int], Egress]:
    return {(layer, i): egress for i, egress in enumerate(scope.egress) if egress.port is not None}


def _explicit_tables(_: Fetch, layer: Layer, scope: SidecarScope) -> Mapping[NamedKey, Egress]:
    return {(layer, egress.table): egress for egress in scope.egress if egress.table}


def _literal_callers_of(layer: Layer, _: object) -> Iterable[str]:
    """ "" is everybody: the mesh layer has what is written in a root namespace, for those who see that layer."""
    if layer.kind in ("forward", "sidecar"):
        return ("", layer.namespace)
    return (layer.namespace,) if layer.kind in ("mesh", "namespace") else ()
