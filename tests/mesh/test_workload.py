"""Pods and WorkloadEntries: what callers need to know, and nothing that changes while they merely run."""

import pytest

from controlplane.mesh.workload import (
    from_pod,
    from_workload_entry,
    locality_of_node,
    problems_of_workload_entry,
)
from tests.mesh.manifests import manifest, pod, workload_entry

RUNNING = """
spec:
  nodeName: node-a
  serviceAccountName: reviews
  containers: [{name: app, ports: [{containerPort: 8080, name: web}, {containerPort: 53, name: dns, protocol: UDP}]}]
  initContainers: [{name: proxy, restartPolicy: Always, ports: [{containerPort: 15090, name: metrics}]}]
status:
  phase: Running
  podIP: 10.1.0.1
  podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}]
  conditions: [{type: Ready, status: "True"}]
"""


def test_a_running_pod():
    found = from_pod(pod(RUNNING, labels={"app": "reviews"}), "eu/eu-a")
    assert found is not None
    assert found.addresses == ("10.1.0.1", "fd00::1")
    assert found.ports == {"web": 8080, "metrics": 15090}
    assert found.service_account == "default/reviews"
    assert (found.node, found.locality) == ("node-a", "eu/eu-a")
    assert found.labels == {"app": "reviews"}
    assert found.ready
    assert not found.mutual_tls


def test_a_pod_that_merely_runs_stays_equal():
    before = pod(RUNNING, resourceVersion="1")
    after = pod(RUNNING.replace('"True"}]', '"True", lastProbeTime: "2026-01-01T00:00:00Z"}]'), resourceVersion="2")
    assert from_pod(before, "") == from_pod(after, "")


@pytest.mark.parametrize(
    "status", ["{phase: Pending}", "{phase: Succeeded, podIP: 10.1.0.1}", "{phase: Failed, podIP: 10.1.0.1}"]
)
def test_a_pod_without_an_address_of_its_own_is_nobody(status):
    assert from_pod(pod(f"status: {status}"), "") is None


def test_a_pod_that_is_being_deleted_is_not_ready():
    found = from_pod(pod(RUNNING, deletionTimestamp="2026-01-01T00:00:00Z"), "")
    assert found is not None
    assert not found.ready


def test_labels_say_network_locality_and_whether_a_sidecar_stands_there():
    labels = {
        "topology.istio.io/network": "net-1",
        "istio-locality": "us.us-b.rack-7",
        "security.istio.io/tlsMode": "istio",
    }
    found = from_pod(pod(RUNNING, labels=labels), "eu/eu-a")
    assert found is not None
    assert (found.network, found.locality, found.mutual_tls) == ("net-1", "us/us-b/rack-7", True)


def test_a_workload_entry():
    entry = workload_entry(
        """
        address: 10.9.0.1
        ports: {http: 8080}
        labels: {app: reviews, version: v9}
        network: net-1
        locality: eu/eu-a
        weight: 5
        serviceAccount: reviews
        """,
        labels={"app": "other", "team": "a"},
    )
    found = from_workload_entry(entry)
    assert found.addresses == ("10.9.0.1",)
    assert found.ports == {"http": 8080}
    assert found.labels == {"app": "reviews", "version": "v9", "team": "a"}  # the spec's win over the object's
    assert (found.network, found.locality, found.weight) == ("net-1", "eu/eu-a", 5)
    assert found.service_account == "default/reviews"
    assert found.ready
    (problem,) = problems_of_workload_entry(entry)
    assert (problem.code, problem.origin.path) == ("FieldNotSupportedYet", "spec.network")


def test_a_workload_entry_weighs_one_by_default():
    assert from_workload_entry(workload_entry("address: 10.9.0.1\nweight: 0")).weight == 1


def test_a_workload_entry_without_an_address_is_no_endpoint():
    entry = workload_entry("labels: {app: reviews}")
    assert from_workload_entry(entry).addresses == ()
    (problem,) = problems_of_workload_entry(entry)
    assert problem.origin.path == "spec.address"


@pytest.mark.parametrize(
    ("labels", "locality"),
    [
        ({}, ""),
        ({"topology.kubernetes.io/region": "eu"}, "eu"),
        ({"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-a"}, "eu/eu-a"),
        (
            {
                "topology.kubernetes.io/region": "eu",
                "topology.kubernetes.io/zone": "eu-a",
                "topology.istio.io/subzone": "rack-7",
            },
            "eu/eu-a/rack-7",
        ),
        ({"topology.kubernetes.io/zone": "eu-a"}, "/eu-a"),
        (
            {"failure-domain.beta.kubernetes.io/region": "eu", "failure-domain.beta.kubernetes.io/zone": "eu-a"},
            "eu/eu-a",
        ),
    ],
)
def test_where_a_node_stands(labels, locality):
    assert locality_of_node(manifest("v1", "Node", "", name="node-a", namespace="", labels=labels)) == locality
