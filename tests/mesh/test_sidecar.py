"""What a Sidecar lets a workload see, and the explicit listeners it makes."""

import pytest

from controlplane.ir.listener import MATCH_ALL, ChainMatch, HttpChain, Listener, TcpChain
from controlplane.ir.service import Protocol, Service, ServicePort
from controlplane.mesh.caller import Caller
from controlplane.mesh.chains import HTTP_BYTES
from controlplane.mesh.egress import EVERYTHING
from controlplane.mesh.outbound import Member, mesh_policy, service_chains
from controlplane.mesh.sidecar import Egress, SidecarScope, choose, egress_listener, scope, service_port
from tests.mesh.manifests import SETTINGS
from tests.mesh.traffic import Known, short, sidecar, svc

LAPTOP = """
    egress:
    - {port: {number: 5432, protocol: TCP, name: db}, bind: 127.0.0.5, captureMode: NONE, hosts: [./db.default.svc.cluster.local]}
    - {port: {number: 5432, protocol: TCP, name: db2}, bind: 127.0.0.6, captureMode: NONE, hosts: [./db2.default.svc.cluster.local]}
    - {hosts: ['*/*']}
"""


def read(body: str, *, namespace: str = "default", captured: bool = True) -> SidecarScope:
    found, problems = scope(sidecar(body), namespace, SETTINGS, captured=captured)
    assert problems == ()
    return found


def problems(body: str, *, captured: bool = True) -> list[tuple[str, str]]:
    return [
        (problem.code, problem.origin.path)
        for problem in scope(sidecar(body), "default", SETTINGS, captured=captured)[1]
    ]


def egress(text: str, *, captured: bool = True) -> Egress:
    (found,) = read(f"egress: [{text}]", captured=captured).egress
    return found


def open_(found: Egress, *services: Service) -> Listener | None:
    members = [
        Member(
            service,
            port,
            service_chains(
                service,
                port,
                caller=Caller("default"),
                destinations=Known(),
                settings=SETTINGS,
                listener_port=found.port,
            )[0],
        )
        for service in services
        if (port := service_port(found, service)) is not None
    ]
    listener, complaints = egress_listener(found, members=members, policy=mesh_policy(SETTINGS), settings=SETTINGS)
    assert complaints == ()
    return listener


def paths(listener: Listener | None) -> list[tuple[object, str]]:
    assert listener is not None
    chains = [*listener.chains, *([listener.default_chain] if listener.default_chain else [])]
    return [("default" if chain is listener.default_chain else chain.match, where(chain.network)) for chain in chains]


def where(network: HttpChain | TcpChain) -> str:
    if isinstance(network, HttpChain):
        return network.route
    cluster = network.destinations[0].cluster
    return short(cluster) if "|" in cluster else cluster


# Which one


def test_the_oldest_that_selects_a_workload_wins_then_the_namespaces_then_the_meshs():
    mine = sidecar("workloadSelector: {labels: {app: web}}\negress: [{hosts: ['./*']}]", name="mine")
    also = sidecar("workloadSelector: {labels: {app: web}}\negress: [{hosts: ['./*']}]", name="also")
    ours = sidecar("egress: [{hosts: ['./*']}]", name="ours")
    root = sidecar("egress: [{hosts: ['./*']}]", name="root", namespace="istio-system")
    web = {"app": "web", "version": "v1"}
    assert choose([mine, also, ours], [root], web) is mine
    assert choose([mine, ours], [root], {"app": "other"}) is ours
    assert choose([mine], [root], {"app": "other"}) is root
    assert choose([], [mine], web) is None


def test_without_a_sidecar_a_workload_sees_everything():
    found, _ = scope(None, "default", SETTINGS)
    assert found.admits("anywhere", "anything.com")
    assert found.policy == mesh_policy(SETTINGS)


# Hosts


@pytest.mark.parametrize(
    ("hosts", "admitted"),
    [
        ("['*/*']", {"reviews", "ratings", "shop"}),
        ("['./*']", {"reviews", "ratings"}),
        ("[default/reviews.default.svc.cluster.local]", {"reviews"}),
        ("['shop/*']", {"shop"}),
        ("['*/*.shop.svc.cluster.local']", {"shop"}),
        ("['./*', 'shop/*']", {"reviews", "ratings", "shop"}),
        ("['~/*']", set()),
        ("['*/*', '~default/ratings.default.svc.cluster.local']", {"reviews", "shop"}),
    ],
)
def test_hosts(hosts, admitted):
    known = [svc("reviews"), svc("ratings"), svc("shop", namespace="shop")]
    found = read(f"egress: [{{hosts: {hosts}}}]")
    assert {one.name for one in known if found.admits(one.namespace, one.host)} == admitted


