"""Names: what a rule means, what a caller may write, which wildcards cover a host."""

import pytest

from controlplane.ir.service import Resolution
from controlplane.mesh import hosts
from controlplane.mesh.service import from_service
from controlplane.mesh.serviceentry import from_service_entry
from tests.mesh.manifests import SETTINGS, service, service_entry

DOMAIN = "cluster.local"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),  # completed with the rule's namespace
        ("Reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.default", "reviews.default"),  # cannot be told from example.com
        ("reviews.default.svc", "reviews.default.svc.cluster.local"),
        ("reviews.default.svc.cluster.local", "reviews.default.svc.cluster.local"),
        ("reviews.default.svc.cluster.local.", "reviews.default.svc.cluster.local"),
        ("example.com", "example.com"),
        ("foo.svc", "foo.svc"),
        ("*", "*"),
        ("*.default.svc", "*.default.svc.cluster.local"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_a_rule_means_the_full_name(written, meant):
    assert hosts.qualify(written, "shop", DOMAIN) == meant


def test_a_name_with_one_dot_has_two_readings():
    assert hosts.readings("reviews.default", "shop", DOMAIN) == (
        "reviews.default",
        "reviews.default.svc.cluster.local",
    )
    assert hosts.readings("reviews", "shop", DOMAIN) == ("reviews.shop.svc.cluster.local",)
    assert hosts.readings("*.com", "shop", DOMAIN) == ("*.com",)


@pytest.mark.parametrize(
    ("host", "wildcards"),
    [
        ("a.b.c", ("*.b.c", "*.c", "*")),
        ("*.b.c", ("*.c", "*")),
        ("*.c", ("*",)),
        ("a", ("*",)),
        ("*", ()),
    ],
)
def test_wildcards_above_are_most_specific_first(host, wildcards):
    assert hosts.wildcards_above(host) == wildcards
    assert all(hosts.covers(wildcard, host) for wildcard in wildcards)


def test_a_wildcard_covers_what_is_below_it_only():
    assert hosts.covers("*.example.com", "api.example.com")
    assert hosts.covers("*.example.com", "*.api.example.com")
    assert not hosts.covers("*.example.com", "example.com")
    assert not hosts.covers("*.example.com", "api.badexample.com")
    assert not hosts.covers("api.example.com", "*.example.com")


def reviews(body="clusterIP: 10.0.0.1\nports: [{port: 9080}]"):
    found, _ = from_service(service(body), SETTINGS)
    assert found is not None
    return found


def test_a_neighbour_may_use_every_form_of_the_name():
    assert hosts.domains(reviews(), 9080, "default", DOMAIN) == tuple(
        sorted(
            name + suffix
            for name in (
                "reviews",
                "reviews.default",
                "reviews.default.svc",
                "reviews.default.svc.cluster.local",
                "10.0.0.1",
            )
            for suffix in ("", ":9080")
        )
    )


@pytest.mark.parametrize("caller", ["shop", None])
def test_only_a_neighbour_may_use_the_bare_name(caller):
    domains = hosts.domains(reviews(), 9080, caller, DOMAIN)
    assert "reviews" not in domains
    assert "reviews.default" in domains


def test_ipv6_addresses_stand_in_brackets():
    dual = reviews("clusterIP: 10.0.0.1\nclusterIPs: [10.0.0.1, 'fd00::1']\nports: [{port: 80}]")
    assert {"10.0.0.1:80", "[fd00::1]", "[fd00::1]:80"} <= set(hosts.domains(dual, 80, "default", DOMAIN))


def test_a_headless_service_answers_for_the_names_of_its_pods():
    domains = hosts.domains(reviews("clusterIP: None\nports: [{port: 80}]"), 80, "default", DOMAIN)
    assert {"*.reviews", "*.reviews.default.svc.cluster.local:80", "reviews"} <= set(domains)


def entry(body):
    (found, *_), _ = from_service_entry(service_entry(body), SETTINGS)
    return found


def test_a_service_entry_has_one_name_and_its_addresses():
    found = entry(
        "hosts: [api.example.com]\naddresses: [1.2.3.4, 10.0.0.0/8]\nports: [{number: 80, name: http, protocol: HTTP}]"
    )
    assert hosts.domains(found, 80, "default", DOMAIN) == (
        "1.2.3.4",
        "1.2.3.4:80",
        "api.example.com",
        "api.example.com:80",
    )


def test_a_service_entry_inside_the_cluster_domain_has_short_forms():
    found = entry("hosts: [db.legacy.svc.cluster.local]\nports: [{number: 80, name: http, protocol: HTTP}]")
    assert found.resolution is Resolution.PASSTHROUGH
    assert {"db.legacy", "db.legacy.svc"} <= set(hosts.domains(found, 80, "default", DOMAIN))
    assert "db" in hosts.domains(found, 80, "legacy", DOMAIN)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1%eth0",
        "localhost",
        "LocalHost.",
        "x.localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "0",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.000.000.001",
        "0.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "0:0:0:0:0:0:0:1",
        "::ffff:7f00:1",
        "::ffff:0.0.0.0",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fe80::1",
        "febf::1",
        "0xa9fea9fe",
        "unix:///tmp/x",
        "unix:/tmp/x",
    ],
)
def test_every_spelling_of_the_own_machine_is_known(address):
    assert hosts.is_local(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "8.8.8.8", "fd00::1", "example.com", "notlocalhost", "1.2.3", "12.7.0.1"]
)
def test_other_addresses_are_not_the_own_machine(address):
    assert not hosts.is_local(address)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("10.0.0.1", True),
        ("fd00::1", True),
        ("10.1", False),
        ("010.0.0.1", False),
        ("", False),
        ("a\0b", False),
        ("example.com", False),
    ],
)
def test_an_address_is_one_as_envoy_reads_it(text, is_one):
    assert hosts.is_ip(text) is is_one
