"""What a gateway listens on, who attaches, and what a host answers."""

from typing import Any

import msgspec
import pytest

from controlplane.ir.listener import ChainMatch, HttpChain, Listener, ServerTls, ServerTlsMode, TcpChain
from controlplane.ir.route import DirectResponse, VirtualHost
from controlplane.mesh.caller import Caller
from controlplane.mesh.gateway import (
    Attached,
    GatewayPlan,
    attachments,
    l4_attachments,
    listener,
    missing_gateways,
    plan,
    route_table,
    server_chains,
    table_domains,
    unattached,
    unopened,
    virtual_host,
)
from controlplane.mesh.virtualservice import order, rules_of
from controlplane.model.gateway import Gateway
from controlplane.model.problem import Problem
from controlplane.model.settings import Settings, Tenancy
from controlplane.model.virtualservice import VirtualService
from tests.mesh.manifests import SECURED, SETTINGS
from tests.mesh.traffic import TO_REVIEWS, Known, gateway, short, virtual_service

HTTP = "port: {number: 80, name: http, protocol: HTTP}"
DOMAIN = "cluster.local"
ISTIO = Settings(tenancy=Tenancy.ISTIO)


def https(host: str, name: str, *, port: int = 443, tls: str = "mode: SIMPLE, credentialName: cert") -> str:
    return f"{{port: {{number: {port}, name: {name}, protocol: HTTPS}}, hosts: ['{host}'], tls: {{{tls}}}}}"


INGRESS = "istio-ingress"  # where the proxies are


def servers(*written: str, **meta: Any) -> Gateway:
    return gateway("selector: {istio: ingressgateway}\nservers:\n" + "\n".join(f"- {one}" for one in written), **meta)


def planned(*gateways: Gateway, settings: Settings = SETTINGS) -> GatewayPlan:
    found, problems = plan(gateways, settings, INGRESS)
    assert problems == ()
    return found


def told(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(problem.code, str(problem.origin)) for problem in problems]


def vs(hosts: str, rules: str = f"- {TO_REVIEWS}", *, gateways: str = "[gw]", **meta: Any) -> VirtualService:
    return virtual_service(f"hosts: {hosts}\ngateways: {gateways}\nhttp:\n{rules}", **meta)


def answer(
    found: GatewayPlan, table: str, domain: str, *attached: VirtualService
) -> tuple[VirtualHost | None, tuple[Problem, ...]]:
    return virtual_host(
        found.tables[table],
        domain,
        [Attached(one, rules_of(one, lambda *_: None)[0]) for one in sorted(attached, key=order)],
        caller=Caller("default"),
        destinations=Known(),
        settings=SETTINGS,
    )


def opened(found: GatewayPlan, name: str, *vss: VirtualService, **options: Any) -> Listener | None:
    one = found.listeners[name]
    l4 = {
        server.key: server_chains(server, vss, caller=Caller("default"), destinations=Known(), settings=SETTINGS)[0]
        for server in one.l4_servers
    }
    return listener(one, l4=l4, settings=SETTINGS, **options)


def paths(found: Listener | None) -> list[tuple[tuple[str, ...], str]]:
    """(server names, route table or cluster) of each chain."""
    assert found is not None
    assert found.default_chain is None
    return [(chain.match.server_names, where(chain.network)) for chain in found.chains]


def where(network: HttpChain | TcpChain) -> str:
    return network.route if isinstance(network, HttpChain) else short(network.destinations[0].cluster)


# Listeners


def test_http_servers_of_a_port_share_a_listener_and_a_table():
    found = planned(servers(f"{{{HTTP}, hosts: [a.com]}}"), servers(f"{{{HTTP}, hosts: [b.com]}}", name="other"))
    one = opened(found, "0.0.0.0_80")
    assert one is not None
    assert (one.address, one.port, one.gateway, one.bind_to_port) == ("0.0.0.0", 80, True, True)
    assert paths(one) == [((), "http.80")]
    assert list(found.tables) == ["http.80"]
    assert [origin.ref.name for origin in one.origins] == ["gw", "other"]


