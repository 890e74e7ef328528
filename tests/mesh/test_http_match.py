"""Which requests a rule is for."""

import pytest

from controlplane.ir.route import ClaimMatch, HeaderMatch, MatchKind, QueryMatch, RouteMatch, StringMatch
from tests.mesh.traffic import TO_REVIEWS, http, matching

PRESENT = StringMatch(MatchKind.PRESENT)


def match_of(text: str) -> RouteMatch:
    return matching(text).only.match


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("uri: {exact: /a}", StringMatch(MatchKind.EXACT, "/a")),
        ("uri: {prefix: /a}", StringMatch(MatchKind.PREFIX, "/a")),
        ("uri: {regex: '/a/[0-9]+'}", StringMatch(MatchKind.REGEX, "/a/[0-9]+")),
        ("uri: {exact: /a}, ignoreUriCase: true", StringMatch(MatchKind.EXACT, "/a", ignore_case=True)),
        ("uri: {prefix: /a}, ignoreUriCase: true", StringMatch(MatchKind.PREFIX, "/a", ignore_case=True)),
        ("uri: {regex: /a}, ignoreUriCase: true", StringMatch(MatchKind.REGEX, "/a")),
    ],
)
def test_paths(uri, path):
    assert match_of(uri) == RouteMatch(path=path)


@pytest.mark.parametrize("uri", ["uri: {prefix: /}", "uri: {prefix: ''}", "uri: {regex: '.*'}", ""])
def test_a_path_that_every_request_has_is_no_condition(uri):
    assert match_of(uri).is_catch_all


@pytest.mark.parametrize(("field", "name"), [("method", ":method"), ("authority", ":authority"), ("scheme", ":scheme")])
def test_pseudo_headers(field, name):
    assert match_of(f"{field}: {{exact: x}}") == RouteMatch(
        headers=(HeaderMatch(name, StringMatch(MatchKind.EXACT, "x")),)
    )


def test_headers_come_by_name_and_pseudo_headers_after_them():
    found = match_of(
        "method: {exact: GET}, headers: {b: {prefix: x}, a: {regex: 'x+'}}, withoutHeaders: {ab: {exact: y}}"
    )
    assert [(header.name, header.invert) for header in found.headers] == [
        ("a", False),
        ("ab", True),
        ("b", False),
        (":method", False),
    ]


def test_an_empty_match_asks_whether_the_header_is_there():
    assert match_of("headers: {x: {}}").headers == (HeaderMatch("x", PRESENT),)


def test_so_does_the_star_that_istio_takes_in_without_headers():
    assert match_of("withoutHeaders: {x: {regex: '*'}}").headers == (HeaderMatch("x", PRESENT, invert=True),)


def test_header_names_do_not_mind_case():
    assert match_of("headers: {X-User: {exact: me}}").headers[0].name == "x-user"


def test_query_parameters_come_by_name():
    found = match_of("queryParams: {b: {exact: '1'}, a: {}}").query
    assert found == (QueryMatch("a", PRESENT), QueryMatch("b", StringMatch(MatchKind.EXACT, "1")))


def test_fields_of_one_match_are_one_condition_and_matches_are_alternatives():
    read = http(f"- match: [{{uri: {{exact: /a}}, method: {{exact: GET}}}}, {{uri: {{exact: /b}}}}]\n  {TO_REVIEWS}")
    first, second = (route.match for route in read.all)
    assert (first.path, len(first.headers)) == (StringMatch(MatchKind.EXACT, "/a"), 1)
    assert second == RouteMatch(path=StringMatch(MatchKind.EXACT, "/b"))


# What a match asks about the proxy


@pytest.mark.parametrize(("asked", "applies"), [(9080, True), (80, False)])
def test_port_is_the_port_of_the_listener(asked, applies):
    assert (matching(f"port: {asked}").routes is not None) is applies


@pytest.mark.parametrize(
    ("match", "applies"),
    [
        ("sourceNamespace: default", True),
        ("sourceNamespace: other", False),
        ("sourceLabels: {app: web}", True),
        ("sourceLabels: {app: web, version: v2}", False),
        ("sourceLabels: {app: web}, sourceNamespace: other", False),
    ],
)
def test_callers(match, applies):
    assert (matching(match, labels={"app": "web", "version": "v1"}).routes is not None) is applies


@pytest.mark.parametrize(
    ("gateways", "at", "applies"),
    [
        ("[mesh]", "mesh", True),
        ("[gw]", "mesh", False),
        ("[gw]", "default/gw", True),
        ("[./gw]", "default/gw", True),
        ("[default/gw]", "default/gw", True),
        ("[gw.default.svc.cluster.local]", "default/gw", True),
        ("[other/gw]", "default/gw", False),
        ("[other/gw, mesh]", "mesh", True),
    ],
)
def test_gateways(gateways, at, applies):
    assert (matching(f"gateways: {gateways}", at=at).routes is not None) is applies


def test_where_gateways_are_given_labels_are_not_looked_at():
    read = matching("gateways: [mesh], sourceLabels: {app: other}")
    assert read.routes is not None
    assert read.complaints == [("VirtualServiceIneffectiveMatch", "spec.http[0].match[0]")]


# What never matches


def test_a_bad_match_never_matches_and_the_others_of_its_rule_do():
    read = http(f"- match: [{{uri: {{regex: '(('}}}}, {{uri: {{exact: /b}}}}]\n  {TO_REVIEWS}")
    assert [route.match.path for route in read.all] == [StringMatch(MatchKind.EXACT, "/b")]


def test_a_rule_with_nothing_but_bad_matches_does_not_open_the_default_route():
    read = matching("uri: {regex: '(('}")
    assert read.routes == ()


def test_a_rule_for_somebody_else_leaves_the_default_route():
    assert matching("sourceNamespace: other").routes is None


@pytest.mark.parametrize("field", ["headers", "withoutHeaders"])
def test_claims_never_match_in_the_mesh(field):
    """Callers' sidecars look at no token: inverted or not, nobody knows."""
    read = matching(f"{field}: {{'@request.auth.claims.group': {{exact: dev}}}}")
    assert read.routes == ()
    assert read.complaints == [("VirtualServiceIneffectiveMatch", "spec.http[0].match[0]")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("@request.auth.claims.group", ("group",)),
        ("@request.auth.claims.name.given", ("name", "given")),
        ("@request.auth.claims[https://a.example.com/role]", ("https://a.example.com/role",)),
        ("@request.auth.claims[name][given.first]", ("name", "given.first")),
        ("@Request.Auth.Claims.Group", ("Group",)),
    ],
)
def test_claims_at_a_gateway(name, path):
    wanted, unwanted = ClaimMatch(path, StringMatch(MatchKind.PREFIX, "d")), ClaimMatch(path, PRESENT, invert=True)
    at = {"at": "default/gw"}
    found = matching(f"gateways: [gw], headers: {{'{name}': {{prefix: d}}, x-a: {{}}}}", **at).all[0].match
    assert (found.claims, [header.name for header in found.headers]) == ((wanted,), ["x-a"])
    assert not found.is_catch_all
    assert matching(f"withoutHeaders: {{'{name}': {{}}}}", **at).all[0].match.claims == (unwanted,)


@pytest.mark.parametrize(
    "name", ["", "x", ".", ".a.", ".a..b", "[", "[]", "[a", "[a]b", "[a].b", "a", "." + ".".join("a" * 17)]
)
def test_what_names_no_claim_never_matches(name):
    read = matching(f"headers: {{'@request.auth.claims{name}': {{exact: dev}}}}", at="default/gw")
    assert read.routes == ()
