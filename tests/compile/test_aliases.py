"""ExternalName Services whose host the mesh knows: another name for it, as in Kubernetes and in Istio since 1.21."""

import pytest

from controlplane.explain import Address, Call, Tls
from controlplane.model.settings import MeshOutboundTrafficPolicy, Settings
from controlplane.model.sidecar import OutboundTrafficMode
from controlplane.snapshot import types
from tests.world import VIRTUAL_OUTBOUND, World, service, shares

ALIAS = """
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s%s}
spec: {type: ExternalName, externalName: %s%s}
"""
WEB = "web.shop.svc.cluster.local"


def alias(name="old", namespace="default", to=WEB, *, ports="", annotations=""):
    more = f", ports: {ports}" if ports else ""
    return ALIAS % (name, namespace, f", annotations: {annotations}" if annotations else "", to, more)


def mesh(*manifests):
    world = World().apply(service("web", "shop"))
    for one in manifests or (alias(),):
        world.apply(one)
    return world


RULES = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web, namespace: shop}}
spec:
  host: {WEB}
  trafficPolicy: {{loadBalancer: {{consistentHash: {{httpHeaderName: x-user}}}}}}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: shop}}
spec:
  hosts: [{WEB}]
  http:
  - route: [{{destination: {{host: {WEB}, subset: v1}}, weight: 3}}, {{destination: {{host: {WEB}, subset: v2}}, weight: 1}}]
"""


@pytest.mark.parametrize("name", ["old", "old.default", "old.default.svc", "old.default.svc.cluster.local", "old:80"])
def test_an_alias_goes_to_the_cluster_of_its_host(name):
    world = mesh()
    assert world.sidecar().call(name).cluster == f"outbound|80||{WEB}"
    assert world.problems() == []


def test_the_bare_name_is_for_its_own_namespace():
    world = mesh()
    assert world.sidecar("shop").call("old").cluster == "PassthroughCluster"
    assert world.sidecar("shop").call("old.default").cluster == f"outbound|80||{WEB}"


def test_an_alias_has_no_cluster_and_no_endpoints():
    client = mesh().sidecar()
    for kind in (types.CLUSTER, types.ENDPOINT):
        assert not [name for name in client.names(kind) if "old" in name]


def test_routes_subsets_and_hashing_are_those_of_the_host():
    world = mesh().apply(RULES)
    client = world.sidecar()
    assert shares(client.call("old")) == shares(client.call("web.shop")) == {"v1": 3, "v2": 1}
    world.delete("VirtualService", "web", "shop")
    (found,) = client.call("old").destinations
    assert found.cluster == f"outbound|80||{WEB}"


def test_the_host_may_come_and_go():
    world = mesh(alias(ports="[{port: 80, name: http}]"))
    client = world.sidecar()
    world.delete("Service", "web", "shop")
    assert client.call("old").cluster == "outbound|80||old.default.svc.cluster.local"
    world.apply(service("web", "shop"))
    assert client.call("old").cluster == f"outbound|80||{WEB}"


def test_ports_are_the_hosts():
    world = mesh(alias(ports="[{port: 9999, name: http}]"))
    assert world.sidecar().call("old:80").cluster == f"outbound|80||{WEB}"


def test_an_alias_of_an_alias():
    world = mesh(alias(), alias("older", to="old.default.svc.cluster.local"))
    assert world.sidecar().call("older").cluster == f"outbound|80||{WEB}"


def test_a_circle_is_said():
    world = mesh(alias("a", to="b.default.svc.cluster.local"), alias("b", to="a.default.svc.cluster.local"))
    found = world.problems()
    assert {(one.code, one.origin.ref.name, one.origin.path) for one in found} == {
        ("InvalidValue", "a", "spec.externalName"),
        ("InvalidValue", "b", "spec.externalName"),
    }


def test_an_unknown_host_without_ports_is_said():
    assert [one.code for one in mesh(alias(to="api.example.com")).problems()] == ["ExternalNameWithoutPorts"]


@pytest.mark.parametrize("ports", ["[{port: 443}]", "[{port: 443, name: tcp-db}]"])
def test_a_name_of_the_dns_takes_no_calls_from_others_on_its_port(ports):
    client = mesh(alias(to="api.example.com", ports=ports)).sidecar()
    others = Call(address=Address("198.51.100.7", 443), captured_at=VIRTUAL_OUTBOUND, tls=Tls(sni="example.org"))
    assert client.simulate(others).cluster == "PassthroughCluster"


def test_bytes_for_a_name_of_the_dns_are_unknown_traffic_and_a_strict_mesh_says_so():
    strict = Settings(outbound_traffic_policy=MeshOutboundTrafficPolicy(mode=OutboundTrafficMode.REGISTRY_ONLY))
    named = alias(to="api.example.com", ports="[{port: 80, name: http}, {port: 5432, name: tcp-db}]")
    (problem,) = World(strict).apply(named).problems()
    assert (problem.code, problem.origin.path) == ("NoEffect", "spec.ports")
    assert "5432" in problem.message
    assert World().apply(named).problems() == []


def test_an_alias_of_a_service_entry():
    world = mesh(alias(to="api.example.com")).apply("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: default}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
""")
    assert world.sidecar().call("old").cluster == "outbound|80||api.example.com"


