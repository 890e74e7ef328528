"""DestinationRule -> how callers treat one host.

Rules for one host are merged, oldest first: subsets are united, the first top-level policy wins. A subset overrides
the top-level policy block by block; the policy of a port replaces load balancer, pool, outlier detection and TLS
together: what it leaves out falls back to the mesh's defaults, not to the policy around it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from controlplane.ir import policy as ir
from controlplane.ir.policy import DestinationPolicy, HashKey, LoadBalancer
from controlplane.ir.service import Service
from controlplane.mesh import balancing, connections
from controlplane.mesh.hosts import qualify
from controlplane.mesh.locality import own_label
from controlplane.mesh.problems import NO_PROBLEMS, conflicted, ineffective, not_supported
from controlplane.model import destinationrule as api
from controlplane.model.destinationrule import DestinationRule
from controlplane.model.meta import origin_of
from controlplane.model.problem import Origin, Problem
from controlplane.model.settings import Settings

_NO_LABELS: Final[Mapping[str, str]] = {}
_SOURCE_IP: Final = ir.HashSourceIp()


def rule_host(rule: DestinationRule, domain: str) -> str:
    """The host, or wildcard, a rule is about."""
    return qualify(rule.spec.host, rule.meta.namespace, domain)


def caller_labels(rule: DestinationRule) -> Mapping[str, str]:
    """Labels a caller must have for the rule to act on it."""
    selector = rule.spec.workload_selector
    return selector.match_labels if selector is not None else _NO_LABELS


def caller_keys(rules: Iterable[DestinationRule], settings: Settings) -> frozenset[str]:
    """Labels whose value at the caller ranks the endpoints of a host with these rules (failoverPriority)."""
    keys: set[str] = set()
    default = settings.default_traffic_policy
    detected = default is not None and default.outlier_detection is not None
    for rule in rules:
        for policy in _policies(rule):
            detected = detected or policy.outlier_detection is not None
            lb = policy.load_balancer
            if lb is not None and lb.locality_lb_setting is not None:
                keys.update(_priorities(lb.locality_lb_setting))
    if detected:
        keys.update(_priorities(settings.locality_lb_setting))
    return frozenset(keys)


def _policies(rule: DestinationRule) -> Iterator[api.TrafficPolicy | api.PortTrafficPolicy]:
    for policy in (rule.spec.traffic_policy, *(subset.traffic_policy for subset in rule.spec.subsets)):
        if policy is not None:
            yield policy
            yield from policy.port_level_settings


def _priorities(setting: api.LocalityLbSetting) -> Iterator[str]:
    return filter(None, map(own_label, setting.failover_priority if setting.enabled is not False else ()))


def balancer(lb: LoadBalancer, service: Service | None) -> LoadBalancer:
    """The balancer with what the Service itself wishes: it pins clients, unless a rule chose an algorithm."""
    if service is None or not service.session_affinity or lb.algorithm_chosen:
        return lb
    return msgspec.structs.replace(lb, algorithm=ir.Algorithm.MAGLEV, hash_key=_SOURCE_IP, warmup=None)


def hash_keys(
    policy: DestinationPolicy, port: int, subset: str = "", *, service: Service | None = None
) -> tuple[HashKey, ...]:
    """What requests, or connections, are hashed by; empty when the balancer does not hash."""
    key = balancer(policy.policy(port, subset).load_balancer, service).hash_key
    return () if key is None else (key,)


def merge(rules: Sequence[DestinationRule], settings: Settings) -> tuple[DestinationPolicy, tuple[Problem, ...]]:
    """The policy of one host from the rules about it, oldest first; without rules, the mesh's defaults."""
    mesh = _mesh_of(settings)
    acting = [rule for rule in rules if not rule.invalid]
    if not acting:
        return mesh.unruled, NO_PROBLEMS
    problems: list[Problem] = []
    for rule in acting:
        problems.extend(_unsupported(rule, settings))
    top = _top_policy(acting, problems)
    subsets = _united_subsets(acting, problems)
    policy = _complete(top, subsets, mesh, tuple([origin_of(rule) for rule in acting]))
    problems.extend(_undetected(acting, top, subsets, mesh))
    return policy, tuple(problems)


