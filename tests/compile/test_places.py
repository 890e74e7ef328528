"""Where a caller stands, and which labels it has, decide what it prefers: for sidecars and gateways alike."""

import pytest
import yaml

from controlplane.compile.layers import Layer
from controlplane.explain.resources import decode as decode_resources
from controlplane.model.destinationrule import LocalityLbSetting
from controlplane.model.settings import Settings
from tests.world import World

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s, namespace: default}
spec: {host: web, %s}
"""
EJECTS = "outlierDetection: {consecutive5xxErrors: 3}"
CLUSTER = "outbound|80||web.default.svc.cluster.local"


def web(**spec):
    """A Service with Pods a (node n1, eu/1, version v1), b (n2, eu/2, version v2) and c (n3, us/1, version v1)."""
    at = {"a": ("n1", "eu", "1", "v1"), "b": ("n2", "eu", "2", "v2"), "c": ("n3", "us", "1", "v1")}
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "clusterIP": "10.96.0.1",
                "ports": [{"name": "http", "port": 80}],
                "selector": {"app": "web"},
                **spec,
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": [f"10.1.0.{i}"], "nodeName": at[name][0], "targetRef": {"kind": "Pod", "name": name}}
                for i, name in enumerate(at, 1)
            ],
        },
    ]
    for i, (name, (node, region, zone, version)) in enumerate(at.items(), 1):
        labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
        documents += [
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}},
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "labels": {"app": "web", "version": version}},
                "spec": {"nodeName": node},
                "status": {"podIP": f"10.1.0.{i}", "phase": "Running"},
            },
        ]
    return yaml.safe_dump_all(documents)


def priorities(client, cluster=CLUSTER):
    """The Pods of each priority, the preferred first."""
    resources, _ = decode_resources(client.resources())
    found: dict[int, str] = {}
    for group in resources.endpoints[cluster].endpoints:
        for one in group.lb_endpoints:
            pod = " abc"[int(one.endpoint.address.socket_address.address[-1])]
            found[group.priority] = "".join(sorted(found.get(group.priority, "") + pod))
    return [found[priority] for priority in sorted(found)]


def failover(*labels, name="web", more=""):
    policy = f"trafficPolicy: {{{EJECTS}, loadBalancer: {{localityLbSetting: {{failoverPriority: {list(labels)}}}}}}}"
    return RULE % (name, f"{policy}{more}")


# failoverPriority on labels of the caller


def test_callers_prefer_endpoints_with_their_own_labels():
    world = World().apply(web()).apply(failover("version"))
    assert priorities(world.sidecar(labels={"version": "v1"})) == ["ac", "b"]
    assert priorities(world.sidecar(labels={"version": "v2"})) == ["b", "ac"]
    assert priorities(world.sidecar(labels={"version": "v9"})) == ["abc"]
    assert priorities(world.sidecar(labels={})) == ["abc"]
    assert world.problems() == []


def test_labels_and_topology_count_together():
    world = World().apply(web()).apply(failover("version", "topology.kubernetes.io/region"))
    assert priorities(world.sidecar(labels={"version": "v1"}, locality="us/1")) == ["c", "a", "b"]
    assert priorities(world.sidecar(labels={"version": "v1"}, locality="eu/1")) == ["a", "c", "b"]
    assert priorities(world.sidecar(labels={"version": "v2"}, locality="us/1")) == ["b", "ac"]


def test_a_gateway_has_labels_and_a_place_too():
    world = (
        World()
        .apply(web())
        .apply(failover("version", "topology.kubernetes.io/region"))
        .apply("""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec: {hosts: [shop.example.com], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
""")
    )
    labels = {"istio": "ingressgateway", "version": "v1"}
    assert priorities(world.gateway(labels=labels, locality="us/1")) == ["c", "a", "b"]
    assert priorities(world.gateway(labels=labels, locality="eu/1")) == ["a", "c", "b"]


def test_the_meshs_priorities_count_where_sick_endpoints_are_found():
    settings = Settings(locality_lb_setting=LocalityLbSetting(enabled=True, failover_priority=("version",)))
    world = World(settings).apply(web())
    client = world.sidecar(labels={"version": "v2"})
    assert priorities(client) == ["abc"]
    world.apply(RULE % ("web", f"trafficPolicy: {{{EJECTS}}}"))
    assert priorities(client) == ["b", "ac"]


def test_callers_share_unless_a_label_is_looked_at():
    world = World().apply(web())
    proxies = [world.sidecar(labels={"x": str(i)}).connection for i in range(3)]

    def stacks() -> set[tuple[Layer, ...]]:
        scopes = [world.graph.scope(proxy) for proxy in proxies]
        return {scope.shared for scope in scopes if scope is not None}

    assert len(stacks()) == 1
    world.apply(failover("version"))
    assert len(stacks()) == 1


# Selectors and places at once


def test_a_rule_for_some_callers_knows_where_they_stand():
    world = (
        World()
        .apply(web())
        .apply(failover("topology.kubernetes.io/region", more=", workloadSelector: {matchLabels: {app: shop}}"))
    )
    chosen = world.sidecar(labels={"app": "shop"}, locality="us/1")
    assert priorities(chosen) == ["c", "ab"]
    assert priorities(world.sidecar(labels={"app": "other"}, locality="us/1")) == ["abc"]
    world.delete("DestinationRule", "web")
    assert priorities(chosen) == ["abc"]


def test_a_rule_for_some_callers_acts_on_a_gateway_with_the_labels():
    world = (
        World()
        .apply(web())
        .apply(
            RULE
            % (
                "web",
                "workloadSelector: {matchLabels: {istio: ingressgateway}}, subsets: [{name: v2, labels: {version: v2}}]",
            )
        )
        .apply("""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [edge]
  http:
  - match: [{sourceLabels: {role: staff}}]
    directResponse: {status: 204}
  - route: [{destination: {host: web, subset: v2}}]
""")
    )
    plain = world.gateway("default")
    assert priorities(plain, CLUSTER.replace("||", "|v2|")) == ["b"]
    assert plain.enter("shop.example.com").subset == "v2"
    staff = world.gateway("default", labels={"istio": "ingressgateway", "role": "staff"})
    assert staff.enter("shop.example.com").status == 204


# What a Service itself prefers


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("PreferClose", ["a", "b", "c"]),
        ("PreferSameZone", ["a", "b", "c"]),
        ("PreferSameNode", ["a", "b", "c"]),
    ],
)
def test_traffic_distribution(wish, expected):
    world = World().apply(web(trafficDistribution=wish))
    assert priorities(world.sidecar(locality="eu/1", node_name="n1")) == expected


def test_a_caller_on_a_node_without_endpoints_still_prefers_its_zone():
    world = World().apply(web(trafficDistribution="PreferSameNode"))
    assert priorities(world.sidecar(locality="us/1", node_name="n9")) == ["c", "ab"]


def test_internal_traffic_policy_local():
    world = World().apply(web(internalTrafficPolicy="Local"))
    assert priorities(world.sidecar(locality="eu/1", node_name="n1")) == ["a"]
    assert priorities(world.sidecar(locality="eu/1", node_name="n9")) == []


def test_without_wishes_nobody_has_endpoints_of_their_own():
    world = World().apply(web())
    world.sidecar(locality="eu/1", node_name="n1", labels={"app": "shop"})
    assert {layer.kind for (layer, _), _ in world.graph.store.items(world.graph.outbound.endpoints)} == {"mesh"}


# Names that proxies resolve themselves

RESOLVED = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: names, namespace: default}
spec:
  hosts: [names.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
  endpoints:
  - {address: a.example.com, locality: eu/1}
  - {address: b.example.com, locality: us/1}
"""


def names_of(client):
    resources, _ = decode_resources(client.resources())
    assignment = resources.clusters["outbound|80||names.example.com"].load_assignment
    return [
        (
            group.priority,
            group.locality.region,
            [one.endpoint.address.socket_address.address for one in group.lb_endpoints],
        )
        for group in assignment.endpoints
    ]


def test_names_have_localities_and_priorities_too():
    world = World().apply(RESOLVED)
    far, near = [(0, "eu", ["a.example.com"]), (0, "us", ["b.example.com"])], world.sidecar(locality="us/1")
    assert names_of(near) == far
    world.apply(RULE.replace("host: web", "host: names.example.com") % ("names", f"trafficPolicy: {{{EJECTS}}}"))
    assert names_of(near) == [(0, "us", ["b.example.com"]), (1, "eu", ["a.example.com"])]
    assert names_of(world.sidecar(locality="eu/1")) == [(0, "eu", ["a.example.com"]), (1, "us", ["b.example.com"])]
    assert names_of(world.sidecar()) == far
    assert world.problems() == []


def test_a_name_among_addresses_is_said():
    world = World().apply("""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm, namespace: default}
spec:
  hosts: [vm.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm-1, namespace: default}
spec: {address: vm-1.internal, labels: {app: vm}}
""")
    world.sidecar()
    assert [(one.code, str(one.origin)) for one in world.problems()] == [
        ("InvalidValue", "WorkloadEntry default/vm-1 spec.address")
    ]


def test_hosts_that_a_sidecar_reaches_through_routes_alone_know_the_place_too():
    world = (
        World()
        .apply(web(trafficDistribution="PreferClose"))
        .apply("""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {egress: [{hosts: [./*]}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: front, namespace: shop}
spec: {hosts: [front.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: shop}
spec: {hosts: [front.example.com], http: [{route: [{destination: {host: web.default.svc.cluster.local}}]}]}
""")
    )
    assert priorities(world.sidecar("shop", locality="us/1")) == ["c", "ab"]
    assert priorities(world.sidecar("shop", locality="eu/1")) == ["a", "b", "c"]
    assert priorities(world.sidecar("shop")) == ["abc"]
