"""Layers: whom a rule concerns, whom it does not, and what the proxies of each see."""

import pytest

from controlplane.mesh import hosts
from controlplane.model.proxy import InterceptionMode
from controlplane.model.settings import Settings, Tenancy
from controlplane.snapshot import types
from tests.world import World, service, shares

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: %s}
spec:
  host: reviews.default.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s}
spec:
  hosts: [reviews.default.svc.cluster.local]
  exportTo: [%s]
  http:
  - route: [{destination: {host: reviews.default.svc.cluster.local, subset: %s}}]
"""


def world_with_reviews(settings=None):
    return World(settings).apply(service("reviews")).apply(SUBSETS % "default")


def test_a_canary_splits_by_weight_and_pins_by_header():
    world = world_with_reviews().apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {x-canary: {exact: "1"}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
""")
    client = world.sidecar()
    assert shares(client.call("reviews")) == {"v1": 90, "v2": 10}
    assert client.call("reviews", headers={"x-canary": "1"}).subset == "v2"
    assert client.call("reviews.default:80").virtual_host == "80/reviews.default.svc.cluster.local:80"
    assert world.problems() == []


def test_the_bare_name_is_for_callers_of_the_same_namespace():
    world = world_with_reviews()
    assert world.sidecar("default").call("reviews").cluster == "outbound|80||reviews.default.svc.cluster.local"
    assert world.sidecar("other").call("reviews").cluster == "PassthroughCluster"
    assert world.sidecar("other").call("reviews.default").cluster == "outbound|80||reviews.default.svc.cluster.local"


def test_a_rule_of_the_owner_acts_on_everybody():
    world = world_with_reviews().apply(ROUTE % ("pin", "default", '"*"', "v1"))
    assert world.sidecar("default").call("reviews").subset == "v1"
    assert world.sidecar("other").call("reviews.default").subset == "v1"


def test_a_rule_of_a_stranger_acts_on_its_own_namespace_and_says_so():
    world = world_with_reviews().apply(ROUTE % ("grab", "stranger", '"*"', "v2"))
    assert world.sidecar("other").call("reviews.default").subset == ""
    assert world.sidecar("default").call("reviews").subset == ""
    assert world.sidecar("stranger").call("reviews.default").subset == "v2"
    (problem,) = world.problems("NotOwner")
    assert (problem.origin.ref.name, problem.origin.path) == ("grab", "spec.hosts")


SELECTING = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: %s}
spec:
  host: reviews.default.svc.cluster.local
  workloadSelector: {matchLabels: {%s}}
  subsets: [{name: %s, labels: {version: v1}}]
"""


def ruling(client):
    """The names of the rules of SELECTING that act on a client's calls; None: the general rule does."""
    cluster = client.view.get(types.CLUSTER, "outbound|80||reviews.default.svc.cluster.local")
    names = sorted(origin.ref.name for origin in cluster.origins if origin.ref.kind == "DestinationRule")
    return None if names == ["reviews"] else names


def test_a_rule_that_selects_callers_acts_on_them_instead_of_the_general_one():
    world = world_with_reviews().apply(SELECTING % ("some", "default", "app: shop", "s"))
    chosen = world.sidecar(labels={"app": "shop", "more": "x"})
    assert ruling(chosen) == ["some"]
    assert ruling(world.sidecar(labels={"app": "other"})) is None
    assert world.problems() == []
    world.delete("DestinationRule", "some")
    assert ruling(chosen) is None


def test_a_rule_that_selects_callers_looks_for_them_in_its_own_namespace():
    world = world_with_reviews().apply(SELECTING % ("some", "default", "app: shop", "s"))
    assert ruling(world.sidecar("other", labels={"app": "shop"})) is None
    world.apply(SELECTING % ("own", "other", "app: shop", "o"))
    assert ruling(world.sidecar("other", labels={"app": "shop"})) == ["own"]
    assert ruling(world.sidecar("other", labels={"app": "bar"})) is None


def test_rules_that_select_the_same_callers_are_merged_and_of_others_the_oldest_acts():
    world = world_with_reviews()
    for name, labels in (("a", "app: shop"), ("b", "app: shop"), ("c", "tier: front")):
        world.apply(SELECTING % (name, "default", labels, name))
    assert ruling(world.sidecar(labels={"app": "shop"})) == ["a", "b"]
    assert ruling(world.sidecar(labels={"tier": "front"})) == ["c"]
    assert world.problems() == []
    assert ruling(world.sidecar(labels={"app": "shop", "tier": "front"})) == ["a", "b"]
    (problem,) = world.problems("Conflicted")
    assert (problem.origin.ref.name, problem.origin.path) == ("c", "spec.workloadSelector")


def test_under_istios_tenancy_a_stranger_acts_on_everybody():
    world = world_with_reviews(Settings(tenancy=Tenancy.ISTIO)).apply(ROUTE % ("grab", "stranger", '"*"', "v2"))
    assert world.sidecar("other").call("reviews.default").subset == "v2"
    assert world.problems("NotOwner") == []