def _top_policy(rules: Sequence[DestinationRule], problems: list[Problem]) -> api.TrafficPolicy | None:
    winner: DestinationRule | None = None
    for rule in rules:
        if rule.spec.traffic_policy is None:
            continue
        if winner is None:
            winner = rule
        else:
            at, older = origin_of(rule, "spec.trafficPolicy"), origin_of(winner, "spec.trafficPolicy")
            problems += conflicted(at, "another trafficPolicy", older)
    return winner.spec.traffic_policy if winner is not None else None


def _united_subsets(rules: Sequence[DestinationRule], problems: list[Problem]) -> dict[str, api.Subset]:
    found: dict[str, api.Subset] = {}
    owners: dict[str, tuple[DestinationRule, int]] = {}
    for rule in rules:
        for index, subset in enumerate(rule.spec.subsets):
            if subset.name in found:
                older, first = owners[subset.name]
                at, there = origin_of(rule, f"spec.subsets[{index}]"), origin_of(older, f"spec.subsets[{first}]")
                problems += conflicted(at, f"another subset {subset.name!r}", there)
            else:
                found[subset.name], owners[subset.name] = subset, (rule, index)
    return found


# Blocks: what a policy consists of, before defaults


class _Blocks(msgspec.Struct, frozen=True):
    """The blocks that hold for one destination, port or subset. None: nobody said."""

    load_balancer: api.LoadBalancerSettings | None = None
    connection_pool: api.ConnectionPoolSettings | None = None
    outlier_detection: api.OutlierDetection | None = None
    tls: api.ClientTLSSettings | None = None
    tunnel: api.Tunnel | None = None
    proxy_protocol: api.ProxyProtocol | None = None
    retry_budget: api.RetryBudget | None = None

    def under(self, policy: api.TrafficPolicy | None) -> "_Blocks":
        """Overridden, block by block, by a subset's policy."""
        if policy is None:
            return self
        return _Blocks(
            policy.load_balancer or self.load_balancer,
            policy.connection_pool or self.connection_pool,
            policy.outlier_detection or self.outlier_detection,
            policy.tls or self.tls,
            policy.tunnel or self.tunnel,
            policy.proxy_protocol or self.proxy_protocol,
            policy.retry_budget or self.retry_budget,
        )

    def at_port(self, port: api.PortTrafficPolicy | None) -> "_Blocks":
        """With the four blocks a port has replaced, those it does not say included."""
        if port is None:
            return self
        return _Blocks(
            port.load_balancer,
            port.connection_pool,
            port.outlier_detection,
            port.tls,
            self.tunnel,
            self.proxy_protocol,
            self.retry_budget,
        )


_NOTHING: Final = _Blocks()
_Ports = Mapping[int, api.PortTrafficPolicy]


def _ports(policy: api.TrafficPolicy | None) -> _Ports:
    if policy is None or not policy.port_level_settings:
        return {}
    return {one.port.number: one for one in reversed(policy.port_level_settings) if one.port and one.port.number}


def _complete(
    top: api.TrafficPolicy | None, subsets: Mapping[str, api.Subset], mesh: "_Mesh", origins: tuple[Origin, ...]
) -> DestinationPolicy:
    base, ports = _NOTHING.under(top), _ports(top)
    default = mesh.policy(base)
    by_port = {number: mesh.policy(base.at_port(one)) for number, one in ports.items()}
    by_subset: dict[str, ir.TrafficPolicy] = {}
    by_subset_port: dict[tuple[str, int], ir.TrafficPolicy] = {}
    for name, subset in subsets.items():
        own = subset.traffic_policy
        if own is None:
            by_subset[name] = default
            by_subset_port.update({(name, number): policy for number, policy in by_port.items()})
            continue
        by_subset[name] = mesh.policy(base.under(own))
        own_ports = _ports(own)
        for number in {**ports, **own_ports}:
            blocks = base.at_port(ports.get(number)).under(own).at_port(own_ports.get(number))
            by_subset_port[name, number] = mesh.policy(blocks)
    return DestinationPolicy(
        subsets=tuple([ir.Subset(name, subset.labels) for name, subset in subsets.items()]),
        default=default,
        ports=by_port,
        by_subset=by_subset,
        by_subset_port=by_subset_port,
        origins=origins,
    )


# Defaults: what holds where no block does


