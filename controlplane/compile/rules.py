"""Which rules act on calls to a host, and for which callers they differ.

Most hosts look the same to everybody. What makes a host look different to some callers is a rule: one written in the
caller's own namespace, one exported to few, one that selects callers by label. `Variants` says per host which callers
those are; everybody else shares one answer, and proxies are never asked about labels no rule looks at.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from controlplane.compile.inputs import Inputs, Key, Labels, settings_of
from controlplane.compile.registry import Registry
from controlplane.ir.policy import DestinationPolicy
from controlplane.ir.service import Service
from controlplane.mesh import destinationrule as mesh_destinationrule
from controlplane.mesh import gateway as mesh_gateway
from controlplane.mesh import service as mesh_service
from controlplane.mesh import virtualservice as mesh_virtualservice
from controlplane.mesh.caller import Caller
from controlplane.mesh.hosts import wildcard_above
from controlplane.mesh.problems import ineffective
from controlplane.mesh.tenancy import Reach, both, exported, reach
from controlplane.mesh.virtualservice import Rule
from controlplane.model.destinationrule import DestinationRule
from controlplane.model.meta import origin_of, ref_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import VirtualService
from controlplane.store import Collection, Fetch, Index, Query, Store

RuleKey = tuple[str, str, str]  # (host or wildcard the rule is about, namespace, name)
Selector = tuple[str, Labels]  # (caller's namespace or "", labels): callers a rule singles out
PolicyKey = tuple[str, str, Labels]  # (host, caller's namespace or "", caller's labels that matter)

V = TypeVar("V")

ANYONE = Caller("")
ANY_VALUE = "*"  # in a selector: callers differ by the value of this label, whatever it is (no label value holds it)


class Routing(msgspec.Struct, frozen=True):
    """One VirtualService with its delegates taken in.

    It stands once under each of its hosts, perhaps thousands, and is compared there whenever it changes: what mostly
    changes comes first.
    """

    rules: tuple[Rule, ...]
    hosts: frozenset[str]  # fully qualified
    vs: VirtualService

    @property
    def order(self) -> tuple[object, ...]:
        return mesh_virtualservice.order(self.vs)


class Variants(msgspec.Struct, frozen=True):
    """Which callers of one host get another answer than everybody."""

    visible: Reach
    home: str = ""  # namespace whose callers may use the bare name
    policy: frozenset[str] = frozenset()  # caller namespaces whose DestinationPolicy (or service) is their own
    routes: frozenset[str] = frozenset()  # caller namespaces whose routes are their own
    selectors: frozenset[Selector] = frozenset()
    ruled: bool = False  # some DestinationRule may act on calls to it
    routed: bool = False  # some VirtualService may

    def special(self) -> frozenset[str]:
        """Caller namespaces that need an answer of their own."""
        own = self.policy | self.routes
        if self.home:
            own |= {self.home}
        return own if self.visible.everyone else own | self.visible.namespaces


class Rules:
    """Collections about rules: by host, with delegates, as policies."""

    def __init__(self, store: Store, inputs: Inputs, registry: Registry) -> None:
        self._inputs = inputs
        self._registry = registry
        destination = store.expand("DestinationRulesByHost", inputs.destination_rules, self._destination_rule)
        self.routings = store.derive("Routings", inputs.virtual_services, self._routing)
        mesh = store.expand("MeshRoutingsByHost", self.routings, self._mesh_routing)
        self._destination = RulesByHost(store, "DestinationRules", destination)
        self.mesh = RulesByHost(store, "MeshRoutings", mesh)
        self.variants = store.derive("Variants", registry.owners, self._variants)
        self.by_selector = store.index("HostsBySelector", self.variants, lambda _, v: v.selectors)
        at_gateways = store.index("GatewaySelectors", self.routings, _source_selectors)
        self._at_gateways = store.index(
            "EveryGatewaySelector", store.keys("GatewaySelectorKeys", at_gateways), lambda _, __: ((),)
        )
        selectors = store.keys("Selectors", self.by_selector)
        self._every_selector = store.index("EverySelector", selectors, lambda _, __: ((),))
        self.selectors = store.query("AllSelectors", self._all_selectors)
        self._unruled = store.query("UnruledPolicy", self._unruled_policy)
        self.policies = store.query("Policies", self._policy)

    def _destination_rule(self, fetch: Fetch, key: Key, rule: DestinationRule) -> Mapping[RuleKey, DestinationRule]:
        if rule.invalid:
            return {}
        host = mesh_destinationrule.rule_host(rule, settings_of(fetch, self._inputs).cluster_domain)
        return {(host, *key): rule}

    def _routing(self, fetch: Fetch, _: Key, vs: VirtualService) -> Routing | None:
        if vs.invalid:
            return None

        def delegate(namespace: str, name: str) -> VirtualService | None:
            return fetch(self._inputs.virtual_services, (namespace, name))

        settings = settings_of(fetch, self._inputs)
        rules, problems = mesh_virtualservice.rules_of(
            vs, delegate, export_to=settings.default_virtual_service_export_to
        )
        fetch.report(*problems, *mesh_virtualservice.own_problems(vs, rules))
        gateways = self._inputs.gateways
        fetch.report(*mesh_gateway.missing_gateways(vs, lambda namespace, name: fetch.has(gateways, (namespace, name))))
        return Routing(rules, frozenset(mesh_virtualservice.hosts_of(vs, settings.cluster_domain)), vs)

    def _mesh_routing(self, fetch: Fetch, key: Key, routing: Routing) -> Mapping[RuleKey, Routing]:
        if not mesh_virtualservice.binds_mesh(routing.vs):
            return {}
        domain = settings_of(fetch, self._inputs).cluster_domain
        return {(host, *key): routing for host in mesh_virtualservice.mesh_hosts_of(routing.vs, domain)}

    # Who differs

    def _variants(self, fetch: Fetch, host: str, owner: Service) -> Variants:
        target = self._registry.concrete(fetch, owner)
        if target is not None:
            return self._variants_of_alias(fetch, owner, target)
        if owner.alias_of:
            settings, circular = settings_of(fetch, self._inputs), self._registry.is_circular(fetch, owner)
            fetch.report(*mesh_service.unknown_alias(owner, settings, circular=circular))
        return self._variants_of_rules(fetch, host, owner)

    def _variants_of_rules(self, fetch: Fetch, host: str, owner: Service) -> Variants:
        settings = settings_of(fetch, self._inputs)
        visible = exported(owner.namespace, owner.export_to)
        declared: frozenset[str] = frozenset()
        if not owner.kubernetes:
            declared = frozenset(ns for _, ns in fetch.keys(self._registry.by_host, host) if ns != owner.namespace)
        destination = self._destination.candidates(fetch, host)
        routings = self.mesh.candidates(fetch, host)
        home = owner.namespace if owner.kubernetes else ""
        keys = mesh_destinationrule.caller_keys([rule for _, rule in destination], settings)
        selectors: set[Selector] = {("", ((key, ANY_VALUE),)) for key in keys}
        if not destination and not routings:
            return Variants(visible, home, declared, declared, frozenset(selectors))
        policy: set[str] = set(declared)
        for _, rule in destination:
            _note(fetch, rule, host, (callers := destination_reach(rule, owner, settings)))
            policy |= callers.namespaces
            if labels := mesh_destinationrule.caller_labels(rule):
                selectors.add((rule.meta.namespace, tuple(sorted(labels.items()))))
            elif rule.meta.namespace != owner.namespace:
                policy.add(rule.meta.namespace)
        special: set[str] = set(declared)
        for _, routing in routings:
            _note(fetch, routing.vs, host, (callers := routing_reach(routing.vs, owner.namespace, settings)))
            special |= callers.namespaces
            for namespace, labels in mesh_virtualservice.source_selectors(routing.rules, routing.vs):
                if labels:
                    selectors.add((namespace or "", tuple(sorted(labels.items()))))
                elif namespace:
                    special.add(namespace)
        return Variants(
            visible,
            home,
            frozenset(policy),
            frozenset(special),
            frozenset(selectors),
            bool(destination),
            bool(routings),
        )

    def _variants_of_alias(self, fetch: Fetch, alias: Service, target: Service) -> Variants:
        """Another name differs as its host does, and is seen by those who see both. Rules about it do not act."""
        for pattern, rule in self._destination.candidates(fetch, alias.host):
            if pattern == alias.host:
                fetch.report(_about_alias(origin_of(rule, "spec.host"), alias, target))
        for pattern, routing in self.mesh.candidates(fetch, alias.host):
            if pattern == alias.host:
                fetch.report(_about_alias(origin_of(routing.vs, "spec.hosts"), alias, target))
        found = self._variants_of_rules(fetch, target.host, target)
        visible = both(found.visible, exported(alias.namespace, alias.export_to))
        return msgspec.structs.replace(found, visible=visible, home=alias.namespace)

    def caller_key(self, fetch: Fetch, host: str, caller: Caller) -> PolicyKey:
        """The policy question of this caller, the same for all callers that must get the same answer."""
        variants = fetch(self.variants, host)
        return (host, "", ()) if variants is None else _caller_key(variants, host, caller)

    def _all_selectors(self, fetch: Fetch, _: tuple[()]) -> tuple[Selector, ...]:
        """The selectors of all rules: few, whatever the size of the mesh."""
        return fetch.keys(self._every_selector, ())

    def gateway_selectors(self, fetch: Fetch) -> tuple[Selector, ...]:
        """The selectors of VirtualServices bound to gateways."""
        return fetch.keys(self._at_gateways, ())

    # Policies

    def policy(self, fetch: Fetch, host: str, caller: Caller) -> DestinationPolicy:
        """How `caller` treats calls to `host`."""
        variants = fetch(self.variants, host)
        if variants is None or not variants.ruled:
            return self.unruled(fetch)
        policy = fetch(self.policies, _caller_key(variants, host, caller))
        return policy if policy is not None else self.unruled(fetch)

    def is_ruled(self, fetch: Fetch, host: str) -> bool:
        """Whether a DestinationRule may have a say: most hosts have none, and are not asked about further."""
        variants = fetch(self.variants, host)
        return variants is not None and variants.ruled

    def unruled(self, fetch: Fetch) -> DestinationPolicy:
        """The policy where no rule says anything."""
        policy = fetch(self._unruled, ())
        assert policy is not None
        return policy

    def _unruled_policy(self, fetch: Fetch, _: tuple[()]) -> DestinationPolicy:
        return mesh_destinationrule.merge((), settings_of(fetch, self._inputs))[0]

    def _policy(self, fetch: Fetch, key: PolicyKey) -> DestinationPolicy | None:
        host, namespace, labels = key
        candidates = self._destination.candidates(fetch, host)
        if not candidates:
            return None
        owner = self._registry.service_for(fetch, host, namespace)
        if owner is None:
            return None
        settings = settings_of(fetch, self._inputs)
        acting = [
            (pattern, rule)
            for pattern, rule in candidates
            if destination_reach(rule, owner, settings).covers(namespace) and _selects(rule, namespace, dict(labels))
        ]
        chosen = _choose(acting, namespace, owner.namespace, settings)
        if not chosen:
            return None
        alike, others = _alike(chosen)
        policy, problems = mesh_destinationrule.merge(alike, settings)
        fetch.report(*problems, *(_outdone(other, alike[0]) for other in others))
        return policy

    # Routes

    def winner(self, fetch: Fetch, host: str, owner: str | None, caller: Caller) -> Routing | None:
        """The VirtualService that routes this caller's calls to `host`: the most specific, then the oldest."""
        variants = fetch(self.variants, host)
        if variants is not None and not variants.routed:
            return None
        candidates = self.mesh.candidates(fetch, host)
        settings = settings_of(fetch, self._inputs)
        acting = [
            (pattern, routing)
            for pattern, routing in candidates
            if routing_reach(routing.vs, owner, settings).covers(caller.namespace)
        ]
        if not acting:
            return None
        best = acting[0][0]
        rivals = sorted((routing for pattern, routing in acting if pattern == best), key=lambda r: r.order)
        for loser in rivals[1:]:
            fetch.report(*mesh_virtualservice.shadowed(loser.vs, rivals[0].vs, host))
        return rivals[0]


