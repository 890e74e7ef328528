"""ServiceEntries as callers see them; what cannot work is taken out in the smallest unit."""

import pytest

from controlplane.ir.service import Protocol, Resolution, Service, ServicePort
from controlplane.mesh.serviceentry import from_service_entry
from controlplane.model.meta import Meta
from controlplane.model.serviceentry import Resolution as Declared
from controlplane.model.serviceentry import ServiceEntry, ServiceEntryPort, ServiceEntrySpec, WorkloadEntrySpec
from controlplane.model.settings import Settings
from tests.mesh.manifests import SETTINGS, service_entry

HTTP = "ports: [{number: 80, name: http, protocol: HTTP}]\n"
API = "hosts: [api.example.com]\n" + HTTP


def read(body: str, settings: Settings = SETTINGS, **meta) -> Service:
    (found, *_), _ = from_service_entry(service_entry(body, **meta), settings)
    return found


def written(settings: Settings = SETTINGS, **spec) -> tuple[tuple[Service, ...], list[tuple[str, str]]]:
    """What becomes of a spec that no decoder has looked at: the front end stands on its own."""
    port = ServiceEntryPort(number=80, name="http", protocol="HTTP")
    whole = ServiceEntrySpec(**{"hosts": ("api.example.com",), "ports": (port,), **spec})
    services, problems = from_service_entry(
        ServiceEntry(meta=Meta(name="e", namespace="default"), spec=whole), settings
    )
    return services, [(problem.code, problem.origin.path) for problem in problems]


LAPTOP = Settings(refuse_local_endpoints=False)


def endpoints(found: Service, port: int = 80) -> list[str]:
    return [f"{one.address}:{one.port}" for one in found.static.get(port, ())]


@pytest.mark.parametrize(
    ("declared", "resolution"),
    [
        ("", Resolution.PASSTHROUGH),
        ("resolution: NONE", Resolution.PASSTHROUGH),
        ("resolution: STATIC\nendpoints: [{address: 1.2.3.4}]", Resolution.ENDPOINTS),
        ("resolution: DNS", Resolution.DNS),
        ("resolution: DNS_ROUND_ROBIN", Resolution.DNS_ROUND_ROBIN),
        ("resolution: DYNAMIC_DNS", Resolution.DYNAMIC_DNS),
    ],
)
def test_resolutions(declared, resolution):
    assert read(API + declared).resolution is resolution


def test_each_host_is_a_service():
    services, problems = from_service_entry(service_entry("hosts: [a.example.com, B.example.com]\n" + HTTP), SETTINGS)
    assert [found.host for found in services] == ["a.example.com", "b.example.com"]
    assert problems == ()


def test_it_is_outside_the_mesh_unless_it_says_otherwise():
    assert read(API).external
    assert read(API + "location: MESH_EXTERNAL").external
    assert not read(API + "location: MESH_INTERNAL").external


def test_ports():
    found = read(
        "hosts: [a.example.com]\nresolution: DNS\nports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: web, protocol: '', targetPort: 8080}]"
    )
    assert found.ports == (
        ServicePort(443, "tls", Protocol.TLS, 443),
        ServicePort(80, "web", Protocol.AUTO, 8080),
    )


@pytest.mark.parametrize(
    ("export_to", "seen_by"),
    [("", ("*",)), ("exportTo: ['.']", ("default",)), ("exportTo: [shop, '.']", ("default", "shop"))],
)
def test_export_to(export_to, seen_by):
    assert read(API + export_to).export_to == seen_by


def test_subject_alt_names_are_kept():
    assert read(API + "subjectAltNames: [spiffe://x/y]").subject_alt_names == ("spiffe://x/y",)


# Addresses


def test_a_block_of_one_address_is_that_address():
    assert read(API + "addresses: [1.2.3.4, 5.6.7.8/32, 10.1.2.3/8]").addresses == ("1.2.3.4", "5.6.7.8", "10.0.0.0/8")


def test_a_block_needs_a_resolution_that_keeps_the_dialled_address():
    (found,), problems = written(addresses=("10.0.0.0/8", "1.2.3.4"), resolution=Declared.DNS)
    assert found.addresses == ("1.2.3.4",)
    assert problems == [("InvalidValue", "spec.addresses[0]")]


def test_an_address_that_is_none_is_left_out():
    (found,), problems = written(addresses=("1.2.3", "1.2.3.4"))
    assert found.addresses == ("1.2.3.4",)
    assert problems == [("InvalidValue", "spec.addresses[0]")]


