"""What a sidecar listens on for calls to its workload."""

from datetime import timedelta

import msgspec
import pytest

from controlplane.ir.cluster import Cluster
from controlplane.ir.guard import PeerMode, Peers, WorkloadPolicy
from controlplane.ir.listener import (
    MATCH_ALL,
    ChainMatch,
    FilterChain,
    HttpChain,
    Listener,
    ServerTls,
    ServerTlsMode,
    TcpChain,
)
from controlplane.ir.route import Forward, Retry
from controlplane.ir.service import Protocol, Resolution, Service, ServicePort
from controlplane.mesh.chains import HTTP_BYTES, PLAIN_HTTP
from controlplane.mesh.doors import MESH_BYTES, MESH_HTTP
from controlplane.mesh.inbound import InboundPort, explicit_inbound, inbound_ports, remarks, virtual_inbound
from controlplane.mesh.sidecar import SidecarScope, scope
from controlplane.model.settings import MeshMTLS, MinProtocolVersion, Settings
from controlplane.model.virtualservice import HTTPRetry
from tests.mesh.manifests import SECURED, SETTINGS
from tests.mesh.traffic import sidecar, svc

OWN = ("10.1.0.7",)


def served(*ports: tuple[int, Protocol]) -> tuple[InboundPort, ...]:
    services = [
        (svc(protocol.value, 80, protocol), ServicePort(80, "", protocol, target), target) for target, protocol in ports
    ]
    found, problems = inbound_ports(services)
    assert problems == ()
    return found


def limits(body: str, *, captured: bool = True) -> SidecarScope:
    found, problems = scope(sidecar(body), "default", SETTINGS, captured=captured)
    assert problems == ()
    return found


def chains_of(listener: Listener, port: int) -> list[FilterChain]:
    return [chain for chain in listener.chains if chain.match.destination_port == port]


def where(chain: FilterChain) -> str:
    """ "http" or "tcp", and the cluster."""
    if isinstance(chain.network, TcpChain):
        return "tcp " + chain.network.destinations[0].cluster
    action = chain.network.virtual_hosts[0].routes[0].action
    assert isinstance(action, Forward)
    return "http " + action.destinations[0].cluster


def target(cluster: Cluster) -> str:
    if cluster.resolution is Resolution.PASSTHROUGH:
        return "dialled"
    (endpoint,) = cluster.endpoints
    return f"{endpoint.address}:{endpoint.port}" if endpoint.port else endpoint.address


# Captured


def test_http_ports_have_their_routes_in_place():
    listener, clusters = virtual_inbound(served((8080, Protocol.HTTP)), None, OWN, SETTINGS)
    assert (listener.name, listener.port, listener.bind_to_port) == ("virtualInbound", 15006, True)
    assert listener.original_destination_filter
    (chain,) = chains_of(listener, 8080)
    assert (chain.name, chain.match) == ("0.0.0.0_8080", ChainMatch(destination_port=8080))
    assert isinstance(chain.network, HttpChain)
    assert (chain.network.stat_prefix, chain.network.route_name) == ("inbound_0.0.0.0_8080", "inbound|8080||")
    (host,) = chain.network.virtual_hosts
    (route,) = host.routes
    assert (host.name, host.domains) == ("inbound|http|80", ("*",))
    assert (route.name, route.operation) == ("default", "http.default.svc.cluster.local:80/*")
    assert [(cluster.name, target(cluster)) for cluster in clusters] == [("inbound|8080||", "dialled")]


def test_only_what_no_application_has_seen_is_tried_again():
    (chain,) = chains_of(virtual_inbound(served((8080, Protocol.HTTP)), None, OWN, SETTINGS)[0], 8080)
    assert isinstance(chain.network, HttpChain)
    action = chain.network.virtual_hosts[0].routes[0].action
    assert isinstance(action, Forward)
    assert action.retry == Retry(2, "reset-before-request", ignore_previous_hosts=False)