class RulesByHost(Generic[V]):
    """Rules found by the host they are about: exact first, then wildcards, the longest first.

    The wildcards above a host are looked up once for all hosts of the same suffix, each step of the chain an index
    key of its own, so that a new wildcard rule wakes the hosts it covers and no others.
    """

    def __init__(self, store: Store, name: str, rules: Collection[RuleKey, V]) -> None:
        self.rules = rules
        self.index: Index[str, RuleKey, V] = store.index(f"{name}Index", rules, lambda key, _: (key[0],))
        self._above: Query[str, tuple[RuleKey, ...]] = store.query(f"{name}Above", self._rules_above)

    def candidates(self, fetch: Fetch, host: str) -> list[tuple[str, V]]:
        """(pattern, rule), the most specific pattern first; within a pattern by (namespace, name)."""
        keys = fetch.keys(self.index, host)
        above = fetch(self._above, parent) if (parent := wildcard_above(host)) else None
        if not keys and not above:
            return []
        found = ((key[0], fetch(self.rules, key)) for key in (*keys, *(above or ())))
        return [(pattern, rule) for pattern, rule in found if rule is not None]

    def _rules_above(self, fetch: Fetch, pattern: str) -> tuple[RuleKey, ...] | None:
        keys: list[RuleKey] = []
        while pattern:
            keys.extend(fetch.keys(self.index, pattern))
            pattern = wildcard_above(pattern)
        return tuple(keys) or None