def test_a_tcp_port_without_an_address_takes_calls_of_others():
    _, problems = written(ports=(ServiceEntryPort(number=5432, name="pg", protocol="TCP"),), resolution=Declared.DNS)
    assert problems == [("ServiceEntryAddressesRequired", "spec.addresses")]


# Endpoints


def test_dns_without_endpoints_asks_for_the_host():
    assert endpoints(read(API + "resolution: DNS")) == ["api.example.com:80"]


def test_each_port_has_the_endpoints_ports():
    body = """
    hosts: [a.example.com]
    ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8000}, {number: 81, name: admin, protocol: HTTP}]
    resolution: STATIC
    endpoints: [{address: 10.0.0.2, ports: {http: 8080}}, {address: 10.0.0.1}]
    """
    found = read(body)
    assert endpoints(found, 80) == ["10.0.0.1:8000", "10.0.0.2:8080"]
    assert endpoints(found, 81) == ["10.0.0.1:81", "10.0.0.2:81"]


def test_an_endpoint_is_what_it_says():
    labels = "{version: v1, security.istio.io/tlsMode: istio}"
    more = f"labels: {labels}, locality: eu/eu-a, network: net-1, weight: 7, serviceAccount: db"
    found = read(API + f"resolution: STATIC\nendpoints: [{{address: 10.0.0.1, {more}}}]")
    (only,) = found.static[80]
    assert only.labels["version"] == "v1"
    assert (only.locality, only.network, only.weight) == ("eu/eu-a", "net-1", 7)
    assert only.service_account == "default/db"
    assert only.mutual_tls


def test_a_unix_socket_is_an_endpoint_without_a_port():
    socket = (WorkloadEntrySpec(address="unix:///run/x.sock"),)
    (found,), problems = written(LAPTOP, endpoints=socket, resolution=Declared.STATIC)
    assert (endpoints(found), problems) == (["unix:///run/x.sock:0"], [])
    (found,), problems = written(endpoints=socket, resolution=Declared.STATIC)
    assert (endpoints(found), problems) == ([], [("InvalidValue", "spec.endpoints[0]")])


def test_names_of_endpoints_are_resolved():
    body = "resolution: DNS\nendpoints: [{address: b.example.net}, {address: a.example.net, ports: {http: 8080}}]"
    assert endpoints(read(API + body)) == ["a.example.net:8080", "b.example.net:80"]


@pytest.mark.parametrize(
    ("address", "resolution"),
    [
        (None, Declared.STATIC),
        ("db.example.com", Declared.STATIC),
        ("unix://relative", Declared.STATIC),
        ("unix:///run/x.sock", Declared.DNS),
        ("*.example.com", Declared.DNS),
        ("a b", Declared.DNS),
    ],
)
def test_an_endpoint_that_cannot_be_is_left_out_alone(address, resolution):
    good, bad = WorkloadEntrySpec(address="10.0.0.1"), WorkloadEntrySpec(address=address)
    (found,), problems = written(endpoints=(bad, good), resolution=resolution)
    assert endpoints(found) == ["10.0.0.1:80"]
    assert problems == [("InvalidValue", "spec.endpoints[0]")]


def test_when_all_endpoints_are_bad_nothing_takes_their_place():
    (found,), _ = written(endpoints=(WorkloadEntrySpec(address="*"),), resolution=Declared.DNS)
    assert found.static == {}


def test_an_endpoints_port_out_of_range_takes_the_endpoint_out():
    (found,), problems = written(
        endpoints=(WorkloadEntrySpec(address="10.0.0.1", ports={"http": 70000}),), resolution=Declared.STATIC
    )
    assert found.static == {}
    assert problems == [("InvalidValue", "spec.endpoints[0]")]


def test_dns_round_robin_takes_the_first_endpoint():
    two = (WorkloadEntrySpec(address="b.example.com"), WorkloadEntrySpec(address="a.example.com"))
    (found,), problems = written(endpoints=two, resolution=Declared.DNS_ROUND_ROBIN)
    assert endpoints(found) == ["b.example.com:80"]
    assert problems == [("InvalidValue", "spec.endpoints[1]")]


@pytest.mark.parametrize("resolution", [Declared.NONE, Declared.DYNAMIC_DNS])
def test_endpoints_mean_nothing_where_the_proxy_finds_the_address(resolution):
    (found,), problems = written(endpoints=(WorkloadEntrySpec(address="10.0.0.1"),), resolution=resolution)
    assert found.static == {}
    assert problems == [("NoEffect", "spec.endpoints")]


