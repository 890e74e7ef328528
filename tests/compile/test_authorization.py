"""Policies where proxies get them: whom they are for, and that whoever they ask can be asked."""

import pytest

from controlplane.explain import Resources, decode
from controlplane.model.extensionprovider import ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from tests.envoys import validate
from tests.world import Client, World, service

OPA = "outbound|80||opa.auth.svc.cluster.local"
ASKING = Settings(
    extension_providers=(
        ExtensionProvider(name="opa", envoy_ext_authz_grpc=ExtAuthzGrpc(service="opa.auth.svc.cluster.local", port=80)),
    )
)
CUSTOM = "{action: CUSTOM, provider: {name: opa}, rules: [{}]}"
NARROW = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {egress: [{hosts: ["~/*"]}]}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""


def policy(spec: str, name: str = "p", namespace: str = "default") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def guarding(client: Client) -> set[str]:
    """The policies whose rules are in a proxy's listeners."""
    return {
        origin.ref.name
        for resource in client.resources()
        if resource.type_url == types.LISTENER
        for origin in resource.origins
        if origin.ref.kind == "AuthorizationPolicy"
    }


def resources_of(client: Client) -> Resources:
    return decode(client.resources())[0]


def test_a_policy_is_for_the_workloads_it_selects_and_those_of_a_root_namespace_for_all() -> None:
    world = World().apply(service("a"))
    world.apply(policy("{selector: {matchLabels: {app: a}}}", "mine"))
    world.apply(policy("{}", "everyone's", "istio-system").replace("'", ""))
    world.apply(policy("{selector: {matchLabels: {app: a}}}", "of-all-a", "lateen-system"))
    world.apply(policy("{}", "elsewhere", "other"))
    assert guarding(world.sidecar(labels={"app": "a"})) == {"mine", "everyones", "of-all-a"}
    assert guarding(world.sidecar(labels={"app": "b"})) == {"everyones"}
    assert guarding(world.sidecar("other", labels={"app": "a"})) == {"everyones", "of-all-a", "elsewhere"}


def test_one_that_is_attached_to_something_is_not_mistaken_for_everybodys() -> None:
    world = World().apply(service("a"))
    world.apply(policy("{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]}"))
    assert guarding(world.sidecar()) == set()
    assert [(one.code, one.level, one.origin.path) for one in world.problems()] == [
        ("NotSupportedYet", "error", "spec.targetRefs")
    ]


def test_a_selector_that_cannot_be_read_selects_all_it_may() -> None:
    world = World().apply(service("a")).apply(policy("{selector: {matchLabels: {app: 'a*'}}}"))
    assert guarding(world.sidecar(labels={"app": "b"})) == {"p"}
    assert guarding(world.sidecar("other", labels={"app": "b"})) == set()


def test_replicas_share_what_judges_them() -> None:
    world = World().apply(service("a")).apply(policy("{rules: [{}]}"))
    first, second = (world.sidecar(labels={"app": "a", "pod": name}) for name in ("1", "2"))
    bodies = [[one.body for one in client.resources() if one.type_url == types.LISTENER] for client in (first, second)]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("kind", ["narrow sidecar", "sidecar", "gateway"])
def test_whoever_is_asked_is_known_to_the_proxy(kind: str) -> None:
    namespace = "istio-ingress" if kind == "gateway" else "default"
    world = World(ASKING).apply(service("a")).apply(service("opa", "auth", port_name="grpc")).apply(GATEWAY)
    world.apply(policy(CUSTOM, namespace=namespace))
    if kind == "narrow sidecar":
        world.apply(NARROW)
    client = world.gateway() if kind == "gateway" else world.sidecar(labels={"app": "a"})
    assert OPA in client.names(types.CLUSTER)
    assert OPA in client.names(types.ENDPOINT)
    assert world.problems() == []
    assert validate(resources_of(client)) == []
    listeners = [one for one in client.resources() if one.type_url == types.LISTENER]
    assert any(ref.name == OPA for one in listeners for ref in one.refs)


def test_a_service_that_is_not_exported_judges_nobody() -> None:
    hidden = """
apiVersion: v1
kind: Service
metadata: {name: opa, namespace: auth, annotations: {networking.istio.io/exportTo: "."}}
spec: {clusterIP: 10.96.7.7, ports: [{name: grpc, port: 80}]}
"""
    world = World(ASKING).apply(service("a")).apply(hidden).apply(policy(CUSTOM))
    client = world.sidecar()
    assert [one.code for one in world.problems()] == ["ReferencedResourceNotFound"]
    assert not any(ref.name == OPA for one in client.resources() for ref in one.refs if one.type_url == types.LISTENER)
    assert validate(resources_of(client)) == []


def test_nobody_makes_himself_the_judge_of_his_own_calls() -> None:
    """A ServiceEntry of the caller's own namespace hides one of the mesh's, but not from what the mesh means by it."""
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: judge, namespace: {namespace}, creationTimestamp: "20{year}-01-01T00:00:00Z"}}
spec:
  hosts: [judge.example.com]
  ports: [{{number: 80, name: grpc, protocol: GRPC}}]
  resolution: STATIC
  endpoints: [{{address: 10.9.9.9}}]
"""
    provider = ExtensionProvider(name="opa", envoy_ext_authz_grpc=ExtAuthzGrpc(service="judge.example.com", port=80))
    world = (
        World(Settings(extension_providers=(provider,)))
        .apply(service("a"))
        .apply(policy(CUSTOM, namespace="istio-system"))
    )
    world.apply(entry.format(namespace="auth", year=20)).apply(entry.format(namespace="default", year=21))
    mine, other = world.sidecar(), world.sidecar("other")
    asked = "outbound|80||judge.example.com"
    assert not any(ref.name == asked for one in mine.resources() for ref in one.refs if one.type_url == types.LISTENER)
    assert any(ref.name == asked for one in other.resources() for ref in one.refs if one.type_url == types.LISTENER)


DATABASE = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec:
  selector: {app: db}
  clusterIP: 10.96.8.8
  ports: [{name: tcp-sql, port: 5432, targetPort: 5432}%s]
"""
AND_HTTP = ", {name: http, port: 80, targetPort: 8080}"
DENY = "{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}"
DENY_THERE = '{action: DENY, rules: [{to: [{operation: {methods: [DELETE], ports: ["8080"]}}]}]}'
ALLOW = "{rules: [{to: [{operation: {methods: [GET]}}]}]}"
WEB = ExtensionProvider(name="web", envoy_ext_authz_http=ExtAuthzHttp(service="opa.auth.svc.cluster.local", port=80))


@pytest.mark.parametrize(
    ("spec", "more", "code"),
    [
        (DENY, "", "RefusesConnections"),
        (DENY, AND_HTTP, "RefusesConnections"),
        (DENY_THERE, AND_HTTP, None),
        (ALLOW, "", "NoEffect"),
        (ALLOW, AND_HTTP, None),
        ("{action: CUSTOM, provider: {name: web}, rules: [{}]}", AND_HTTP, "RefusesConnections"),
        ("{rules: [{from: [{source: {principals: [x]}}]}]}", "", None),
    ],
)
def test_rules_about_requests_where_something_else_is_served(spec: str, more: str, code: str | None) -> None:
    world = World(Settings(extension_providers=(WEB,))).apply(service("opa", "auth")).apply(DATABASE % more)
    world.apply(policy(spec)).sidecar(labels={"app": "db"})
    assert [(one.code, one.origin.path) for one in world.problems()] == ([(code, "spec.rules[0]")] if code else [])