def test_the_namespaces_worth_looking_into():
    found = egress("{hosts: ['./*', 'shop/x.com', '~bank/y.com']}")
    assert found.hosts.namespaces() == {"default", "shop"}
    assert egress("{hosts: ['*/x.com']}").hosts.namespaces() == {"*"}


def test_a_sidecar_without_egress_admits_everything():
    assert read("ingress: [{port: {number: 80, protocol: HTTP, name: http}}]").admits("shop", "x.com")


# Explicit listeners


def test_capture_mode_none_binds_a_socket_of_its_own():
    found = egress("{port: {number: 80, protocol: HTTP, name: h}, bind: 127.0.0.5, captureMode: NONE, hosts: ['./*']}")
    listener = open_(found)
    assert listener is not None
    assert (listener.name, listener.address, listener.bind_to_port) == ("127.0.0.5_80", "127.0.0.5", True)
    assert paths(listener) == [(MATCH_ALL, "80")]


@pytest.mark.parametrize(
    ("mode", "captured", "bound", "bind"),
    [
        ("captureMode: NONE, ", True, True, "127.0.0.1"),
        ("captureMode: IPTABLES, ", False, False, ""),
        ("captureMode: DEFAULT, ", True, False, ""),
        ("", False, True, "127.0.0.1"),
    ],
)
def test_how_traffic_gets_to_a_listener(mode, captured, bound, bind):
    found = egress(f"{{port: {{number: 80, protocol: HTTP, name: h}}, {mode}hosts: ['./*']}}", captured=captured)
    assert (found.bound, found.bind) == (bound, bind)


def test_several_listeners_of_one_port_on_different_addresses_have_tables_of_their_own():
    port = "port: {number: 80, protocol: HTTP, name: h}, captureMode: NONE"
    found = read(
        f"""
        egress:
        - {{{port}, bind: 127.0.0.5, hosts: [./reviews.default.svc.cluster.local]}}
        - {{{port}, bind: 127.0.0.6, hosts: [./ratings.default.svc.cluster.local]}}
        """
    )
    assert [(one.listener_name, one.table) for one in found.egress] == [
        ("127.0.0.5_80", "80"),
        ("127.0.0.6_80", "127.0.0.6_80"),
    ]


def test_the_tcp_listeners_of_a_laptop():
    """Two databases on the same port: each has an address of the replica's own."""
    first, second, rest = read(LAPTOP, captured=False).egress
    db, db2 = (svc(name, 5432, Protocol.TCP) for name in ("db", "db2"))
    assert (first.hosts.admits("default", db.host), first.hosts.admits("default", db2.host)) == (True, False)
    assert paths(open_(first, db)) == [(MATCH_ALL, "db:5432")]
    assert paths(open_(second, db2)) == [(MATCH_ALL, "db2:5432")]
    assert open_(rest) is None


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.TLS, Protocol.AUTO])
@pytest.mark.parametrize("addresses", [(), ("10.0.0.1",), ("10.0.0.0/24",)])
def test_on_a_socket_neither_the_services_address_nor_its_name_is_asked_for(protocol, addresses):
    found = egress("{port: {number: 5432, protocol: TCP, name: t}, bind: 127.0.0.5, captureMode: NONE, hosts: ['./*']}")
    assert paths(open_(found, svc("db", 5432, protocol, addresses=addresses))) == [(MATCH_ALL, "db:5432")]


def test_a_headless_service_behind_a_socket():
    found = egress("{port: {number: 5432, protocol: TCP, name: t}, bind: 127.0.0.5, captureMode: NONE, hosts: ['./*']}")
    service = svc("db", 5432, Protocol.TCP, addresses=(), headless=True)
    port = service.ports[0]
    chains, _ = service_chains(
        service,
        port,
        caller=Caller("default"),
        destinations=Known(),
        settings=SETTINGS,
        addresses=("10.1.0.1", "10.1.0.2"),
    )
    listener, _ = egress_listener(
        found, members=[Member(service, port, chains)], policy=mesh_policy(SETTINGS), settings=SETTINGS
    )
    assert paths(listener) == [(MATCH_ALL, "db:5432")]


