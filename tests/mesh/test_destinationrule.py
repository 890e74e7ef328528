"""DestinationRules: merging, inheritance, and what each field becomes."""

from datetime import timedelta

import pytest

from controlplane.ir import policy as ir
from controlplane.ir.policy import Algorithm, DestinationPolicy, TlsMode, TrafficPolicy
from controlplane.mesh.destinationrule import caller_labels, hash_keys, merge, rule_host
from controlplane.mesh.service import from_service
from controlplane.model import destinationrule as api
from controlplane.model.destinationrule import DestinationRule, DestinationRuleSpec
from controlplane.model.meta import Meta
from controlplane.model.settings import DefaultTrafficPolicy, Settings
from tests.mesh.manifests import SETTINGS, destination_rule, service


def merged(*bodies: str, settings: Settings = SETTINGS) -> DestinationPolicy:
    rules = [destination_rule(f"host: reviews\n{body}", name=f"rule-{index}") for index, body in enumerate(bodies)]
    return merge(rules, settings)[0]


def top(body: str, settings: Settings = SETTINGS) -> TrafficPolicy:
    """The policy a rule makes with `trafficPolicy: {body}`."""
    return merged(f"trafficPolicy: {{{body}}}", settings=settings).default


def problems(*bodies: str) -> list[tuple[str, str]]:
    rules = [destination_rule(f"host: reviews\n{body}", name=f"rule-{index}") for index, body in enumerate(bodies)]
    found = merge(rules, SETTINGS)[1]
    return [(problem.code, f"{problem.origin.ref.name}: {problem.origin.path}") for problem in found]


# Whom a rule is about


def test_a_short_host_is_completed_with_the_rules_namespace():
    assert (
        rule_host(destination_rule("host: reviews", namespace="shop"), "cluster.local")
        == "reviews.shop.svc.cluster.local"
    )
    assert rule_host(destination_rule("host: '*.example.com'"), "cluster.local") == "*.example.com"


def test_a_selector_limits_the_callers():
    assert caller_labels(destination_rule("host: a\nworkloadSelector: {matchLabels: {app: b}}")) == {"app": "b"}
    assert caller_labels(destination_rule("host: a")) == {}


# Without rules


def test_without_rules_the_meshs_defaults_hold():
    policy, found = merge((), SETTINGS)
    assert found == ()
    assert policy.default == TrafficPolicy(load_balancer=ir.LoadBalancer(locality=ir.LocalityPreference()))
    assert policy.default.load_balancer.algorithm is Algorithm.LEAST_REQUEST
    assert policy.default.pool.connect_timeout == timedelta(seconds=10)
    assert policy.default.pool.max_connections is None
    assert policy.default.outlier is None


def test_the_mesh_may_have_other_defaults():
    settings = Settings(
        connect_timeout=timedelta(seconds=3),
        locality_lb_setting=api.LocalityLbSetting(enabled=False),
        tcp_keepalive=api.TcpKeepalive(probes=3),
        default_traffic_policy=DefaultTrafficPolicy(
            connection_pool=api.ConnectionPoolSettings(tcp=api.TCPSettings(max_connections=7)),
            outlier_detection=api.OutlierDetection(consecutive_5xx_errors=2),
        ),
    )
    default = merge((), settings)[0].default
    assert default.pool.connect_timeout == timedelta(seconds=3)
    assert default.pool.max_connections == 7
    assert default.pool.keepalive == ir.Keepalive(probes=3)
    assert default.outlier is not None
    assert default.outlier.consecutive_5xx == 2
    assert default.load_balancer.locality is None


def test_defaults_follow_the_settings_asked_with():
    fast = Settings(connect_timeout=timedelta(seconds=1))
    for settings in (fast, SETTINGS, fast):
        assert merge((), settings)[0].default.pool.connect_timeout == settings.connect_timeout


def test_a_rule_without_a_policy_keeps_the_defaults():
    assert merged("subsets: [{name: v1, labels: {version: v1}}]").default == merge((), SETTINGS)[0].default


def test_an_invalid_rule_has_no_effect():
    rule = DestinationRule(
        meta=Meta(name="r", namespace="default"), spec=DestinationRuleSpec(host="reviews"), invalid=True
    )
    assert merge([rule], SETTINGS) == merge((), SETTINGS)


# Merging rules of one host