def _caller_key(variants: Variants, host: str, caller: Caller) -> PolicyKey:
    namespace = caller.namespace if caller.namespace in variants.policy else ""
    if not caller.labels or not variants.selectors:
        return (host, namespace, ())
    matched = matched_labels(variants.selectors, caller)
    return (host, caller.namespace if matched else namespace, matched)


def matched_labels(selectors: Iterable[Selector], caller: Caller) -> Labels:
    """The caller's labels that some selector looks at and finds; one tuple for all callers that match the same."""
    found: set[tuple[str, str]] = set()
    for namespace, labels in selectors:
        if namespace in ("", caller.namespace) and all(_is_as_asked(caller, *label) for label in labels):
            found.update((name, caller.labels[name]) for name, _ in labels)
    return tuple(sorted(found))


def _is_as_asked(caller: Caller, name: str, value: str) -> bool:
    own = caller.labels.get(name)
    return own is not None and value in {ANY_VALUE, own}


def example(labels: Labels) -> Labels:
    """Labels of some caller that a selector picks."""
    return tuple((name, "" if value == ANY_VALUE else value) for name, value in labels)


def _source_selectors(_: Key, routing: Routing) -> Iterable[Selector]:
    if not mesh_virtualservice.gateways_of(routing.vs):
        return ()
    asked = mesh_virtualservice.source_selectors(routing.rules, routing.vs)
    return tuple((namespace or "", tuple(sorted(labels.items()))) for namespace, labels in asked if labels)


