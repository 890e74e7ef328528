"""Where calls arrive in a sidecar, and what they find there."""

from datetime import timedelta

import pytest

from controlplane.ir.listener import MATCH_ALL, ChainMatch, HttpChain, Listener, TcpChain
from controlplane.ir.policy import HashSourceIp
from controlplane.ir.route import DirectResponse, Forward, Route
from controlplane.ir.service import Protocol, Resolution, Service, ServicePort
from controlplane.mesh.caller import Caller
from controlplane.mesh.chains import HTTP_BYTES, MAX_HEADLESS_CHAINS
from controlplane.mesh.outbound import (
    Member,
    Placement,
    catch_all,
    http_proxy_listener,
    literal_virtual_host,
    mesh_policy,
    placement,
    proxy_virtual_host,
    service_chains,
    vip_listener,
    virtual_host,
    virtual_outbound,
    wildcard_listener,
)
from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.settings import MeshOutboundTrafficPolicy, Settings
from controlplane.model.sidecar import OutboundTrafficMode
from tests.mesh.manifests import SETTINGS
from tests.mesh.traffic import Known, doing, short, svc, virtual_service

REGISTRY_ONLY = Settings(outbound_traffic_policy=MeshOutboundTrafficPolicy(mode=OutboundTrafficMode.REGISTRY_ONLY))
ALLOW = mesh_policy(SETTINGS)
DENY = mesh_policy(REGISTRY_ONLY)


def member(service: Service, *rules, addresses=(), known: Known | None = None, **fields) -> Member:
    (port,) = service.ports
    chains, problems = service_chains(
        service,
        port,
        caller=Caller("default"),
        destinations=known or Known(),
        settings=SETTINGS,
        vs=rules,
        addresses=addresses,
        **fields,
    )
    assert problems == ()
    return Member(service, port, chains)


def vip(*members: Member) -> Listener:
    listener, problems = vip_listener("10.0.0.1", members[0].port.number, members, SETTINGS)
    assert problems == ()
    return listener


def wildcard(*members: Member, port: int = 9080, http: bool = False, policy=ALLOW) -> Listener:
    listener, problems = wildcard_listener(port, members=members, http=http, policy=policy, settings=SETTINGS)
    assert problems == ()
    return listener


def paths(listener: Listener) -> list[tuple[ChainMatch | str, str]]:
    """What each chain asks for and where it leads: a route table, or a cluster; the default chain last."""
    chains = [*listener.chains, *([listener.default_chain] if listener.default_chain else [])]
    return [("default" if chain is listener.default_chain else chain.match, where(chain.network)) for chain in chains]


def where(network: HttpChain | TcpChain) -> str:
    if isinstance(network, HttpChain):
        return network.route
    cluster = network.destinations[0].cluster
    return short(cluster) if "|" in cluster else cluster


# Placement


@pytest.mark.parametrize(
    ("service", "place"),
    [
        (svc(), Placement(wildcard=True, table="9080", http=True)),
        (svc(protocol=Protocol.GRPC, addresses=()), Placement(wildcard=True, table="9080", http=True)),
        (svc(protocol=Protocol.TCP), Placement(wildcard=False, addresses=("10.0.0.1",))),
        (svc(protocol=Protocol.TLS, addresses=()), Placement(wildcard=True)),
        (
            svc(protocol=Protocol.AUTO),
            Placement(wildcard=False, addresses=("10.0.0.1",), table="reviews.default.svc.cluster.local:9080"),
        ),
        (svc(protocol=Protocol.AUTO, addresses=()), Placement(wildcard=True, table="9080", http=True)),
        (svc(protocol=Protocol.TCP, addresses=("10.0.0.0/24",)), Placement(wildcard=True)),
        (
            svc(protocol=Protocol.TCP, addresses=("10.1.0.1", "10.0.0.0/24")),
            Placement(wildcard=True, addresses=("10.1.0.1",)),
        ),
        (svc(protocol=Protocol.UDP), Placement(wildcard=False)),
    ],
)
def test_where_a_port_lives(service, place):
    assert placement(service, service.ports[0]) == place


# Virtual hosts