RANDOM = "loadBalancer: {simple: RANDOM}"
ROUND_ROBIN = "loadBalancer: {simple: ROUND_ROBIN}"
LIMITED = "connectionPool: {tcp: {maxConnections: 5}}"


def test_the_first_top_level_policy_wins_and_the_other_hears_of_it():
    two = (f"trafficPolicy: {{{RANDOM}}}", f"trafficPolicy: {{{ROUND_ROBIN}}}")
    assert merged(*two).default.load_balancer.algorithm is Algorithm.RANDOM
    assert problems(*two) == [
        ("Conflicted", "rule-1: spec.trafficPolicy"),
        ("Conflicted", "rule-0: spec.trafficPolicy"),
    ]


def test_a_rule_without_policy_does_not_stand_in_the_way():
    assert merged("", f"trafficPolicy: {{{ROUND_ROBIN}}}").default.load_balancer.algorithm is Algorithm.ROUND_ROBIN


def test_subsets_are_united_and_inherit_from_the_policy_that_won():
    policy = merged(
        f"trafficPolicy: {{{RANDOM}}}",
        "subsets: [{name: v1, labels: {version: v1}}]",
        "subsets: [{name: v2, labels: {version: v2}}]",
    )
    assert [subset.name for subset in policy.subsets] == ["v1", "v2"]
    assert policy.policy(80, "v2").load_balancer.algorithm is Algorithm.RANDOM
    assert [origin.ref.name for origin in policy.origins] == ["rule-0", "rule-1", "rule-2"]


def test_the_first_subset_of_a_name_wins_and_the_other_hears_of_it():
    two = (
        "subsets: [{name: v1, labels: {version: v1}}]",
        "subsets: [{name: x, labels: {a: b}}, {name: v1, labels: {version: old}}]",
    )
    assert merged(*two).subsets[0].labels == {"version": "v1"}
    assert problems(*two) == [("Conflicted", "rule-1: spec.subsets[1]"), ("Conflicted", "rule-0: spec.subsets[0]")]


# Inheritance


def test_a_subset_overrides_block_by_block():
    policy = merged(
        f"trafficPolicy: {{{RANDOM}, {LIMITED}}}\n"
        "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]"
    )
    v1 = policy.policy(80, "v1")
    assert v1.load_balancer.algorithm is Algorithm.ROUND_ROBIN
    assert v1.pool.max_connections == 5


def test_a_block_of_a_subset_is_not_mixed_with_the_top_levels():
    policy = merged(
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}}\n"
        "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {http: {maxRetries: 1}}}}]"
    )
    v1 = policy.policy(80, "v1")
    assert (v1.pool.max_connections, v1.pool.max_retries) == (None, 1)


PORT_80 = "portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 9}}}]"


def test_a_port_replaces_the_policy_and_omitted_blocks_fall_back_to_defaults():
    policy = merged(f"trafficPolicy: {{{RANDOM}, outlierDetection: {{}}, tls: {{mode: SIMPLE}}, {PORT_80}}}")
    at_80 = policy.policy(80)
    assert at_80.pool.max_connections == 9
    assert at_80.load_balancer.algorithm is Algorithm.LEAST_REQUEST
    assert (at_80.outlier, at_80.tls) == (None, None)
    assert policy.policy(81).load_balancer.algorithm is Algorithm.RANDOM


def test_a_port_keeps_what_ports_cannot_say():
    policy = merged(f"trafficPolicy: {{proxyProtocol: {{version: V2}}, retryBudget: {{percent: 5}}, {PORT_80}}}")
    assert policy.policy(80).proxy_protocol == 2
    assert policy.policy(80).retry_budget == ir.RetryBudget(5.0, 3)


def test_a_subset_inherits_the_ports_of_the_top_level():
    policy = merged(f"trafficPolicy: {{{RANDOM}, {PORT_80}}}\nsubsets: [{{name: v1, labels: {{version: v1}}}}]")
    assert policy.policy(80, "v1") == policy.policy(80)
    assert policy.policy(81, "v1").load_balancer.algorithm is Algorithm.RANDOM


def test_a_subset_overrides_the_ports_of_the_top_level_block_by_block():
    policy = merged(
        f"trafficPolicy: {{{RANDOM}, {PORT_80}}}\n"
        f"subsets: [{{name: v1, labels: {{version: v1}}, trafficPolicy: {{{ROUND_ROBIN}}}}}]"
    )
    at_80 = policy.policy(80, "v1")
    assert at_80.load_balancer.algorithm is Algorithm.ROUND_ROBIN
    assert at_80.pool.max_connections == 9