def test_the_edge_of_the_mesh():
    found = planned(servers(f"{{{HTTP}, hosts: [a.com]}}"))
    one = listener(found.listeners["0.0.0.0_80"], l4={}, settings=Settings(num_trusted_proxies=2))
    assert one is not None
    speaks = one.chains[0].network
    assert isinstance(speaks, HttpChain)
    assert (speaks.gateway, speaks.use_remote_address, speaks.xff_trusted_hops) == (True, True, 2)
    assert route_table(found.tables["http.80"]).gateway


def test_https_servers_have_a_chain_and_a_table_each():
    found = planned(servers(https("a.com", "one"), https("*.b.com", "two")))
    one = opened(found, "0.0.0.0_443")
    assert one is not None
    assert one.inspect_tls
    assert paths(one) == [
        (("a.com",), "https.443.one.gw.default"),
        (("*.b.com",), "https.443.two.gw.default"),
    ]
    assert one.chains[0].tls == ServerTls(ServerTlsMode.SIMPLE, secrets=("kubernetes://cert",))


def test_a_server_for_every_host_asks_for_no_name():
    assert paths(opened(planned(servers(https("*", "one"))), "0.0.0.0_443")) == [((), "https.443.one.gw.default")]


def test_names_beside_every_host_are_not_lost_to_anothers_wildcard():
    every = (
        "{port: {number: 443, name: one, protocol: HTTPS}, hosts: ['*', a.com], tls: {mode: SIMPLE, credentialName: c}}"
    )
    assert paths(opened(planned(servers(every, https("*.com", "two"))), "0.0.0.0_443")) == [
        (("a.com",), "https.443.one.gw.default"),
        ((), "https.443.one.gw.default"),
        (("*.com",), "https.443.two.gw.default"),
    ]
    assert paths(opened(planned(servers(every)), "0.0.0.0_443")) == [((), "https.443.one.gw.default")]


def test_a_name_belongs_to_the_first_server_that_has_it():
    """Envoy refuses a listener in which two chains ask for the same name."""
    passed_on = "{port: {number: 443, name: two, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}"
    tls = "- match: [{sniHosts: ['*.b.com', c.com]}]\n  route: [{destination: {host: reviews}}]"
    wanted = virtual_service(f"hosts: ['*']\ngateways: [gw]\ntls:\n{tls}")
    one = opened(planned(servers(https("*.b.com", "one"), passed_on)), "0.0.0.0_443", wanted)
    assert one is not None
    assert [chain.match.server_names for chain in one.chains] == [("*.b.com",), ("c.com",)]


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (
            "mode: MUTUAL, credentialName: cert",
            ServerTls(ServerTlsMode.MUTUAL, ("kubernetes://cert",), "kubernetes://cert-cacert"),
        ),
        (
            "mode: OPTIONAL_MUTUAL, credentialName: cert, caCertCredentialName: ca",
            ServerTls(ServerTlsMode.OPTIONAL_MUTUAL, ("kubernetes://cert",), "kubernetes://ca-cacert"),
        ),
        (
            "mode: SIMPLE, credentialNames: [rsa, ecdsa]",
            ServerTls(ServerTlsMode.SIMPLE, ("kubernetes://rsa", "kubernetes://ecdsa")),
        ),
        (
            "mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, caCrl: /crl",
            ServerTls(ServerTlsMode.MUTUAL, certificates=(("/c", "/k"),), ca_file="/ca", crl_file="/crl"),
        ),
        (
            "mode: SIMPLE, tlsCertificates: [{serverCertificate: /c1, privateKey: /k1}, {serverCertificate: /c2, privateKey: /k2}]",
            ServerTls(ServerTlsMode.SIMPLE, certificates=(("/c1", "/k1"), ("/c2", "/k2"))),
        ),
        (
            "mode: SIMPLE, credentialName: cert, minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]",
            ServerTls(
                ServerTlsMode.SIMPLE,
                ("kubernetes://cert",),
                min_version="TLSV1_3",
                cipher_suites=("ECDHE-RSA-AES128-GCM-SHA256",),
            ),
        ),
    ],
)
def test_tls_settings(tls, expected):
    one = opened(planned(servers(https("a.com", "one", tls=tls))), "0.0.0.0_443")
    assert one is not None
    assert one.chains[0].tls == expected