def test_the_mesh_may_say_otherwise():
    settings = Settings(default_inbound_http_retry_policy=HTTPRetry(attempts=0))
    (chain,) = chains_of(virtual_inbound(served((8080, Protocol.HTTP)), None, OWN, settings)[0], 8080)
    assert isinstance(chain.network, HttpChain)
    action = chain.network.virtual_hosts[0].routes[0].action
    assert isinstance(action, Forward)
    assert action.retry is None


def test_tcp_ports_are_forwarded_and_nobody_waits_for_the_callers_first_bytes():
    ports = served((3306, Protocol.TCP), (8080, Protocol.HTTP), (8443, Protocol.TLS), (9000, Protocol.AUTO))
    listener, _ = virtual_inbound(ports, None, OWN, SETTINGS)
    assert [where(chain) for chain in chains_of(listener, 3306)] == ["tcp inbound|3306||"]
    assert listener.uninspected_ports == (3306,)


def test_a_sniffed_port_says_what_is_http_what_is_plain_and_what_is_neither():
    listener, _ = virtual_inbound(served((9000, Protocol.AUTO)), None, OWN, SETTINGS)
    assert [(chain.match, where(chain)) for chain in chains_of(listener, 9000)] == [
        (
            ChainMatch(
                destination_port=9000, transport="raw_buffer", application_protocols=HTTP_BYTES.application_protocols
            ),
            "http inbound|9000||",
        ),
        (ChainMatch(destination_port=9000, transport="raw_buffer"), "tcp inbound|9000||"),
        (ChainMatch(destination_port=9000), "tcp inbound|9000||"),
    ]


def test_ports_no_service_names_pass_through_and_the_listeners_own_goes_nowhere():
    listener, _ = virtual_inbound((), None, OWN, SETTINGS)
    assert [(chain.name, chain.match, where(chain)) for chain in listener.chains] == [
        ("virtualInbound-blackhole", ChainMatch(destination_port=15006), "tcp BlackHoleCluster"),
        ("virtualInbound-catchall-http", HTTP_BYTES, "http InboundPassthroughCluster"),
        ("virtualInbound", ChainMatch(transport="raw_buffer"), "tcp InboundPassthroughCluster"),
        ("virtualInbound", MATCH_ALL, "tcp InboundPassthroughCluster"),
    ]
    http = listener.chains[1].network
    assert isinstance(http, HttpChain)
    assert http.stat_prefix == "inbound_InboundPassthroughCluster"


def test_no_chain_takes_what_a_port_turned_away():
    """Envoy tries the default chain when a port's own chains take none: it would let plain text into a strict port."""
    assert virtual_inbound(served((80, Protocol.HTTP)), None, OWN, SECURED, guarded(STRICT))[0].default_chain is None
    assert virtual_inbound((), None, OWN, SETTINGS)[0].default_chain is None


def test_browsers_grpc_is_translated_where_a_port_says_so():
    (chain,) = chains_of(virtual_inbound(served((8080, Protocol.GRPC_WEB)), None, OWN, SETTINGS)[0], 8080)
    assert isinstance(chain.network, HttpChain)
    assert chain.network.grpc_web


# Ports of services


def entry(service: Service, target_port: int) -> tuple[Service, ServicePort, int]:
    return service, service.ports[0], target_port


def test_services_that_share_a_target_port_agree_quietly():
    ports, problems = inbound_ports([entry(svc("a", 80), 8080), entry(svc("b", 81), 8080), entry(svc("c", 82), 9090)])
    assert [(port.target, port.host) for port in ports] == [
        (8080, "a.default.svc.cluster.local"),
        (9090, "c.default.svc.cluster.local"),
    ]
    assert problems == ()


def test_services_that_disagree_about_a_protocol_are_told():
    older, younger = svc("a", 80), svc("b", 81, Protocol.TCP)
    ports, (problem,) = inbound_ports([entry(younger, 8080), entry(older, 8080)])
    assert [(port.target, port.protocol) for port in ports] == [(8080, Protocol.HTTP)]
    assert (problem.code, problem.origin) == ("Conflicted", younger.origin)


