"""Clusters: one per port and subset, found and spoken to as the service and its rules say."""

from datetime import timedelta

import msgspec
import pytest

from controlplane.ir import policy as ir
from controlplane.ir.cluster import Cluster, Direction, MeshTls, Upstream
from controlplane.ir.policy import Algorithm, TrafficPolicy
from controlplane.ir.service import Endpoint, Protocol, Resolution, Service
from controlplane.mesh import clusters
from controlplane.mesh.destinationrule import merge
from controlplane.mesh.service import from_service
from controlplane.mesh.serviceentry import from_service_entry
from controlplane.model.destinationrule import ConnectionPoolSettings, H2UpgradePolicy, TCPSettings
from controlplane.model.settings import Settings
from tests.mesh.manifests import SECURED, SETTINGS, destination_rule, service, service_entry

PLAIN = "clusterIP: 10.0.0.1\nports: [{port: 80, name: http}]"


def kubernetes(body: str = PLAIN) -> Service:
    found, _ = from_service(service(body), SETTINGS)
    assert found is not None
    return found


def external(body: str) -> Service:
    ports = "ports: [{number: 80, name: http, protocol: HTTP}]"
    (found, *_), _ = from_service_entry(service_entry(f"hosts: [api.example.com]\n{ports}\n{body}"), SETTINGS)
    return found


def made(of: Service, rule: str = "", settings: Settings = SETTINGS, **caller) -> tuple[Cluster, ...]:
    rules = [destination_rule(f"host: any\n{rule}")] if rule else []
    return clusters.outbound(of, of.ports[0], merge(rules, settings)[0], settings, **caller)


def one(of: Service, rule: str = "", settings: Settings = SETTINGS, **caller) -> Cluster:
    return made(of, rule, settings, **caller)[0]


# Which clusters


def test_a_plain_service():
    (found,) = made(kubernetes())
    assert found.name == "outbound|80||reviews.default.svc.cluster.local"
    assert found.direction is Direction.OUTBOUND
    assert found.resolution is Resolution.ENDPOINTS
    assert (found.host, found.namespace, found.port, found.subset) == (
        "reviews.default.svc.cluster.local",
        "default",
        80,
        "",
    )
    assert [str(origin.ref) for origin in found.origins] == ["Service default/reviews"]
    assert not found.external


def test_one_more_for_each_subset_with_its_own_policy():
    rule = (
        "trafficPolicy: {loadBalancer: {simple: RANDOM}}\n"
        "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]"
    )
    found = made(kubernetes(), rule)
    assert [cluster.name.split("|")[2] for cluster in found] == ["", "v1", "v2"]
    assert [cluster.policy.load_balancer.algorithm for cluster in found] == [
        Algorithm.RANDOM,
        Algorithm.RANDOM,
        Algorithm.ROUND_ROBIN,
    ]
    assert [str(origin.ref) for origin in found[2].origins] == [
        "Service default/reviews",
        "DestinationRule default/reviews",
    ]


def test_the_policy_is_the_ports():
    rule = "trafficPolicy: {portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 3}}}]}"
    assert one(kubernetes(), rule).policy.pool.max_connections == 3
    assert one(kubernetes("ports: [{port: 81, name: http}]"), rule).policy.pool.max_connections is None


# How endpoints are found


@pytest.mark.parametrize(
    ("body", "resolution"),
    [
        ("resolution: NONE", Resolution.PASSTHROUGH),
        ("resolution: STATIC\nendpoints: [{address: 10.0.0.1}]", Resolution.ENDPOINTS),
        ("resolution: DNS", Resolution.DNS),
        ("resolution: DNS_ROUND_ROBIN", Resolution.DNS_ROUND_ROBIN),
        ("resolution: DYNAMIC_DNS", Resolution.DYNAMIC_DNS),
    ],
)
def test_a_service_entry_is_found_as_it_says(body, resolution):
    assert one(external(body)).resolution is resolution


def placed(found):
    """The endpoints that stand in a cluster."""
    return (*found.endpoints, *(endpoint for group in found.groups for endpoint in group.endpoints))