def test_a_service_without_rules_forwards_everything():
    service = svc()
    host = virtual_host(service, service.ports[0], None, caller_namespace="default", settings=SETTINGS)
    assert host.name == "reviews.default.svc.cluster.local:9080"
    assert {"reviews", "reviews:9080", "reviews.default.svc.cluster.local:9080", "10.0.0.1"} <= set(host.domains)
    (route,) = host.routes
    assert isinstance(route.action, Forward)
    assert (route.name, route.operation) == ("default", "reviews.default.svc.cluster.local:9080/*")
    assert route.action.timeout == timedelta(0)
    assert route.action.retry is not None
    assert route.origin == service.origin


def test_a_hashed_service_is_hashed_by_default_too():
    service = svc()
    port = service.ports[0]
    host = virtual_host(service, port, None, caller_namespace=None, settings=SETTINGS, hash_keys=(HashSourceIp(),))
    action = host.routes[0].action
    assert isinstance(action, Forward)
    assert action.hash_keys == (HashSourceIp(),)
    assert action.retry is not None
    assert not action.retry.ignore_previous_hosts


def test_rules_replace_the_default_even_if_none_can_be_used():
    service = svc()
    assert virtual_host(service, service.ports[0], (), caller_namespace=None, settings=SETTINGS).routes == ()


def test_on_an_explicit_listener_callers_write_its_port():
    service = svc()
    host = virtual_host(service, service.ports[0], None, caller_namespace=None, settings=SETTINGS, listener_port=8000)
    assert "reviews.default:8000" in host.domains
    assert "reviews.default:9080" not in host.domains
    assert isinstance(host.routes[0].action, Forward)
    assert short(host.routes[0].action.destinations[0].cluster) == "reviews:9080"


@pytest.mark.parametrize(("port", "bare"), [(80, True), (9080, False)])
def test_in_the_forward_proxy_names_carry_the_port_unless_it_is_80(port, bare):
    service = svc(port=port)
    host = virtual_host(service, service.ports[0], None, caller_namespace="default", settings=SETTINGS)
    found = proxy_virtual_host(host, port)
    assert ("reviews" in found.domains) is bare
    assert f"reviews:{port}" in found.domains
    assert found.routes is host.routes


def test_a_host_only_a_virtual_service_names():
    routes: tuple[Route, ...] = doing("route: [{destination: {host: reviews}}]").all
    origin = Origin(ObjectRef("", "VirtualService", "default", "x"))
    host = literal_virtual_host("example.com", 80, routes, origins=(origin,))
    assert (host.name, host.domains) == ("example.com:80", ("example.com", "example.com:80"))


# Unknown hosts


def test_unknown_hosts_pass_or_do_not_as_the_mesh_says():
    allowed, denied = catch_all(ALLOW), catch_all(DENY)
    assert (allowed.name, allowed.domains) == ("allow_any", ("*",))
    assert isinstance(allowed.routes[0].action, Forward)
    assert allowed.routes[0].action.destinations[0].cluster == "PassthroughCluster"
    assert (denied.name, denied.routes[0].action) == ("block_all", DirectResponse(502))


def test_on_an_explicit_listener_there_is_no_dialled_address_to_pass_to():
    assert catch_all(ALLOW, captured=False).name == "block_all"


# Listeners of services without an address of their own, and of HTTP


def test_http_services_share_a_listener_and_other_bytes_pass_through():
    listener = wildcard(http=True)
    assert (listener.name, listener.address, listener.bind_to_port) == ("0.0.0.0_9080", "0.0.0.0", False)
    assert paths(listener) == [(HTTP_BYTES, "9080"), ("default", "PassthroughCluster")]
    assert listener.inspect_http
    assert listener.inspect_tls
    assert paths(wildcard(http=True, policy=DENY))[-1] == ("default", "BlackHoleCluster")


def test_tcp_and_http_on_one_port():
    external = svc("db", 9080, Protocol.TCP, addresses=(), kubernetes=False)
    assert paths(wildcard(member(external), http=True)) == [(HTTP_BYTES, "9080"), ("default", "db:9080")]