def test_the_ports_of_a_subset_come_last():
    policy = merged(
        f"trafficPolicy: {{{RANDOM}, {PORT_80}}}\n"
        "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN},"
        " portLevelSettings: [{port: {number: 80}, outlierDetection: {}}, {port: {number: 81}, outlierDetection: {}}]}}]"
    )
    for port in (80, 81):
        found = policy.policy(port, "v1")
        assert found.outlier is not None
        assert found.pool.max_connections is None
        assert found.load_balancer.algorithm is Algorithm.LEAST_REQUEST
    assert policy.policy(82, "v1").load_balancer.algorithm is Algorithm.ROUND_ROBIN


def test_an_unknown_subset_has_the_policy_of_the_host():
    policy = merged(f"trafficPolicy: {{{RANDOM}}}")
    assert policy.policy(80, "nope") == policy.default


# loadBalancer


@pytest.mark.parametrize(
    ("simple", "algorithm"),
    [
        ("UNSPECIFIED", Algorithm.LEAST_REQUEST),
        ("LEAST_CONN", Algorithm.LEAST_REQUEST),
        ("LEAST_REQUEST", Algorithm.LEAST_REQUEST),
        ("RANDOM", Algorithm.RANDOM),
        ("ROUND_ROBIN", Algorithm.ROUND_ROBIN),
        ("PASSTHROUGH", Algorithm.PASSTHROUGH),
    ],
)
def test_simple(simple, algorithm):
    assert top(f"loadBalancer: {{simple: {simple}}}").load_balancer.algorithm is algorithm


@pytest.mark.parametrize(
    ("key", "becomes"),
    [
        ("httpHeaderName: x-user", ir.HashHeader("x-user")),
        ("httpCookie: {name: user}", ir.HashCookie("user")),
        ("httpCookie: {name: user, ttl: 0s}", ir.HashCookie("user", "", timedelta(0))),
        (
            "httpCookie: {name: user, path: /a, ttl: 60s, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}",
            ir.HashCookie("user", "/a", timedelta(minutes=1), (("SameSite", "Lax"), ("Secure", ""))),
        ),
        ("useSourceIp: true", ir.HashSourceIp()),
        ("httpQueryParameterName: id", ir.HashQuery("id")),
    ],
)
def test_hash_keys(key, becomes):
    policy = merged(f"trafficPolicy: {{loadBalancer: {{consistentHash: {{{key}}}}}}}")
    assert policy.default.load_balancer.algorithm is Algorithm.RING_HASH
    assert hash_keys(policy, 80) == (becomes,)


@pytest.mark.parametrize(
    ("table", "algorithm", "ring", "maglev"),
    [
        ("", Algorithm.RING_HASH, 1024, 65537),
        ("ringHash: {minimumRingSize: 2048}", Algorithm.RING_HASH, 2048, 65537),
        ("minimumRingSize: 4096", Algorithm.RING_HASH, 4096, 65537),  # deprecated, still read
        ("maglev: {}", Algorithm.MAGLEV, 1024, 65537),
        ("maglev: {tableSize: 101}", Algorithm.MAGLEV, 1024, 101),
    ],
)
def test_hash_tables(table, algorithm, ring, maglev):
    separator = ", " if table else ""
    found = top(f"loadBalancer: {{consistentHash: {{useSourceIp: true{separator}{table}}}}}").load_balancer
    assert (found.algorithm, found.minimum_ring_size, found.table_size) == (algorithm, ring, maglev)


def test_hash_keys_are_those_of_the_port_and_subset():
    policy = merged(
        "trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}, portLevelSettings: [{port: {number: 81}}]}\n"
        "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]"
    )
    assert hash_keys(policy, 80) == (ir.HashSourceIp(),)
    assert hash_keys(policy, 81) == ()
    assert hash_keys(policy, 80, "v1") == ()


@pytest.mark.parametrize(
    ("lb", "warmup"),
    [
        ("simple: ROUND_ROBIN, warmup: {duration: 30s}", ir.Warmup(timedelta(seconds=30))),
        ("warmup: {duration: 30s, minimumPercent: 5, aggression: 2}", ir.Warmup(timedelta(seconds=30), 5.0, 2.0)),
        ("warmupDurationSecs: 60s", ir.Warmup(timedelta(minutes=1))),
        ("simple: RANDOM, warmup: {duration: 30s}", None),
        ("consistentHash: {useSourceIp: true}, warmup: {duration: 30s}", None),
    ],
)
def test_warmup(lb, warmup):
    assert top(f"loadBalancer: {{{lb}}}").load_balancer.warmup == warmup