def test_udp_is_not_served():
    assert inbound_ports([entry(svc("dns", 53, Protocol.UDP), 53)]) == ((), ())


# Ingress listeners of a Sidecar

HTTP_8080 = "port: {number: 8080, protocol: HTTP, name: http}"


def test_ingress_listeners_replace_the_ports_of_services():
    found = limits(f"ingress: [{{{HTTP_8080}, defaultEndpoint: '127.0.0.1:9000'}}]")
    listener, (cluster,) = virtual_inbound(served((80, Protocol.HTTP)), found, OWN, SETTINGS)
    assert chains_of(listener, 80) == []
    (chain,) = chains_of(listener, 8080)
    assert str(chain.origins[0]) == "Sidecar default/sidecar spec.ingress[0]"
    assert (where(chain), cluster.name, target(cluster)) == ("http inbound|8080||", "inbound|8080||", "127.0.0.1:9000")


@pytest.mark.parametrize(
    ("endpoint", "leads_to"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("0.0.0.0:9000", "10.1.0.7:9000"),
        ("unix:///tmp/app", "unix:///tmp/app"),
        ("", "dialled"),
    ],
)
def test_where_the_application_listens(endpoint, leads_to):
    found = limits(f"ingress: [{{{HTTP_8080}, defaultEndpoint: '{endpoint}'}}]")
    _, (cluster,) = virtual_inbound((), found, OWN, SETTINGS)
    assert target(cluster) == leads_to


def test_limits_of_a_listener_are_stronger_than_those_of_the_sidecar():
    body = """
        inboundConnectionPool: {tcp: {maxConnections: 5}}
        ingress:
        - {port: {number: 80, protocol: HTTP, name: a}}
        - {port: {number: 81, protocol: HTTP, name: b}, connectionPool: {tcp: {maxConnections: 9}}}
        """
    _, clusters = virtual_inbound((), limits(body), OWN, SETTINGS)
    assert [cluster.policy.pool.max_connections for cluster in clusters] == [5, 9]


def test_limits_of_a_sidecar_hold_for_the_ports_of_services_too():
    found = limits("inboundConnectionPool: {tcp: {maxConnections: 5}}")
    _, (cluster,) = virtual_inbound(served((8080, Protocol.HTTP)), found, OWN, SETTINGS)
    assert cluster.policy.pool.max_connections == 5


# Not captured


def test_where_nothing_is_captured_only_a_sidecar_opens_ports():
    """A listener made from a Service would take the port of the application."""
    assert explicit_inbound(served((8080, Protocol.HTTP)), None, OWN, SETTINGS) == ((), ())


def test_the_ports_of_a_laptops_replica():
    body = f"ingress: [{{{HTTP_8080}, defaultEndpoint: '0.0.0.0:41001'}}]"
    (listener,), (cluster,) = explicit_inbound((), limits(body, captured=False), ("127.0.0.5",), SETTINGS)
    assert (listener.name, listener.address, listener.port) == ("127.0.0.5_8080", "127.0.0.5", 8080)
    assert (listener.bind_to_port, listener.original_destination_filter) == (True, False)
    assert [(chain.match, where(chain)) for chain in listener.chains] == [(MATCH_ALL, "http inbound|8080||")]
    assert target(cluster) == "127.0.0.5:41001"


def test_one_bound_listener_among_captured_ones():
    body = f"""
        ingress:
        - {{{HTTP_8080}}}
        - {{port: {{number: 9090, protocol: TCP, name: tcp}}, captureMode: NONE, bind: 10.1.0.7, defaultEndpoint: '127.0.0.1:1'}}
        """
    found = limits(body)
    listener, (captured,) = virtual_inbound((), found, OWN, SETTINGS)
    (bound,), (explicit,) = explicit_inbound((), found, OWN, SETTINGS)
    assert chains_of(listener, 9090) == []
    assert (bound.name, captured.name, explicit.name) == ("10.1.0.7_9090", "inbound|8080||", "inbound|9090||")


