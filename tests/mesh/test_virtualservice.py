"""What a VirtualService is about, and whose callers it tells apart."""

from datetime import UTC, datetime

import pytest

from controlplane.mesh.virtualservice import (
    binds_mesh,
    gateways_of,
    hosts_of,
    mesh_hosts_of,
    order,
    ports_named,
    rules_of,
    shadowed,
    source_selectors,
)
from controlplane.model.virtualservice import VirtualService
from tests.mesh.traffic import TO_REVIEWS, virtual_service

DOMAIN = "cluster.local"


def about(spec: str, **meta) -> VirtualService:
    return virtual_service(f"{spec}\nhttp: [{{{TO_REVIEWS}}}]", **meta)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("reviews", "reviews.default.svc.cluster.local"),
        ("Reviews", "reviews.default.svc.cluster.local"),
        ("reviews.default.svc", "reviews.default.svc.cluster.local"),
        ("example.com", "example.com"),
        ("'*.example.com'", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_hosts(written, meant):
    assert hosts_of(about(f"hosts: [{written}]"), DOMAIN) == (meant,)


def test_in_the_mesh_a_name_with_one_dot_may_also_be_a_service():
    vs = about("hosts: [reviews.default, reviews]")
    assert mesh_hosts_of(vs, DOMAIN) == ("reviews.default", "reviews.default.svc.cluster.local")


@pytest.mark.parametrize(
    ("gateways", "mesh", "keys"),
    [
        ("[]", True, ()),
        ("[mesh]", True, ()),
        ("[gw]", False, (("default", "gw"),)),
        ("[gw, mesh, other/gw]", True, (("default", "gw"), ("other", "gw"))),
        ("[gw.other.svc.cluster.local]", False, (("other", "gw"),)),
    ],
)
def test_where_it_applies(gateways, mesh, keys):
    vs = about(f"hosts: [a.com]\ngateways: {gateways}")
    assert (binds_mesh(vs), gateways_of(vs)) == (mesh, keys)


def test_the_oldest_comes_first_and_what_has_no_age_last_by_name():
    old = about("hosts: [a.com]", name="z", creationTimestamp="2020-01-01T00:00:00Z")
    young = about("hosts: [a.com]", name="a", creationTimestamp="2021-01-01T00:00:00Z")
    file_b = about("hosts: [a.com]", name="b", namespace="b")
    file_a = about("hosts: [a.com]", name="c", namespace="a")
    assert old.meta.created == datetime(2020, 1, 1, tzinfo=UTC)
    assert sorted([file_b, young, file_a, old], key=order) == [old, young, file_a, file_b]


def test_callers_are_told_apart_only_by_what_matches_ask():
    vs = virtual_service(
        """
        hosts: [reviews]
        http:
        - match: [{sourceLabels: {app: web}}, {sourceNamespace: shop, sourceLabels: {app: web}}]
          route: [{destination: {host: reviews}}]
        - match: [{sourceLabels: {app: web}}, {gateways: [mesh], sourceLabels: {not: seen}}, {uri: {prefix: /a}}]
          route: [{destination: {host: reviews}}]
        tcp:
        - match: [{sourceNamespace: bank}]
          route: [{destination: {host: reviews}}]
        """
    )
    rules, _ = rules_of(vs, lambda *_: None)
    of_http = ((None, {"app": "web"}), ("shop", {"app": "web"}))
    assert source_selectors(rules) == of_http
    assert source_selectors(rules, vs) == (of_http[0], ("bank", {}), of_http[1])


def test_all_callers_are_alike_where_no_match_asks():
    rules, _ = rules_of(about("hosts: [reviews]"), lambda *_: None)
    assert source_selectors(rules) == ()


def test_ports_that_matches_name():
    vs = virtual_service(f"hosts: [a.com]\nhttp: [{{match: [{{port: 80}}, {{port: 443}}, {{}}], {TO_REVIEWS}}}]")
    rules, _ = rules_of(vs, lambda *_: None)
    assert ports_named(rules) == {80, 443}


def test_of_two_virtual_services_for_one_host_both_learn_of_the_other():
    young, old = shadowed(about("hosts: [a.com]", name="young"), about("hosts: [a.com]", name="old"), "a.com")
    assert (young.code, str(young.origin)) == ("Conflicted", "VirtualService default/young spec.hosts")
    assert "VirtualService default/old" in young.message
    assert (old.code, old.level, str(old.origin)) == ("Conflicted", "warning", "VirtualService default/old spec.hosts")
    assert "VirtualService default/young" in old.message


def test_an_object_invalid_as_a_whole_is_about_nothing():
    vs = about("hosts: ['not a host!']")
    assert hosts_of(vs, DOMAIN) == mesh_hosts_of(vs, DOMAIN) == ()
