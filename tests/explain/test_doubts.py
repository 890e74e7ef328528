"""What is not followed is said, never guessed."""

import pytest
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2

from controlplane.explain import Address, Call, simulate
from tests.explain.build import TYPE, eds, http, listener, listener_filter, load, resources, table, tcp, to

TO = Address("10.0.0.1", 80)


def doubts(*chains, **fields):
    kinds = {key: fields.pop(key) for key in ("clusters", "loads") if key in fields}
    world = resources(listener("80", *TO, *chains, **fields), **kinds)
    return simulate(world, Call(address=TO, authority="a.test")).doubts


def test_ordinary_configurations_raise_none():
    assert doubts(http(table(to("up")))) == ()


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ({"runtime_fraction": {"default_value": {"numerator": 30}}}, "chance"),
        ({"filter_state": [{"key": "x", "string_match": {"exact": "x"}}]}, "filter state"),
    ],
)
def test_routes_up_to_the_winner(match, said):
    unclear, clear = to("up", prefix="/", **match), to("up")
    assert said in " ".join(doubts(http(table(unclear, clear))))
    assert doubts(http(table(clear, unclear))) == ()


def test_filters_that_may_answer():
    limit = {
        "@type": f"type.googleapis.com/{local_rate_limit_pb2.LocalRateLimit.DESCRIPTOR.full_name}",
        "stat_prefix": "x",
    }
    filters = ({"name": "limit", "typed_config": limit},)
    assert doubts(http(table(to("up")), filters=filters)) == ("HTTP filter limit may answer by itself",)


def test_whoever_else_is_asked():
    config = {
        "@type": f"type.googleapis.com/{ext_authz_pb2.ExtAuthz.DESCRIPTOR.full_name}",
        "http_service": {"server_uri": {"uri": "http://opa", "cluster": "opa", "timeout": "1s"}},
    }
    found = doubts(http(table(to("up")), filters=({"name": "asks", "typed_config": config},)))
    assert found == ("opa is asked whether the request may pass; taken to agree",)


def test_faults_for_some():
    abort = {"http_status": 500, "percentage": {"numerator": 30}}
    fault = {"name": "fault", "typed_config": {"@type": TYPE + "filters.http.fault.v3.HTTPFault", "abort": abort}}
    assert doubts(http(table(to("up")), filters=(fault,))) == ("HTTP filter fault answers a part of the requests",)


def test_health_that_is_known_at_run_time_only():
    check = {
        "timeout": "1s",
        "interval": "1s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "tcp_health_check": {},
    }
    clusters = [eds("c", health_checks=[check])]
    found = doubts(http(table(to("c"))), clusters=clusters, loads=[load("c", [])])
    assert found == ("cluster c: active health checks decide at run time",)


def test_an_inspector_in_the_way_of_handshakes():
    filters = [listener_filter("http_inspector", "HttpInspector"), listener_filter("tls_inspector", "TlsInspector")]
    assert "hold up handshakes" in doubts(tcp("up"), listener_filters=filters)[0]
    assert doubts(tcp("up"), listener_filters=filters[::-1]) == ()


def test_all_addresses_beside_no_address():
    everything = tcp("up", prefix_ranges=[{"address_prefix": "0.0.0.0", "prefix_len": 0}])
    assert "either may win" in doubts(everything, tcp("up", destination_port=81))[0]
    assert doubts(everything) == ()