@pytest.mark.parametrize(
    ("bind", "endpoint"), [("", "0.0.0.0:8080"), ("127.0.0.1", "127.0.0.1:8080"), ("127.0.0.1", "")]
)
def test_a_listener_that_would_call_itself_is_not_opened(bind, endpoint):
    body = f"ingress: [{{{HTTP_8080}, bind: '{bind}', defaultEndpoint: '{endpoint}'}}]"
    found, (problem,) = scope(sidecar(body), "default", SETTINGS, captured=False)
    assert (found.ingress, problem.code, problem.origin.path) == (
        (),
        "InvalidValue",
        "spec.ingress[0].defaultEndpoint",
    )


def test_tls_of_a_sidecars_own():
    tls = "tls: {mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem}"
    found = limits(f"ingress: [{{port: {{number: 8443, protocol: HTTPS, name: https}}, {tls}}}]")
    listener, _ = virtual_inbound((), found, OWN, SETTINGS)
    (chain,) = chains_of(listener, 8443)
    assert chain.match == ChainMatch(destination_port=8443, transport="tls")
    assert chain.tls is not None
    assert (chain.tls.mode, chain.tls.certificates) == (ServerTlsMode.SIMPLE, (("/c.pem", "/k.pem"),))
    assert where(chain) == "http inbound|8443||"


def test_a_port_whose_tls_cannot_be_served_is_closed_and_not_opened_in_plain_text():
    (ingress,) = limits(f"ingress: [{{{HTTP_8080}}}]").ingress
    closed = msgspec.structs.replace(ingress, closed=True)
    found = msgspec.structs.replace(limits(f"ingress: [{{{HTTP_8080}}}]"), ingress=(closed,))
    listener, _ = virtual_inbound((), found, OWN, SETTINGS)
    assert [where(chain) for chain in chains_of(listener, 8080)] == ["tcp BlackHoleCluster"]


BAD_ENDPOINT = "port: {number: 8080, protocol: HTTP, name: a}, defaultEndpoint: '10.0.0.1:80'"
BAD_PROTOCOL = "port: {number: 8080, protocol: SMTP, name: a}"
BAD_POOL = "port: {number: 8080, protocol: HTTP, name: a}, tls: {mode: SIMPLE}"


def limited(*listeners: str, captured: bool = True) -> SidecarScope:
    """As `limits`, for a Sidecar with mistakes."""
    body = "ingress: [" + ", ".join(f"{{{one}}}" for one in listeners) + "]"
    return scope(sidecar(body), "default", SETTINGS, captured=captured)[0]


@pytest.mark.parametrize("bad", [BAD_ENDPOINT, BAD_PROTOCOL, BAD_POOL])
def test_the_port_of_a_bad_ingress_listener_is_closed_and_not_passed_on(bad):
    other = "port: {number: 9090, protocol: HTTP, name: b}"
    for listeners in ((bad,), (bad, other)):
        listener, clusters = virtual_inbound((), limited(*listeners), OWN, SETTINGS)
        assert [where(chain) for chain in chains_of(listener, 8080)] == ["tcp BlackHoleCluster"]
        assert "inbound|8080||" not in [cluster.name for cluster in clusters]
    assert [where(chain) for chain in chains_of(listener, 9090)] == ["http inbound|9090||"]


def test_a_bad_listener_with_a_socket_of_its_own_is_not_opened():
    bad = f"{BAD_ENDPOINT}, captureMode: NONE"
    assert explicit_inbound((), limited(bad), OWN, SETTINGS) == ((), ())
    listener, _ = virtual_inbound((), limited(bad), OWN, SETTINGS)
    assert chains_of(listener, 8080) == []


def test_a_good_listener_of_the_same_port_is_served():
    good = "port: {number: 8080, protocol: HTTP, name: b}"
    listener, _ = virtual_inbound((), limited(good, BAD_PROTOCOL), OWN, SETTINGS)
    assert [where(chain) for chain in chains_of(listener, 8080)] == ["http inbound|8080||"]


# Mutual TLS of the mesh