@pytest.mark.parametrize(("caller", "subset"), [("default", ""), ("friend", "v1"), ("other", "")])
def test_export_to_names_the_callers(caller, subset):
    world = world_with_reviews().apply(ROUTE % ("pin", "default", "friend", "v1"))
    assert world.sidecar(caller).call("reviews.default").subset == subset


def test_of_two_rules_for_one_host_the_older_wins_and_the_other_is_told():
    world = world_with_reviews()
    world.apply(
        (ROUTE % ("b", "default", '"*"', "v2")).replace("name: b", "name: b, creationTimestamp: 2026-01-02T00:00:00Z")
    )
    world.apply(
        (ROUTE % ("a", "default", '"*"', "v1")).replace("name: a", "name: a, creationTimestamp: 2026-01-03T00:00:00Z")
    )
    assert world.sidecar().call("reviews").subset == "v2"
    conflicted = world.problems("Conflicted")
    assert {(problem.origin.ref.name, problem.level) for problem in conflicted} == {("a", "error"), ("b", "warning")}
    world.delete("VirtualService", "b")
    assert world.sidecar().call("reviews").subset == "v1"
    assert world.problems("Conflicted") == []


def test_a_source_label_singles_out_callers():
    world = world_with_reviews().apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{sourceLabels: {tier: beta}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
""")
    assert world.sidecar(labels={"tier": "beta", "app": "a"}).call("reviews").subset == "v2"
    assert world.sidecar(labels={"app": "a"}).call("reviews").subset == "v1"


def test_a_proxy_whose_labels_change_moves():
    world = world_with_reviews().apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{sourceLabels: {tier: beta}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
""")
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: me, namespace: default, labels: {tier: %s}}\nstatus: {podIP: 10.9.9.9}"
    client = world.sidecar(name="me", labels={"tier": "claimed"})
    assert client.call("reviews").subset == "v1"
    world.apply(pod % "beta")
    assert client.call("reviews").subset == "v2"
    world.apply(pod % "stable")
    assert client.call("reviews").subset == "v1"


def test_labels_no_rule_looks_at_make_no_layer():
    world = world_with_reviews()
    one, other = world.sidecar(labels={"a": "1"}), world.sidecar(labels={"a": "2"})
    scopes = [world.graph.scope(client.connection) for client in (one, other)]
    assert scopes[0].shared == scopes[1].shared


def test_a_service_exported_to_one_namespace_is_seen_there_alone():
    hidden = service("reviews").replace(
        "name: reviews\n", "name: reviews\n  annotations: {networking.istio.io/exportTo: friend}\n"
    )
    world = World().apply(hidden)
    cluster = "outbound|80||reviews.default.svc.cluster.local"
    assert cluster in world.sidecar("friend").names(types.CLUSTER)
    assert cluster not in world.sidecar("other").names(types.CLUSTER)
    assert world.sidecar("friend").call("reviews.default").cluster == cluster
    assert world.sidecar("other").call("reviews.default").cluster == "PassthroughCluster"


def test_a_service_exported_to_nobody_is_not_seen():
    hidden = service("reviews").replace(
        "name: reviews\n", "name: reviews\n  annotations: {networking.istio.io/exportTo: '~'}\n"
    )
    client = World().apply(hidden).sidecar("default")
    assert not [name for name in client.names(types.CLUSTER) if "reviews" in name]
    assert client.call("reviews.default").cluster == "PassthroughCluster"


def test_a_sidecar_resource_narrows_what_is_seen():
    world = world_with_reviews().apply(service("ratings", "backend")).apply(service("details", "hidden"))
    world.apply("""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {egress: [{hosts: ["./*", "backend/*"]}]}
""")
    client = world.sidecar("default")
    outbound = [name for name in client.names(types.CLUSTER) if name.startswith("outbound|")]
    assert {name.split("|")[3] for name in outbound} == {
        "reviews.default.svc.cluster.local",
        "ratings.backend.svc.cluster.local",
    }
    assert client.call("details.hidden").cluster == "PassthroughCluster"
    assert client.call("ratings.backend").cluster == "outbound|80||ratings.backend.svc.cluster.local"
    assert client.call("reviews").cluster == "outbound|80||reviews.default.svc.cluster.local"
    assert world.sidecar("other").call("details.hidden").cluster == "outbound|80||details.hidden.svc.cluster.local"


def test_registry_only_refuses_strangers():
    world = world_with_reviews().apply("""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
""")
    outcome = world.sidecar("default").call("example.com")
    assert (outcome.virtual_host, outcome.status) == ("80/block_all", 502)


def test_a_destination_rule_of_the_client_namespace_wins_for_its_callers():
    world = world_with_reviews().apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: own, namespace: other}
