"""A small mesh in the store's words: every primitive, and every way in which incremental programs go wrong.

Services have hosts, some of them claimed by several services. Rules name hosts (wildcards too), delegate to other
rules (in circles if they like), and select proxies by label. A proxy's scope is the set of rules that select it.
A value that says "boom" makes the function that meets it fail.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from controlplane.store import Change, Collection, Fetch, Index, Input, Query, Store

Key = tuple[str, str]
Host = str
Scope = tuple[Key, ...]


class Service(NamedTuple):
    aliases: tuple[str, ...]
    port: int
    boom: str = ""


class Rule(NamedTuple):
    hosts: tuple[str, ...]
    weight: int
    delegate: Key | None = None
    selects: str | None = None
    boom: str = ""


class Mesh:
    """The graph, wired into a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.namespaces: Input[str, str] = store.input("Namespaces")
        self.services: Input[Key, Service] = store.input("Services")
        self.rules: Input[Key, Rule] = store.input("Rules")
        self.endpoints: Input[Host, tuple[str, ...]] = store.input("Endpoints")
        self.proxies: Input[Key, tuple[str, ...]] = store.input("Proxies")
        self.unread: Input[str, int] = store.input("Unread")

        self.live = store.derive("LiveServices", self.services, self.live_service)
        self.hosts: Collection[Host, Key] = store.expand("Hosts", self.live, self.hosts_of)
        self.rules_by_host: Index[Host, Key, Rule] = store.index("RulesByHost", self.rules, self.hosts_of_rule)
        self.ruled: Collection[Host, bool] = store.keys("RuledHosts", self.rules_by_host)
        self.selectors: Index[str, Key, Rule] = store.index("RulesByLabel", self.rules, self.label_of_rule)
        self.resolved: Query[Key, int] = store.query("ResolvedWeight", self.weight_of)
        self.assigned: Query[Host, str] = store.query("Assignment", self.assignment_of)
        self.cluster: Query[tuple[Host, int], str] = store.query("Cluster", self.cluster_of)
        self.routes: Collection[Host, Any] = store.derive("Routes", self.hosts, self.route_of)
        self.orphans: Collection[Host, str] = store.derive("OrphanRules", self.ruled, self.orphan_of)
        self.scope_of: Collection[Key, Scope] = store.derive("ScopeOfProxy", self.proxies, self.scope)
        self.proxies_by_scope: Index[Scope, Key, Scope] = store.index(
            "ProxiesByScope", self.scope_of, lambda _key, scope: (scope,)
        )
        self.scopes: Collection[Scope, bool] = store.keys("Scopes", self.proxies_by_scope)
        self.rules_of_scope: Collection[tuple[Scope, Key], bool] = store.expand(
            "RulesOfScope", self.scopes, lambda _fetch, scope, _: {(scope, rule): True for rule in scope}
        )
        self.hosts_by_scope: Index[Scope, Host, Any] = store.index("HostsByScope", self.routes, self.scopes_of_route)
        self.served: Collection[tuple[Scope, Host], Any] = store.join("ScopeHosts", self.scopes, self.hosts_by_scope)
        self.proxies_by_label: Index[str, Key, Any] = store.index(
            "ProxiesByLabel", self.proxies, lambda _, labels: labels
        )
        self.selected: Collection[tuple[Key, Key], Rule] = store.match(
            "Selected", self.proxies_by_label, self.selectors
        )
        self.counts: Collection[str, int] = store.derive("Members", self.namespaces, self.members_of)
        self.everything: Collection[Any, Any] = store.union("Everything", self.routes, self.orphans)
        for collection in (
            self.live,
            self.served,
            self.everything,
            self.rules_of_scope,
            self.cluster,
            self.counts,
            self.selected,
        ):
            store.output(collection)

    def live_service(self, fetch: Fetch, key: Key, service: Service) -> Service | None:
        """Presence of the namespace counts, its labels do not."""
        return service if fetch.has(self.namespaces, key[0]) else None

    def hosts_of(self, _fetch: Fetch, key: Key, service: Service) -> Mapping[Host, Key]:
        _trip(service.boom, "expand")
        return dict.fromkeys((f"{key[1]}.{key[0]}", *service.aliases), key)

    def hosts_of_rule(self, _key: Key, rule: Rule) -> Iterable[Host]:
        _trip(rule.boom, "index")
        return rule.hosts

    def label_of_rule(self, _key: Key, rule: Rule) -> Iterator[str]:
        if rule.selects:
            yield rule.selects

    def weight_of(self, fetch: Fetch, key: Key) -> int | None:
        """The sum along the delegate chain; each rule counts once, however the chain turns."""
        seen: set[Key] = set()
        total = 0
        step: Key | None = key
        while step and step not in seen:
            seen.add(step)
            rule = fetch(self.rules, step)
            if rule is None:
                fetch.report(f"{step} is missing")
                return None
            _trip(rule.boom, "query")
            total += rule.weight
            step = rule.delegate
        return total

    def assignment_of(self, fetch: Fetch, host: Host) -> str | None:
        addresses = fetch(self.endpoints, host)
        return "+".join(addresses) if addresses else None

    def cluster_of(self, fetch: Fetch, key: tuple[Host, int]) -> str | None:
        """A query that reads a query."""
        host, port = key
        assignment = fetch(self.assigned, host)
        _trip(assignment or "", "cluster")
        return f"{host}:{port}={assignment}" if port else None

    def route_of(self, fetch: Fetch, host: Host, service: Key) -> Any:
        """The rules of the most specific name that has any."""
        live = fetch(self.live, service)
        if live is None:
            return None
        cluster = fetch(self.cluster, (host, live.port))
        for name in _suffix_chain(host):
            rules = fetch.keys(self.rules_by_host, name)
            if rules:
                return (cluster, name, tuple(fetch(self.resolved, rule) for rule in rules))
        _trip(live.boom, "derive")
        return (cluster, None, ())

    def orphan_of(self, fetch: Fetch, host: Host, _: object) -> str | None:
        """Presence of a query's answer counts, its value does not."""
        if fetch.has(self.hosts, host):
            return None
        fetch.report(f"{host} is nowhere", "nowhere", "nowhere")
        return "no such host, with endpoints" if fetch.has(self.assigned, host) else "no such host"

    def scope(self, fetch: Fetch, _key: Key, labels: tuple[str, ...]) -> Scope:
        return tuple(sorted({rule for label in labels for rule in fetch.keys(self.selectors, label)}))

    def scopes_of_route(self, _host: Host, route: Any) -> Iterable[Scope]:
        weights = {weight for weight in route[2] if weight}
        yield ()
        yield from ((("a", f"r{weight}"),) for weight in sorted(weights))

    def members_of(self, fetch: Fetch, namespace: str, _labels: str) -> int:
        """Reads members and values of index entries."""
        return sum(rule.weight for _, rule in fetch.values(self.rules_by_host, f"a.{namespace}"))