DISABLE, PERMISSIVE, STRICT = PeerMode.DISABLE, PeerMode.PERMISSIVE, PeerMode.STRICT
ISTIO = MESH_HTTP + MESH_BYTES


def guarded(mode: PeerMode, **ports: PeerMode) -> WorkloadPolicy:
    """`p8080=STRICT`: the mode of one port."""
    named = tuple(sorted((int(name.removeprefix("p")), one) for name, one in ports.items()))
    return WorkloadPolicy(Peers(mode, named))


def ways(listener: Listener, port: int | None) -> list[tuple[str, str, tuple[str, ...]]]:
    """Of each chain of a port: what is inside ("mesh http": in mutual TLS of the mesh), the transport, the ALPN."""
    return [
        (
            ("mesh " if chain.tls and chain.tls.mode is ServerTlsMode.MESH else "own " if chain.tls else "")
            + where(chain).split()[0],
            chain.match.transport,
            chain.match.application_protocols,
        )
        for chain in listener.chains
        if chain.match.destination_port == port
    ]


@pytest.mark.parametrize(
    ("protocol", "mode", "expected"),
    [
        (Protocol.HTTP, DISABLE, [("http", "", ())]),
        (Protocol.HTTP, PERMISSIVE, [("mesh http", "tls", ISTIO), ("http", "raw_buffer", ())]),
        (Protocol.HTTP, STRICT, [("mesh http", "tls", ())]),
        (Protocol.TCP, DISABLE, [("tcp", "", ())]),
        (
            Protocol.TCP,
            PERMISSIVE,
            [("mesh tcp", "tls", ISTIO), ("tcp", "raw_buffer", ()), ("tcp", "tls", ())],
        ),
        (Protocol.TCP, STRICT, [("mesh tcp", "", ())]),
        (Protocol.TLS, STRICT, [("mesh tcp", "tls", ())]),
        (
            Protocol.AUTO,
            PERMISSIVE,
            [
                ("mesh http", "tls", MESH_HTTP),
                ("http", "raw_buffer", PLAIN_HTTP),
                ("mesh tcp", "tls", MESH_BYTES),
                ("tcp", "raw_buffer", ()),
                ("tcp", "tls", ()),
            ],
        ),
        (Protocol.AUTO, STRICT, [("mesh http", "tls", MESH_HTTP), ("mesh tcp", "tls", ())]),
    ],
)
def test_the_ways_into_a_port(protocol, mode, expected):
    listener, _ = virtual_inbound(served((8080, protocol)), None, OWN, SECURED, guarded(mode))
    assert ways(listener, 8080) == expected


def test_the_ways_into_ports_no_service_names():
    listener, _ = virtual_inbound((), None, OWN, SECURED, guarded(STRICT, p9090=DISABLE))
    assert ways(listener, None) == [("mesh http", "tls", MESH_HTTP), ("mesh tcp", "tls", ())]
    assert ways(listener, 9090) == [("http", "raw_buffer", PLAIN_HTTP), ("tcp", "raw_buffer", ()), ("tcp", "", ())]
    assert {where(chain).split()[1] for chain in chains_of(listener, 9090)} == {"InboundPassthroughCluster"}


def test_a_mode_of_a_served_port_makes_no_chain_twice():
    listener, _ = virtual_inbound(served((8080, Protocol.HTTP)), None, OWN, SECURED, guarded(PERMISSIVE, p8080=STRICT))
    assert ways(listener, 8080) == [("mesh http", "tls", ())]


def test_callers_prove_to_be_of_a_trusted_domain():
    listener, _ = virtual_inbound(served((8080, Protocol.HTTP)), None, OWN, SECURED, guarded(STRICT))
    (chain,) = chains_of(listener, 8080)
    assert chain.tls == ServerTls(ServerTlsMode.MESH, trust_domains=("cluster.local", "old.example"))


