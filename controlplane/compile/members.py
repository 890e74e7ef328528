"""Which hosts each layer holds: the join of the proxies that are connected with the hosts they may call.

A pair (layer, host) is the unit of outbound compilation. Pairs appear and vanish one by one: a new service makes one
pair in the mesh layer, one rule with a selector makes one pair per layer whose callers it selects, and nothing walks
a list of everything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from controlplane.compile.inputs import Inputs, settings_of
from controlplane.compile.layers import ALL, CLUSTERS, ENDPOINTS, MESH, POLICY, ROUTES, Layer, Parts
from controlplane.compile.places import NODE, ZONE, Places
from controlplane.compile.registry import Registry
from controlplane.compile.rules import Rules, Selector, Variants, matched_labels
from controlplane.ir.service import Resolution, Service, ServicePort
from controlplane.mesh import sidecar as mesh_sidecar
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import missing
from controlplane.mesh.sidecar import SidecarScope
from controlplane.model.sidecar import Sidecar
from controlplane.store import Collection, Fetch, Index, Store

MemberKey = tuple[Layer, str]  # (layer, host)
EVERY_HOST = "*"
SELF_RESOLVED = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})  # endpoints stand in the cluster


class Member(msgspec.Struct, frozen=True):
    """A host as one layer holds it."""

    service: Service
    parts: Parts
    egress: tuple[int, ...] = ()  # in a sidecar layer: which of the Sidecar's egress listeners admit it
    placed: bool = True  # it is called on its own ports, not only through explicit listeners
    claimed: frozenset[int] = frozenset()  # ports whose calls an explicit listener takes
    alias: Service | None = None  # the ExternalName this host is; then `service` is what it stands for

    @property
    def ordinary_ports(self) -> Iterator[ServicePort]:
        """The ports on which captured calls find it."""
        return (port for port in self.service.ports if port.number not in self.claimed)


class Members:
    """Layers in use, and their hosts."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts it is wired to
        self,
        store: Store,
        inputs: Inputs,
        registry: Registry,
        rules: Rules,
        places: Places,
        layers: Collection[Layer, bool],
    ) -> None:
        self._inputs = inputs
        self._registry = registry
        self._rules = rules
        self.layers = layers
        self.sidecars = store.derive("SidecarScopes", layers, self._sidecar_scope)

        variants = rules.variants
        by_caller = store.index("HostsByCaller", variants, lambda _, v: v.special())
        by_namespace = store.index("HostsByNamespace", registry.owners, _namespaces_of)

        def layers_of(name: str, keys: Callable[[Layer], Iterable[Any]]) -> Index[Any, Layer, bool]:
            return store.index(name, layers, lambda layer, _: keys(layer))

        mesh = store.expand("MeshMembers", variants, self._mesh_members)
        namespaces = store.match(
            "NamespaceHosts", layers_of("NamespaceLayers", _of_kind("namespace", lambda one: one.namespace)), by_caller
        )
        admitting = store.index("SidecarsByNamespaceAdmitted", self.sidecars, lambda _, scope: _namespaces(scope))
        sidecar_hosts = store.match("SidecarHosts", admitting, by_namespace)
        selectors = store.derive("LayerSelectors", layers, self._selectors)
        selecting = store.index("LayersBySelector", selectors, lambda _, found: found)
        selected = store.match("SelectedHosts", selecting, rules.by_selector)
        placed = store.match("PlacedHosts", layers_of("PlaceLayers", _place_kinds), places.by_place)
        forwarded = store.match(
            "ForwardedHosts", layers_of("ForwardLayers", _of_kind("forward", lambda _: EVERY_HOST)), by_namespace
        )
        self.all = store.union(
            "Members",
            mesh,
            store.expand("NamespaceMembers", namespaces, self._namespace_members),
            store.expand("SidecarMembers", sidecar_hosts, self._sidecar_members),
            store.expand("LabelMembers", selected, self._label_members),
            store.expand("PlaceMembers", placed, self._place_members),
            store.expand("ForwardMembers", forwarded, self._forward_members),
        )

    def scope(self, fetch: Fetch, layer: Layer) -> SidecarScope | None:
        """The Sidecar resource that limits a layer; None in layers without one."""
        if layer.sidecar == ("", ""):
            return None
        return fetch(self.sidecars, sidecar_layer(layer))

    def _sidecar_scope(self, fetch: Fetch, layer: Layer, _: bool) -> SidecarScope | None:  # noqa: FBT001
        if layer.kind != "sidecar":
            return None
        sidecar: Sidecar | None = fetch(self._inputs.sidecars, layer.sidecar)
        settings = settings_of(fetch, self._inputs)
        scope, problems = mesh_sidecar.scope(sidecar, layer.namespace, settings, captured=layer.captured)
        fetch.report(*problems)
        return self._with_egress_proxy(fetch, scope, layer.caller)

    def _with_egress_proxy(self, fetch: Fetch, scope: SidecarScope, caller: Caller) -> SidecarScope:
        """The egress proxy by the name its cluster has; who names one that does not exist is told."""
        proxy = scope.policy.proxy
        if proxy is None:
            return scope
        service = self._registry.service_for(fetch, proxy.host, caller.namespace)
        target = self._registry.concrete(fetch, service) if service is not None else None
        found = target or service
        at = scope.policy.origin.at("egressProxy")
        if found is None:
            fetch.report(missing(at.at("host"), f"there is no service {proxy.host}: calls to unknown hosts get 503"))
        elif found.port(proxy.port) is None:
            fetch.report(missing(at.at("port.number"), f"{found.host} has no port {proxy.port}: such calls get 503"))
        elif proxy.subset and not self._has_subset(fetch, found.host, proxy.subset, caller):
            text = f"no DestinationRule says what subset {proxy.subset!r} of {found.host} is: such calls get 503"
            fetch.report(missing(at.at("subset"), text))
        if target is None:
            return scope
        policy = scope.policy.through(msgspec.structs.replace(proxy, host=target.host))
        return msgspec.structs.replace(scope, policy=policy)

    def _has_subset(self, fetch: Fetch, host: str, subset: str, caller: Caller) -> bool:
        return any(one.name == subset for one in self._rules.policy(fetch, host, caller).subsets)

    # One function per kind of layer: which pair, holding what

    def _mesh_members(self, fetch: Fetch, host: str, variants: Variants) -> Mapping[MemberKey, Member]:
        service = fetch(self._registry.owners, host)
        if service is None or not variants.visible.everyone:
            return {}
        return {(MESH, host): self._member(fetch, service, ALL, "")}

    def _namespace_members(
        self, fetch: Fetch, key: tuple[Layer, str], variants: Variants
    ) -> Mapping[MemberKey, Member]:
        layer, host = key
        namespace = layer.namespace
        service = self._registry.service_for(fetch, host, namespace)
        if service is None:
            return {}
        if not variants.visible.everyone:
            return {key: self._member(fetch, service, ALL, namespace)} if variants.visible.covers(namespace) else {}
        if namespace in variants.policy:
            return {key: self._member(fetch, service, ALL, namespace)}
        parts = ROUTES._replace(listeners=True) if namespace in variants.routes else ROUTES
        return {key: self._member(fetch, service, parts, namespace)}

    def _member(self, fetch: Fetch, service: Service, parts: Parts, namespace: str) -> Member:
        """A service, or what an ExternalName stands for: of that there is nothing here but the name."""
        target = self._registry.concrete(fetch, service)
        if target is None:
            return Member(service, parts)
        target = self._registry.service_for(fetch, target.host, namespace) or target
        return Member(target, parts._replace(clusters=False, endpoints=False), alias=service)

    def _sidecar_members(self, fetch: Fetch, key: tuple[Layer, str], _: Service) -> Mapping[MemberKey, Member]:
        layer, host = key
        return self._admitted(fetch, layer, host, ALL)

    def _admitted(self, fetch: Fetch, layer: Layer, host: str, parts: Parts) -> Mapping[MemberKey, Member]:
        member = self.admit(fetch, layer, host, parts)
        return {} if member is None else {(layer, host): member}

    def admit(self, fetch: Fetch, layer: Layer, host: str, parts: Parts = ALL) -> Member | None:
        """The member a layer has if callers of its namespace see the host and its Sidecar, if any, admits it."""
        service = self._registry.service_for(fetch, host, layer.namespace)
        variants = fetch(self._rules.variants, host)
        if service is None or variants is None or not variants.visible.covers(layer.namespace):
            return None
        scope = self.scope(fetch, layer)
        member = self._member(fetch, service, parts, layer.namespace)
        if scope is None:
            return member
        behind = member.service if member.alias is not None else service
        egress = tuple(
            i
            for i, one in enumerate(scope.egress)
            if one.hosts.admits(service.namespace, host)
            or (behind is not service and one.hosts.admits(behind.namespace, behind.host))
        )
        placed = any(scope.egress[i].port is None for i in egress)
        if not egress:
            return None
        return msgspec.structs.replace(member, egress=egress, placed=placed, claimed=scope.claimed_ports)

    def _selectors(self, fetch: Fetch, layer: Layer, _: bool) -> tuple[Selector, ...] | None:  # noqa: FBT001
        """The selectors that pick a layer's callers."""
        if layer.kind != "labels":
            return None
        selectors = fetch(self._rules.selectors, ()) or ()
        return tuple(selector for selector in selectors if matched_labels((selector,), layer.caller))

    def _label_members(self, fetch: Fetch, key: tuple[Layer, str], _: Variants) -> Mapping[MemberKey, Member]:
        layer, host = key
        return self._admitted(fetch, layer, host, POLICY._replace(listeners=True))

    def _place_members(self, fetch: Fetch, key: tuple[Layer, str], _: tuple[str, ...]) -> Mapping[MemberKey, Member]:
        layer, host = key
        service = self._registry.service_for(fetch, host, layer.namespace)
        in_place = service is not None and service.resolution in SELF_RESOLVED
        return self._admitted(fetch, layer, host, CLUSTERS if in_place else ENDPOINTS)

    def _forward_members(self, fetch: Fetch, key: tuple[Layer, str], _: Service) -> Mapping[MemberKey, Member]:
        layer, host = key
        return self._admitted(fetch, layer, host, ROUTES)


def sidecar_layer(layer: Layer) -> Layer:
    """The layer that a Sidecar resource alone makes, below a more particular one."""
    return Layer("sidecar", layer.namespace, layer.sidecar, layer.captured)


def _namespaces_of(_: str, service: Service) -> Iterable[str]:
    """The namespaces under which a Sidecar may admit a host; an ExternalName comes along with what it stands for."""
    meant = (service.alias_of.split(".")[1],) if service.alias_of.count(".") > 1 else ()
    return tuple(dict.fromkeys((service.namespace, EVERY_HOST, *meant)))


def _namespaces(scope: SidecarScope) -> Iterable[str]:
    """The namespaces whose hosts may be admitted, so that the others are not looked at."""
    named = {namespace for egress in scope.egress for namespace in egress.hosts.namespaces()}
    return (EVERY_HOST,) if EVERY_HOST in named else named


def _of_kind(kind: str, key: Callable[[Layer], str]) -> Callable[[Layer], Iterable[str]]:
    return lambda layer: (key(layer),) if layer.kind == kind else ()


def _place_kinds(layer: Layer) -> Iterable[str]:
    return (layer.kind,) if layer.kind in (ZONE, NODE) else ()