def test_tls_services_without_address_are_told_apart_by_name():
    one, other = (svc(name, 443, Protocol.TLS, addresses=()) for name in ("one", "other"))
    listener = wildcard(member(one), member(other), port=443)
    assert paths(listener) == [
        (ChainMatch(server_names=(one.host,)), "one:443"),
        (ChainMatch(server_names=(other.host,)), "other:443"),
        ("default", "PassthroughCluster"),
    ]
    assert (listener.inspect_tls, listener.inspect_http) == (True, False)


def test_of_two_tcp_services_without_address_the_older_has_the_port_and_the_younger_is_told():
    one, other = (member(svc(name, 443, Protocol.TCP, addresses=())) for name in ("one", "other"))
    listener, (problem,) = wildcard_listener(443, members=[one, other], http=False, policy=ALLOW, settings=SETTINGS)
    assert paths(listener) == [(MATCH_ALL, "one:443")]
    assert (problem.code, problem.origin) == ("Conflicted", other.service.origin)
    assert "one.default.svc.cluster.local" in problem.message


def test_address_blocks():
    blocks = svc("net", 443, Protocol.TCP, addresses=("10.0.0.0/24", "10.0.1.0/24"))
    assert paths(wildcard(member(blocks), port=443))[0] == (
        ChainMatch(destination_ranges=("10.0.0.0/24", "10.0.1.0/24")),
        "net:443",
    )


def test_the_listener_of_an_address_does_not_ask_for_the_blocks_of_its_service():
    both = svc("net", 443, Protocol.TCP, addresses=("10.0.0.1", "10.9.0.0/24"))
    assert paths(vip(member(both))) == [(MATCH_ALL, "net:443")]


# Headless services


def headless(protocol: Protocol = Protocol.TCP, name: str = "db") -> Service:
    return svc(name, 9080, protocol, addresses=(), headless=True, resolution=Resolution.PASSTHROUGH)


def test_each_endpoint_of_a_headless_service_has_a_chain_beside_http():
    listener = wildcard(member(headless(), addresses=("10.1.0.2", "10.1.0.1")), http=True)
    assert paths(listener) == [
        (HTTP_BYTES, "9080"),
        (ChainMatch(destination_ranges=("10.1.0.1",)), "db:9080"),
        (ChainMatch(destination_ranges=("10.1.0.2",)), "db:9080"),
        ("default", "PassthroughCluster"),
    ]


def test_an_endpoint_that_comes_changes_no_other_chain_and_nothing_outside_of_chains():
    """Connections of chains that stay the same live on; a change outside of chains would close them all."""
    before = wildcard(member(headless(), addresses=("10.1.0.1",)))
    after = wildcard(member(headless(), addresses=("10.1.0.1", "10.1.0.2")))
    assert set(before.chains) < set(after.chains)
    assert (before.inspect_tls, before.inspect_http) == (after.inspect_tls, after.inspect_http)


def test_with_many_endpoints_a_headless_service_takes_the_whole_port():
    many = tuple(f"10.1.0.{i}" for i in range(MAX_HEADLESS_CHAINS + 1))
    assert paths(wildcard(member(headless(), addresses=many))) == [(MATCH_ALL, "db:9080")]


def test_a_rule_for_a_headless_service_has_a_chain_for_each_endpoint_too():
    rule = virtual_service("hosts: [db]\ntcp: [{route: [{destination: {host: reviews}}]}]")
    found = member(headless(), rule, addresses=("10.1.0.1", "10.1.0.2"))
    assert [(chain.match.destination_ranges, where(chain.network)) for chain in found.chains] == [
        (("10.1.0.1",), "reviews:9080"),
        (("10.1.0.2",), "reviews:9080"),
    ]


def test_endpoints_of_two_headless_services_follow_the_older_and_that_is_no_error():
    older, younger = (member(headless(name=name), addresses=("10.1.0.1",)) for name in ("db", "peers"))
    _, (problem,) = wildcard_listener(9080, members=[older, younger], http=False, policy=ALLOW, settings=SETTINGS)
    assert (problem.code, problem.level) == ("Conflicted", "info")


