"""Gateways: what the Gateway resources bound to one gateway proxy, and the VirtualServices attached to them, make.

One layer per set of bound Gateways. A VirtualService takes part through pairs (layer, VirtualService), so that one of
thousands on a shared gateway moves its own virtual hosts and nothing else; the hosts of Ingresses do the same through
pairs (layer, host of an Ingress). Clusters follow from references (`reached.py`).
"""

from collections.abc import Mapping

from controlplane.compile.ingresses import HostKey, Ingresses
from controlplane.compile.inputs import Inputs, Key, settings_of
from controlplane.compile.layers import Layer
from controlplane.compile.outbound import Named, NamedKey, Outbound, Reachable
from controlplane.compile.policies import Policies
from controlplane.compile.registry import Registry
from controlplane.compile.rules import Routing, Rules
from controlplane.envoy import listener as envoy_listener
from controlplane.envoy import route as envoy_route
from controlplane.gatewayapi import ingress
from controlplane.gatewayapi.ingress import HostRules
from controlplane.ir.guard import WorkloadPolicy
from controlplane.ir.listener import FilterChain
from controlplane.ir.route import Route, VirtualHost
from controlplane.mesh import gateway as mesh_gateway
from controlplane.mesh import virtualservice as mesh_virtualservice
from controlplane.mesh.gateway import GatewayPlan, ListenerPlan, TablePlan
from controlplane.mesh.hosts import wildcards_above
from controlplane.model.gateway import Gateway
from controlplane.model.problem import Origin
from controlplane.store import Collection, Fetch, Store

DomainKey = tuple[Layer, str, str]  # (layer, route table, domain)


