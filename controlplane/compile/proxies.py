"""Connected proxies: the stack of layers each sees, and what is its alone (inbound traffic)."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from controlplane.compile.inputs import Inputs, Key, Labels, settings_of
from controlplane.compile.layers import MESH, NO_SIDECAR, Layer
from controlplane.compile.members import Members, sidecar_layer
from controlplane.compile.outbound import Outbound
from controlplane.compile.places import LABELLED_NODE, LABELLED_ZONE, NODE, ZONE, Places
from controlplane.compile.policies import Policies
from controlplane.compile.registry import HostKey, Registry
from controlplane.compile.rules import Rules, matched_labels
from controlplane.envoy import cluster as envoy_cluster
from controlplane.envoy import listener as envoy_listener
from controlplane.gatewayapi import ingress
from controlplane.ir.cluster import Cluster
from controlplane.ir.listener import Listener
from controlplane.ir.service import Service, ServicePort, Workload
from controlplane.mesh import inbound, outbound
from controlplane.mesh import sidecar as mesh_sidecar
from controlplane.mesh.caller import Caller, has_labels
from controlplane.mesh.endpoints import workload_port
from controlplane.mesh.vouching import Impostor, vouched
from controlplane.model import core
from controlplane.model.gateway import Gateway
from controlplane.model.proxy import InterceptionMode, Proxy, ProxyType
from controlplane.model.sidecar import Sidecar
from controlplane.snapshot.resource import Resource
from controlplane.store import Collection, Fetch, Store

# Node metadata of proxies that can't bind what the configuration says (a laptop: no root, many proxies on one host).
BIND_ADDRESS = "LATEEN_BIND_ADDRESS"
PORT_OFFSET = "LATEEN_PORT_OFFSET"
HTTP_PROXY_PORT = "HTTP_PROXY_PORT"

Named = Mapping[tuple[Layer, str], Resource]


class Scope(msgspec.Struct, frozen=True):
    """What one proxy sees: layers, the most particular first. `own` is its alone, the rest may be shared."""

    own: Layer
    shared: tuple[Layer, ...]


class Scopes:
    """From proxies to the layers in use."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts it is wired to
        self, store: Store, inputs: Inputs, registry: Registry, rules: Rules, places: Places, policies: Policies
    ) -> None:
        self._places = places
        self._policies = policies
        self._inputs = inputs
        self._registry = registry
        self._rules = rules
        self.vouching: Collection[str, Proxy | Impostor] = store.derive("Vouching", inputs.proxies, self._vouched)
        self.proxies = store.derive("KnownProxies", self.vouching, _served)
        self._sidecars = store.index("SidecarsByNamespace", inputs.sidecars, lambda key, _: (key[0],))
        self._gateways = store.index("GatewaysBySelector", inputs.gateways, _selector_entry)
        self._chosen = store.derive("ChosenSidecars", self.proxies, self._choose)
        self.scopes = store.derive("Scopes", self.proxies, self._scope)
        by_layer = store.index("ProxiesByLayer", self.scopes, _shared_layers)
        base = store.expand("BaseLayer", inputs.settings, lambda _, __, ___: {MESH: True})
        self.layers = store.union("Layers", base, store.keys("SharedLayers", by_layer))

    def _vouched(self, fetch: Fetch, _: str, proxy: Proxy) -> Proxy | Impostor:
        return vouched(proxy, self._registry.workload(fetch, proxy))

    def _choose(self, fetch: Fetch, _: str, proxy: Proxy) -> Key | None:
        """The Sidecar resource of a proxy, None without one."""
        if proxy.type is not ProxyType.SIDECAR:
            return None
        roots = [
            sidecar
            for namespace in settings_of(fetch, self._inputs).root_namespaces
            for sidecar in self._in_namespace(fetch, namespace)
        ]
        own = self._in_namespace(fetch, proxy.namespace)
        chosen = mesh_sidecar.choose(own, roots, proxy.labels)
        if chosen is None:
            return None
        fetch.report(*mesh_sidecar.outdone(chosen, (*own, *roots), proxy.labels))
        return (chosen.meta.namespace, chosen.meta.name)

    def _in_namespace(self, fetch: Fetch, namespace: str) -> list[Sidecar]:
        return sorted((sidecar for _, sidecar in fetch.values(self._sidecars, namespace)), key=_age)

    def _scope(self, fetch: Fetch, connection: str, proxy: Proxy) -> Scope:
        own = Layer("proxy", proxy.namespace, proxy=connection)
        if proxy.type is ProxyType.ROUTER:
            return Scope(own, (self._gateway_layer(fetch, proxy),))
        sidecar = fetch(self._chosen, connection) or NO_SIDECAR
        captured = proxy.interception is not InterceptionMode.NONE
        selectors = fetch(self._rules.selectors, ()) or ()
        matched = matched_labels(selectors, Caller(proxy.namespace, proxy.labels))
        base = Layer("", proxy.namespace, sidecar, captured)
        return Scope(own, tuple(self._layers(fetch, proxy, base, matched)))

    def _layers(self, fetch: Fetch, proxy: Proxy, base: Layer, matched: Labels) -> Iterator[Layer]:
        node, locality = proxy.node_name, str(proxy.locality)
        if matched:
            at = self._at(fetch, proxy, LABELLED_ZONE, LABELLED_NODE)
            yield replace(base, kind="labels", labels=matched, locality=at[0], node=at[1])
        if node:
            yield replace(base, kind=NODE, node=node, locality=locality)
        if locality:
            yield replace(base, kind=ZONE, locality=locality)
        if http_proxy_port(proxy, settings_of(fetch, self._inputs).proxy_http_port):
            yield replace(base, kind="forward")
        if base.sidecar == NO_SIDECAR:
            yield Layer("namespace", proxy.namespace)
            yield MESH
        else:
            yield sidecar_layer(base)

    def _at(self, fetch: Fetch, proxy: Proxy, zone: str, node: str) -> tuple[str, str]:
        """A proxy's locality and node, as far as any host asks for them."""
        by_node = self._places.asked(fetch, node)
        by_zone = by_node or self._places.asked(fetch, zone)
        return str(proxy.locality) if by_zone else "", proxy.node_name if by_node else ""

    def _gateway_layer(self, fetch: Fetch, proxy: Proxy) -> Layer:
        entries: list[tuple[str, str]] = [("", ""), *proxy.labels.items()]
        bound = sorted(
            (
                gateway
                for entry in entries
                for _, gateway in fetch.values(self._gateways, entry)
                if self._binds(fetch, gateway, proxy)
            ),
            key=_age,
        )
        selectors = (
            *(fetch(self._rules.selectors, ()) or ()),
            *self._rules.gateway_selectors(fetch),
        )
        matched = matched_labels(selectors, Caller(proxy.namespace, proxy.labels))
        guarded = self._policies.matched(fetch, proxy.namespace, proxy.labels)
        locality, node = self._at(fetch, proxy, ZONE, NODE)
        return Layer(
            "gateway",
            proxy.namespace,
            labels=tuple(sorted({*matched, *guarded})),
            locality=locality,
            node=node,
            gateways=tuple((gateway.meta.namespace, gateway.meta.name) for gateway in bound),
            ingress=self._serves_ingresses(fetch, proxy),
            bind=str(proxy.metadata.get(BIND_ADDRESS, "")),
            port_offset=_number(proxy.metadata.get(PORT_OFFSET)),
        )

    def _binds(self, fetch: Fetch, gateway: Gateway, proxy: Proxy) -> bool:
        if settings_of(fetch, self._inputs).scope_gateway_to_namespace and gateway.meta.namespace != proxy.namespace:
            return False
        return not gateway.invalid and has_labels(proxy.labels, gateway.spec.selector)

    def _serves_ingresses(self, fetch: Fetch, proxy: Proxy) -> bool:
        """Gateways that are for their own namespace are not for the Ingresses of all."""
        settings = settings_of(fetch, self._inputs)
        if settings.scope_gateway_to_namespace and proxy.namespace not in settings.root_namespaces:
            return False
        return has_labels(proxy.labels, ingress.gateway_labels(settings))