@pytest.mark.parametrize(
    ("mode", "protocol", "code"),
    [("ISTIO_MUTUAL", "HTTPS", "InvalidValue"), ("AUTO_PASSTHROUGH", "TLS", "FieldNotSupportedYet")],
)
def test_modes_that_cannot_be_served_are_said_and_nothing_else_closes(mode, protocol, code):
    unsupported = f"{{port: {{number: 443, name: one, protocol: {protocol}}}, hosts: [a.com], tls: {{mode: {mode}}}}}"
    found, problems = plan([servers(unsupported, https("b.com", "two"))], SETTINGS, INGRESS)
    assert told(problems) == [(code, "Gateway default/gw spec.servers[0].tls.mode")]
    assert [server.port_name for server in found.listeners["0.0.0.0_443"].servers] == ["two"]


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("mode: ISTIO_MUTUAL", {"trust_domains": ("cluster.local", "old.example")}),
        (
            "mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://a/ns/b/sa/c'], minProtocolVersion: TLSV1_3",
            {"subject_alt_names": ("spiffe://a/ns/b/sa/c",), "min_version": "TLSV1_3"},
        ),
    ],
)
def test_mutual_tls_of_the_mesh(tls, expected):
    """Names that a server lists are the only ones it takes, not some beside everybody."""
    found, problems = plan([servers(https("a.com", "one", tls=tls))], SECURED, INGRESS)
    one = opened(found, "0.0.0.0_443")
    assert problems == ()
    assert one is not None
    assert one.chains[0].tls == ServerTls(ServerTlsMode.MESH, **expected)
    assert paths(one) == [(("a.com",), "https.443.one.gw.default")]


def test_a_server_may_bind_an_address():
    found = planned(servers(f"{{{HTTP}, bind: 10.0.0.9, hosts: [a.com]}}"))
    one = opened(found, "10.0.0.9_80")
    assert one is not None
    assert (one.address, paths(one)) == ("10.0.0.9", [((), "http.80.10.0.0.9")])


def test_proxies_that_may_not_open_low_ports():
    found = planned(
        servers(f"{{{HTTP}, hosts: [a.com]}}", "{port: {number: 8080, name: x, protocol: HTTP}, hosts: [a.com]}")
    )
    low = opened(found, "0.0.0.0_80", bind="127.0.0.1", offset=10000)
    high = opened(found, "0.0.0.0_8080", bind="127.0.0.1", offset=10000)
    assert low is not None
    assert high is not None
    assert [(one.address, one.port) for one in (low, high)] == [("127.0.0.1", 10080), ("127.0.0.1", 8080)]


# Conflicts


def test_of_two_protocols_on_one_port_the_older_stays_and_both_are_told():
    older, younger = servers(f"{{{HTTP}, hosts: [a.com]}}"), servers(https("b.com", "x", port=80), name="young")
    found, problems = plan([older, younger], SETTINGS, INGRESS)
    assert [server.gateway for server in found.listeners["0.0.0.0_80"].servers] == ["default/gw"]
    assert told(problems) == [
        ("Conflicted", "Gateway default/young spec.servers[0]"),
        ("Conflicted", "Gateway default/gw spec.servers[0]"),
    ]


def test_of_two_servers_for_one_server_name_the_older_keeps_it():
    older, younger = servers(https("a.com", "x")), servers(https("a.com", "y"), https("b.com", "z"), name="young")
    found, problems = plan([older, younger], SETTINGS, INGRESS)
    assert [server.port_name for server in found.listeners["0.0.0.0_443"].servers] == ["x", "z"]
    assert [code for code, _ in told(problems)] == ["Conflicted", "Conflicted"]