class _Mesh(msgspec.Struct, frozen=True):
    """What the settings of the mesh say about every destination."""

    settings: Settings
    balancer: LoadBalancer
    base_pool: ir.ConnectionPool  # what every rule's pool starts from
    pool: ir.ConnectionPool  # of destinations without a pool
    outlier: ir.OutlierDetection | None
    http2: bool | None
    unruled: DestinationPolicy

    def policy(self, blocks: _Blocks) -> ir.TrafficPolicy:
        """Blocks with every default decided."""
        lb, pool, outlier, tls = blocks.load_balancer, blocks.connection_pool, blocks.outlier_detection, blocks.tls
        by = {"verify": self.settings.verify_certificate_at_client, "certificates": self.settings.workload_certificates}
        return ir.TrafficPolicy(
            load_balancer=self.balancer if lb is None else balancing.load_balancer(lb, self.balancer.locality),
            pool=self.pool if pool is None else connections.connection_pool(pool, self.base_pool),
            outlier=self.outlier if outlier is None else connections.outlier_detection(outlier),
            tls=None if tls is None or tls.invalid else connections.upstream_tls(tls, **by),
            tunnel=None if blocks.tunnel is None or blocks.tunnel.invalid else _tunnel(blocks.tunnel),
            proxy_protocol=None if blocks.proxy_protocol is None else _proxy_protocol(blocks.proxy_protocol),
            retry_budget=None if blocks.retry_budget is None else _retry_budget(blocks.retry_budget),
            http2=self.http2 if pool is None else connections.http2_wish(pool),
            blocked=(tls is not None and tls.invalid) or (blocks.tunnel is not None and blocks.tunnel.invalid),
        )


def _mesh_from(settings: Settings) -> _Mesh:
    default = settings.default_traffic_policy
    pool = default.connection_pool if default is not None else None
    outlier = default.outlier_detection if default is not None else None
    base_pool = base_connection_pool(settings)
    lb = LoadBalancer(locality=balancing.locality_preference(settings.locality_lb_setting))
    traffic = ir.TrafficPolicy(
        load_balancer=lb,
        pool=base_pool if pool is None else connections.connection_pool(pool, base_pool),
        outlier=None if outlier is None else connections.outlier_detection(outlier),
        http2=connections.http2_wish(pool),
    )
    unruled = DestinationPolicy(default=traffic)
    return _Mesh(settings, lb, base_pool, traffic.pool, traffic.outlier, traffic.http2, unruled)


class _Latest:
    """Remembers the last settings and what they mean: there is one `Settings`, asked about thousands of times."""

    def __init__(self) -> None:
        self._mesh: _Mesh | None = None

    def of(self, settings: Settings) -> _Mesh:
        mesh = self._mesh
        if mesh is None or mesh.settings is not settings:
            mesh = self._mesh = _mesh_from(settings)
        return mesh


_mesh_of: Final = _Latest().of


def base_connection_pool(settings: Settings) -> ir.ConnectionPool:
    """The pool of a destination nobody says anything about: Istio lifts Envoy's limits."""
    return ir.ConnectionPool(
        connect_timeout=settings.connect_timeout, keepalive=connections.keepalive(settings.tcp_keepalive, None)
    )


def _tunnel(tunnel: api.Tunnel) -> ir.Tunnel:
    return ir.Tunnel(tunnel.protocol or "CONNECT", tunnel.target_host, tunnel.target_port or 0)


def _proxy_protocol(block: api.ProxyProtocol) -> int:
    return 2 if block.version is api.ProxyProtocolVersion.V2 else 1


def _retry_budget(block: api.RetryBudget) -> ir.RetryBudget:
    percent = 20.0 if block.percent is None else block.percent
    return ir.RetryBudget(percent, 3 if block.min_retry_concurrency is None else block.min_retry_concurrency)


# What cannot act