class Gateways:
    """Collections of encoded gateway resources, keyed by (layer, name)."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts it is wired to
        self,
        store: Store,
        inputs: Inputs,
        registry: Registry,
        rules: Rules,
        outbound: Outbound,
        policies: Policies,
        ingresses: Ingresses,
        layers: Collection[Layer, bool],
    ) -> None:
        self._inputs = inputs
        self._registry = registry
        self._rules = rules
        self._outbound = outbound
        self._policies = policies
        self._ingresses = ingresses
        self._plans = store.derive("GatewayPlans", layers, self._plan)
        self._listener_plans = store.expand("ListenerPlans", self._plans, _listener_plans)
        self._table_plans = store.expand("TablePlans", self._plans, _table_plans)

        by_gateway = store.index(
            "RoutingsByGateway", rules.routings, lambda _, r: mesh_virtualservice.gateways_of(r.vs)
        )
        bound = store.index("LayersByGateway", layers, lambda layer, _: layer.gateways)
        attached = store.match("BoundRoutings", bound, by_gateway)
        domains = store.expand("Attachments", attached, self._attachments)
        servers = store.expand("ServerAttachments", attached, self._server_attachments)
        planned = store.expand("PlannedDomains", self._plans, _planned_domains)
        serving = store.index("IngressLayers", layers, lambda layer, _: ((),) if layer.ingress else ())
        places = store.expand(
            "IngressPlaces", store.match("ServedIngresses", serving, ingresses.every_host), self._places
        )
        self._by_domain = store.index("RoutingsByDomain", domains, lambda key, _: (key[0],))
        self._by_server = store.index("RoutingsByServer", servers, lambda key, _: (key[0],))
        self._by_place = store.index("IngressesByDomain", places, lambda key, _: (key[0],))
        every = store.index(
            "EveryDomain",
            store.union("Domains", domains, planned, store.expand("IngressDomains", places, _domain)),
            lambda key, _: (key[0],),
        )
        self.virtual_hosts = store.expand("GatewayVirtualHosts", store.keys("DomainNames", every), self._virtual_host)
        self.tables = store.expand("GatewayTables", self._table_plans, self._table)
        self.listeners = store.expand("GatewayListeners", self._listener_plans, self._listener)

    # From Gateways alone

    def _plan(self, fetch: Fetch, layer: Layer, _: object) -> GatewayPlan | None:
        if layer.kind != "gateway":
            return None
        found = (fetch(self._inputs.gateways, key) for key in layer.gateways)
        gateways: list[Gateway] = [gateway for gateway in found if gateway is not None]
        ready = self._ingresses.servers(fetch) if layer.ingress else ()
        plan, problems = mesh_gateway.plan(gateways, settings_of(fetch, self._inputs), layer.namespace, ready)
        fetch.report(*problems)
        return plan

    def _table(self, _: Fetch, key: NamedKey, table: TablePlan) -> Named:
        return {key: envoy_route.encode_table(mesh_gateway.route_table(table))}

    # VirtualServices attached

    def _attachments(
        self, fetch: Fetch, key: tuple[Layer, Key], routing: Routing
    ) -> Mapping[tuple[DomainKey, Key], bool]:
        layer, name = key
        plan = fetch(self._plans, layer)
        if plan is None:
            return {}
        settings = settings_of(fetch, self._inputs)
        domain = settings.cluster_domain
        fetch.report(
            *mesh_gateway.missing_gateways(routing.vs, lambda ns, n: fetch.has(self._inputs.gateways, (ns, n))),
        )
        if not mesh_gateway.is_exported(routing.vs, layer.namespace, settings):
            fetch.report(mesh_gateway.not_exported(routing.vs, layer.namespace))
            return {}
        found = mesh_gateway.attachments(routing.vs, plan, domain)
        fetch.report(*mesh_gateway.unattached(routing.vs, plan, domain))
        return {((layer, table, host), name): True for table, host, *_ in found}

    def _server_attachments(
        self, fetch: Fetch, key: tuple[Layer, Key], routing: Routing
    ) -> Mapping[tuple[tuple[Layer, object], Key], bool]:
        layer, name = key
        plan = fetch(self._plans, layer)
        settings = settings_of(fetch, self._inputs)
        if plan is None or not mesh_gateway.is_exported(routing.vs, layer.namespace, settings):
            return {}
        servers = mesh_gateway.l4_attachments(routing.vs, plan, settings.cluster_domain)
        return {((layer, server), name): True for server in servers}

    def _virtual_host(self, fetch: Fetch, key: DomainKey, _: object) -> Named:
        layer, table, domain = key
        plan = fetch(self._table_plans, (layer, table))
        host = self._made(fetch, layer, plan, domain) if plan is not None else None
        if host is None:
            return {}
        if any(route.match.claims for route in host.routes) and not self._policy(fetch, layer).http.tokens:
            fetch.report(*mesh_gateway.unjudged_claims(host))
        resource = envoy_route.encode_virtual_host(table, host)
        return {(layer, resource.name): resource}

    def _made(self, fetch: Fetch, layer: Layer, plan: TablePlan, domain: str) -> VirtualHost | None:
        key = (layer, plan.name, domain)
        found = (fetch(self._rules.routings, name) for _, name in fetch.keys(self._by_domain, key))
        attached = sorted((routing for routing in found if routing is not None), key=lambda routing: routing.order)
        host, problems = mesh_gateway.virtual_host(
            plan,
            domain,
            [mesh_gateway.Attached(routing.vs, routing.rules) for routing in attached],
            caller=layer.caller,
            destinations=Reachable(fetch, self._outbound, layer.caller),
            settings=settings_of(fetch, self._inputs),
            contributed=self._contributed(fetch, layer, plan, domain),
        )
        fetch.report(*problems)
        return host

    # Ingresses

    def _places(
        self, fetch: Fetch, key: tuple[Layer, HostKey], rules: HostRules
    ) -> Mapping[tuple[DomainKey, HostKey], bool]:
        layer, name = key
        plan = fetch(self._plans, layer)
        if plan is None:
            return {}
        places = ingress.places(rules.host, rules.namespace, plan)
        fetch.report(*ingress.unplaced(rules, places))
        return {((layer, table, domain), name): True for table, domain in places}

    def _contributed(self, fetch: Fetch, layer: Layer, plan: TablePlan, domain: str) -> mesh_gateway.Contributed | None:
        """What Ingresses say of a domain."""
        keys = fetch.keys(self._by_place, (layer, plan.name, domain))
        found = [fetch(self._ingresses.hosts, name) for _, name in keys]
        serving = ingress.serving([one for one in found if one is not None], domain)
        if not serving:
            return None
        settings = settings_of(fetch, self._inputs)
        kept, disputes = ingress.of_namespace_first(serving, domain, settings)
        backends = Reachable(fetch, self._outbound, layer.caller)
        routes, problems = ingress.routes(kept, domain, backends, settings)
        fetch.report(*disputes, *problems)
        asks_for_one_label = kept[0].host == domain and domain.startswith("*.")
        beyond = self._beyond(fetch, layer, plan, domain) if asks_for_one_label else ()
        return mesh_gateway.Contributed(routes, kept[0].order, Origin(kept[0].ref, "spec.rules"), beyond)

    def _beyond(self, fetch: Fetch, layer: Layer, plan: TablePlan, domain: str) -> tuple[Route, ...]:
        """What names get that have more labels than a wildcard of an Ingress stands for: the next wider host's."""
        above = (self._made(fetch, layer, plan, wider) for wider in wildcards_above(domain))
        wider = next((one for one in above if one is not None), None)
        return ingress.beyond_one_label(wider.routes, domain) if wider is not None else ()

    def _listener(self, fetch: Fetch, key: NamedKey, plan: ListenerPlan) -> Named:
        layer, _ = key
        settings = settings_of(fetch, self._inputs)
        chains = {server.key: self._server_chains(fetch, layer, server) for server in plan.l4_servers}
        policy = self._policy(fetch, layer)
        listener = mesh_gateway.listener(
            plan, l4=chains, settings=settings, policy=policy, bind=layer.bind, offset=layer.port_offset
        )
        return {} if listener is None else {(layer, listener.name): envoy_listener.encode(listener, settings)}

    def _policy(self, fetch: Fetch, layer: Layer) -> WorkloadPolicy:
        """What guards the gateway itself."""
        return self._policies.of(fetch, layer.namespace, layer.caller.labels)

    def _server_chains(self, fetch: Fetch, layer: Layer, server: mesh_gateway.Server) -> tuple[FilterChain, ...]:
        found = (
            fetch(self._inputs.virtual_services, name) for _, name in fetch.keys(self._by_server, (layer, server.key))
        )
        attached = sorted((vs for vs in found if vs is not None), key=mesh_virtualservice.order)
        chains, problems = mesh_gateway.server_chains(
            server,
            attached,
            caller=layer.caller,
            destinations=Reachable(fetch, self._outbound, layer.caller),
            settings=settings_of(fetch, self._inputs),
        )
        fetch.report(*problems, *mesh_gateway.unopened(server, chains))
        return chains


def _listener_plans(_: Fetch, layer: Layer, plan: GatewayPlan) -> Mapping[NamedKey, ListenerPlan]:
    return {(layer, name): one for name, one in plan.listeners.items()}


def _table_plans(_: Fetch, layer: Layer, plan: GatewayPlan) -> Mapping[NamedKey, TablePlan]:
    return {(layer, name): table for name, table in plan.tables.items()}


def _domain(_: Fetch, key: tuple[DomainKey, HostKey], __: object) -> Mapping[tuple[DomainKey, Key], bool]:
    """As those of VirtualServices: who attaches does not matter for whether there is a domain."""
    return {(key[0], key[1][1:]): True}


def _planned_domains(_: Fetch, layer: Layer, plan: GatewayPlan) -> Mapping[tuple[DomainKey, Key], bool]:
    return {
        ((layer, name, domain), ("", "")): True
        for name, table in plan.tables.items()
        for domain in mesh_gateway.table_domains(table)
    }