def test_of_two_namespaces_that_claim_a_host_of_a_port_the_older_keeps_it():
    older, younger = (
        servers(f"{{{HTTP}, hosts: [a.com]}}"),
        servers(f"{{{HTTP}, hosts: [a.com, b.com]}}", namespace="shop"),
    )
    found, problems = plan([older, younger], SETTINGS, INGRESS)
    assert [server.hosts for server in found.tables["http.80"].servers] == [("a.com",), ("b.com",)]
    assert {code for code, _ in told(problems)} == {"Conflicted"}


@pytest.mark.parametrize(
    ("mine", "theirs", "settings"),
    [
        ("[a.com]", "[a.com]", ISTIO),
        ("[default/a.com]", "[shop/a.com]", SETTINGS),
        ("['*.com']", "[a.com]", SETTINGS),
    ],
)
def test_claims_that_do_not_collide(mine, theirs, settings):
    gateways = [servers(f"{{{HTTP}, hosts: {mine}}}"), servers(f"{{{HTTP}, hosts: {theirs}}}", namespace="shop")]
    assert len(planned(*gateways, settings=settings).tables["http.80"].servers) == 2


def test_gateways_of_one_namespace_merge():
    assert (
        len(planned(servers(f"{{{HTTP}, hosts: ['*']}}"), servers(f"{{{HTTP}, hosts: ['*']}}", name="b")).tables) == 1
    )


# Attachment


@pytest.mark.parametrize(
    ("server", "wanted", "domains"),
    [
        ("a.com", "[a.com]", ["a.com"]),
        ("'*'", "[a.com]", ["a.com"]),
        ("'*.com'", "[a.com]", ["a.com"]),
        ("a.com", "['*.com']", ["a.com"]),
        ("a.com", "['*']", ["a.com"]),
        ("'*.b.com'", "['*.com']", ["*.b.com"]),
        ("'*'", "['*']", ["*"]),
        ("a.com", "[b.com]", []),
        ("'*.a.com'", "[a.com]", []),
        ("default/a.com", "[a.com]", ["a.com"]),
        ("./a.com", "[a.com]", ["a.com"]),
        ("'*/a.com'", "[a.com]", ["a.com"]),
        ("shop/a.com", "[a.com]", []),
        ("'*'", "[A.com, reviews]", ["a.com", "reviews.default.svc.cluster.local"]),
    ],
)
def test_a_virtual_service_attaches_where_hosts_meet_under_the_narrower_name(server, wanted, domains):
    found = planned(servers(f"{{{HTTP}, hosts: [{server}]}}"))
    assert [domain for _, domain in attachments(vs(wanted), found, DOMAIN)] == domains


@pytest.mark.parametrize(
    ("gateways", "attached"), [("[gw]", True), ("[default/gw]", True), ("[other]", False), ("[mesh]", False)]
)
def test_a_virtual_service_attaches_to_the_gateways_it_names(gateways, attached):
    found = planned(servers(f"{{{HTTP}, hosts: ['*']}}"))
    assert bool(attachments(vs("[a.com]", gateways=gateways), found, DOMAIN)) is attached


def test_one_virtual_service_in_several_tables():
    found = planned(servers(f"{{{HTTP}, hosts: ['*']}}", https("a.com", "one"), https("b.com", "two")))
    assert attachments(vs("[a.com, b.com]"), found, DOMAIN) == (
        ("http.80", "a.com"),
        ("http.80", "b.com"),
        ("https.443.one.gw.default", "a.com"),
        ("https.443.two.gw.default", "b.com"),
    )


def test_a_gateway_that_does_not_exist_is_named():
    problems = missing_gateways(vs("[a.com]", gateways="[gw, shop/other, mesh]"), lambda *key: key == ("default", "gw"))
    assert told(problems) == [("ReferencedResourceNotFound", "VirtualService default/reviews spec.gateways")]
    assert "shop/other" in problems[0].message


def test_hosts_no_server_admits_are_named():
    found = planned(servers(f"{{{HTTP}, hosts: [a.com]}}"))
    assert unattached(vs("[a.com]"), found, DOMAIN) == ()
    assert unattached(vs("[b.com]", gateways="[elsewhere]"), found, DOMAIN) == ()
    assert told(unattached(vs("[b.com]"), found, DOMAIN)) == [
        ("VirtualServiceHostNotFoundInGateway", "VirtualService default/reviews spec.hosts")
    ]