def test_names_stand_in_the_cluster():
    found = one(
        external(
            "resolution: DNS\nendpoints: [{address: b.example.net, ports: {http: 8080}}, {address: a.example.net}]"
        )
    )
    assert [(endpoint.address, endpoint.port) for endpoint in placed(found)] == [
        ("a.example.net", 80),
        ("b.example.net", 8080),
    ]


def test_addresses_travel_apart():
    assert placed(one(external("resolution: STATIC\nendpoints: [{address: 10.0.0.1}]"))) == ()


def test_a_subset_of_names_has_the_names_with_its_labels():
    body = "resolution: DNS\nendpoints: [{address: a.example.net, labels: {version: v1}}, {address: b.example.net, labels: {version: v2}}]"
    whole, v1, v9 = made(
        external(body), "subsets: [{name: v1, labels: {version: v1}}, {name: v9, labels: {version: v9}}]"
    )
    assert [endpoint.address for endpoint in placed(whole)] == ["a.example.net", "b.example.net"]
    assert [endpoint.address for endpoint in placed(v1)] == ["a.example.net"]
    assert (v9.resolution, placed(v9)) == (Resolution.STATIC, ())  # no name at all: calls fail


def test_names_that_a_selector_found():
    body = "resolution: DNS\nworkloadSelector: {labels: {app: db}}"
    assert one(external(body)).resolution is Resolution.STATIC
    found = one(external(body), endpoints=(Endpoint("db-1.example.com", 80, {}),))
    assert [endpoint.address for endpoint in placed(found)] == ["db-1.example.com"]
    assert found.resolution is Resolution.DNS


def test_an_external_name_is_resolved():
    found = one(kubernetes("type: ExternalName\nexternalName: api.example.com\nports: [{port: 80, name: http}]"))
    assert found.resolution is Resolution.DNS
    assert placed(found) == (Endpoint("api.example.com", 80, {}),)
    assert found.external


HEADLESS = "clusterIP: None\nports: [{port: 80, name: http}]"


def test_a_headless_service_goes_where_the_caller_dialled():
    found = one(kubernetes(HEADLESS))
    assert found.resolution is Resolution.PASSTHROUGH
    assert found.policy.load_balancer.algorithm is Algorithm.PASSTHROUGH


@pytest.mark.parametrize("caller", [{"captured": False}, {"gateway": True}])
def test_where_nobody_knows_what_was_dialled_it_is_balanced(caller):
    found = one(kubernetes(HEADLESS), **caller)
    assert found.resolution is Resolution.ENDPOINTS
    assert found.policy.load_balancer.algorithm is Algorithm.LEAST_REQUEST


@pytest.mark.parametrize("caller", [{"captured": False}, {"gateway": True}])
def test_passing_on_has_nowhere_to_pass_to_without_the_dialled_address(caller):
    found = one(external("resolution: NONE"), **caller)
    assert (found.resolution, found.endpoints) == (Resolution.STATIC, ())
    assert found.policy.load_balancer.algorithm is Algorithm.LEAST_REQUEST


PASS_ON = "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}"


def test_a_rule_may_ask_for_the_dialled_address():
    found = one(kubernetes(), PASS_ON)
    assert found.resolution is Resolution.PASSTHROUGH
    assert found.policy.load_balancer.algorithm is Algorithm.PASSTHROUGH
    assert one(kubernetes(), PASS_ON, gateway=True).resolution is Resolution.ENDPOINTS


def test_a_broken_protection_leaves_no_way_through():
    found = one(external("resolution: DNS"), "trafficPolicy: {tls: {mode: MUTUAL}}")
    assert (found.resolution, found.endpoints) == (Resolution.STATIC, ())


@pytest.mark.parametrize(
    ("of", "rule", "captured", "apart"),
    [
        (kubernetes(), "", True, True),
        (kubernetes(), PASS_ON, True, False),
        (kubernetes(), "trafficPolicy: {tls: {mode: MUTUAL}}", True, False),
        (kubernetes(HEADLESS), "", True, False),
        (kubernetes(HEADLESS), "", False, True),
        (external("resolution: DNS"), "", True, False),
    ],
)
def test_assignments_exist_for_clusters_that_ask_for_them(of, rule, captured, apart):
    cluster = one(of, rule, captured=captured)
    policy = merge([destination_rule(f"host: any\n{rule}")], SETTINGS)[0].default
    assert clusters.takes_assignment(of, policy, captured=captured) is apart
    assert (cluster.resolution is Resolution.ENDPOINTS) is apart


