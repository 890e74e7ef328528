"""What calls through a sidecar find: the listeners of this front end, encoded, read by the simulator and by Envoy."""

from collections.abc import Sequence
from typing import Any

import pytest

from controlplane.envoy import listener as envoy_listener
from controlplane.envoy import route as envoy_route
from controlplane.envoy.secret import encode_certificate
from controlplane.explain.call import Address, Call, Speaks, Tls
from controlplane.explain.resources import Resources, decode
from controlplane.explain.simulate import simulate
from controlplane.ir.listener import Listener, RouteTable
from controlplane.ir.service import Protocol, Resolution, Service
from controlplane.mesh.caller import Caller
from controlplane.mesh.egress import EVERYTHING, Egress
from controlplane.mesh.gateway import listener as gateway_listener
from controlplane.mesh.gateway import plan, route_table, server_chains, table_domains, virtual_host
from controlplane.mesh.inbound import inbound_ports, virtual_inbound
from controlplane.mesh.outbound import (
    Member,
    catch_all,
    http_proxy_listener,
    mesh_policy,
    placement,
    proxy_virtual_host,
    service_chains,
    vip_listener,
    virtual_outbound,
    wildcard_listener,
)
from controlplane.mesh.outbound import virtual_host as service_host
from controlplane.mesh.sidecar import egress_listener
from controlplane.mesh.virtualservice import http_routes, rules_of
from controlplane.snapshot.resource import Resource
from tests.envoy.scaffold import completed
from tests.envoys.certificates import leaf
from tests.envoys.validate import validate
from tests.mesh.manifests import SETTINGS
from tests.mesh.traffic import Known, gateway, svc, virtual_service

POLICY = mesh_policy(SETTINGS)
CAPTURED = Address("0.0.0.0", 15001)

REVIEWS = svc("reviews", 9080)
SNIFFED = svc("sniffed", 9000, Protocol.AUTO, addresses=("10.0.0.2",))
DB = svc("db", 3306, Protocol.TCP, addresses=("10.0.0.3",))
PEERS = svc("peers", 9080, Protocol.AUTO, addresses=(), headless=True, resolution=Resolution.PASSTHROUGH)
QUEUE = svc("queue", 9080, Protocol.TCP, addresses=(), headless=True, resolution=Resolution.PASSTHROUGH)
BLOCK = svc("block", 9443, Protocol.TCP, addresses=("10.9.0.0/16",))
VAULT = svc("vault", 9443, Protocol.TLS, addresses=())
WORLD = (REVIEWS, SNIFFED, DB, PEERS, QUEUE, BLOCK, VAULT)
ENDPOINTS = {"peers": ("10.1.0.1", "10.1.0.2"), "queue": ("10.2.0.1",)}


def member(service: Service) -> Member:
    chains, _ = service_chains(
        service,
        service.ports[0],
        caller=Caller("default"),
        destinations=Known(),
        settings=SETTINGS,
        addresses=ENDPOINTS.get(service.name, ()),
    )
    return Member(service, service.ports[0], chains)


def encoded(listeners: Sequence[Listener], hosts: Sequence[Resource], tables: Sequence[str]) -> tuple[Resource, ...]:
    return (
        *(envoy_listener.encode(one, SETTINGS) for one in listeners),
        *(envoy_route.encode_table(RouteTable(table)) for table in tables),
        *hosts,
    )


@pytest.fixture(scope="module")
def outbound() -> tuple[Resource, ...]:
    """A sidecar that sees the whole of `WORLD`."""
    found: list[Listener] = [virtual_outbound(POLICY, SETTINGS), http_proxy_listener("127.0.0.5", 15080, SETTINGS)]
    hosts: list[Resource] = []
    tables = {"http_proxy": True}
    by_port: dict[int, list[Service]] = {}
    for service in WORLD:
        port = service.ports[0]
        place = placement(service, port)
        by_port.setdefault(port.number, []).extend([service] if place.wildcard else [])
        found += (vip_listener(address, port.number, [member(service)], SETTINGS)[0] for address in place.addresses)
        if place.table:
            tables[place.table] = True
            host = service_host(service, port, None, caller_namespace="default", settings=SETTINGS)
            hosts.append(envoy_route.encode_virtual_host(place.table, host))
            hosts.append(envoy_route.encode_virtual_host("http_proxy", proxy_virtual_host(host, port.number)))
    for number, sharing in by_port.items():
        http = any(placement(service, service.ports[0]).http for service in sharing)
        members = [member(service) for service in sharing if not service.ports[0].protocol.is_http]
        found.append(wildcard_listener(number, members=members, http=http, policy=POLICY, settings=SETTINGS)[0])
    hosts += [envoy_route.encode_virtual_host("9080", catch_all(POLICY))]
    hosts += [envoy_route.encode_virtual_host("http_proxy", catch_all(POLICY, captured=False))]
    return encoded(found, hosts, sorted(tables))


