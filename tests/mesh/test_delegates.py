"""A VirtualService that leaves the routes under some match to another one."""

from datetime import timedelta

import pytest

from controlplane.ir.route import DirectResponse, Forward, MatchKind, StringMatch
from controlplane.mesh.virtualservice import delegates_of, rules_of
from tests.mesh.traffic import Known, Read, http, virtual_service

SHOP = "- match: [{uri: {prefix: /shop}}]\n  delegate: {name: shop}"


def delegate(body: str, name: str = "shop", **meta):
    return virtual_service(body, name=name, **meta)


def root(rules: str, *delegates, **place) -> Read:
    return http(rules, delegates=delegates, **place)


def test_the_delegates_rules_stand_under_the_roots_match():
    shop = delegate(
        """
        http:
        - match: [{uri: {prefix: /shop/cart}}]
          route: [{destination: {host: reviews}}]
        - route: [{destination: {host: ratings}}]
        """
    )
    read = root(SHOP, shop)
    assert [route.match.path for route in read.all] == [
        StringMatch(MatchKind.PREFIX, "/shop/cart"),
        StringMatch(MatchKind.PREFIX, "/shop"),
    ]
    assert read.clusters == ["reviews:9080", "ratings:9080"]


def test_origins_are_the_delegates_own_fields():
    read = root(SHOP, delegate("http: [{route: [{destination: {host: reviews}}]}]"))
    assert str(read.only.origin) == "VirtualService default/shop spec.http[0]"


def test_short_names_are_completed_with_the_delegates_namespace():
    known = Known()
    known.hosts["reviews.other.svc.cluster.local"] = (9080,)
    shop = delegate("http: [{route: [{destination: {host: reviews}}]}]", namespace="other")
    rules = "- match: [{uri: {prefix: /shop}}]\n  delegate: {name: shop, namespace: other}"
    action = root(rules, shop, known=known).only.action
    assert isinstance(action, Forward)
    assert action.destinations[0].cluster == "outbound|9080||reviews.other.svc.cluster.local"


def test_what_the_delegate_does_not_say_comes_from_the_root():
    rules = (
        f"{SHOP}\n  name: all\n  timeout: 3s\n  retries: {{attempts: 7}}\n  headers: {{request: {{set: {{a: root}}}}}}"
    )
    shop = delegate("http: [{name: cart, timeout: 1s, route: [{destination: {host: reviews}}]}]")
    only = root(rules, shop).only
    assert isinstance(only.action, Forward)
    assert only.action.timeout == timedelta(seconds=1)
    assert only.action.retry is not None
    assert only.action.retry.attempts == 7
    assert only.headers.request_set == (("a", "root"),)
    assert only.name == "all-cart"


def test_a_zero_the_delegate_writes_is_its_own():
    rules = f"{SHOP}\n  timeout: 3s\n  mirror: {{host: ratings}}\n  mirrorPercent: 7"
    shop = delegate("http: [{timeout: 0s, mirrorPercent: 0, route: [{destination: {host: reviews}}]}]")
    action = root(rules, shop).only.action
    assert isinstance(action, Forward)
    assert (action.timeout, action.mirrors) == (timedelta(0), ())


def test_headers_of_both_matches_must_hold():
    shop = delegate("http: [{match: [{headers: {b: {exact: y}}}], route: [{destination: {host: reviews}}]}]")
    rules = "- match: [{headers: {a: {exact: x}}}]\n  delegate: {name: shop}"
    assert [header.name for header in root(rules, shop).only.match.headers] == ["a", "b"]


