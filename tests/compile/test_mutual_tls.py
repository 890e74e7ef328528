"""Mutual TLS of the mesh through the graph: who is asked for which identity, and what a change of it wakes."""

from typing import Any

import pytest

from controlplane.explain import Resources, Secured
from controlplane.explain import decode as decode_resources
from controlplane.explain.upstreamtls import secured
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from tests.world import Client, World

SETTINGS = Settings(workload_certificates=True)
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %(name)s-1, namespace: %(namespace)s, labels: {kubernetes.io/service-name: %(name)s}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [%(endpoints)s]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %(name)s, namespace: %(namespace)s}
spec: {clusterIP: %(ip)s, selector: {app: %(name)s}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: %(name)s, namespace: %(namespace)s, labels: {app: %(app)s%(able)s}}
spec: {serviceAccountName: %(account)s, containers: [{name: app}]}
status: {podIP: %(ip)s, phase: Running}
"""
ABLE = ", security.istio.io/tlsMode: istio"


def pod(name: str, ip: str, account: str = "a", able: str = ABLE, app: str = "reviews", namespace: str = "default"):
    return POD % {"name": name, "ip": ip, "account": account, "able": able, "app": app, "namespace": namespace}


def service(*pods: tuple[str, str], name: str = "reviews", namespace: str = "default", ip: str = "10.96.0.1"):
    endpoints = ", ".join(f"{{addresses: [{at}], targetRef: {{kind: Pod, name: {pod}}}}}" for pod, at in pods)
    fields = {"name": name, "namespace": namespace, "ip": ip, "endpoints": endpoints}
    return f"{SERVICE % fields}---{SLICE % fields}"


def peers(mode: str, namespace: str = "default", name: str = "peers", more: str = "") -> str:
    head = f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec: {{mtls: {{mode: {mode}}}{more}}}\n"


def reviews(*pods: tuple[str, str]) -> World:
    world = World(SETTINGS)
    for number, (account, able) in enumerate(pods or (("a", ABLE),)):
        world.apply(pod(f"p{number}", f"10.1.0.{number}", account, able))
    return world.apply(service(*((f"p{number}", f"10.1.0.{number}") for number in range(len(pods or (1,))))))


def held(client: Client) -> Resources:
    return decode_resources(client.resources())[0]


def called(client: Client, name: str = "outbound|80||reviews.default.svc.cluster.local") -> dict[str, Secured]:
    """How each endpoint of a cluster is called, by address."""
    found = held(client)
    cluster, assignment = found.clusters[name], found.endpoints.get(name)
    endpoints = [one for group in (assignment.endpoints if assignment else ()) for one in group.lb_endpoints]
    return {one.endpoint.address.socket_address.address: secured(cluster, one.metadata, {}) for one in endpoints} or {
        "": secured(cluster, None, {})
    }


def changed(client: Client, world: World, manifests: str) -> set[tuple[str, str]]:
    """(kind, name) of the resources of a proxy that differ after a change, and which functions ran."""
    before = {(one.type_url, one.name): one.version for one in client.resources()}
    world.apply(manifests)
    after = {(one.type_url, one.name): one.version for one in client.resources()}
    return {
        (url.rpartition(".")[2], name)
        for url, name in before.keys() | after.keys()
        if before.get((url, name)) != after.get((url, name))
    }


def run_by(world: World, manifests: str) -> set[str]:
    """Names of the collections whose functions ran for a change."""
    ran: list[Any] = []
    world.graph.store.trace = ran
    try:
        world.apply(manifests)
    finally:
        world.graph.store.trace = None
    return {str(name) for name, *_ in ran}


CLUSTER = "outbound|80||reviews.default.svc.cluster.local"
NAME = "spiffe://cluster.local/ns/default/sa/"


# Whom callers expect


def test_the_accounts_of_all_endpoints():
    caller = reviews(("b", ABLE), ("a", ABLE), ("a", "")).sidecar()
    found = called(caller)
    assert found["10.1.0.0"].names == (f"{NAME}a", f"{NAME}b")
    assert [one.tls for one in found.values()] == [True, True, False]


def test_an_endpoint_of_a_known_account_changes_its_assignment_alone():
    world = reviews(("a", ABLE))
    caller = world.sidecar()
    held(caller)
    world.apply(pod("p1", "10.1.0.1", "a"))
    both = service(("p0", "10.1.0.0"), ("p1", "10.1.0.1"))
    assert changed(caller, world, both) == {("ClusterLoadAssignment", CLUSTER)}
    assert not run_by(world, service(("p0", "10.1.0.0"))) & {"Clusters", "ClusterSets"}


def test_an_endpoint_of_another_account_changes_whom_callers_expect():
    world = reviews(("a", ABLE))
    caller = world.sidecar()
    world.apply(pod("p1", "10.1.0.1", "b"))
    assert ("Cluster", CLUSTER) in changed(caller, world, service(("p0", "10.1.0.0"), ("p1", "10.1.0.1")))
    assert called(caller)["10.1.0.1"].names == (f"{NAME}a", f"{NAME}b")


def test_while_no_account_is_known_anybody_of_the_mesh_will_do():
    world = World(SETTINGS).apply(service())
    assert called(world.sidecar()) == {"": Secured()}  # an endpoint that says nothing
    found = held(world.sidecar()).clusters[CLUSTER].transport_socket_matches[0]
    assert b"spiffe://cluster.local/" in found.transport_socket.typed_config.value


# Who takes it


@pytest.mark.parametrize(
    ("policy", "able"),
    [
        (peers("DISABLE"), False),
        (peers("DISABLE", "istio-system"), False),
        (peers("DISABLE", more=", selector: {matchLabels: {app: reviews}}"), False),
        (peers("DISABLE", more=", selector: {matchLabels: {app: ratings}}"), True),
        (
            peers("STRICT", more=", selector: {matchLabels: {app: reviews}}, portLevelMtls: {'8080': {mode: DISABLE}}"),
            False,
        ),
        (
            peers("DISABLE", more=", selector: {matchLabels: {app: reviews}}, portLevelMtls: {'8080': {mode: STRICT}}"),
            True,
        ),
        (peers("DISABLE", "other"), True),
        (peers("STRICT"), True),
    ],
)
def test_what_refuses_mutual_tls_is_called_without(policy, able):
    world = reviews().apply(policy)
    (found,) = called(world.sidecar("other")).values()
    assert found.tls is able


def test_how_strict_servers_are_is_no_business_of_callers():
    world = reviews().apply(peers("PERMISSIVE"))
    world.sidecar()
    ran = run_by(world, peers("STRICT"))
    assert not ran & {"Clusters", "ClusterSets", "Assignments", "Endpoints", "Accounts"}


def test_a_policy_is_for_the_listeners_of_its_own_namespace():
    world = reviews().apply(peers("PERMISSIVE"))
    own, other = world.sidecar(name="p0", ips=("10.1.0.0",)), world.sidecar("other")
    before = [one.version for one in other.resources()]
    assert changed(own, world, peers("STRICT")) == {("Listener", "virtualInbound")}
    assert [one.version for one in other.resources()] == before


@pytest.mark.parametrize("able", [(ABLE, ABLE), (ABLE, ""), ("", "")])
def test_a_headless_service_is_called_so_only_if_all_can(able):
    headless = service(("p0", "10.1.0.0"), ("p1", "10.1.0.1"), ip="None")
    world = reviews(("a", able[0]), ("a", able[1])).apply(headless)
    (found,) = called(world.sidecar()).values()
    assert found.tls is (able == (ABLE, ABLE))


def test_one_more_able_endpoint_does_not_wake_the_cluster_of_a_headless_service():
    world = reviews(("a", ABLE), ("a", ABLE)).apply(service(("p0", "10.1.0.0"), ip="None"))
    world.sidecar()
    more = service(("p0", "10.1.0.0"), ("p1", "10.1.0.1"), ip="None").partition("---")[2]
    assert not run_by(world, more) & {"Clusters", "ClusterSets"}


# Others than sidecars

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec: {hosts: [shop.example.com], gateways: [edge], http: [{route: [{destination: {host: reviews}}]}]}
"""