# Virtual hosts


def test_a_virtual_host():
    found = planned(servers(f"{{{HTTP}, hosts: ['*.com']}}"))
    host, problems = answer(found, "http.80", "a.com", vs("[a.com]"))
    assert host is not None
    assert (host.name, host.domains, host.require_tls, problems) == ("a.com:80", ("a.com",), False, ())
    assert len(host.routes) == 1
    assert [str(origin) for origin in host.origins] == ["Gateway default/gw spec.servers[0]"]


def test_virtual_services_of_one_host_are_merged_the_oldest_first_and_catch_alls_last():
    found = planned(servers(f"{{{HTTP}, hosts: ['*']}}"))
    old = vs(
        "[a.com]", "- route: [{destination: {host: reviews}}]", name="old", creationTimestamp="2020-01-01T00:00:00Z"
    )
    young = vs(
        "[a.com]",
        "- match: [{uri: {prefix: /a}}]\n  route: [{destination: {host: ratings}}]\n- route: [{destination: {host: many}}]",
        name="young",
        creationTimestamp="2021-01-01T00:00:00Z",
    )
    host, problems = answer(found, "http.80", "a.com", young, old)
    assert host is not None
    assert [str(route.origin.ref.name) for route in host.routes] == ["young", "old"]
    assert ("Conflicted", "VirtualService default/young spec.http[1]") in told(problems)
    assert "VirtualService default/old spec.http[0]" in problems[-1].message


def test_rules_for_another_gateway_do_not_count():
    found = planned(servers(f"{{{HTTP}, hosts: ['*']}}"))
    rules = f"- match: [{{gateways: [other]}}]\n  {TO_REVIEWS}"
    assert answer(found, "http.80", "a.com", vs("[a.com]", rules, gateways="[gw, other]")) == (None, ())


def test_matches_ask_for_the_gateway_through_which_they_are_attached():
    found = planned(servers(f"{{{HTTP}, hosts: [a.com]}}"), servers(f"{{{HTTP}, hosts: ['*.com']}}", name="wide"))
    rules = f"- match: [{{gateways: [wide]}}]\n  {TO_REVIEWS}"
    host, _ = answer(found, "http.80", "a.com", vs("[a.com]", rules, gateways="[gw, wide]"))
    assert host is not None


def test_a_table_answers_404_where_nothing_is_attached():
    found = planned(servers(f"{{{HTTP}, hosts: [a.com]}}"))
    assert table_domains(found.tables["http.80"]) == ("*",)
    host, _ = answer(found, "http.80", "*")
    assert host is not None
    assert (host.name, host.domains, host.routes) == ("blackhole:80", ("*",), ())


def test_redirects_to_https_need_no_virtual_service():
    found = planned(
        servers(
            f"{{{HTTP}, hosts: [a.com], tls: {{httpsRedirect: true}}}}",
            "{port: {number: 80, name: h2, protocol: HTTP}, hosts: [b.com]}",
        )
    )
    assert table_domains(found.tables["http.80"]) == ("*", "a.com")
    bare, _ = answer(found, "http.80", "a.com")
    routed, _ = answer(found, "http.80", "a.com", vs("[a.com]"))
    other, _ = answer(found, "http.80", "b.com", vs("[b.com]"))
    assert bare is not None
    assert routed is not None
    assert other is not None
    assert [(host.require_tls, len(host.routes)) for host in (bare, routed, other)] == [
        (True, 0),
        (True, 1),
        (False, 1),
    ]


def test_a_connection_reused_for_another_servers_host_gets_421():
    found = planned(servers(https("a.com", "one"), https("b.com", "two")))
    table = "https.443.one.gw.default"
    assert table_domains(found.tables[table]) == ("*", "a.com")
    rest, _ = answer(found, table, "*")
    own, _ = answer(found, table, "a.com")
    assert rest is not None
    assert own is not None
    assert (rest.domains, rest.routes[0].action) == (("*",), DirectResponse(421))
    assert (own.domains, own.routes) == (("a.com",), ())


