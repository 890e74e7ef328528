"""tcp and tls rules as filter chains."""

from datetime import timedelta

from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, TcpChain
from controlplane.ir.policy import HashHeader, HashSourceIp, Tunnel
from controlplane.mesh.caller import Caller
from controlplane.mesh.destinations import TcpTimes
from controlplane.mesh.http.match import Place
from controlplane.mesh.l4routes import L4Place, applies_l4, tcp_chains, tls_chains
from tests.mesh.traffic import Known, short, virtual_service

TO_DB = "route: [{destination: {host: db}}]"


def place(*, known: Known | None = None, port: int = 3306, at: str = "mesh", labels=None, ranges=()) -> L4Place:
    return L4Place(
        Place(Caller("default", labels or {}), port, frozenset({at})), known or Known(), "cluster.local", ranges
    )


def tcp(rules: str, at: L4Place | None = None):
    return tcp_chains([virtual_service(f"hosts: [db]\ntcp:\n{rules}")], at or place())


def tls(rules: str, at: L4Place | None = None):
    return tls_chains([virtual_service(f"hosts: ['*.com']\ntls:\n{rules}")], at or place())


def leads_to(chain: FilterChain) -> list[tuple[str, int]]:
    assert isinstance(chain.network, TcpChain)
    return [(short(one.cluster), one.weight) for one in chain.network.destinations]


def test_a_rule_without_match_takes_every_connection():
    (chain,), complete, problems = tcp(f"- {TO_DB}")
    assert (chain.match, leads_to(chain), complete, problems) == (MATCH_ALL, [("db:3306", 1)], True, ())
    assert str(chain.origins[0]) == "VirtualService default/reviews spec.tcp[0]"


def test_weights():
    shares = "[{destination: {host: db, subset: v1}, weight: 9}, {destination: {host: db, subset: v2}, weight: 1}]"
    (chain,), _, _ = tcp(f"- route: {shares}")
    assert leads_to(chain) == [("db:3306/v1", 9), ("db:3306/v2", 1)]


def test_destination_subnets_of_all_matches_make_one_chain():
    rules = f"- match: [{{destinationSubnets: [10.1.0.0/16]}}, {{destinationSubnets: [10.2.0.1]}}]\n  {TO_DB}"
    (chain,), complete, _ = tcp(rules)
    assert (chain.match, complete) == (ChainMatch(destination_ranges=("10.1.0.0/16", "10.2.0.1")), False)


def test_rules_after_one_that_takes_everything_are_not_made():
    chains, _, _ = tcp(f"- {TO_DB}\n- match: [{{destinationSubnets: [10.1.0.0/16]}}]\n  {TO_DB}")
    assert len(chains) == 1


def test_of_two_rules_for_the_same_connections_the_first_wins():
    """Envoy refuses a listener with two chains that match the same."""
    match = "match: [{destinationSubnets: [10.1.0.0/16]}]"
    chains, _, _ = tcp(f"- {match}\n  {TO_DB}\n- {match}\n  route: [{{destination: {{host: reviews}}}}]")
    assert [leads_to(chain) for chain in chains] == [[("db:3306", 1)]]


def test_all_that_a_match_asks_about_the_proxy_must_hold():
    rules = (
        f"- match: [{{port: 3306, gateways: [mesh], sourceLabels: {{app: web}}, sourceNamespace: default}}]\n  {TO_DB}"
    )
    assert len(tcp(rules, place(labels={"app": "web"}))[0]) == 1
    assert tcp(rules)[0] == ()
    assert tcp(rules, place(labels={"app": "web"}, port=1))[0] == ()
    assert tcp(rules, place(labels={"app": "web"}, at="default/gw"))[0] == ()


def test_a_bad_match_never_matches_and_a_bad_rule_closes_connections():
    assert tcp(f"- match: [{{destinationSubnets: [nonsense]}}]\n  {TO_DB}")[0] == ()
    (chain,), complete, _ = tcp("- route: [{destination: {host: db}, weight: -1}]")
    assert isinstance(chain.network, TcpChain)
    assert (chain.network.destinations[0].cluster, complete) == ("BlackHoleCluster", True)


def test_a_destination_that_does_not_exist_is_named():
    _, _, (problem,) = tcp("- route: [{destination: {host: nobody}}]")
    assert (problem.code, problem.origin.path) == (
        "ReferencedResourceNotFound",
        "spec.tcp[0].route[0].destination.host",
    )


def test_connections_are_hashed_by_source_address_only_and_have_the_limits_of_their_destination():
    known = Known()
    known.keys = {"": (HashHeader("x"), HashSourceIp())}
    known.times = TcpTimes(timedelta(hours=2), timedelta(days=1), Tunnel("CONNECT", "proxy.com", 443))
    (chain,), _, _ = tcp(f"- {TO_DB}", place(known=known))
    assert isinstance(chain.network, TcpChain)
    assert chain.network.hash_key == HashSourceIp()
    assert (chain.network.idle_timeout, chain.network.max_connection_duration) == (
        timedelta(hours=2),
        timedelta(days=1),
    )
    assert chain.network.tunnel == known.times.tunnel


def test_server_names():
    (chain,), problems = tls(f"- match: [{{sniHosts: [B.com, a.com]}}]\n  {TO_DB}")
    assert (chain.match, problems) == (ChainMatch(server_names=("a.com", "b.com")), ())


def test_a_server_name_goes_to_the_first_rule_that_names_it():
    rules = f"""
    - match: [{{sniHosts: [a.com]}}]
      {TO_DB}
    - match: [{{sniHosts: [a.com, b.com]}}]
      route: [{{destination: {{host: reviews}}}}]
    """
    chains, _ = tls(rules)
    assert [(chain.match.server_names, leads_to(chain)) for chain in chains] == [
        (("a.com",), [("db:3306", 1)]),
        (("b.com",), [("reviews:9080", 1)]),
    ]


def test_the_addresses_of_a_service_hold_where_a_rule_names_none():
    (chain,), _ = tls(f"- match: [{{sniHosts: [a.com]}}]\n  {TO_DB}", place(ranges=("10.0.0.0/8",)))
    assert chain.match == ChainMatch(destination_ranges=("10.0.0.0/8",), server_names=("a.com",))


def test_which_virtual_services_speak_of_connections():
    assert applies_l4(virtual_service(f"hosts: [db]\ntcp: [{{{TO_DB}}}]"))
    assert not applies_l4(virtual_service(f"hosts: [db]\nhttp: [{{{TO_DB}}}]"))
