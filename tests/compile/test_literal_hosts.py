"""Hosts that only VirtualServices name: what callers of names nobody declares get."""

import pytest

from controlplane.model.proxy import InterceptionMode
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from tests.world import World, service

ROUTED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: virtual, namespace: default}
spec:
  hosts: ["%s"]
  http: [{route: [{destination: {host: reviews}}]}]
"""
REVIEWS = "outbound|80||reviews.default.svc.cluster.local"
ELSEWHERE = "PassthroughCluster"


def declared(host: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: declared, namespace: default}}
spec: {{hosts: ["{host}"], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: NONE}}
"""


def world_with(host: str, settings: Settings | None = None) -> World:
    return World(settings).apply(service("reviews")).apply(ROUTED % host)


def hosts_of(world: World, namespace: str = "default") -> list[str]:
    return world.sidecar(namespace).names(types.VIRTUAL_HOST)


@pytest.mark.parametrize("called", ["a.shop.example", "b.c.shop.example"])
def test_a_wildcard_that_covers_no_service_stands_for_itself(called):
    client = world_with("*.shop.example").sidecar("default")
    assert client.call(called).cluster == REVIEWS
    assert client.call("shop.example").cluster == ELSEWHERE


def test_a_wildcard_above_services_acts_on_them_alone_and_for_as_long_as_there_are_any():
    world = world_with("*.shop.example").apply(declared("a.shop.example"))
    client = world.sidecar("default")
    assert client.call("a.shop.example").cluster == REVIEWS
    assert client.call("b.shop.example").cluster == ELSEWHERE
    world.delete("ServiceEntry", "declared")
    assert client.call("b.shop.example").cluster == REVIEWS


def test_a_wildcard_far_above_a_service_is_not_taken_for_a_name():
    world = world_with("*.example").apply(declared("a.b.shop.example"))
    assert not [name for name in hosts_of(world) if "*.example" in name]
    assert world.problems("NoEffect") == []


@pytest.mark.parametrize("form", ["*.web.default", "*.web.default.svc", "*.web.default.svc.cluster.local"])
def test_the_names_of_a_headless_services_pods_are_not_taken_from_it(form):
    world = world_with(form).apply(service("web", clusterIP="None"))
    assert not [name for name in hosts_of(world) if "/*." in name]


def test_a_wildcard_of_one_label_could_be_anything_and_is_told():
    world = world_with("*.com")
    assert not [name for name in hosts_of(world) if "/*." in name]
    (problem,) = world.problems("NoEffect")
    assert problem.origin.path == "spec.hosts"


def test_an_ipv6_address_is_called_in_brackets():
    client = world_with("2001:db8::1").sidecar("default")
    assert client.call("[2001:db8::1]").cluster == REVIEWS
    assert client.call("[2001:db8::1]:80").cluster == REVIEWS


def test_an_ipv6_address_is_called_in_brackets_at_gateways_too():
    world = (
        World()
        .apply(service("reviews"))
        .apply("""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: virtual, namespace: default}
spec:
  hosts: ["2001:db8::1"]
  gateways: [front]
  http: [{route: [{destination: {host: reviews}}]}]
""")
    )
    gateway = world.gateway()
    assert gateway.enter("[2001:db8::1]").cluster == REVIEWS
    assert gateway.enter("[2001:db8::1]:80").cluster == REVIEWS


def test_without_a_listener_on_port_80_nobody_is_there_to_ask():
    world = World().apply(service("reviews", port=9080)).apply(ROUTED % "shop.example")
    client = world.sidecar("default")
    told = [(problem.code, problem.origin.path) for problem in world.problems()]
    assert told == [("NoEffect", "spec.hosts")]
    world.apply(service("web"))
    assert client.call("shop.example").cluster == "outbound|9080||reviews.default.svc.cluster.local"
    assert world.problems() == []


RULES = {
    "http": "http: [{route: [{destination: {host: reviews}}]}]",
    "tcp": "tcp: [{route: [{destination: {host: reviews}}]}]",
    "tls": "tls: [{match: [{sniHosts: [reviews]}], route: [{destination: {host: reviews}}]}]",
}


@pytest.mark.parametrize(
    ("port_name", "effective"),
    [("http", {"http"}), ("grpc", {"http"}), ("tcp", {"tcp"}), ("https", {"tls"}), ("", {"http", "tcp"})],
)
def test_rules_for_what_a_service_does_not_speak_have_no_effect_and_say_so(port_name, effective):
    for kind, rules in RULES.items():
        world = (
            World()
            .apply(service("reviews", port_name=port_name))
            .apply(f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: virtual, namespace: default}}
spec: {{hosts: [reviews], {rules}}}
""")
        )
        world.sidecar("default")
        told = [problem.origin.path for problem in world.problems("NoEffect")]
        assert told == ([] if kind in effective else [f"spec.{kind}"]), kind


def test_rules_for_connections_to_a_host_nobody_declares_have_no_effect_and_say_so():
    world = (
        World()
        .apply(service("reviews"))
        .apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: virtual, namespace: default}
spec: {hosts: [shop.example], tcp: [{route: [{destination: {host: reviews}}]}]}
""")
    )
    world.sidecar("default")
    assert [problem.origin.path for problem in world.problems("NoEffect")] == ["spec.hosts"]


SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {egress: [{hosts: ["%s"]}]}
"""


@pytest.mark.parametrize("namespace", ["default", "istio-system"])
def test_the_forward_proxy_knows_them_too(namespace):
    world = world_with("shop.example").apply(
        ROUTED.replace("virtual, namespace: default", f"own, namespace: {namespace}") % "own.example"
    )
    client = world.sidecar("default", interception=InterceptionMode.NONE, metadata={"HTTP_PROXY_PORT": "15007"})
    proxied = {name for name in client.names(types.VIRTUAL_HOST) if name.startswith("http_proxy/")}
    assert {"http_proxy/shop.example:80", "http_proxy/own.example:80"} <= proxied


@pytest.mark.parametrize(("admitted", "seen"), [("*/*", True), ("istio-system/*", True), ("./*", False)])
def test_a_sidecar_resource_admits_those_of_the_root_namespace_or_not(admitted, seen):
    world = World().apply(service("reviews")).apply(SIDECAR % admitted)
    world.apply(ROUTED.replace("namespace: default", "namespace: istio-system") % "shop.example").apply(
        service("reviews", "istio-system")
    )
    client = world.sidecar("default")
    assert ("80/shop.example:80" in client.names(types.VIRTUAL_HOST)) is seen