def _undetected(
    rules: Sequence[DestinationRule], top: api.TrafficPolicy | None, subsets: Mapping[str, api.Subset], mesh: "_Mesh"
) -> Iterator[Problem]:
    """Failover that nothing triggers: wherever a setting holds, no outlier detection finds sick endpoints."""
    asked = [(origin, lb) for rule in rules for origin, lb in _balancers(rule) if _fails_over(lb)]
    if not asked:
        return
    every = [*_every_block(top, subsets)]
    detected = {id(one.load_balancer) for one in every if mesh.policy(one).outlier is not None}
    in_use = {id(one.load_balancer) for one in every}
    for origin, lb in asked:
        if id(lb) in in_use and id(lb) not in detected:
            text = "nothing tells sick endpoints from others; give the same destination outlierDetection"
            yield ineffective(origin.at("localityLbSetting"), text)


def _balancers(rule: DestinationRule) -> Iterator[tuple[Origin, api.LoadBalancerSettings]]:
    """Every loadBalancer of a rule, and where it stands."""
    spec = origin_of(rule, "spec")
    policies = [(spec.at("trafficPolicy"), rule.spec.traffic_policy)]
    policies += [
        (spec.at(f"subsets[{index}].trafficPolicy"), subset.traffic_policy)
        for index, subset in enumerate(rule.spec.subsets)
    ]
    for origin, policy in policies:
        if policy is None:
            continue
        if policy.load_balancer is not None:
            yield origin.at("loadBalancer"), policy.load_balancer
        for index, port in enumerate(policy.port_level_settings):
            if port.load_balancer is not None:
                yield origin.at(f"portLevelSettings[{index}].loadBalancer"), port.load_balancer


def _fails_over(lb: api.LoadBalancerSettings) -> bool:
    setting = lb.locality_lb_setting
    return setting is not None and setting.enabled is not False and bool(setting.failover or setting.failover_priority)


def _every_block(top: api.TrafficPolicy | None, subsets: Mapping[str, api.Subset]) -> Iterator[_Blocks]:
    """The blocks of every destination, port and subset, as `_complete` puts them together."""
    base, ports = _NOTHING.under(top), _ports(top)
    yield base
    yield from (base.at_port(one) for one in ports.values())
    for subset in subsets.values():
        own, own_ports = subset.traffic_policy, _ports(subset.traffic_policy)
        yield base.under(own)
        for number in {**ports, **own_ports}:
            yield base.at_port(ports.get(number)).under(own).at_port(own_ports.get(number))


# What is understood and not done yet


def _unsupported(rule: DestinationRule, settings: Settings) -> Iterator[Problem]:
    origin = origin_of(rule, "spec")
    if rule.spec.traffic_policy is not None:
        yield from _unsupported_in(rule.spec.traffic_policy, origin.at("trafficPolicy"), settings)
    for index, subset in enumerate(rule.spec.subsets):
        if subset.traffic_policy is not None:
            yield from _unsupported_in(subset.traffic_policy, origin.at(f"subsets[{index}].trafficPolicy"), settings)


def _unsupported_in(policy: api.TrafficPolicy, at: Origin, settings: Settings) -> Iterator[Problem]:
    yield from _unsupported_blocks(policy, at, settings)
    for index, port in enumerate(policy.port_level_settings):
        yield from _unsupported_blocks(port, at.at(f"portLevelSettings[{index}]"), settings)
    if policy.retry_budget is not None and policy.retry_budget.budget_interval is not None:
        text = "the budget counts the requests under way, as Envoy's does"
        yield not_supported(at.at("retryBudget.budgetInterval"), "budgetInterval", text)


def _unsupported_blocks(
    policy: api.TrafficPolicy | api.PortTrafficPolicy, at: Origin, settings: Settings
) -> Iterator[Problem]:
    lb = policy.load_balancer
    if lb is not None and lb.zone_aware_lb_setting is not None:
        text = "Envoy is told, but a proxy that does not know its peers keeps to no zone; localityLbSetting does"
        yield not_supported(at.at("loadBalancer.zoneAwareLbSetting"), "zoneAwareLbSetting", text)
    if lb is not None and lb.backend_utilization is not None:
        text = "endpoints weigh the same whatever load they report"
        yield not_supported(at.at("loadBalancer.backendUtilization"), "backendUtilization", text)
    wants_mesh = policy.tls is not None and policy.tls.mode is api.ClientTLSMode.ISTIO_MUTUAL
    if wants_mesh and not settings.workload_certificates:
        text = "proxies have no mesh certificates, so calls to this destination go in PLAINTEXT"
        yield not_supported(at.at("tls.mode"), "ISTIO_MUTUAL", text)