@pytest.mark.parametrize(
    ("setting", "endpoints"),
    [("enabled: true", 6), ("minClusterSize: 3", 3), ("enabled: false, minClusterSize: 3", None)],
)
def test_zone_aware_routing(setting, endpoints):
    found = top(f"loadBalancer: {{simple: ROUND_ROBIN, zoneAwareLbSetting: {{{setting}}}}}").load_balancer
    assert found.zone_aware_min_cluster_size == endpoints


def locality(setting: str) -> ir.LocalityPreference | None:
    return top(f"loadBalancer: {{localityLbSetting: {{{setting}}}}}, outlierDetection: {{}}").load_balancer.locality


def test_locality_settings():
    assert locality("enabled: false") is None
    assert locality("enabled: true") == ir.LocalityPreference()
    assert locality("failover: [{from: eu, to: us}]") == ir.LocalityPreference(failover=(("eu", "us"),))
    assert locality("failoverPriority: [a, 'b=c']") == ir.LocalityPreference(failover_priority=("a", "b=c"))
    assert locality("distribute: [{from: 'eu/*', to: {'us/*': 20, 'eu/*': 80}}]") == ir.LocalityPreference(
        distribute=(("eu/*", (("eu/*", 80), ("us/*", 20))),)
    )


def test_a_rules_locality_setting_replaces_the_meshs_as_a_whole():
    settings = Settings(locality_lb_setting=api.LocalityLbSetting(failover=(api.Failover(from_="eu", to="us"),)))
    assert top(RANDOM, settings).load_balancer.locality == ir.LocalityPreference(failover=(("eu", "us"),))
    own = top("loadBalancer: {localityLbSetting: {enabled: true}}", settings).load_balancer
    assert own.locality == ir.LocalityPreference()
    assert own.locality_chosen


# sessionAffinity of the Service


def pinned_service():
    found, _ = from_service(service("sessionAffinity: ClientIP\nports: [{port: 80}]"), SETTINGS)
    return found


def test_a_service_pins_clients_unless_a_rule_chose_a_balancer():
    assert hash_keys(merge((), SETTINGS)[0], 80, service=pinned_service()) == (ir.HashSourceIp(),)
    assert hash_keys(merged(f"trafficPolicy: {{{LIMITED}}}"), 80, service=pinned_service()) == (ir.HashSourceIp(),)
    assert hash_keys(merged(f"trafficPolicy: {{{RANDOM}}}"), 80, service=pinned_service()) == ()
    by_header = merged("trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: a}}}")
    assert hash_keys(by_header, 80, service=pinned_service()) == (ir.HashHeader("a"),)


# connectionPool


def test_tcp_pool():
    body = "maxConnections: 1, connectTimeout: 2s, idleTimeout: 3s, maxConnectionDuration: 4s, tcpKeepalive: {probes: 5, time: 6s, interval: 7s}"
    assert top(f"connectionPool: {{tcp: {{{body}}}}}").pool == ir.ConnectionPool(
        connect_timeout=timedelta(seconds=2),
        max_connections=1,
        tcp_idle_timeout=timedelta(seconds=3),
        max_connection_duration=timedelta(seconds=4),
        keepalive=ir.Keepalive(5, timedelta(seconds=6), timedelta(seconds=7)),
    )


def test_http_pool():
    body = (
        "http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3, maxRetries: 4, idleTimeout: 5s,"
        " useClientProtocol: true, maxConcurrentStreams: 6, http2KeepAlive: {interval: 7s, timeout: 8s}"
    )
    assert top(f"connectionPool: {{http: {{{body}}}}}").pool == ir.ConnectionPool(
        max_pending_requests=1,
        max_requests=2,
        max_requests_per_connection=3,
        max_retries=4,
        http_idle_timeout=timedelta(seconds=5),
        use_client_protocol=True,
        max_concurrent_streams=6,
        http2_keepalive_interval=timedelta(seconds=7),
        http2_keepalive_timeout=timedelta(seconds=8),
    )