def _trip(wire: str, place: str) -> None:
    if place in wire:
        raise RuntimeError(f"boom in {place}")


def _suffix_chain(host: Host) -> Iterator[str]:
    yield host
    labels = host.split(".")
    for start in range(1, len(labels)):
        yield ".".join(("*", *labels[start:]))
    yield "*"


NAMESPACES = st.sampled_from("abc")
KEYS = st.tuples(NAMESPACES, st.sampled_from(["a", "b", "r1", "r2"]))
HOSTS = st.sampled_from(["a.a", "b.a", "a.b", "b.b", "x.y", "*.a", "*.b", "*"])
PLAIN_HOSTS = st.sampled_from(["a.a", "b.a", "a.b", "x.y"])
LABELS = st.sampled_from(["red", "green", "blue"])
BOOMS = st.sampled_from(["", "", "", "expand", "index", "query", "derive", "index query", "derive expand"])


def changes(mesh: Mesh, *, booms: bool = True) -> st.SearchStrategy[Change[Any, Any]]:
    """One change of one input: mostly sets, sometimes deletes, over few enough keys that they collide."""
    wires = BOOMS if booms else st.just("")
    addresses = st.lists(st.sampled_from(["1", "2", *(["cluster"] if booms else [])]), max_size=2).map(tuple)
    service = st.builds(Service, st.lists(PLAIN_HOSTS, max_size=2).map(tuple), st.integers(0, 2), wires)
    rule = st.builds(
        Rule,
        st.lists(HOSTS, max_size=3).map(tuple),
        st.integers(0, 2),
        st.none() | KEYS,
        st.none() | LABELS,
        wires,
    )
    return st.one_of(
        st.builds(Change, st.just(mesh.namespaces), NAMESPACES, st.none() | st.sampled_from(["dev", "prod"])),
        st.builds(Change, st.just(mesh.services), KEYS, st.none() | service),
        st.builds(Change, st.just(mesh.services), KEYS, service),
        st.builds(Change, st.just(mesh.rules), KEYS, st.none() | rule),
        st.builds(Change, st.just(mesh.rules), KEYS, rule),
        st.builds(Change, st.just(mesh.endpoints), PLAIN_HOSTS, st.none() | addresses),
        st.builds(Change, st.just(mesh.proxies), KEYS, st.none() | st.lists(LABELS, max_size=2).map(tuple)),
    )
