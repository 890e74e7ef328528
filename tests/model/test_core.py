"""Core kinds: decoded as far as they are read, in any shape an API server sends them."""

import json
import time
from typing import Any

import pytest

from controlplane.model import core
from controlplane.model.kinds import BY_NAME
from controlplane.model.meta import key_of, origin_of, ref_of
from tests.model.documents import decode

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "reviews-v1-abc",
        "namespace": "default",
        "labels": {"app": "reviews", "version": "v1"},
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reviews-v1", "uid": "x", "controller": True}
        ],
        "managedFields": [{"fieldsV1": {"f:a": {}}}],
    },
    "spec": {
        "nodeName": "node-1",
        "containers": [
            {"name": "app", "image": "x", "ports": [{"containerPort": 9080, "name": "http"}], "resources": {}}
        ],
        "initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}],
        "volumes": [{"name": "x", "emptyDir": {}}],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews", "namespace": "default"},
    "spec": {
        "type": "ClusterIP",
        "selector": {"app": "reviews"},
        "clusterIP": "10.1.0.9",
        "clusterIPs": ["10.1.0.9", "fd00::9"],
        "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "appProtocol": "kubernetes.io/h2c"},
            {"name": "db", "port": 3306, "targetPort": 3307, "protocol": "TCP"},
        ],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "internalTrafficPolicy": "Local",
        "trafficDistribution": "PreferSameZone",
        "publishNotReadyAddresses": True,
    },
    "status": {"loadBalancer": {}},
}
SLICE: dict[str, Any] = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "reviews-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "reviews"}},
    "addressType": "IPv4",
    "endpoints": [
        {
            "addresses": ["10.0.0.7"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
            "nodeName": "node-1",
            "zone": "eu-1a",
            "targetRef": {"kind": "Pod", "name": "reviews-v1-abc", "namespace": "default"},
            "hints": {"forZones": [{"name": "eu-1a"}], "forNodes": [{"name": "node-1"}]},
        }
    ],
    "ports": [{"name": "http", "port": 9080, "protocol": "TCP"}],
}


@pytest.mark.parametrize("document", [POD, SERVICE, SLICE], ids=lambda one: one["kind"])
def test_unread_fields_are_no_problem(document):
    assert decode(document).problems == ()
    assert decode(json.dumps(document).encode()) == decode(document)


def test_a_pod_is_read():
    pod = decode(POD).value
    assert pod.ips == ("10.0.0.7", "fd00::7")
    assert pod.service_account == "default"
    assert pod.ready
    assert not pod.finished
    assert pod.spec.containers[0].ports[0].container_port == 9080
    assert pod.spec.init_containers[0].restart_policy == "Always"
    assert pod.meta.owners[0].name == "reviews-v1"
    assert (key_of(pod), str(ref_of(pod))) == (("default", "reviews-v1-abc"), "Pod default/reviews-v1-abc")
    assert str(origin_of(pod, "spec")) == "Pod default/reviews-v1-abc spec"


def test_a_pod_with_one_address_and_a_finished_one():
    assert core.Pod(meta=decode(POD).value.meta, status=core.PodStatus(pod_ip="1.2.3.4", phase="Succeeded")).ips == (
        "1.2.3.4",
    )
    assert core.Pod(meta=decode(POD).value.meta, status=core.PodStatus(phase="Failed")).finished


def test_a_service_is_read():
    service = decode(SERVICE).value
    assert [port.target_port for port in service.spec.ports] == ["web", 3307]
    assert service.spec.session_affinity_config.client_ip.timeout_seconds == 60
    assert service.vips == ("10.1.0.9", "fd00::9")
    assert not service.headless
    headless = decode({**SERVICE, "spec": {"clusterIP": "None"}}).value
    assert headless.headless
    assert headless.vips == ()


def test_an_endpoint_slice_is_read():
    endpoints = decode(SLICE).value
    assert endpoints.service == "reviews"
    assert endpoints.endpoints[0].conditions == core.EndpointConditions(ready=False, serving=True, terminating=True)
    assert endpoints.endpoints[0].hints.for_zones[0].name == "eu-1a"


def test_an_empty_slice_may_say_null():
    assert decode({**SLICE, "endpoints": None, "ports": None}).value.endpoints == ()


def test_items_of_a_list_are_decoded_by_the_kind_of_the_list():
    item = {key: value for key, value in POD.items() if key not in {"apiVersion", "kind"}}
    assert decode(json.dumps(item).encode(), kind=BY_NAME[("", "Pod")]) == decode(POD)


def test_only_the_bad_part_of_a_core_object_is_lost():
    document = {
        **SERVICE,
        "spec": {**SERVICE["spec"], "ports": [{"port": "x"}, {"name": "ok", "port": 80}], "selector": {"a": 1}},
    }
    decoded = decode(document)
    assert [port.name for port in decoded.value.spec.ports] == ["ok"]
    assert {problem.origin.path for problem in decoded.problems} == {"spec.ports[0].port", "spec.selector[a]"}


def test_secrets_do_not_print():
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"tls.key": "c2VjcmV0"}}
    value = decode(secret).value
    assert value.data["tls.key"] == b"secret"
    assert "secret'" not in repr(value)
    assert "c2VjcmV0" not in repr(value)
    bad = decode({**secret, "data": {"tls.key": "not base64: hunter2"}})
    assert "hunter2" not in str(bad)
    assert bad.value.data == {}


def test_equality_does_not_see_the_noise_of_writes():
    noisy = {**POD, "metadata": {**POD["metadata"], "uid": "1", "resourceVersion": "2", "generation": 3}}
    assert decode(noisy).value == decode(POD).value
    assert hash(decode(noisy).value.meta) == hash(decode(POD).value.meta)
    relabelled = {**POD, "metadata": {**POD["metadata"], "labels": {"app": "other"}}}
    assert decode(relabelled).value != decode(POD).value
    assert decode(POD).value.meta != "a string"


def test_ten_thousand_pods_decode_in_well_under_a_second():
    raw = json.dumps(POD).encode()
    begin = time.process_time()
    for _ in range(10_000):
        decode(raw)
    assert time.process_time() - begin < 1.0