def test_the_pool_inherits_the_meshs_timeout_and_keepalive_field_by_field():
    settings = Settings(
        connect_timeout=timedelta(seconds=1), tcp_keepalive=api.TcpKeepalive(probes=3, time=timedelta(seconds=9))
    )
    pool = top("connectionPool: {tcp: {tcpKeepalive: {probes: 5}}}", settings).pool
    assert pool.connect_timeout == timedelta(seconds=1)
    assert pool.keepalive == ir.Keepalive(5, timedelta(seconds=9), None)


@pytest.mark.parametrize(("wish", "http2"), [("UPGRADE", True), ("DO_NOT_UPGRADE", False), ("DEFAULT", None)])
def test_h2_upgrade_policy(wish, http2):
    assert top(f"connectionPool: {{http: {{h2UpgradePolicy: {wish}}}}}").http2 is http2


# outlierDetection


def test_outlier_detection():
    body = (
        "consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, splitExternalLocalOriginErrors: true,"
        " consecutiveLocalOriginFailures: 3, interval: 4s, baseEjectionTime: 5s, maxEjectionPercent: 60, minHealthPercent: 7,"
        " outlierDetectionHttpErrorCodes: [500, 502]"
    )
    assert top(f"outlierDetection: {{{body}}}").outlier == ir.OutlierDetection(
        consecutive_5xx=0,
        consecutive_gateway_errors=2,
        split_local_origin=True,
        consecutive_local_origin_failures=3,
        interval=timedelta(seconds=4),
        base_ejection_time=timedelta(seconds=5),
        max_ejection_percent=60,
        min_health_percent=7,
        error_codes=(500, 502),
    )


def test_empty_outlier_detection_is_on_with_envoys_defaults():
    assert top("outlierDetection: {}").outlier == ir.OutlierDetection()


def test_local_origin_failures_count_only_when_split():
    outlier = top("outlierDetection: {consecutiveLocalOriginFailures: 3}").outlier
    assert outlier is not None
    assert outlier.consecutive_local_origin_failures is None


# tls


def tls(body: str, settings: Settings = SETTINGS) -> ir.UpstreamTls | None:
    return top(f"tls: {{{body}}}", settings).tls


def test_disable_is_more_than_nothing_said():
    assert tls("mode: DISABLE") == ir.UpstreamTls(TlsMode.DISABLE)
    assert top(RANDOM).tls is None


def test_simple_verifies_with_the_systems_authorities_unless_others_are_given():
    assert tls("mode: SIMPLE") == ir.UpstreamTls(TlsMode.SIMPLE, ca_certificates="system")
    assert tls(
        "mode: SIMPLE, caCertificates: /ca.pem, sni: a.example.com, subjectAltNames: [a.example.com]"
    ) == ir.UpstreamTls(
        TlsMode.SIMPLE, ca_certificates="/ca.pem", sni="a.example.com", subject_alt_names=("a.example.com",)
    )


def test_who_does_not_want_verification_gets_none():
    skip = tls("mode: SIMPLE, insecureSkipVerify: true")
    assert skip == ir.UpstreamTls(TlsMode.SIMPLE, skip_verify=True)
    assert tls("mode: SIMPLE", Settings(verify_certificate_at_client=False)) == ir.UpstreamTls(TlsMode.SIMPLE)


def test_mutual_with_files_or_a_secret():
    files = "mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, caCrl: /crl.pem"
    assert tls(files) == ir.UpstreamTls(
        TlsMode.MUTUAL, client_certificate="/c.pem", private_key="/k.pem", ca_certificates="/ca.pem", ca_crl="/crl.pem"
    )
    assert tls("mode: MUTUAL, credentialName: bills") == ir.UpstreamTls(TlsMode.MUTUAL, credential_name="bills")


def test_tls_that_cannot_be_blocks_rather_than_sends_plaintext():
    broken = top("tls: {mode: MUTUAL}")  # no certificate
    assert broken.blocked
    assert broken.tls is None


def test_a_tunnel_that_cannot_be_blocks():
    assert top("tunnel: {targetHost: a.example.com, targetPort: 443}").tunnel == ir.Tunnel(
        "CONNECT", "a.example.com", 443
    )
    assert not top("tunnel: {targetHost: a.example.com, targetPort: 443}").blocked
    assert top("tunnel: {targetHost: a.example.com, targetPort: 443, protocol: SOCKS}").blocked


# The rest


@pytest.mark.parametrize(("block", "version"), [("{}", 1), ("{version: V1}", 1), ("{version: V2}", 2)])
def test_proxy_protocol(block, version):
    assert top(f"proxyProtocol: {block}").proxy_protocol == version