def destination_reach(rule: DestinationRule, owner: Service, settings: Settings) -> Reach:
    export_to = rule.spec.export_to or settings.default_destination_rule_export_to
    return reach(rule.meta.namespace, owner.namespace, export_to, settings)


def routing_reach(vs: VirtualService, owner: str | None, settings: Settings) -> Reach:
    export_to = vs.spec.export_to or settings.default_virtual_service_export_to
    return reach(vs.meta.namespace, owner, export_to, settings)


def _choose(
    acting: list[tuple[str, DestinationRule]], caller: str, owner: str, settings: Settings
) -> list[DestinationRule]:
    """The rules of the first step of Istio's lookup that has any, of its most specific host, oldest first.

    Client namespace, then the service's, then the root namespaces. A caller that lives in a root namespace skips the
    first step but for rules kept to itself: what is written there is meant for everybody.
    """

    def own(rule: DestinationRule) -> bool:
        in_root = caller in settings.root_namespaces
        return rule.meta.namespace == caller and (not in_root or rule.spec.export_to == (".",))

    steps: tuple[Callable[[DestinationRule], bool], ...] = (
        own,
        lambda rule: rule.meta.namespace == owner,
        lambda rule: rule.meta.namespace in settings.root_namespaces,
    )
    for step in steps:
        if found := [(pattern, rule) for pattern, rule in acting if step(rule)]:
            best = found[0][0]
            return sorted((rule for pattern, rule in found if pattern == best), key=_age)
    return []


def _selects(rule: DestinationRule, caller: str, labels: Mapping[str, str]) -> bool:
    """Whether a rule is for callers with these labels. A workloadSelector sees its own namespace only, as in Istio."""
    wanted = mesh_destinationrule.caller_labels(rule)
    return not wanted or (rule.meta.namespace == caller and wanted.items() <= labels.items())


def _alike(rules: list[DestinationRule]) -> tuple[list[DestinationRule], list[DestinationRule]]:
    """The rules that are merged, and selecting ones that lost: rules that single callers out go before general ones,
    the oldest first, and only rules with the same selector are merged.
    """
    selecting = [rule for rule in rules if mesh_destinationrule.caller_labels(rule)]
    if not selecting:
        return rules, []
    chosen = mesh_destinationrule.caller_labels(selecting[0])
    alike = [rule for rule in selecting if mesh_destinationrule.caller_labels(rule) == chosen]
    return alike, [rule for rule in selecting if rule not in alike]


def _outdone(rule: DestinationRule, winner: DestinationRule) -> Problem:
    text = f"some callers have the labels of {ref_of(winner)} too, which is older: that acts on them, and this does not"
    return Problem("Conflicted", Level.WARNING, origin_of(rule, "spec.workloadSelector"), text)


def _age(rule: DestinationRule) -> tuple[bool, str, str, str]:
    created = rule.meta.created
    return (created is None, created.isoformat() if created else "", rule.meta.namespace, rule.meta.name)


def _about_alias(origin: Origin, alias: Service, target: Service) -> Problem:
    text = f"{alias.host} is another name for {target.host} ({alias.origin}): calls to it follow the rules for that"
    return ineffective(origin, text)


def _note(fetch: Fetch, rule: DestinationRule | VirtualService, host: str, callers: Reach) -> None:
    """Says what tenancy takes away from a rule."""
    if not callers.narrowed:
        return
    fetch.report(
        Problem(
            "NotOwner",
            Level.WARNING,
            origin_of(rule, "spec.host" if isinstance(rule, DestinationRule) else "spec.hosts"),
            f"{host} is not owned by namespace {rule.meta.namespace}: the rule acts only on calls from its own "
            "namespace. Put it into the namespace of the service, or set tenancy: istio.",
        )
    )