spec: {host: reviews.default.svc.cluster.local, subsets: [{name: mine, labels: {version: v2}}]}
""")
    owner, client = world.sidecar("default"), world.sidecar("other")
    assert "outbound|80|mine|reviews.default.svc.cluster.local" not in owner.names(types.CLUSTER)
    names = client.names(types.CLUSTER)
    assert "outbound|80|mine|reviews.default.svc.cluster.local" in names


def test_a_missing_subset_answers_503_and_the_object_says_so():
    world = world_with_reviews().apply(ROUTE % ("pin", "default", '"*"', "v9"))
    outcome = world.sidecar().call("reviews")
    assert outcome.destinations[0].failure.flag == "NC"
    (problem,) = world.problems("ReferencedResourceNotFound")
    assert problem.origin.path == "spec.http[0].route[0].destination.subset"


def test_a_host_only_a_virtual_service_names_lives_on_port_80():
    world = world_with_reviews().apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: virtual, namespace: default}
spec:
  hosts: [virtual.example]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
""")
    assert world.sidecar("default").call("virtual.example").subset == "v1"
    assert world.sidecar("other").call("virtual.example").cluster == "PassthroughCluster"


def test_each_of_many_hosts_is_looked_at_a_few_times_however_many_there_are(monkeypatch):
    looks = 0

    def counted(*arguments):
        nonlocal looks
        looks += 1
        return qualify(*arguments)

    qualify = hosts.qualify
    monkeypatch.setattr(hosts, "qualify", counted)
    many = ROUTE.replace("[reviews.default.svc.cluster.local]", f"[{', '.join(f'h{i}.example' for i in range(300))}]")
    assert many != ROUTE
    world = world_with_reviews()
    world.sidecar("default")
    for subset in ("v1", "v2"):
        looks = 0
        world.apply(many % ("many", "default", '"*"', subset))
        assert 300 <= looks <= 10 * 300


def test_a_sniffed_port_answers_for_any_host():
    world = World().apply(service("db", port=7, port_name="x", clusterIP="10.96.0.7"))
    outcome = world.sidecar().call("whatever", to="10.96.0.7", port=7)
    assert outcome.cluster == "outbound|7||db.default.svc.cluster.local"
    assert outcome.route


def test_gateways_hold_the_destinations_their_routes_name():
    world = (
        world_with_reviews()
        .apply(service("unused"))
        .apply("""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: istio-ingress}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*/shop.example"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.example]
  gateways: [istio-ingress/front]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
""")
    )
    gateway = world.gateway()
    assert gateway.names(types.CLUSTER) == ["outbound|80|v1|reviews.default.svc.cluster.local"]
    assert gateway.enter("shop.example").subset == "v1"
    assert gateway.enter("other.example").status == 404
    world.delete("VirtualService", "shop")
    assert gateway.names(types.CLUSTER) == []


EXPORTED = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["shop.example"]}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.example]
  gateways: [front]
  exportTo: [%s]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
  tcp: [{route: [{destination: {host: reviews, subset: v2}}]}]
"""


@pytest.mark.parametrize(
    ("export_to", "reaches"), [(".", False), ("elsewhere", False), ("istio-ingress", True), ('"*"', True)]
)
def test_a_gateway_sees_what_is_exported_to_its_own_namespace(export_to, reaches):
    world = world_with_reviews().apply(EXPORTED % export_to)
    gateway = world.gateway("istio-ingress")
    clusters = {name.split("|")[2] for name in gateway.names(types.CLUSTER)}
    assert clusters == ({"v1", "v2"} if reaches else set())
    assert (gateway.enter("shop.example").status == 404) is not reaches
    told = [
        problem.origin.path for problem in world.problems("NoEffect") if problem.origin.ref.kind == "VirtualService"
    ]
    assert told == ([] if reaches else ["spec.exportTo"])


def test_a_gateway_beside_the_virtual_service_sees_what_is_kept_there():
    world = world_with_reviews().apply(EXPORTED % ".")
    assert world.gateway("default").enter("shop.example").subset == "v1"


def test_a_delegate_by_default_is_exported_as_the_mesh_says():
    world = world_with_reviews(Settings(default_virtual_service_export_to=(".",))).apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec: {hosts: [reviews], http: [{delegate: {name: leaf, namespace: other}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: leaf, namespace: other}
spec: {http: [{route: [{destination: {host: reviews.default.svc.cluster.local}}]}]}
""")
    assert world.sidecar("default").call("reviews").status == 500


def test_layers_go_with_the_last_proxy_that_needs_them():
    world = world_with_reviews()
    client = world.sidecar("default")
    assert any(layer.kind == "namespace" for layer, _ in world.graph.store.items(world.graph.scopes.layers))
    client.disconnect()
    assert [layer.kind for layer, _ in world.graph.store.items(world.graph.scopes.layers)] == ["mesh"]


def test_a_proxy_singled_out_by_label_without_capture_has_one_catch_all():
    world = world_with_reviews().apply("""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: pinned, namespace: default}
spec:
  hosts: [reviews]
  http:
  - {match: [{sourceLabels: {app: front}}], route: [{destination: {host: reviews, subset: v1}}]}
  - {route: [{destination: {host: reviews, subset: v2}}]}
""")
    client = world.sidecar(labels={"app": "front"}, interception=InterceptionMode.NONE)
    hosts = [one for one in client.resources() if one.type_url == types.VIRTUAL_HOST and one.name.startswith("80/")]
    assert sorted(one.name for one in hosts) == ["80/allow_any", "80/reviews.default.svc.cluster.local:80"]