# What is spoken


def speaking(protocol: Protocol, *, wish: bool | None = None, client: bool = False, **caller) -> Upstream:
    return clusters.upstream(
        protocol, TrafficPolicy(http2=wish, pool=ir.ConnectionPool(use_client_protocol=client)), **caller
    )


@pytest.mark.parametrize(
    ("protocol", "spoken"),
    [
        (Protocol.HTTP, Upstream.HTTP1),
        (Protocol.HTTP2, Upstream.HTTP2),
        (Protocol.GRPC, Upstream.HTTP2),
        (Protocol.GRPC_WEB, Upstream.HTTP2),
        (Protocol.AUTO, Upstream.AUTO),
        (Protocol.TCP, Upstream.TCP),
        (Protocol.TLS, Upstream.TCP),
        (Protocol.HTTPS, Upstream.TCP),
        (Protocol.MONGO, Upstream.TCP),
    ],
)
def test_the_port_says_what_is_spoken(protocol, spoken):
    assert speaking(protocol) is spoken


def test_a_gateway_does_not_sniff():
    assert speaking(Protocol.AUTO, sniffs=False) is Upstream.HTTP1
    assert one(kubernetes("ports: [{port: 80}]"), gateway=True).upstream is Upstream.HTTP1
    assert one(kubernetes("ports: [{port: 80}]")).upstream is Upstream.AUTO


def test_a_rule_may_upgrade_and_may_refuse_to():
    assert speaking(Protocol.HTTP, wish=True) is Upstream.HTTP2
    assert speaking(Protocol.AUTO, wish=True) is Upstream.HTTP2
    assert speaking(Protocol.HTTP, wish=False, upgrade=True) is Upstream.HTTP1
    assert speaking(Protocol.GRPC, wish=False) is Upstream.HTTP2  # the port's own protocol stays


def test_the_mesh_may_upgrade_declared_http():
    settings = Settings(h2_upgrade_policy=H2UpgradePolicy.UPGRADE)
    assert one(kubernetes(), settings=settings).upstream is Upstream.HTTP2
    assert one(kubernetes("ports: [{port: 80}]"), settings=settings).upstream is Upstream.AUTO
    assert one(kubernetes("ports: [{port: 80, name: tcp}]"), settings=settings).upstream is Upstream.TCP


def test_a_rule_may_leave_it_to_the_client():
    assert speaking(Protocol.HTTP, client=True) is Upstream.AUTO
    assert speaking(Protocol.GRPC, client=True) is Upstream.AUTO


# What the service itself wishes


def test_a_pinned_service_hashes_by_source_address():
    of = kubernetes("sessionAffinity: ClientIP\nports: [{port: 80, name: http}]")
    lb = one(of).policy.load_balancer
    assert (lb.algorithm, lb.hash_key, lb.table_size) == (Algorithm.MAGLEV, ir.HashSourceIp(), 65537)
    chosen = one(of, "trafficPolicy: {loadBalancer: {simple: RANDOM}}").policy.load_balancer
    assert (chosen.algorithm, chosen.hash_key) == (Algorithm.RANDOM, None)


def test_a_rule_about_locality_alone_leaves_clients_pinned():
    of = kubernetes("sessionAffinity: ClientIP\nports: [{port: 80, name: http}]")
    rule = "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: false}}}"
    assert one(of, rule).policy.load_balancer.algorithm is Algorithm.MAGLEV
    assert one(of, rule).policy.load_balancer.locality is None


def test_names_of_a_service_entry_are_accepted_when_the_rule_names_none():
    of = external("resolution: DNS\nsubjectAltNames: [other.example.com]")
    found = one(of, "trafficPolicy: {tls: {mode: SIMPLE}}").policy.tls
    assert found is not None
    assert found.subject_alt_names == ("other.example.com",)
    own = one(of, "trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: [own.example.com]}}").policy.tls
    assert own is not None
    assert own.subject_alt_names == ("own.example.com",)
    assert one(of).policy.tls is None


# Whom place matters to


