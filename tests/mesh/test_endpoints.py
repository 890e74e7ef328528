"""EndpointSlices and workloads as endpoints of a service port."""

import itertools

import pytest

from controlplane.ir.service import Endpoint, Health, Service, Workload
from controlplane.mesh.endpoints import from_slices, from_workloads, problems_of_slice
from controlplane.mesh.service import from_service
from controlplane.mesh.serviceentry import from_service_entry
from controlplane.mesh.workload import from_pod, from_workload_entry
from controlplane.model.core import EndpointSlice
from tests.mesh.manifests import SETTINGS, endpoint_slice, pod, service, service_entry, workload_entry

NODES = {"node-r": "eu/eu-b"}


def reviews(body: str = "ports: [{port: 80, name: http, targetPort: web}]") -> Service:
    found, _ = from_service(service(body), SETTINGS)
    assert found is not None
    return found


def read(
    *slices: EndpointSlice, of: Service | None = None, pods: dict[str, Workload] | None = None
) -> tuple[Endpoint, ...]:
    of = of or reviews()
    lookup = {("default", name): found for name, found in (pods or {}).items()}
    return from_slices(
        of, of.ports[0], slices, lambda namespace, name: lookup.get((namespace, name)), lambda node: NODES.get(node, "")
    )


def addresses(endpoints: tuple[Endpoint, ...]) -> list[str]:
    return [f"{one.address}:{one.port}" for one in endpoints]


# Ports


def test_the_slices_port_is_found_by_name():
    one = endpoint_slice(
        "ports: [{name: metrics, port: 9}, {name: http, port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]"
    )
    assert addresses(read(one)) == ["10.1.0.1:8080"]


def test_pods_may_resolve_a_named_port_differently():
    old = endpoint_slice("ports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]")
    new = endpoint_slice("ports: [{name: http, port: 9090}]\nendpoints: [{addresses: [10.1.0.2]}]")
    assert addresses(read(old, new)) == ["10.1.0.1:8080", "10.1.0.2:9090"]


def test_a_single_port_may_have_no_name():
    one = endpoint_slice("ports: [{port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]")
    assert addresses(read(one, of=reviews("ports: [{port: 80}]"))) == ["10.1.0.1:8080"]


@pytest.mark.parametrize(
    "ports",
    ["[]", "[{name: other, port: 8080}]", "[{name: http, port: 8080, protocol: UDP}]", "[{name: http, port: 70000}]"],
)
def test_without_the_port_there_is_no_endpoint(ports):
    assert read(endpoint_slice(f"ports: {ports}\nendpoints: [{{addresses: [10.1.0.1]}}]")) == ()


def test_a_slice_for_all_ports_serves_the_target_port():
    one = endpoint_slice("ports: [{name: http}]\nendpoints: [{addresses: [10.1.0.1]}]")
    assert addresses(read(one, of=reviews("ports: [{port: 80, name: http, targetPort: 8080}]"))) == ["10.1.0.1:8080"]
    assert read(one) == ()  # a name means nothing without a Pod


# Conditions


@pytest.mark.parametrize(
    ("conditions", "health"),
    [
        ("{}", Health.HEALTHY),  # absent means ready
        ("{ready: true}", Health.HEALTHY),
        ("{ready: true, serving: true, terminating: false}", Health.HEALTHY),
        ("{ready: false}", None),
        ("{ready: false, serving: false, terminating: true}", None),
        ("{ready: false, serving: true, terminating: true}", Health.DRAINING),
        ("{ready: false, terminating: true}", Health.DRAINING),  # serving absent means serving
        ("{ready: false, serving: true}", None),
    ],
)
def test_conditions(conditions, health):
    one = endpoint_slice(
        f"ports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: [10.1.0.1], conditions: {conditions}}}]"
    )
    assert [endpoint.health for endpoint in read(one)] == ([] if health is None else [health])


def test_publish_not_ready_addresses_takes_all():
    one = endpoint_slice(
        "ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.1], conditions: {ready: false}}]"
    )
    of = reviews("publishNotReadyAddresses: true\nports: [{port: 80, name: http}]")
    assert [endpoint.health for endpoint in read(one, of=of)] == [Health.HEALTHY]


# Several slices