class Inbound:
    """What a sidecar does with calls to its own workload, and the listeners that are its alone."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts it is wired to
        self,
        store: Store,
        inputs: Inputs,
        registry: Registry,
        scopes: Scopes,
        members: Members,
        outbound_part: Outbound,
        policies: Policies,
    ) -> None:
        self._inputs = inputs
        self._policies = policies
        self._registry = registry
        self._scopes = scopes
        self._members = members
        self._outbound = outbound_part
        self._by_selector = store.index("ServicesBySelector", registry.services, _service_selector)
        self._by_listed = store.index("ServicesByListedAddress", registry.services, _listed_addresses)
        self._slices = store.index("SlicesByAddress", inputs.slices, _slice_addresses)
        self._parts = store.derive("InboundParts", scopes.proxies, self._inbound)
        self.listeners = store.expand("ProxyListeners", self._parts, self._encode_listeners)
        self.clusters = store.expand("ProxyClusters", self._parts, self._encode_clusters)

    def _inbound(
        self, fetch: Fetch, connection: str, proxy: Proxy
    ) -> tuple[tuple[Listener, ...], tuple[Cluster, ...]] | None:
        scope = fetch(self._scopes.scopes, connection)
        if proxy.type is not ProxyType.SIDECAR or scope is None:
            return None
        settings = settings_of(fetch, self._inputs)
        limits = self._members.scope(fetch, scope.shared[-1])
        ports, problems = inbound.inbound_ports(self._served(fetch, proxy))
        fetch.report(*problems)
        policy = self._policies.of(fetch, proxy.namespace, proxy.labels)
        fetch.report(*inbound.unasked(ports, policy))
        is_captured = proxy.interception is not InterceptionMode.NONE
        fetch.report(*inbound.remarks(ports if is_captured else (), limits, settings, policy))
        explicit, clusters = inbound.explicit_inbound(ports, limits, proxy.ips, settings, policy)
        listeners: list[Listener] = [*explicit]
        if is_captured:
            virtual, captured = inbound.virtual_inbound(ports, limits, proxy.ips, settings, policy)
            unknown = outbound.outbound_policy(limits, settings)
            listeners.extend((virtual, outbound.virtual_outbound(unknown, settings)))
            clusters = (*clusters, *captured)
        if (port := http_proxy_port(proxy, settings.proxy_http_port)) and proxy.ips:
            dynamic = any(self._outbound.forwards_dynamically(fetch, layer) for layer in scope.shared)
            listeners.append(outbound.http_proxy_listener(proxy.ips[0], port, settings, dynamic_dns=dynamic))
        return tuple(listeners), clusters

    def _served(self, fetch: Fetch, proxy: Proxy) -> Iterator[tuple[Service, ServicePort, int]]:
        """(service, port, port of the workload) of all this proxy's workload serves."""
        seen: set[tuple[str, int, int]] = set()
        for service, port, target in (*self._selecting(fetch, proxy), *self._listing(fetch, proxy)):
            if (place := (service.host, port.number, target)) not in seen:
                seen.add(place)
                yield service, port, target

    def _selecting(self, fetch: Fetch, proxy: Proxy) -> Iterator[tuple[Service, ServicePort, int]]:
        """By the labels that services select, before any endpoint says so."""
        workload = self._registry.workload(fetch, proxy)
        for label in proxy.labels.items():
            for _, service in fetch.values(self._by_selector, (proxy.namespace, *label)):
                if not has_labels(proxy.labels, service.selector):
                    continue
                for port in service.ports:
                    target = _target(service, port, workload)
                    if target is not None:
                        yield service, port, target

    def _listing(self, fetch: Fetch, proxy: Proxy) -> Iterator[tuple[Service, ServicePort, int]]:
        """By the endpoints that carry the proxy's address, for services without a selector."""
        for address in proxy.ips:
            for _, service in fetch.values(self._by_listed, (proxy.namespace, address)):
                for port in service.ports:
                    for endpoint in service.static.get(port.number, ()):
                        if endpoint.address == address:
                            yield service, port, endpoint.port
        yield from self._sliced(fetch, proxy)

    def _sliced(self, fetch: Fetch, proxy: Proxy) -> Iterator[tuple[Service, ServicePort, int]]:
        owners = {
            (value.meta.namespace, value.service)
            for address in proxy.ips
            for _, value in fetch.values(self._slices, address)
            if value.service and value.meta.namespace == proxy.namespace
        }
        domain = settings_of(fetch, self._inputs).cluster_domain
        for namespace, name in sorted(owners):
            key: HostKey = (f"{name}.{namespace}.svc.{domain}", namespace)
            service = fetch(self._registry.services, key)
            for port in service.ports if service is not None else ():
                for endpoint in fetch(self._registry.endpoints, (*key, port.number)) or ():
                    if endpoint.address in proxy.ips and service is not None:
                        yield service, port, endpoint.port

    def _encode_listeners(
        self, fetch: Fetch, connection: str, parts: tuple[tuple[Listener, ...], tuple[Cluster, ...]]
    ) -> Named:
        scope, settings = fetch(self._scopes.scopes, connection), settings_of(fetch, self._inputs)
        assert scope is not None
        encoded = (envoy_listener.encode(listener, settings) for listener in parts[0])
        return {(scope.own, resource.name): resource for resource in encoded}

    def _encode_clusters(
        self, fetch: Fetch, connection: str, parts: tuple[tuple[Listener, ...], tuple[Cluster, ...]]
    ) -> Named:
        scope, settings = fetch(self._scopes.scopes, connection), settings_of(fetch, self._inputs)
        assert scope is not None
        encoded = (envoy_cluster.encode(cluster, settings) for cluster in parts[1])
        return {(scope.own, resource.name): resource for resource in encoded}


