"""A resource says which others it names: make-before-break and the reference check decode nothing."""

import pytest

from controlplane.envoy import cluster, listener, route
from controlplane.ir.cluster import Cluster, MeshTls
from controlplane.ir.listener import MATCH_ALL, FilterChain, HttpChain, ServerTls, ServerTlsMode
from controlplane.ir.policy import TlsMode, TrafficPolicy, UpstreamTls
from controlplane.ir.route import DirectResponse, Mirror, WeightedCluster
from controlplane.ir.service import Resolution
from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.types import CLUSTER, ROUTE, SECRET
from tests.envoy import values


def names(resource: Resource, type_url: str) -> list[str]:
    assert list(resource.refs) == sorted(set(resource.refs))
    return [ref.name for ref in resource.refs if ref.type_url == type_url]


def test_virtual_host_names_destinations_and_mirrors_once() -> None:
    host = values.virtual_host(
        values.route(values.forward("b", "a", mirrors=(Mirror("c"),))),
        values.route(values.forward("a")),
        values.route(DirectResponse(404)),
    )
    assert names(route.encode_virtual_host("80", host), CLUSTER) == ["a", "b", "c"]


def test_listener_names_route_tables_clusters_of_chains_and_secrets() -> None:
    tls = ServerTls(ServerTlsMode.MUTUAL, secrets=("own",), ca_secret="roots")
    chains = (
        FilterChain("rds", MATCH_ALL, HttpChain("s", route="9080"), tls=tls),
        values.http_chain(values.virtual_host(values.route(values.forward("inline")))),
        values.tcp_chain("b", "a"),
    )
    resource = listener.encode(values.listener(*chains, default_chain=values.tcp_chain("default")), values.SETTINGS)
    assert names(resource, ROUTE) == ["9080"]
    assert names(resource, CLUSTER) == ["a", "b", "default", "inline"]
    assert names(resource, SECRET) == ["own", "roots"]


@pytest.mark.parametrize(
    ("tls", "secrets"),
    [
        (None, []),
        (UpstreamTls(TlsMode.DISABLE, credential_name="x"), []),
        (UpstreamTls(TlsMode.SIMPLE, credential_name="x"), ["kubernetes://x-cacert"]),
        (UpstreamTls(TlsMode.MUTUAL, credential_name="x"), ["kubernetes://x", "kubernetes://x-cacert"]),
        (UpstreamTls(TlsMode.SIMPLE, ca_certificates="/ca"), ["file-root:/ca"]),
        (UpstreamTls(TlsMode.SIMPLE, ca_certificates="/ca", ca_crl="/crl"), ["file-root:/ca~/crl"]),
        (UpstreamTls(TlsMode.SIMPLE, ca_certificates="system"), []),
        (UpstreamTls(TlsMode.SIMPLE, ca_certificates="/ca", skip_verify=True), []),
        (UpstreamTls(TlsMode.MUTUAL, client_certificate="/c", private_key="/k"), ["file-cert:/c~/k"]),
    ],
)
def test_cluster_names_the_secrets_of_its_tls(tls: UpstreamTls | None, secrets: list[str]) -> None:
    resource = cluster.encode(values.cluster(policy=TrafficPolicy(tls=tls)), values.SETTINGS)
    assert names(resource, SECRET) == secrets


def test_what_the_agent_keeps_in_files_is_no_resource() -> None:
    """Nobody serves it, and nobody waits for it."""
    mutual = ServerTls(ServerTlsMode.MESH, trust_domains=("cluster.local",))
    server = listener.encode(
        values.listener(FilterChain("mesh", MATCH_ALL, HttpChain("s", route="9080"), tls=mutual)), values.SETTINGS
    )
    client = cluster.encode(values.cluster(mesh_tls=MeshTls("sni", ("name",), by_endpoint=True)), values.SETTINGS)
    assert names(server, SECRET) == names(client, SECRET) == []


def test_origins_are_those_of_the_host_its_routes_and_their_destinations() -> None:
    resource = route.encode_virtual_host("80", values.virtual_host(values.route(values.forward("a", "b"))))
    assert resource.origins == (values.SERVICE, values.RULE, values.RULE.at("route[0]"), values.RULE.at("route[1]"))


@pytest.mark.parametrize("resolution", [Resolution.DNS, Resolution.DNS_ROUND_ROBIN])
def test_a_cluster_that_only_dns_makes_warm_waits(resolution: Resolution) -> None:
    found = values.cluster(resolution=resolution, endpoints=(values.endpoint("a.example.com", 80),))
    assert cluster.encode(found, values.SETTINGS).waits


@pytest.mark.parametrize("resolution", [Resolution.ENDPOINTS, Resolution.STATIC, Resolution.PASSTHROUGH])
def test_other_clusters_do_not_wait(resolution: Resolution) -> None:
    assert not cluster.encode(values.cluster(resolution=resolution), values.SETTINGS).waits


def test_virtual_host_carries_the_name_it_travels_under() -> None:
    resource = route.encode_virtual_host("9080", values.virtual_host())
    assert resource.name == f"9080/{values.HOST}:9080"


def test_shared_references_are_one_object() -> None:
    first, second = (route.encode_virtual_host(table, values.virtual_host()).refs[0] for table in ("80", "81"))
    assert first is second
    assert first == Ref(CLUSTER, values.REVIEWS)


def test_unused_weight_still_names_its_cluster() -> None:
    """Envoy looks every cluster up when it loads a route, whatever its weight."""
    action = values.forward("a")
    action = type(action)((*action.destinations, WeightedCluster("never", 0)))
    assert names(route.encode_virtual_host("80", values.virtual_host(values.route(action))), CLUSTER) == ["a", "never"]


def test_blocked_cluster_asks_for_nothing() -> None:
    asked = UpstreamTls(TlsMode.SIMPLE, ca_certificates="/ca")
    blocked: Cluster = values.cluster(policy=TrafficPolicy(tls=asked, blocked=True))
    assert cluster.encode(blocked, values.SETTINGS).refs == ()


def test_blocked_cluster_of_the_mesh_speaks_to_nobody() -> None:
    secured, bare = (
        values.cluster(policy=TrafficPolicy(blocked=True), mesh_tls=mesh) for mesh in (MeshTls("sni"), None)
    )
    assert cluster.encode(secured, values.SETTINGS).body == cluster.encode(bare, values.SETTINGS).body