@pytest.mark.parametrize(
    ("block", "budget"),
    [
        ("{}", ir.RetryBudget(20.0, 3)),
        ("{percent: 0, minRetryConcurrency: 0}", ir.RetryBudget(0.0, 0)),
        ("{percent: 12.5}", ir.RetryBudget(12.5, 3)),
    ],
)
def test_retry_budget(block, budget):
    assert top(f"retryBudget: {block}").retry_budget == budget


# What is not done yet is said


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ("tls: {mode: ISTIO_MUTUAL}", "tls.mode"),
        ("retryBudget: {budgetInterval: 10s}", "retryBudget.budgetInterval"),
        ("loadBalancer: {zoneAwareLbSetting: {enabled: true}}", "loadBalancer.zoneAwareLbSetting"),
        ("loadBalancer: {backendUtilization: {}}", "loadBalancer.backendUtilization"),
        ("portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]", "portLevelSettings[0].tls.mode"),
    ],
)
def test_fields_that_are_not_supported_yet_are_named(policy, field):
    assert problems(f"trafficPolicy: {{{policy}}}") == [("FieldNotSupportedYet", f"rule-0: spec.trafficPolicy.{field}")]
    in_subset = f"subsets: [{{name: v1, labels: {{version: v1}}, trafficPolicy: {{{policy}}}}}]"
    assert problems(in_subset) == [("FieldNotSupportedYet", f"rule-0: spec.subsets[0].trafficPolicy.{field}")]


def test_istio_mutual_goes_in_plaintext_and_is_an_error():
    assert tls("mode: ISTIO_MUTUAL") is None
    (problem,) = merge([destination_rule("host: a\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")], SETTINGS)[1]
    assert problem.level == "error"
    assert "PLAINTEXT" in problem.message


def test_a_rule_with_everything_else_has_no_problem():
    everything = (
        f"{RANDOM}, {LIMITED}, outlierDetection: {{}}, tls: {{mode: SIMPLE}}, proxyProtocol: {{}}, retryBudget: {{}}"
    )
    assert problems(f"trafficPolicy: {{{everything}, {PORT_80}}}") == []


# Failover needs something that tells sick endpoints from others

FAILOVER = "loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}]}}"
EJECTS = "outlierDetection: {consecutive5xxErrors: 3}"
UNDETECTED = ("NoEffect", "rule-0: spec.trafficPolicy.loadBalancer.localityLbSetting")


@pytest.mark.parametrize(
    "body",
    [
        f"trafficPolicy: {{{FAILOVER}}}",
        f"trafficPolicy: {{{FAILOVER}, portLevelSettings: [{{port: {{number: 80}}, {EJECTS}}}]}}",
        f"trafficPolicy: {{{FAILOVER}}}\nsubsets: [{{name: v1, trafficPolicy: {{{RANDOM}, {EJECTS}}}}}]",
    ],
)
def test_failover_without_outlier_detection_is_said(body):
    assert problems(body) == [UNDETECTED]


@pytest.mark.parametrize(
    "body",
    [
        f"trafficPolicy: {{{FAILOVER}, {EJECTS}}}",
        f"trafficPolicy: {{{EJECTS}}}\nsubsets: [{{name: v1, trafficPolicy: {{{FAILOVER}}}}}]",
        f"trafficPolicy: {{{FAILOVER}}}\nsubsets: [{{name: v1, trafficPolicy: {{{EJECTS}}}}}]",
        f"trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, {FAILOVER}, {EJECTS}}}]}}",
        "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: false, failover: [{from: eu, to: us}]}}}",
    ],
)
def test_outlier_detection_may_stand_at_another_level(body):
    assert problems(body) == []


def test_a_port_does_not_inherit_outlier_detection():
    port = f"portLevelSettings: [{{port: {{number: 80}}, {FAILOVER}}}]"
    at = "rule-0: spec.trafficPolicy.portLevelSettings[0].loadBalancer.localityLbSetting"
    assert problems(f"trafficPolicy: {{{EJECTS}, {port}}}") == [("NoEffect", at)]


def test_the_meshs_outlier_detection_counts():
    settings = Settings(default_traffic_policy=DefaultTrafficPolicy(outlier_detection=api.OutlierDetection()))
    assert merge([destination_rule(f"host: reviews\ntrafficPolicy: {{{FAILOVER}}}")], settings)[1] == ()