def _served(_: Fetch, __: str, one: Proxy | Impostor) -> Proxy | None:
    return None if isinstance(one, Impostor) else one


def _shared_layers(_: str, scope: Scope) -> Iterable[Layer]:
    """The mesh layer is there whoever is connected."""
    return (layer for layer in scope.shared if layer != MESH)


def http_proxy_port(proxy: Proxy, mesh_wide: int) -> int:
    """Where the proxy offers an explicit forward proxy; 0 = nowhere. What the node says wins."""
    return _number(proxy.metadata.get(HTTP_PROXY_PORT)) or mesh_wide


def _number(text: object) -> int:
    return int(text) if isinstance(text, int | float) or (isinstance(text, str) and text.isdecimal()) else 0


def _selector_entry(_: Key, gateway: Gateway) -> Iterable[tuple[str, str]]:
    """One label of the selector stands for all of it in the index; an empty selector is a label nobody has."""
    return (min(gateway.spec.selector.items(), default=("", "")),)


def _service_selector(_: HostKey, service: Service) -> Iterable[tuple[str, str, str]]:
    return ((service.namespace, *min(service.selector.items())),) if service.selector else ()


def _listed_addresses(_: HostKey, service: Service) -> Iterable[tuple[str, str]]:
    if not service.static:
        return ()
    return {(service.namespace, endpoint.address) for listed in service.static.values() for endpoint in listed}


def _target(service: Service, port: ServicePort, workload: Workload | None) -> int | None:
    """Where the workload serves a port; a name means nothing without the object that says which number it is."""
    if workload is not None:
        return workload_port(service, port, workload)
    return port.target if isinstance(port.target, int) else None


def _slice_addresses(_: Key, value: core.EndpointSlice) -> Iterable[str]:
    return {endpoint.addresses[0] for endpoint in value.endpoints if endpoint.addresses}


def _age(one: Gateway | Sidecar) -> tuple[bool, str, str, str]:
    """Oldest first; objects without age come last, by name."""
    meta = one.meta
    return (meta.created is None, meta.created.isoformat() if meta.created else "", meta.namespace, meta.name)