def test_where_a_server_has_the_port_to_itself_an_unknown_host_gets_404():
    found = planned(servers(https("a.com", "one")))
    host, _ = answer(found, "https.443.one.gw.default", "*")
    assert host is not None
    assert host.routes == ()


def test_a_wildcards_server_misdirects_the_hosts_others_have_below_it():
    found = planned(servers(https("*", "all"), https("*.b.com", "b"), https("x.b.com", "x"), https("a.com", "a")))
    tables = {table.servers[0].port_name: table.misdirected for table in found.tables.values()}
    assert tables == {"all": ("*.b.com", "a.com"), "b": ("x.b.com",), "x": (), "a": ()}
    host, _ = answer(found, "https.443.all.gw.default", "a.com")
    rest, _ = answer(found, "https.443.all.gw.default", "*")
    assert host is not None
    assert rest is not None
    assert (host.routes[0].action, rest.routes) == (DirectResponse(421), ())


def test_a_host_that_is_passed_through_beside_is_misdirected_too():
    tls = "{port: {number: 443, name: pass, protocol: TLS}, hosts: [p.com], tls: {mode: PASSTHROUGH}}"
    found = planned(servers(https("a.com", "one"), tls))
    host, _ = answer(found, "https.443.one.gw.default", "*")
    assert host is not None
    assert host.routes[0].action == DirectResponse(421)


def test_what_is_attached_is_stronger_than_421():
    found = planned(servers(https("*.com", "one"), https("a.com", "two")))
    host, _ = answer(found, "https.443.one.gw.default", "a.com", vs("[a.com]"))
    assert host is not None
    assert host.name == "a.com:443"


def test_on_a_tls_server_redirects_leave_443_out():
    found = planned(servers(https("a.com", "one")))
    host, _ = answer(found, "https.443.one.gw.default", "a.com", vs("[a.com]", "- redirect: {port: 443, uri: /b}"))
    assert host is not None
    action = host.routes[0].action
    assert getattr(action, "port", 0) is None


# Connections


PASSTHROUGH = "{port: {number: 443, name: pass, protocol: TLS}, hosts: ['*.com'], tls: {mode: PASSTHROUGH}}"
TCP = "{port: {number: 3306, name: db, protocol: TCP}, hosts: ['*']}"


def sni(names: str) -> VirtualService:
    return virtual_service(
        f"hosts: {names}\ngateways: [gw]\ntls: [{{match: [{{sniHosts: {names}}}], route: [{{destination: {{host: db}}}}]}}]"
    )


def test_tls_is_passed_through_by_server_name():
    found = planned(servers(PASSTHROUGH))
    rule = sni("[a.com]")
    assert l4_attachments(rule, found, DOMAIN) == (("default", "gw", 0),)
    assert paths(opened(found, "0.0.0.0_443", rule)) == [(("a.com",), "db:3306")]


def test_server_names_stay_within_the_servers_hosts():
    (server,) = planned(servers(PASSTHROUGH)).listeners["0.0.0.0_443"].servers
    chains, problems = server_chains(
        server,
        [sni("[a.com, b.org]"), sni("[c.org]")],
        caller=Caller("default"),
        destinations=Known(),
        settings=SETTINGS,
    )
    assert [chain.match for chain in chains] == [ChainMatch(server_names=("a.com",))]
    assert [code for code, _ in told(problems)] == ["VirtualServiceHostNotFoundInGateway"]


def test_passed_through_and_terminated_tls_share_a_port():
    found = planned(servers(PASSTHROUGH, https("a.org", "one")))
    assert paths(opened(found, "0.0.0.0_443", sni("[a.com]"))) == [
        (("a.com",), "db:3306"),
        (("a.org",), "https.443.one.gw.default"),
    ]