def call(resources: tuple[Resource, ...], to: str, **fields: Any) -> str:
    """The cluster a captured call goes to, or the verdict."""
    ip, _, port = to.rpartition(":")
    fields.setdefault("captured_at", CAPTURED)
    made = Call(address=Address(ip, int(port)), **fields)
    outcome = simulate(decode(completed(resources))[0], made)
    assert outcome.doubts == ()
    if outcome.destinations:
        return outcome.destinations[0].cluster.removesuffix(".default.svc.cluster.local")
    return f"{outcome.verdict} {outcome.status}"


BYTES: dict[str, Any] = {"speaks": Speaks.BYTES}
SILENT: dict[str, Any] = {"speaks": Speaks.NOTHING}
VAULT_TLS: dict[str, Any] = {"tls": Tls(sni="vault.default.svc.cluster.local"), "speaks": Speaks.BYTES}
OTHER_TLS: dict[str, Any] = {"tls": Tls(sni="example.com", alpn=("h2", "http/1.1")), "speaks": Speaks.HTTP2}


@pytest.mark.parametrize(
    ("to", "fields", "cluster"),
    [
        ("10.0.0.1:9080", {"authority": "reviews"}, "outbound|9080||reviews"),
        ("10.0.0.1:9080", {"authority": "reviews.default:9080"}, "outbound|9080||reviews"),
        ("10.0.0.1:9080", {"authority": "10.0.0.1:9080"}, "outbound|9080||reviews"),
        ("10.0.0.1:9080", {"authority": "example.com"}, "PassthroughCluster"),
        ("10.0.0.1:9080", {"authority": "reviews", "speaks": Speaks.HTTP2}, "outbound|9080||reviews"),
        ("93.184.216.34:9080", BYTES, "PassthroughCluster"),
        ("93.184.216.34:9080", OTHER_TLS, "PassthroughCluster"),
        ("93.184.216.34:8443", OTHER_TLS, "PassthroughCluster"),
        ("10.0.0.2:9000", {"authority": "sniffed:9000"}, "outbound|9000||sniffed"),
        ("10.0.0.2:9000", BYTES, "outbound|9000||sniffed"),
        ("10.0.0.2:9000", OTHER_TLS, "outbound|9000||sniffed"),
        ("10.0.0.3:3306", BYTES, "outbound|3306||db"),
        ("10.0.0.3:3306", SILENT, "outbound|3306||db"),
        ("10.1.0.1:9080", {"authority": "peers:9080"}, "outbound|9080||peers"),
        ("10.1.0.2:9080", BYTES, "outbound|9080||peers"),
        ("10.1.0.2:9080", OTHER_TLS, "outbound|9080||peers"),
        ("10.2.0.1:9080", BYTES, "outbound|9080||queue"),
        ("10.2.0.1:9080", {"authority": "reviews"}, "outbound|9080||queue"),
        ("10.9.3.4:9443", BYTES, "outbound|9443||block"),
        ("1.2.3.4:9443", VAULT_TLS, "outbound|9443||vault"),
        ("1.2.3.4:9443", OTHER_TLS, "PassthroughCluster"),
        ("1.2.3.4:15001", BYTES, "BlackHoleCluster"),
    ],
)
def test_captured_calls(outbound, to, fields, cluster):
    assert call(outbound, to, **fields) == cluster


@pytest.mark.parametrize(
    ("authority", "found"),
    [
        ("reviews:9080", "outbound|9080||reviews"),
        ("sniffed.default:9000", "outbound|9000||sniffed"),
        ("reviews", "answered 502"),
        ("example.com", "answered 502"),
    ],
)
def test_calls_through_the_forward_proxy(outbound, authority, found):
    assert call(outbound, "127.0.0.5:15080", captured_at=None, authority=authority, scheme="http") == found