def test_the_mesh_may_insist_on_the_newest_tls():
    newest = msgspec.structs.replace(SECURED, mesh_mtls=MeshMTLS(min_protocol_version=MinProtocolVersion.TLSV1_3))
    listener, _ = virtual_inbound(served((8080, Protocol.HTTP)), None, OWN, newest, guarded(STRICT))
    (chain,) = chains_of(listener, 8080)
    assert chain.tls is not None
    assert chain.tls.min_version == "TLSV1_3"


@pytest.mark.parametrize(("mode", "waited_for"), [(DISABLE, False), (PERMISSIVE, True), (STRICT, False)])
def test_the_callers_first_bytes_are_waited_for_only_to_tell_callers_apart(mode, waited_for):
    listener, _ = virtual_inbound(served((3306, Protocol.MYSQL)), None, OWN, SECURED, guarded(mode))
    assert (listener.uninspected_ports == ()) is waited_for


@pytest.mark.parametrize(
    ("port", "protocol", "mode", "settings", "said"),
    [
        (3306, Protocol.TCP, PERMISSIVE, SECURED, ["ServerSpeaksFirst"]),
        (3307, Protocol.MYSQL, PERMISSIVE, SECURED, ["ServerSpeaksFirst"]),
        (6379, Protocol.REDIS, PERMISSIVE, SECURED, []),
        (3306, Protocol.TCP, STRICT, SECURED, []),
        (3306, Protocol.TCP, DISABLE, SECURED, []),
        (
            3306, Protocol.TCP, PERMISSIVE,
            msgspec.structs.replace(SECURED, protocol_detection_timeout=timedelta(seconds=1)), [],
        ),
    ],
)  # fmt: skip
def test_what_waits_for_ever_is_said(port, protocol, mode, settings, said):
    ports = served((port, protocol))
    assert [problem.code for problem in remarks(ports, None, settings, guarded(mode))] == said


BOUND = "captureMode: NONE, bind: 10.1.0.7, defaultEndpoint: '127.0.0.1:1'"


@pytest.mark.parametrize(
    ("protocol", "mode", "expected", "patience"),
    [
        ("HTTP", PERMISSIVE, [("mesh http", "tls", ISTIO), ("http", "raw_buffer", ())], None),
        ("HTTP", STRICT, [("mesh http", "tls", ())], None),
        ("TCP", PERMISSIVE, [("mesh tcp", "tls", ISTIO), ("tcp", "raw_buffer", ()), ("tcp", "tls", ())], 1),
        ("TCP", STRICT, [("mesh tcp", "", ())], None),
        ("TCP", DISABLE, [("tcp", "", ())], None),
    ],
)
def test_the_ways_into_a_listener_of_its_own(protocol, mode, expected, patience):
    """Whoever waits for the application there waits a second: the listener is this port's alone."""
    found = limits(f"ingress: [{{port: {{number: 9090, protocol: {protocol}, name: a}}, {BOUND}}}]", captured=False)
    (listener,), _ = explicit_inbound((), found, OWN, SECURED, guarded(DISABLE, p9090=mode))
    assert ways(listener, None) == expected
    assert listener.default_chain is None
    assert listener.inspect_tls is any(transport for _, transport, _ in expected)
    assert listener.inspection_timeout == (None if patience is None else timedelta(seconds=patience))


OWN_TLS = "tls: {mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem}"


@pytest.mark.parametrize(
    ("mode", "expected", "said"),
    [
        (DISABLE, [("own http", "tls", ())], []),
        (PERMISSIVE, [("mesh http", "tls", ISTIO), ("own http", "tls", ())], []),
        (STRICT, [("mesh http", "tls", ISTIO), ("own http", "tls", ())], ["OwnTlsBesideStrict"]),
    ],
)
def test_a_port_keeps_tls_of_its_own_for_callers_from_outside(mode, expected, said):
    found = limits(f"ingress: [{{port: {{number: 8443, protocol: HTTPS, name: https}}, {OWN_TLS}}}]")
    listener, _ = virtual_inbound((), found, OWN, SECURED, guarded(mode))
    assert ways(listener, 8443) == expected
    assert [problem.code for problem in remarks((), found, SECURED, guarded(mode))] == said