def test_a_sniffed_headless_service_says_for_each_endpoint_what_is_http_and_what_is_not():
    found = member(headless(Protocol.AUTO), addresses=("10.1.0.1",))
    at = ("10.1.0.1",)
    plain = ChainMatch(destination_ranges=at, transport="raw_buffer")
    http = ChainMatch(
        destination_ranges=at, transport="raw_buffer", application_protocols=HTTP_BYTES.application_protocols
    )
    assert [(chain.match, where(chain.network)) for chain in found.chains] == [
        (http, "9080"),
        (plain, "db:9080"),
        (ChainMatch(destination_ranges=at), "db:9080"),
    ]


# Listeners of addresses


def test_a_tcp_service_has_a_listener_on_its_address_without_any_waiting():
    listener = vip(member(svc("db", 3306, Protocol.MYSQL)))
    assert (listener.name, listener.address, listener.port) == ("10.0.0.1_3306", "10.0.0.1", 3306)
    assert paths(listener) == [(MATCH_ALL, "db:3306")]
    assert (listener.inspect_tls, listener.inspect_http) == (False, False)


def test_a_sniffed_service_has_a_table_of_its_own():
    assert paths(vip(member(svc(protocol=Protocol.AUTO)))) == [
        (HTTP_BYTES, "reviews.default.svc.cluster.local:9080"),
        ("default", "reviews:9080"),
    ]


def test_sniffed_http_is_counted_by_the_address_it_was_dialled_for():
    http = vip(member(svc(protocol=Protocol.AUTO))).chains[0].network
    assert isinstance(http, HttpChain)
    assert http.stat_prefix == "outbound_10.0.0.1_9080"


def test_a_tls_rule_replaces_the_default_and_changes_nothing_outside_of_chains():
    service = svc("db", 443, Protocol.TLS)
    rule = virtual_service("hosts: [a.com]\ntls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: db}}]}]")
    plain, ruled = vip(member(service)), vip(member(service, rule))
    assert paths(plain) == [(MATCH_ALL, "db:443")]
    assert paths(ruled) == [(ChainMatch(server_names=("a.com",)), "db:3306")]
    assert plain.inspect_tls == ruled.inspect_tls


def test_services_that_share_an_address_are_told_apart_by_name_if_they_speak_tls():
    one, other = (member(svc(name, 443, Protocol.TLS)) for name in ("one", "other"))
    assert [match.server_names for match, _ in paths(vip(one, other)) if isinstance(match, ChainMatch)] == [
        ("one.default.svc.cluster.local",),
        ("other.default.svc.cluster.local",),
    ]


def test_session_affinity_holds_for_connections():
    listener = vip(member(svc("db", 3306, Protocol.TCP), hash_keys=(HashSourceIp(),)))
    assert isinstance(listener.chains[0].network, TcpChain)
    assert listener.chains[0].network.hash_key == HashSourceIp()


# Fixed listeners


def test_captured_calls_arrive_at_15001():
    listener = virtual_outbound(ALLOW, SETTINGS)
    assert (listener.name, listener.port, listener.bind_to_port) == ("virtualOutbound", 15001, True)
    assert listener.use_original_destination
    assert paths(listener) == [
        (ChainMatch(destination_port=15001), "BlackHoleCluster"),
        ("default", "PassthroughCluster"),
    ]
    assert paths(virtual_outbound(DENY, REGISTRY_ONLY))[-1] == ("default", "BlackHoleCluster")


def test_the_forward_proxy_has_a_socket_and_a_table_for_all_ports():
    listener = http_proxy_listener("127.0.0.5", 15080, SETTINGS)
    assert (listener.name, listener.bind_to_port) == ("127.0.0.5_15080", True)
    assert paths(listener) == [(MATCH_ALL, "http_proxy")]


def test_services_found_by_the_name_each_request_carries():
    listener, _ = wildcard_listener(80, http=True, policy=ALLOW, settings=SETTINGS, dynamic_dns=True)
    assert isinstance(listener.chains[0].network, HttpChain)
    assert listener.chains[0].network.dynamic_dns


def test_ports_of_a_service_with_several_are_separate_members():
    ports = (ServicePort(80, "http", Protocol.HTTP, 80), ServicePort(81, "tcp", Protocol.TCP, 81))
    service = svc(ports=ports)
    assert [placement(service, port).addresses for port in ports] == [(), ("10.0.0.1",)]