def test_calls_to_explicit_listeners():
    """A sniffed service behind a listener that is declared TCP is forwarded, and silence is no reason to wait."""
    explicit = Egress(EVERYTHING, POLICY.origin, port=9000, protocol=Protocol.TCP, bind="127.0.0.5", bound=True)
    listener, _ = egress_listener(explicit, members=[member(SNIFFED)], policy=POLICY, settings=SETTINGS)
    assert listener is not None
    resources = encoded([listener], [], [])
    for fields in ({"authority": "sniffed"}, BYTES, SILENT):
        assert call(resources, "127.0.0.5:9000", captured_at=None, **fields) == "outbound|9000||sniffed"


@pytest.fixture(scope="module")
def inbound() -> tuple[Resource, ...]:
    """A workload that serves HTTP on 8080, MySQL on 3306 and something on 9000."""
    ports = ((8080, Protocol.HTTP), (3306, Protocol.TCP), (9000, Protocol.AUTO))
    services = [(found := svc(protocol.value, port, protocol), found.ports[0], port) for port, protocol in ports]
    listener, _ = virtual_inbound(inbound_ports(services)[0], None, ("10.1.0.7",), SETTINGS)
    return encoded([listener], [], [])


@pytest.mark.parametrize(
    ("port", "fields", "cluster"),
    [
        (8080, {"authority": "anything"}, "inbound|8080||"),
        (3306, BYTES, "inbound|3306||"),
        (3306, SILENT, "inbound|3306||"),
        (9000, {"authority": "x"}, "inbound|9000||"),
        (9000, BYTES, "inbound|9000||"),
        (9000, OTHER_TLS, "inbound|9000||"),
        (7777, {"authority": "x"}, "InboundPassthroughCluster"),
        (7777, BYTES, "InboundPassthroughCluster"),
        (7777, OTHER_TLS, "InboundPassthroughCluster"),
        (15006, BYTES, "BlackHoleCluster"),
    ],
)
def test_calls_to_the_workload(inbound, port, fields, cluster):
    assert call(inbound, f"10.1.0.7:{port}", captured_at=Address("0.0.0.0", 15006), **fields) == cluster


@pytest.fixture(scope="module")
def edge() -> tuple[Resource, ...]:
    """A gateway with HTTP, two HTTPS hosts, one passed through, and a port for bytes."""
    tls = "{mode: SIMPLE, credentialName: cert}"
    one = gateway(
        f"""
        selector: {{istio: ingressgateway}}
        servers:
        - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [a.com], tls: {{httpsRedirect: true}}}}
        - {{port: {{number: 80, name: http-b, protocol: HTTP}}, hosts: ['*.b.com']}}
        - {{port: {{number: 443, name: a, protocol: HTTPS}}, hosts: [a.com], tls: {tls}}}
        - {{port: {{number: 443, name: b, protocol: HTTPS}}, hosts: ['*.b.com'], tls: {tls}}}
        - {{port: {{number: 443, name: p, protocol: TLS}}, hosts: [p.com], tls: {{mode: PASSTHROUGH}}}}
        - {{port: {{number: 3306, name: db, protocol: TCP}}, hosts: ['*']}}
        """
    )
    rules = virtual_service(
        """
        hosts: [p.com]
        gateways: [gw]
        tls: [{match: [{sniHosts: [p.com]}], route: [{destination: {host: ratings}}]}]
        tcp: [{match: [{port: 3306}], route: [{destination: {host: db}}]}]
        """
    )
    found, _ = plan([one], SETTINGS, "istio-ingress")
    world: dict[str, Any] = {"caller": Caller("default"), "destinations": Known(), "settings": SETTINGS}
    listeners = []
    for listening in found.listeners.values():
        l4 = {server.key: server_chains(server, [rules], **world)[0] for server in listening.l4_servers}
        opened = gateway_listener(listening, l4=l4, settings=SETTINGS)
        assert opened is not None
        listeners.append(opened)
    hosts = [
        envoy_route.encode_virtual_host(table.name, host)
        for table in found.tables.values()
        for domain in table_domains(table)
        if (host := virtual_host(table, domain, [], **world)[0]) is not None
    ]
    tables = (envoy_route.encode_table(route_table(table)) for table in found.tables.values())
    pair = leaf("a.com")
    secret = encode_certificate("kubernetes://cert", pair.certificate.encode(), pair.key.encode())
    return (*encoded(listeners, hosts, []), *tables, secret)