@pytest.mark.parametrize("ip", ["10.96.0.1", "None"])
def test_gateways_call_the_mesh_as_each_endpoint_can(ip):
    world = reviews(("a", ABLE), ("a", "")).apply(GATEWAY)
    world.apply(service(("p0", "10.1.0.0"), ("p1", "10.1.0.1"), ip=ip))
    assert [one.tls for one in called(world.gateway()).values()] == [True, False]


def test_peer_authentications_are_not_for_gateways():
    world = reviews().apply(GATEWAY)
    gateway = world.gateway("default")
    before = [one.version for one in gateway.resources()]
    world.apply(peers("STRICT"))
    assert [one.version for one in gateway.resources()] == before


# What is said


def test_the_younger_of_two_policies_is_told():
    world = reviews().apply(peers("STRICT", name="a")).apply(peers("DISABLE", name="b"))
    world.sidecar()
    assert [str(one.origin) for one in world.problems("Conflicted")] == ["PeerAuthentication default/b spec"]


def test_without_certificates_nothing_changes_and_policies_are_told():
    world = World().apply(pod("p0", "10.1.0.0")).apply(service(("p0", "10.1.0.0")))
    server = world.sidecar(name="p0", ips=("10.1.0.0",))
    before = [one.version for one in server.resources()]
    world.apply(peers("STRICT"))
    assert [one.version for one in server.resources()] == before
    assert [one.code for one in world.problems("NotEnforced")] == ["NotEnforced"]
    assert called(server)["10.1.0.0"] == Secured()


def test_proxies_wait_for_no_secret_of_the_mesh():
    """The agent has it: the control plane could not send it."""
    world = reviews().apply(peers("STRICT"))
    server = world.sidecar(name="p0", ips=("10.1.0.0",))
    assert server.names(types.SECRET) == []
    assert not [ref for one in server.resources() for ref in one.refs if ref.type_url == types.SECRET]