def test_tcp_follows_the_tcp_rules_of_virtual_services():
    found = planned(servers(TCP))
    rule = virtual_service(
        "hosts: ['*']\ngateways: [gw]\ntcp: [{match: [{port: 3306}], route: [{destination: {host: db}}]}]"
    )
    assert l4_attachments(rule, found, DOMAIN) == (("default", "gw", 0),)
    one = opened(found, "0.0.0.0_3306", rule)
    assert one is not None
    assert paths(one) == [((), "db:3306")]
    assert not one.inspect_tls


def test_tls_that_ends_at_the_gateway_may_carry_any_bytes():
    found = planned(
        servers("{port: {number: 443, name: t, protocol: TLS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: c}}")
    )
    rule = virtual_service("hosts: [a.com]\ngateways: [gw]\ntcp: [{route: [{destination: {host: db}}]}]")
    one = opened(found, "0.0.0.0_443", rule)
    assert paths(one) == [(("a.com",), "db:3306")]
    assert one is not None
    assert one.chains[0].tls is not None
    assert one.chains[0].tls.alpn == ()


@pytest.mark.parametrize("protocol", ["TCP", "MONGO"])
def test_tls_beside_a_protocol_of_bytes_is_never_plain(protocol):
    start = f"{{port: {{number: 3306, name: db, protocol: {protocol}}}, hosts: ['*'], tls: "
    rule = virtual_service("hosts: ['*']\ngateways: [gw]\ntcp: [{route: [{destination: {host: db}}]}]")
    one = opened(planned(servers(start + "{mode: SIMPLE, credentialName: c}}")), "0.0.0.0_3306", rule)
    assert paths(one) == [((), "db:3306")]
    assert one is not None
    assert one.chains[0].tls is not None
    passing = planned(servers(start + "{mode: PASSTHROUGH}}"))
    assert opened(passing, "0.0.0.0_3306", rule) is None
    assert paths(opened(passing, "0.0.0.0_3306", sni("[a.com]"))) == [(("a.com",), "db:3306")]


def test_a_server_that_cannot_be_used_is_not_opened_and_leaves_the_others_their_numbers():
    good = servers(f"{{{HTTP}, hosts: [a.com]}}", https("a.com", "one"), https("b.com", "two"))
    bad = msgspec.structs.replace(good.spec.servers[1], invalid=True)
    spec = msgspec.structs.replace(good.spec, servers=(good.spec.servers[0], bad, good.spec.servers[2]))
    (one,) = planned(msgspec.structs.replace(good, spec=spec)).listeners["0.0.0.0_443"].servers
    assert (one.port_name, one.origin.path) == ("two", "spec.servers[2]")


def test_without_rules_a_port_for_connections_is_not_opened_and_that_is_said():
    found = planned(servers(TCP, PASSTHROUGH))
    assert opened(found, "0.0.0.0_3306") is None
    (tcp,), (tls,) = (found.listeners[name].servers for name in ("0.0.0.0_3306", "0.0.0.0_443"))
    assert told(unopened(tcp, ()) + unopened(tls, ())) == [
        ("NoEffect", "Gateway default/gw spec.servers[0]"),
        ("NoEffect", "Gateway default/gw spec.servers[1]"),
    ]
    one = opened(found, "0.0.0.0_443", sni("[a.com]"))
    assert one is not None
    assert unopened(tls, one.chains) == ()


def test_plain_tcp_servers_cannot_share_a_port():
    found, problems = plan([servers(TCP), servers(TCP, name="young")], SETTINGS, INGRESS)
    assert len(found.listeners["0.0.0.0_3306"].servers) == 1
    assert [code for code, _ in told(problems)] == ["Conflicted", "Conflicted"]


def test_http_rules_do_not_attach_to_connections_nor_the_other_way_round():
    found = planned(servers(TCP, PASSTHROUGH, f"{{{HTTP}, hosts: ['*']}}"))
    assert l4_attachments(vs("[a.com]"), found, DOMAIN) == ()
    assert attachments(sni("[a.com]"), found, DOMAIN) == ()
    assert l4_attachments(sni("[a.com]"), found, DOMAIN) == (("default", "gw", 1),)