@pytest.mark.parametrize(
    ("port", "fields", "found"),
    [
        (80, {"authority": "a.com"}, "answered 301"),
        (80, {"authority": "x.b.com"}, "answered 404"),
        (80, {"authority": "c.com"}, "answered 404"),
        (443, {"authority": "a.com", "tls": Tls(sni="a.com")}, "answered 404"),
        (443, {"authority": "x.b.com", "tls": Tls(sni="a.com")}, "answered 421"),
        (443, {"authority": "a.com", "tls": Tls(sni="x.b.com")}, "answered 421"),
        (443, {"authority": "p.com", "tls": Tls(sni="a.com")}, "answered 421"),
        (443, {"authority": "p.com", "tls": Tls(sni="p.com")}, "outbound|9080||ratings"),
        (443, {"authority": "c.com", "tls": Tls(sni="c.com")}, "closed 0"),
        (3306, BYTES, "outbound|3306||db"),
    ],
)
def test_calls_from_outside(edge, port, fields, found):
    assert call(edge, f"0.0.0.0:{port}", captured_at=None, **fields) == found


@pytest.mark.parametrize("world", ["outbound", "inbound", "edge"])
def test_envoy_takes_all_of_it(world, request):
    resources: Resources = decode(completed(request.getfixturevalue(world)))[0]
    assert validate(resources) == []


ALL_ACTIONS = """
    hosts: [reviews]
    http:
    - match:
      - {uri: {exact: /exact}, ignoreUriCase: true, method: {exact: GET}, scheme: {exact: http}, authority: {prefix: r}}
      - {uri: {regex: '/re/[0-9]+'}, headers: {a: {}, b: {regex: x+}}, withoutHeaders: {c: {exact: y}, d: {}}}
      - {uri: {prefix: /p}, queryParams: {a: {}, b: {exact: x}, c: {regex: x+}}}
      rewrite: {uri: /new, authority: b.com}
      timeout: 3s
      retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,503', backoff: 10ms, retryRemoteLocalities: true}
      fault: {delay: {fixedDelay: 1s, percentage: {value: 0.01}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}
      mirrors: [{destination: {host: ratings}, percentage: {value: 0.5}}]
      corsPolicy: {allowOrigins: [{exact: a}, {prefix: b}, {regex: 'c.*'}], allowMethods: [GET], maxAge: 1m, allowCredentials: true}
      headers: {request: {set: {a: x}, add: {b: y}, remove: [c]}, response: {set: {a: x}, add: {b: y}, remove: [c]}}
      route:
      - {destination: {host: reviews, subset: v1}, weight: 2147483647, headers: {request: {set: {host: c.com, d: x}}}}
      - {destination: {host: reviews, subset: v2}, weight: 1, headers: {response: {remove: [e]}}}
    - match: [{uri: {prefix: /regex}}]
      rewrite: {uriRegexRewrite: {match: '^/regex/(.*)', rewrite: '/\\1'}}
      route: [{destination: {host: reviews}, headers: {request: {add: {host: d.com}}}}]
    - match: [{uri: {prefix: /redirect}}]
      redirect: {prefixRewrite: /r, scheme: https, derivePort: FROM_REQUEST_PORT, redirectCode: 307}
    - match: [{uri: {prefix: /direct}}]
      directResponse: {status: 418, body: {bytes: aGk=}}
    - match: [{uri: {prefix: /broken}}]
      route: []
    - name: rest
      route: [{destination: {host: reviews}}]
"""


def test_envoy_takes_every_kind_of_rule():
    vs = virtual_service(ALL_ACTIONS)
    rules, _ = rules_of(vs, lambda *_: None)
    routes, problems = http_routes(
        rules, vs=vs, caller=Caller("default"), listener_port=9080, destinations=Known(), settings=SETTINGS
    )
    assert routes is not None
    assert len(routes) == 8
    assert problems == ()
    host = service_host(REVIEWS, REVIEWS.ports[0], routes, caller_namespace="default", settings=SETTINGS)
    resources = (envoy_route.encode_table(RouteTable("9080")), envoy_route.encode_virtual_host("9080", host))
    assert validate(decode(completed(resources))[0]) == []