@pytest.mark.parametrize(
    ("of", "rule", "sensitive"),
    [
        (PLAIN, "", (False, False)),  # the mesh's default locality preference waits for outlier detection
        (PLAIN, "trafficPolicy: {outlierDetection: {}}", (True, False)),
        (PLAIN, "subsets: [{name: v1, labels: {a: b}, trafficPolicy: {outlierDetection: {}}}]", (True, False)),
        (
            PLAIN,
            "trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}}",
            (False, False),
        ),
        (
            PLAIN,
            "trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: eu, to: {eu: 100}}]}}}",
            (True, False),
        ),
        (PLAIN + "\ntrafficDistribution: PreferClose", "", (True, False)),
        (PLAIN + "\ntrafficDistribution: PreferSameNode", "", (True, True)),
        (
            PLAIN + "\ntrafficDistribution: PreferClose",
            "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true}}}",
            (False, False),
        ),
        (PLAIN + "\ninternalTrafficPolicy: Local", "", (False, True)),
    ],
)
def test_place_is_asked_only_where_it_matters(of, rule, sensitive):
    policy = merge([destination_rule(f"host: any\n{rule}")], SETTINGS)[0]
    assert clusters.place_sensitivity(kubernetes(of), [policy]) == sensitive


# Inbound and fixed clusters


def test_inbound_to_where_the_application_listens():
    found = clusters.inbound(80, "127.0.0.1:8080", None, SETTINGS, protocol=Protocol.HTTP)
    assert found.name == "inbound|80||"
    assert (found.direction, found.resolution, found.upstream) == (Direction.INBOUND, Resolution.STATIC, Upstream.HTTP1)
    assert found.endpoints == (Endpoint("127.0.0.1", 8080, {}),)
    assert found.bind_address == ""


@pytest.mark.parametrize(
    ("target", "address", "port"),
    [("[fd00::1]:80", "fd00::1", 80), ("unix:///run/app.sock", "unix:///run/app.sock", 0)],
)
def test_inbound_to_other_kinds_of_addresses(target, address, port):
    (endpoint,) = clusters.inbound(80, target, None, SETTINGS).endpoints
    assert (endpoint.address, endpoint.port) == (address, port)


def test_inbound_to_where_the_caller_dialled():
    found = clusters.inbound(80, "", None, SETTINGS)
    assert found.resolution is Resolution.PASSTHROUGH
    assert found.policy.load_balancer.algorithm is Algorithm.PASSTHROUGH
    assert found.bind_address == "127.0.0.6"


def test_inbound_has_the_sidecars_pool():
    pool = ConnectionPoolSettings(tcp=TCPSettings(max_connections=4))
    found = clusters.inbound(80, "", pool, Settings(connect_timeout=timedelta(seconds=2)))
    assert found.policy.pool == ir.ConnectionPool(connect_timeout=timedelta(seconds=2), max_connections=4)


def test_the_fixed_clusters():
    found = {cluster.name: cluster for cluster in clusters.fixed(SETTINGS)}
    assert set(found) == {"PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster"}
    assert found["PassthroughCluster"].resolution is Resolution.PASSTHROUGH
    assert (found["BlackHoleCluster"].resolution, found["BlackHoleCluster"].endpoints) == (Resolution.STATIC, ())
    assert found["InboundPassthroughCluster"].bind_address == "127.0.0.6"
    assert found["InboundPassthroughCluster"].direction is Direction.INBOUND


# Mutual TLS of the mesh

ACCOUNTS = ("spiffe://cluster.local/ns/default/sa/reviews", "spiffe://old.example/ns/default/sa/reviews")
HOST = "reviews.default.svc.cluster.local"


def secured(of: Service, rule: str = "", settings: Settings = SECURED, *, able: bool = True, **caller) -> Cluster:
    return one(of, rule, settings, peers=clusters.Peers(("default/reviews",), lambda: able), **caller)


def of_port(name: str) -> Service:
    return kubernetes(f"clusterIP: 10.0.0.1\nports: [{{port: 80, name: {name}}}]")


def tls_rule(body: str) -> str:
    return f"trafficPolicy: {{tls: {{{body}}}}}"


def test_endpoints_that_can_are_called_under_mutual_tls():
    assert secured(kubernetes()).mesh_tls == MeshTls(
        f"outbound_.80_._.{HOST}", ACCOUNTS, ("cluster.local", "old.example"), by_endpoint=True
    )


