"""Kubernetes Services as callers see them."""

import pytest

from controlplane.ir.service import Endpoint, Protocol, Resolution, Service, ServicePort
from controlplane.mesh.service import from_service
from controlplane.model.problem import Level, Problem
from controlplane.model.settings import Settings
from tests.mesh.manifests import SETTINGS, service


def read(body: str, settings: Settings = SETTINGS, **meta) -> Service:
    found, _ = from_service(service(body, **meta), settings)
    assert found is not None
    return found


def problems(body: str, settings: Settings = SETTINGS, **meta) -> list[tuple[str, str]]:
    _, found = from_service(service(body, **meta), settings)
    assert all(isinstance(problem, Problem) and problem.message for problem in found)
    return [(problem.code, problem.origin.path) for problem in found]


def test_a_plain_service():
    found = read("clusterIP: 10.0.0.1\nselector: {app: reviews}\nports: [{port: 9080, name: http}]")
    assert found.host == "reviews.default.svc.cluster.local"
    assert found.addresses == ("10.0.0.1",)
    assert found.resolution is Resolution.ENDPOINTS
    assert found.ports == (ServicePort(9080, "http", Protocol.HTTP, 9080),)
    assert found.selector == {"app": "reviews"}
    assert found.kubernetes
    assert not found.external
    assert problems("clusterIP: 10.0.0.1\nports: [{port: 9080, name: http}]") == []


def test_the_cluster_domain_is_a_setting():
    assert read("ports: []", Settings(cluster_domain="corp")).host == "reviews.default.svc.corp"


def test_target_ports_are_numbers_or_names_and_default_to_the_port():
    ports = read(
        "ports: [{port: 80, name: a, targetPort: 8080}, {port: 81, name: b, targetPort: web}, {port: 82, name: c}]"
    ).ports
    assert [port.target for port in ports] == [8080, "web", 82]


def test_dual_stack_has_both_addresses_in_their_order():
    assert read("clusterIP: fd00::1\nclusterIPs: ['fd00::1', 10.0.0.1]\nports: []").addresses == ("fd00::1", "10.0.0.1")


def test_a_headless_service_goes_where_the_caller_dialled():
    found = read("clusterIP: None\nports: [{port: 80}]")
    assert found.headless
    assert found.resolution is Resolution.PASSTHROUGH
    assert found.addresses == ()


def test_udp_ports_are_left_alone_and_said_so():
    body = "ports: [{port: 53, name: dns, protocol: UDP}, {port: 80, name: http}]"
    assert [port.number for port in read(body).ports] == [80]
    assert problems(body) == [("PortNotProxied", "spec.ports[0]")]


def test_the_same_number_over_udp_and_tcp_is_no_conflict():
    body = "ports: [{port: 53, name: dns, protocol: UDP}, {port: 53, name: dns-tcp}]"
    assert [port.name for port in read(body).ports] == ["dns-tcp"]


def test_a_port_that_is_none_is_left_out():
    body = "ports: [{port: 0, name: a}, {port: 70000, name: b}, {port: 80, name: c}, {port: 80, name: d}]"
    assert [port.name for port in read(body).ports] == ["c"]
    assert problems(body) == [("InvalidValue", f"spec.ports[{index}].port") for index in (0, 1, 3)]


def test_an_unknown_app_protocol_is_sniffed_and_said_so():
    body = "ports: [{port: 80, name: http, appProtocol: example.com/own}]"
    assert read(body).ports[0].protocol is Protocol.AUTO
    assert problems(body) == [("UnknownAppProtocol", "spec.ports[0].appProtocol")]


def test_an_address_that_is_none_is_left_out():
    assert read("clusterIP: pending\nports: []").addresses == ()
    assert problems("clusterIP: pending\nports: []") == [("InvalidValue", "spec.clusterIPs")]


# What kube-proxy honours


def test_session_affinity_pins_clients():
    assert read("sessionAffinity: ClientIP").session_affinity
    assert problems("sessionAffinity: ClientIP\nsessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}") == []


def test_a_session_affinity_timeout_has_no_effect():
    body = "sessionAffinity: ClientIP\nsessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}"
    assert problems(body) == [("NoEffect", "spec.sessionAffinityConfig.clientIP.timeoutSeconds")]


def test_a_timeout_without_affinity_is_nobodys_business():
    assert problems("sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}") == []


def test_internal_traffic_policy_local():
    assert read("internalTrafficPolicy: Local").same_node
    assert not read("internalTrafficPolicy: Cluster").same_node


@pytest.mark.parametrize(
    ("distribution", "zone", "node"),
    [("PreferClose", True, False), ("PreferSameZone", True, False), ("PreferSameNode", False, True)],
)
def test_traffic_distribution(distribution, zone, node):
    found = read(f"trafficDistribution: {distribution}")
    assert (found.prefer_same_zone, found.prefer_same_node) == (zone, node)


def test_istios_annotation_for_traffic_distribution():
    assert read("", annotations={"networking.istio.io/traffic-distribution": "PreferClose"}).prefer_same_zone


def test_an_unknown_traffic_distribution_has_no_effect():
    assert problems("trafficDistribution: Nearby") == [("NoEffect", "spec.trafficDistribution")]


def test_publish_not_ready_addresses():
    assert read("publishNotReadyAddresses: true").publish_not_ready


# Visibility


@pytest.mark.parametrize(
    ("annotation", "seen_by"),
    [("*", ("*",)), (".", ("default",)), ("~", ("~",)), ("shop, .", ("default", "shop")), ("shop,*", ("*",))],
)
def test_export_to_annotation(annotation, seen_by):
    assert read("", annotations={"networking.istio.io/exportTo": annotation}).export_to == seen_by


def test_export_to_defaults_to_the_meshs():
    assert read("").export_to == ("*",)
    assert read("", Settings(default_service_export_to=(".",))).export_to == ("default",)


# ExternalName


def test_an_external_name_stands_for_another_host():
    found = read(
        "type: ExternalName\nexternalName: API.example.com.\nports: [{port: 443, name: https, targetPort: 8443}]"
    )
    assert found.alias_of == "api.example.com"
    assert found.resolution is Resolution.DNS
    assert found.external
    assert found.static == {443: (Endpoint("api.example.com", 443, {}),)}  # the DNS knows no targetPort


def test_an_external_name_without_ports_is_not_known_to_the_mesh():
    body = "type: ExternalName\nexternalName: api.example.com"
    assert read(body).ports == ()
    assert problems(body) == []  # whether its host brings ports, the registry knows


def test_an_external_name_needs_the_name():
    found, (problem,) = from_service(service("type: ExternalName\nports: [{port: 80}]"), SETTINGS)
    assert found is None
    assert (problem.level, problem.origin.path) == (Level.ERROR, "spec.externalName")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "169.254.169.254"])
def test_an_external_name_may_be_kept_from_leading_to_the_callers_machine(name):
    manifest = service(f"type: ExternalName\nexternalName: {name}\nports: [{{port: 80}}]")
    found, _ = from_service(manifest, Settings(refuse_local_endpoints=True))
    assert found is None
    found, _ = from_service(manifest, Settings(refuse_local_endpoints=False))
    assert found is not None