@pytest.mark.parametrize(
    ("outer", "inner", "fits"),
    [
        ("uri: {prefix: /shop}", "uri: {prefix: /shop/a}", True),
        ("uri: {prefix: /shop}", "uri: {exact: /shop/a}", True),
        ("uri: {prefix: /shop}", "uri: {prefix: /other}", False),
        ("uri: {prefix: /shop}", "uri: {regex: '/shop.*'}", False),
        ("uri: {exact: /shop}", "uri: {exact: /shop}", True),
        ("uri: {exact: /shop}", "uri: {prefix: /shop}", False),
        ("method: {exact: GET}", "method: {exact: POST}", False),
        ("port: 80", "port: 9080", False),
        ("sourceNamespace: a", "sourceNamespace: b", False),
        ("sourceLabels: {a: x}", "sourceLabels: {a: y}", False),
        ("queryParams: {a: {exact: x}}", "queryParams: {a: {exact: y}}", False),
        ("uri: {prefix: /a}, ignoreUriCase: true", "uri: {prefix: /a}", False),
    ],
)
def test_a_delegates_rule_outside_of_the_roots_match_is_left_out_and_named(outer, inner, fits):
    shop = delegate(f"http: [{{match: [{{{inner}}}], route: [{{destination: {{host: reviews}}}}]}}]")
    root_vs = virtual_service(f"hosts: [reviews]\nhttp: [{{match: [{{{outer}}}], delegate: {{name: shop}}}}]")
    rules, problems = rules_of(root_vs, lambda *_: shop)
    assert bool(rules) is fits
    found = [(problem.code, str(problem.origin)) for problem in problems]
    assert found == ([] if fits else [("DelegateConflict", "VirtualService default/shop spec.http[0].match")])


def test_alternatives_of_both_are_combined():
    rules = "- match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]\n  delegate: {name: shop}"
    shop = delegate(
        "http: [{match: [{uri: {prefix: /a/x}}, {uri: {prefix: /b/y}}], route: [{destination: {host: reviews}}]}]"
    )
    paths = [route.match.path for route in root(rules, shop).all]
    assert [path.value for path in paths if path] == ["/a/x", "/b/y"]


def test_a_missing_delegate_answers_500_under_its_match_and_the_root_is_told():
    read = root(SHOP)
    assert (read.only.match.path, read.only.action) == (StringMatch(MatchKind.PREFIX, "/shop"), DirectResponse(500))
    assert read.complaints == [("ReferencedResourceNotFound", "spec.http[0].delegate")]


def test_a_virtual_service_with_hosts_is_no_delegate():
    read = root(SHOP, delegate("hosts: [shop.com]\nhttp: [{route: [{destination: {host: reviews}}]}]"))
    assert read.only.action == DirectResponse(500)
    assert read.complaints == [("InvalidDelegate", "spec.http[0].delegate")]


@pytest.mark.parametrize(
    ("export_to", "by_default", "seen"),
    [
        ("[.]", ("*",), False),
        ("[elsewhere]", ("*",), False),
        ("[default]", (".",), True),
        ("['*']", (".",), True),
        ("[]", (".",), False),
        ("[]", ("*",), True),
    ],
)
def test_a_delegate_must_be_exported_to_the_roots_namespace(export_to, by_default, seen):
    shop = delegate(f"exportTo: {export_to}\nhttp: [{{route: [{{destination: {{host: reviews}}}}]}}]", namespace="shop")
    root_vs = virtual_service("hosts: [reviews]\nhttp: [{delegate: {name: shop, namespace: shop}}]")
    (rule,), problems = rules_of(root_vs, lambda *_: shop, export_to=by_default)
    told = [(problem.code, problem.origin.path) for problem in problems]
    assert (rule.broken, told) == (
        (False, []) if seen else (True, [("ReferencedResourceNotFound", "spec.http[0].delegate")])
    )


def test_delegation_is_one_level_deep_so_that_cycles_end():
    one = delegate("http: [{delegate: {name: two}}]", name="shop")
    two = delegate("http: [{delegate: {name: shop}}]", name="two")
    read = root(SHOP, one, two)
    assert read.only.action == DirectResponse(500)
    assert ("InvalidDelegate", "spec.http[0].delegate") in read.complaints


def test_the_delegates_of_a_virtual_service():
    vs = virtual_service(
        """
        hosts: [a.com]
        http:
        - {match: [{uri: {prefix: /a}}], delegate: {name: one}}
        - {match: [{uri: {prefix: /b}}], delegate: {name: two, namespace: other}}
        - {match: [{uri: {prefix: /c}}], delegate: {name: one}}
        """
    )
    assert delegates_of(vs) == (("default", "one"), ("other", "two"))