def test_each_subset_has_a_server_name_of_its_own():
    peers = clusters.Peers(("default/reviews",), lambda: True)
    _, v1 = made(kubernetes(), "subsets: [{name: v1, labels: {version: v1}}]", SECURED, peers=peers)
    assert v1.mesh_tls is not None
    assert v1.mesh_tls.sni == f"outbound_.80_.v1_.{HOST}"


def test_a_rule_may_ask_for_it_of_all_endpoints():
    found = secured(kubernetes(), tls_rule("mode: ISTIO_MUTUAL")).mesh_tls
    assert found is not None
    assert (found.by_endpoint, found.sni, found.names) == (False, f"outbound_.80_._.{HOST}", ACCOUNTS)


def test_a_rule_may_say_whom_it_expects_and_by_which_name_to_ask():
    found = secured(kubernetes(), tls_rule("mode: ISTIO_MUTUAL, sni: other, subjectAltNames: [a, b]")).mesh_tls
    assert found is not None
    assert (found.sni, found.names) == ("other", ("a", "b"))


@pytest.mark.parametrize("mode", ["DISABLE", "SIMPLE"])
def test_a_rule_that_says_otherwise_has_its_way(mode):
    assert secured(kubernetes(), tls_rule(f"mode: {mode}")).mesh_tls is None


def test_the_mesh_may_leave_it_to_rules():
    by_hand = msgspec.structs.replace(SECURED, enable_auto_mtls=False)
    assert secured(kubernetes(), settings=by_hand).mesh_tls is None
    assert secured(kubernetes(), tls_rule("mode: ISTIO_MUTUAL"), by_hand).mesh_tls is not None


def test_nobody_uses_what_nobody_has():
    assert one(kubernetes()).mesh_tls is None
    assert one(kubernetes(), tls_rule("mode: ISTIO_MUTUAL")).mesh_tls is None


@pytest.mark.parametrize(("location", "secure"), [("MESH_INTERNAL", True), ("MESH_EXTERNAL", False)])
def test_only_what_belongs_to_the_mesh_is_asked_for_its_identity(location, secure):
    of = external(f"location: {location}\nresolution: STATIC\nendpoints: [{{address: 10.9.0.1}}]")
    assert (secured(of).mesh_tls is not None) is secure


def test_names_a_service_entry_accepts_are_accepted_beside_the_accounts():
    of = external("location: MESH_INTERNAL\nresolution: STATIC\nsubjectAltNames: [a]\nendpoints: [{address: 10.9.0.1}]")
    found = secured(of).mesh_tls
    assert found is not None
    assert found.names == (*ACCOUNTS, "a")


@pytest.mark.parametrize("labels", ["{security.istio.io/tlsMode: istio}", "{}"])
def test_endpoints_in_the_cluster_say_themselves_what_they_can(labels):
    of = external(f"location: MESH_INTERNAL\nresolution: DNS\nendpoints: [{{address: a.example, labels: {labels}}}]")
    assert (secured(of).mesh_tls is not None) is (labels != "{}")


@pytest.mark.parametrize("able", [True, False])
def test_where_callers_say_the_address_all_endpoints_must_be_able(able):
    headless = kubernetes("clusterIP: None\nports: [{port: 80, name: http}]")
    found = secured(headless, able=able).mesh_tls
    assert (found is not None) is able
    assert found is None or not found.by_endpoint
    balanced = secured(headless, able=able, captured=False).mesh_tls
    assert balanced is not None
    assert balanced.by_endpoint


def test_what_is_resolved_by_name_call_by_call_is_nobody_known():
    assert secured(external("location: MESH_INTERNAL\nresolution: DYNAMIC_DNS")).mesh_tls is None


@pytest.mark.parametrize(("port", "sniffed"), [("http", False), ("grpc", False), ("tcp", False), ("web", True)])
@pytest.mark.parametrize("gateway", [False, True])
def test_what_a_port_does_not_say_the_connection_does(port, sniffed, gateway):
    found = secured(of_port(port), gateway=gateway).mesh_tls
    assert found is not None
    assert found.sniffed is sniffed
