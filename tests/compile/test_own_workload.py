"""Which object a proxy stands beside, by name or by address, and what follows from it: what it serves, where it is."""

import pytest

from controlplane.explain.resources import decode as decode_resources
from controlplane.snapshot import types
from tests.world import World

VM = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: default}
spec: {address: 10.1.0.9, labels: {app: vm}, ports: {http: 8088}, locality: eu/1}
"""
SELECTS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vms, namespace: default}
spec:
  hosts: [vms.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: tcp, protocol: TCP, targetPort: 8181}]
  workloadSelector: {labels: {app: vm}}
"""
LISTS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vms, namespace: %s}
spec:
  hosts: [vms.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.1.0.8}, {address: 10.1.0.9, ports: {http: 9999}}]
"""
POD = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default, labels: {app: web, version: v1}}
spec: {nodeName: n1, containers: [{name: web, ports: [{name: web, containerPort: %d}]}]}
status: {podIP: 10.1.0.9, phase: Running}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: "1"}}
"""
FAR = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: default}
spec:
  hosts: [far.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.1, locality: us/1}, {address: 192.0.2.2, locality: eu/1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far, namespace: default}
spec: {host: far.example.com, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}}
"""


def served(world, **proxy):
    names = world.sidecar(**proxy).names(types.CLUSTER)
    return sorted(int(name.split("|")[1]) for name in names if name.startswith("inbound|"))


def preferred(client):
    """The addresses of far.example.com, the preferred first."""
    resources, _ = decode_resources(client.resources())
    groups = sorted(resources.endpoints["outbound|80||far.example.com"].endpoints, key=lambda group: group.priority)
    return [one.endpoint.address.socket_address.address for group in groups for one in group.lb_endpoints]


@pytest.mark.parametrize(
    "proxy",
    [
        {"name": "vm", "ips": ("10.1.0.1",)},
        {"ips": ("10.1.0.9",)},
        {"ips": ("10.1.0.9",), "labels": {"app": "vm", "more": "of its own"}},
    ],
)
def test_a_workload_entry_is_found_and_its_ports_are_served(proxy):
    assert served(World().apply(VM).apply(SELECTS), **proxy) == [8088, 8181]


def test_labels_without_an_object_are_enough_for_numbered_ports():
    assert served(World().apply(SELECTS), labels={"app": "vm"}) == [80, 8181]


def test_labels_that_contradict_tell_workloads_at_one_address_apart():
    world = World().apply(POD % ("a", 8765)).apply((POD % ("b", 8766)).replace("version: v1", "version: v2"))
    assert served(world, ips=("10.1.0.9",), labels={"app": "web", "version": "v2"}) == [8766]
    assert served(world, ips=("10.1.0.9",), labels={"app": "web"}) == []


def test_a_pod_at_the_address_says_what_its_port_names_mean():
    world = World().apply(POD % ("a", 8765))
    assert served(world, ips=("10.1.0.9",)) == [8765]
    world.delete("Pod", "a")
    assert served(world, ips=("10.1.0.9",)) == []


@pytest.mark.parametrize(("namespace", "ports"), [("default", [9999]), ("other", [])])
def test_an_endpoint_that_a_service_entry_of_its_namespace_lists_is_served(namespace, ports):
    assert served(World().apply(LISTS % namespace), ips=("10.1.0.9",)) == ports


@pytest.mark.parametrize(
    ("objects", "proxy", "near"),
    [
        (VM, {"ips": ("10.1.0.9",)}, "192.0.2.2"),
        (POD % ("a", 80), {"ips": ("10.1.0.9",)}, "192.0.2.2"),
        (SELECTS, {"labels": {"istio-locality": "eu.1"}}, "192.0.2.2"),
        (SELECTS, {"labels": {"istio-locality": "eu.1"}, "locality": "us/1"}, "192.0.2.2"),
        (SELECTS, {"locality": "us/1"}, "192.0.2.1"),
    ],
)
def test_where_it_stands(objects, proxy, near):
    assert preferred(World().apply(FAR).apply(objects).sidecar(**proxy))[0] == near


SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: %s, namespace: default}
spec:
  %s
  ingress:
  - {port: {number: %d, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:8080", %s}
"""


def test_a_captured_workload_may_have_a_listener_with_a_socket_of_its_own():
    bound = "captureMode: NONE, bind: 172.16.1.32"
    world = World().apply((SIDECAR % ("own", "", 80, bound)) + "  - {port: {number: 81, protocol: TCP, name: tcp}}")
    client = world.sidecar()
    assert {"172.16.1.32_80", "virtualInbound"} <= set(client.names(types.LISTENER))
    assert served(world) == [80, 81]


def test_of_two_sidecars_for_one_workload_the_older_acts_and_the_other_is_told():
    world = World().apply(SIDECAR % ("a", "", 81, "")).apply(SIDECAR % ("b", "", 82, ""))
    assert served(world, labels={"app": "web"}) == [81]
    assert [(str(one.origin), str(one.level)) for one in world.problems("Conflicted")] == [
        ("Sidecar default/b spec", "error")
    ]
    for name, port, labels in (("c", 83, "app: web"), ("d", 84, "tier: front")):
        world.apply(SIDECAR % (name, f"workloadSelector: {{labels: {{{labels}}}}}", port, ""))
    assert served(world, labels={"tier": "front"}) == [84]
    assert [one for one in world.problems("Conflicted") if one.origin.ref.name == "d"] == []
    assert served(world, labels={"app": "web", "tier": "front"}) == [83]
    (told,) = (one for one in world.problems("Conflicted") if one.origin.ref.name == "d")
    assert told.origin.path == "spec.workloadSelector"