def test_several_tls_services_behind_one_socket_are_told_apart_by_name():
    found = egress("{port: {number: 443, protocol: TLS, name: t}, bind: 127.0.0.5, captureMode: NONE, hosts: ['./*']}")
    one, other = (svc(name, 443, Protocol.TLS) for name in ("one", "other"))
    assert paths(open_(found, one, other)) == [
        (ChainMatch(server_names=(one.host,)), "one:443"),
        (ChainMatch(server_names=(other.host,)), "other:443"),
    ]


def test_a_listener_whose_protocol_is_sniffed_speaks_http_and_forwards_the_rest():
    origin = mesh_policy(SETTINGS).origin
    found = Egress(EVERYTHING, origin, port=9080, bind="127.0.0.5", bound=True, table="9080")
    assert paths(open_(found, svc(protocol=Protocol.AUTO))) == [(HTTP_BYTES, "9080"), ("default", "reviews:9080")]


def test_captured_tcp_is_told_apart_by_the_address_that_was_dialled():
    found = egress("{port: {number: 5432, protocol: TCP, name: t}, hosts: ['./*']}")
    db, db2 = svc("db", 5432, Protocol.TCP), svc("db2", 5432, Protocol.TCP, addresses=("10.0.0.2",))
    listener = open_(found, db, db2)
    assert listener is not None
    assert (listener.name, listener.bind_to_port) == ("0.0.0.0_5432", False)
    assert paths(listener) == [
        (ChainMatch(destination_ranges=("10.0.0.1",)), "db:5432"),
        (ChainMatch(destination_ranges=("10.0.0.2",)), "db2:5432"),
        ("default", "PassthroughCluster"),
    ]


def test_an_explicit_listener_takes_the_captured_traffic_of_its_port():
    found = read(
        """
        egress:
        - {port: {number: 9080, protocol: HTTP, name: h}, hosts: ['./*']}
        - {port: {number: 80, protocol: HTTP, name: i}, captureMode: NONE, hosts: ['./*']}
        - {hosts: ['*/*']}
        """
    )
    assert found.claimed_ports == {9080}


def test_a_listener_with_nothing_behind_it_is_not_opened():
    assert open_(egress("{port: {number: 5432, protocol: TCP, name: t}, captureMode: NONE, hosts: ['./*']}")) is None


def test_a_unix_socket():
    found = egress(
        "{port: {number: 0, protocol: HTTP, name: h}, bind: 'unix:///tmp/x', captureMode: NONE, hosts: ['./*']}"
    )
    listener = open_(found)
    assert listener is not None
    assert (listener.name, listener.port, found.table) == ("unix:///tmp/x", 0, "unix:///tmp/x")


PORTS = (ServicePort(80, "http", Protocol.HTTP, 80), ServicePort(9090, "admin", Protocol.TCP, 9090))


@pytest.mark.parametrize(
    ("number", "name", "ports", "found"),
    [
        (80, "x", PORTS, 80),
        (8000, "x", PORTS[:1], 80),
        (8000, "admin", PORTS, 9090),
        (8000, "x", PORTS, None),
    ],
)
def test_the_port_a_listener_stands_for(number, name, ports, found):
    one = egress(f"{{port: {{number: {number}, protocol: TCP, name: {name}}}, hosts: ['./*']}}")
    port = service_port(one, svc(ports=ports))
    assert (port.number if port else None) == found


# Unknown hosts


@pytest.mark.parametrize(
    ("policy", "cluster"),
    [
        ("{mode: ALLOW_ANY}", "PassthroughCluster"),
        ("{mode: REGISTRY_ONLY}", ""),
        ("{egressProxy: {host: proxy, port: {number: 3128}}}", "outbound|3128||proxy.default.svc.cluster.local"),
        (
            "{egressProxy: {host: proxy.shop.svc, subset: v1, port: {number: 1}}}",
            "outbound|1|v1|proxy.shop.svc.cluster.local",
        ),
    ],
)
def test_outbound_policy(policy, cluster):
    assert read(f"outboundTrafficPolicy: {policy}").policy.cluster == cluster


def test_an_egress_proxy_that_cannot_be_named_lets_nothing_out_past_it():
    body = "outboundTrafficPolicy: {egressProxy: {host: proxy}}"
    found, _ = scope(sidecar(body), "default", SETTINGS)
    assert found.policy.tcp_cluster == "BlackHoleCluster"
    assert problems(body) == [("InvalidValue", "spec.outboundTrafficPolicy.egressProxy")]