def test_a_destination_may_be_an_alias():
    world = (
        mesh(alias(), service("front"))
        .apply(RULES)
        .apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: default}
spec: {hosts: [front], http: [{route: [{destination: {host: old, subset: v2}}]}]}
""")
    )
    assert world.sidecar().call("front").cluster == f"outbound|80|v2|{WEB}"
    assert world.problems() == []


def test_rules_about_the_alias_have_no_effect_and_say_so():
    world = mesh().apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: old, namespace: default}
spec: {host: old, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: old, namespace: default}
spec: {hosts: [old], http: [{directResponse: {status: 418}}]}
""")
    assert world.sidecar().call("old").cluster == f"outbound|80||{WEB}"
    assert {(one.code, str(one.origin)) for one in world.problems()} == {
        ("NoEffect", "DestinationRule default/old spec.host"),
        ("NoEffect", "VirtualService default/old spec.hosts"),
    }


def test_an_alias_is_seen_by_those_who_see_both():
    world = mesh(alias(annotations="{networking.istio.io/exportTo: default}"))
    assert world.sidecar("shop").call("old.default").cluster == "PassthroughCluster"
    assert world.sidecar("default").call("old").cluster == f"outbound|80||{WEB}"


SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {egress: [{hosts: [%s]}]}
"""


@pytest.mark.parametrize("admitted", ["./old.default.svc.cluster.local", f"shop/{WEB}", "shop/*"])
def test_a_sidecar_admits_an_alias_by_its_name_or_its_hosts(admitted):
    client = mesh().apply(SIDECAR % admitted).sidecar()
    assert client.call("old").cluster == f"outbound|80||{WEB}"
    assert f"outbound|80||{WEB}" in client.names(types.CLUSTER)
    assert f"outbound|80||{WEB}" in client.names(types.ENDPOINT)


def test_a_sidecar_admits_neither():
    assert mesh().apply(SIDECAR % "./other").sidecar().call("old").cluster == "PassthroughCluster"


@pytest.mark.parametrize("port_name", ["tcp", "sniffed"])
def test_other_protocols_are_told_by_address(port_name):
    world = World().apply(service("web", "shop", port_name=port_name, clusterIP="10.96.9.9")).apply(alias())
    call = Call(address=Address("10.96.9.9", 80), captured_at=VIRTUAL_OUTBOUND, authority="old")
    assert world.sidecar().simulate(call).cluster == f"outbound|80||{WEB}"
    assert world.problems() == []


def test_a_gateway_follows_an_alias():
    world = (
        mesh()
        .apply(RULES)
        .apply("""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [istio-ingress/edge]
  http: [{route: [{destination: {host: old, subset: v1}}]}]
""")
    )
    assert world.gateway().enter("shop.example.com").cluster == f"outbound|80|v1|{WEB}"