def test_static_needs_endpoints():
    _, problems = written(resolution=Declared.STATIC)
    assert problems == [("InvalidValue", "spec.endpoints")]


# Workloads by label


def test_a_selector_finds_the_endpoints():
    found = read(API + "resolution: STATIC\nworkloadSelector: {labels: {app: db}}")
    assert found.selector == {"app": "db"}
    assert found.static == {}


def test_a_selector_may_stand_beside_dns():
    found = read(API + "resolution: DNS\nworkloadSelector: {labels: {app: db}}")
    assert found.selector == {"app": "db"}
    assert found.static == {}


@pytest.mark.parametrize(
    "spec",
    [
        "resolution: NONE\nworkloadSelector: {labels: {app: db}}",
        "resolution: STATIC\nendpoints: [{address: 10.0.0.1}]\nworkloadSelector: {labels: {app: db}}",
        "resolution: STATIC\nworkloadSelector: {}",
    ],
)
def test_a_selector_that_cannot_be_selects_nothing(spec):
    services, _ = from_service_entry(service_entry(API + spec), SETTINGS)
    assert [found.selector for found in services] in ([{}], [])  # [] when the object as a whole has no effect


# Hosts


@pytest.mark.parametrize("host", ["", "*", "a.*.example.com", "a b.example.com"])
def test_a_host_that_is_none_is_left_out_alone(host):
    services, problems = written(hosts=(host, "api.example.com"))
    assert [found.host for found in services] == ["api.example.com"]
    assert problems == [("InvalidValue", "spec.hosts[0]")]


def test_a_wildcard_needs_a_resolution_that_does_not_ask_for_it():
    services, problems = written(hosts=("*.example.com",), resolution=Declared.DNS)
    assert services == ()
    assert problems == [("InvalidValue", "spec.hosts[0]")]
    endpoint = WorkloadEntrySpec(address="egress.example.com")
    services, problems = written(hosts=("*.example.com",), resolution=Declared.DNS, endpoints=(endpoint,))
    assert [endpoints(found) for found in services] == [["egress.example.com:80"]]


@pytest.mark.parametrize("resolution", [Declared.NONE, Declared.DYNAMIC_DNS])
def test_a_wildcard_with_other_resolutions(resolution):
    services, problems = written(hosts=("*.example.com",), resolution=resolution)
    assert [found.host for found in services] == ["*.example.com"]
    assert problems == []


# Ports that cannot be


def test_udp_and_unknown_protocols():
    ports = tuple(
        ServiceEntryPort(number=number, name=name, protocol=name)
        for number, name in ((1, "UDP"), (2, "QUIC"), (3, "http"))
    )
    (found,), problems = written(ports=ports)
    assert [(port.number, port.protocol) for port in found.ports] == [(2, Protocol.AUTO), (3, Protocol.HTTP)]
    assert problems == [("PortNotProxied", "spec.ports[0].protocol"), ("UnknownProtocol", "spec.ports[1].protocol")]


def test_a_port_number_that_is_none_or_twice_is_left_out():
    ports = tuple(
        ServiceEntryPort(number=number, name=f"p{i}", protocol="HTTP") for i, number in enumerate((None, 80, 80, 70000))
    )
    (found,), problems = written(ports=ports)
    assert [port.name for port in found.ports] == ["p1"]
    assert problems == [("InvalidValue", f"spec.ports[{index}]") for index in (0, 2, 3)]


# The caller's own machine


def test_endpoints_on_the_callers_machine_can_be_refused():
    two = (WorkloadEntrySpec(address="127.0.0.1"), WorkloadEntrySpec(address="10.0.0.1"))
    (found,), problems = written(Settings(refuse_local_endpoints=True), endpoints=two, resolution=Declared.STATIC)
    assert endpoints(found) == ["10.0.0.1:80"]
    assert problems == [("InvalidValue", "spec.endpoints[0]")]
    (found,), problems = written(LAPTOP, endpoints=two, resolution=Declared.STATIC)
    assert endpoints(found) == ["10.0.0.1:80", "127.0.0.1:80"]


def test_a_host_that_is_the_callers_machine_can_be_refused():
    (found,), problems = written(Settings(refuse_local_endpoints=True), hosts=("localhost",), resolution=Declared.DNS)
    assert found.static == {}
    assert problems == [("InvalidValue", "spec.hosts")]


def test_an_invalid_object_has_no_effect():
    entry = ServiceEntry(meta=Meta(name="e", namespace="default"), invalid=True)
    assert from_service_entry(entry, SETTINGS) == ((), ())