def three_slices() -> list[EndpointSlice]:
    return [
        endpoint_slice(
            "ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.9]}, {addresses: [10.1.0.1]}]"
        ),
        endpoint_slice(
            "ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.1], conditions: {ready: false, terminating: true}}]"
        ),
        endpoint_slice("ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.5]}]"),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_slices_does_not_show(order):
    slices = three_slices()
    assert read(*[slices[index] for index in order]) == read(*slices)


def test_an_address_in_two_slices_is_one_endpoint_the_healthier():
    found = read(*three_slices())
    assert addresses(found) == ["10.1.0.1:80", "10.1.0.5:80", "10.1.0.9:80"]
    assert found[0].health is Health.HEALTHY


def test_only_the_first_address_of_an_endpoint_counts():
    one = endpoint_slice(
        "ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0.1, 10.1.0.2]}, {addresses: []}]"
    )
    assert addresses(read(one)) == ["10.1.0.1:80"]


def test_slices_of_dns_names_are_not_used_and_said_so():
    one = endpoint_slice("addressType: FQDN\nports: [{name: http, port: 80}]\nendpoints: [{addresses: [example.com]}]")
    assert read(one) == ()
    assert [problem.code for problem in problems_of_slice(one)] == ["SliceNotUsed"]


def test_an_address_that_is_none_is_left_out_alone_and_said_so():
    one = endpoint_slice("ports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.1.0]}, {addresses: [10.1.0.2]}]")
    assert addresses(read(one)) == ["10.1.0.2:80"]
    assert [problem.origin.path for problem in problems_of_slice(one)] == ["endpoints[0].addresses[0]"]


# Pods behind endpoints


def a_pod(name: str = "reviews-a", ip: str = "10.1.0.1", **meta) -> Workload:
    body = f"spec: {{nodeName: node-a, serviceAccountName: reviews}}\nstatus: {{podIP: {ip}}}"
    labels = {"version": "v1", "security.istio.io/tlsMode": "istio"}
    found = from_pod(pod(body, name=name, labels=labels, **meta), "eu/eu-a")
    assert found is not None
    return found


def pointing_to(ref: str, more: str = "") -> EndpointSlice:
    return endpoint_slice(
        f"ports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: [10.1.0.1], targetRef: {ref}{more}}}]"
    )


def test_an_endpoint_is_what_its_pod_is():
    (found,) = read(pointing_to("{kind: Pod, name: reviews-a, namespace: default}"), pods={"reviews-a": a_pod()})
    assert found.labels["version"] == "v1"
    assert (found.locality, found.node) == ("eu/eu-a", "node-a")
    assert found.service_account == "default/reviews"
    assert found.mutual_tls
    assert found.workload == "default/reviews-a"


def test_without_a_pod_the_slice_says_node_and_zone():
    (found,) = read(pointing_to("{kind: Pod, name: gone}", ", nodeName: node-b, zone: eu-b"))
    assert (found.node, found.locality, found.labels, found.workload) == ("node-b", "/eu-b", {}, "")


@pytest.mark.parametrize(
    "ref",
    ["{kind: Pod, name: reviews-a, namespace: victim}", "{kind: VM, name: reviews-a}", "{kind: Pod, name: other}"],
)
def test_an_endpoint_cannot_claim_what_is_not_its_own(ref):
    (found,) = read(pointing_to(ref), pods={"reviews-a": a_pod()})
    assert (found.labels, found.service_account, found.mutual_tls) == ({}, "", False)


def test_a_pod_of_another_namespace_is_said():
    one = pointing_to("{kind: Pod, name: reviews-a, namespace: victim}")
    assert [(problem.code, problem.origin.path) for problem in problems_of_slice(one)] == [
        ("ForeignEndpoint", "endpoints[0].targetRef")
    ]


def test_a_pod_that_moved_is_not_the_one_meant():
    (found,) = read(pointing_to("{kind: Pod, name: reviews-a}"), pods={"reviews-a": a_pod(ip="10.1.0.77")})
    assert found.workload == ""


def test_a_node_knows_its_region_even_if_no_pod_does():
    (found,) = read(pointing_to("{kind: Pod, name: gone}", ", nodeName: node-r, zone: eu-b"))
    assert (found.node, found.locality) == ("node-r", "eu/eu-b")


def test_hints_say_which_zones_an_endpoint_is_for():
    (found,) = read(pointing_to("{kind: Pod, name: gone}", ", hints: {forZones: [{name: eu-a}, {name: eu-b}]}"))
    assert found.zones == ("eu-a", "eu-b")


# Dual stack


def dual_stack() -> tuple[list[EndpointSlice], dict[str, Workload]]:
    body = "status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}]}"
    found = from_pod(pod(body, name="reviews-a"), "")
    assert found is not None
    ref = "targetRef: {kind: Pod, name: reviews-a}"
    slices = [
        endpoint_slice(
            f"addressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: [10.1.0.1], {ref}}}]"
        ),
        endpoint_slice(
            f"addressType: IPv6\nports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: ['fd00::1'], {ref}}}, {{addresses: ['fd00::2']}}]"
        ),
    ]
    return slices, {"reviews-a": found}


@pytest.mark.parametrize(
    ("vip", "first", "second"), [("10.0.0.1", "10.1.0.1", "fd00::1"), ("fd00::9", "fd00::1", "10.1.0.1")]
)
def test_dual_stack_is_one_endpoint_with_two_addresses(vip, first, second):
    slices, pods = dual_stack()
    of = reviews(f"clusterIP: '{vip}'\nports: [{{port: 80, name: http}}]")
    found = {endpoint.address: endpoint.more_addresses for endpoint in read(*slices, of=of, pods=pods)}
    assert found == {first: (second,), "fd00::2": ()}


# Workloads found by a selector


def entry(body: str) -> Service:
    (found, *_), _ = from_service_entry(service_entry(body), SETTINGS)
    return found


def selected(of: Service, *workloads: Workload, **options) -> list[str]:
    return addresses(from_workloads(of, of.ports[0], workloads, **options))


BY_LABEL = "hosts: [db.example.com]\nresolution: STATIC\nworkloadSelector: {labels: {app: db}}\n"


def test_a_workload_entry_serves_a_port_by_its_name_else_by_target():
    of = entry(BY_LABEL + "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]")
    named = from_workload_entry(workload_entry("address: 10.9.0.1\nports: {http: 9999}"))
    plain = from_workload_entry(workload_entry("address: 10.9.0.2"))
    assert selected(of, plain, named) == ["10.9.0.1:9999", "10.9.0.2:8080"]


def a_ready_pod(more: str = "") -> Workload:
    body = f"""
    spec: {{containers: [{{name: app, ports: [{{containerPort: 8081, name: http}}, {{containerPort: 8082, name: web}}]}}]}}
    status: {{podIP: 10.1.0.1, conditions: [{{type: Ready, status: "True"}}]{more}}}
    """
    found = from_pod(pod(body), "")
    assert found is not None
    return found


def test_a_pod_behind_a_service_entry_serves_its_port_of_that_name():
    of = entry(BY_LABEL + "ports: [{number: 80, name: http, protocol: HTTP}]")
    assert selected(of, a_ready_pod()) == ["10.1.0.1:8081"]


@pytest.mark.parametrize(("target", "found"), [("8083", ["10.1.0.1:8083"]), ("web", ["10.1.0.1:8082"]), ("none", [])])
def test_a_pod_behind_a_service_serves_the_target_port(target, found):
    assert selected(reviews(f"ports: [{{port: 80, name: http, targetPort: {target}}}]"), a_ready_pod()) == found


def test_workloads_that_are_not_ready_are_left_out():
    of = entry(BY_LABEL + "ports: [{number: 80, name: http, protocol: HTTP}]")
    waiting = from_pod(pod("status: {podIP: 10.1.0.1}"), "")
    assert waiting is not None
    assert selected(of, waiting) == []


def test_names_are_endpoints_only_where_the_proxy_resolves_names():
    named = from_workload_entry(workload_entry("address: db-1.example.com"))
    ports = "ports: [{number: 80, name: http, protocol: HTTP}]"
    assert selected(entry(BY_LABEL + ports), named) == []
    assert selected(entry(BY_LABEL.replace("STATIC", "DNS") + ports), named) == ["db-1.example.com:80"]


def test_a_unix_socket_has_no_port():
    of = entry(BY_LABEL + "ports: [{number: 80, name: http, protocol: HTTP}]")
    assert selected(of, from_workload_entry(workload_entry("address: unix:///run/db.sock"))) == [
        "unix:///run/db.sock:0"
    ]


def test_the_callers_own_machine_can_be_refused():
    of = entry(BY_LABEL + "ports: [{number: 80, name: http, protocol: HTTP}]")
    local = from_workload_entry(workload_entry("address: 127.0.0.1"))
    assert selected(of, local) == ["127.0.0.1:80"]
    assert selected(of, local, refuse_local=True) == []
