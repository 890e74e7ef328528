"""Bad documents: every fault is named with its path and a way to mend it, and only the smallest unit is lost."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest

from controlplane.model.decode import checked
from controlplane.model.meta import Meta
from controlplane.model.problem import Level
from controlplane.model.virtualservice import (
    HTTPMatchRequest,
    HTTPRoute,
    StringMatch,
    VirtualService,
    VirtualServiceSpec,
)
from tests.model.documents import decode, named


def virtual_service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": [rule()], **spec},
    }


def rule(**fields: Any) -> dict[str, Any]:
    return {"route": [{"destination": {"host": "reviews"}}], **fields}


def destination_rule(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"host": "reviews", **spec},
    }


def said(document: Any) -> set[tuple[str, str]]:
    return {(problem.code, problem.origin.path) for problem in decode(document).problems}


# Spellings of protobuf JSON


SPELLINGS = [
    ({"ignore_uri_case": True}, {"ignoreUriCase": True}),
    ({"port": "8080"}, {"port": 8080}),
    ({"port": 8080.0}, {"port": 8080}),
    ({"uri": {"prefix": "/a", "exact": None}}, {"uri": {"prefix": "/a"}}),
    ({"headers": None}, {}),
    ({"source_labels": {"a": "b"}}, {"sourceLabels": {"a": "b"}}),
]


@pytest.mark.parametrize(("spelled", "canonical"), SPELLINGS, ids=str)
def test_protobuf_json_spellings_mean_the_same(spelled, canonical):
    one = decode(virtual_service(http=[rule(match=[{"uri": {"prefix": "/"}, **spelled}])]))
    other = decode(virtual_service(http=[rule(match=[{"uri": {"prefix": "/"}, **canonical}])]))
    assert one == other
    assert one.problems == ()


def test_an_enum_may_be_written_as_its_number():
    policy = {"loadBalancer": {"simple": 4}, "proxyProtocol": {"version": 1}}
    assert decode(destination_rule(trafficPolicy=policy)) == decode(
        destination_rule(trafficPolicy={"loadBalancer": {"simple": "ROUND_ROBIN"}, "proxyProtocol": {"version": "V2"}})
    )


@pytest.mark.parametrize("name", ["mirror_percent", "mirrorPercent"])
def test_both_names_of_mirror_percent_are_read(name):
    value = decode(virtual_service(http=[rule(mirror={"host": "shadow"}, **{name: 30})])).value
    assert value.spec.http[0].mirror_percent == 30


def test_a_field_written_under_both_names_is_a_problem():
    document = virtual_service(
        http=[rule(match=[{"uri": {"exact": "/"}, "ignore_uri_case": True, "ignoreUriCase": False}])]
    )
    assert said(document) == {("ConflictingFields", "spec.http[0].match[0].ignoreUriCase")}


# Faults of decoding: (spec of a VirtualService, code, path, what the message must say)

HTTP = "spec.http[0]"
FAULTS = [
    ({"http": [rule(timeuot="5s")]}, "UnknownField", f"{HTTP}.timeuot", "did you mean timeout?"),
    ({"http": [rule(timeout=5)]}, "InvalidValue", f"{HTTP}.timeout", "1.5s"),
    ({"http": [rule(timeout="5")]}, "InvalidDuration", f"{HTTP}.timeout", "1.5s"),
    ({"http": [rule(timeout="0.5ms")]}, "InvalidDuration", f"{HTTP}.timeout", "at least 1ms"),
    ({"http": [rule(timeout="-1s")]}, "InvalidDuration", f"{HTTP}.timeout", "at least 1ms"),
    ({"http": [rule(timeout="999999999999999h")]}, "InvalidDuration", f"{HTTP}.timeout", "longer"),
    ({"http": {"route": []}}, "InvalidValue", "spec.http", "a list"),
    ({"http": [rule(match={"uri": {}})]}, "InvalidValue", f"{HTTP}.match", "a list"),
    ({"http": [rule(match=[{"uri": "/a"}])]}, "InvalidValue", f"{HTTP}.match[0].uri", "a mapping"),
    ({"http": [rule(match=[{"uri": {"exact": 5}}])]}, "InvalidValue", f"{HTTP}.match[0].uri.exact", "quotes"),
    ({"http": [rule(match=[{"headers": {5: {}}}])]}, "InvalidValue", f"{HTTP}.match[0].headers[5]", "quotes"),
    ({"http": [rule(match=[{"port": 2**32}])]}, "InvalidValue", f"{HTTP}.match[0].port", "between 0 and 4294967295"),
    ({"http": [rule(match=[{"port": True}])]}, "InvalidValue", f"{HTTP}.match[0].port", "a whole number"),
    ({"http": [rule(match=[{"port": 80.5}])]}, "InvalidValue", f"{HTTP}.match[0].port", "a whole number"),
    ({"http": [rule(match=[{"port": 10**400}])]}, "InvalidValue", f"{HTTP}.match[0].port", "digits"),
    (
        {"http": [rule(match=[{"ignoreUriCase": "yes"}])]},
        "InvalidValue",
        f"{HTTP}.match[0].ignoreUriCase",
        "true or false",
    ),
    (
        {"http": [rule(corsPolicy={"unmatchedPreflights": "FORWRD"})]},
        "InvalidValue",
        f"{HTTP}.corsPolicy.unmatchedPreflights",
        "did you mean FORWARD?",
    ),
    (
        {"http": [rule(mirrorPercentage={"value": float("nan")})]},
        "InvalidPercentage",
        f"{HTTP}.mirrorPercentage.value",
        "nan",
    ),
    ({5: 6}, "UnknownField", "spec.5", "a string"),
    ({"hosts": ["reviews", None]}, "InvalidValue", "spec.hosts[1]", "null"),
]


@pytest.mark.parametrize(("spec", "code", "path", "words"), FAULTS, ids=lambda one: str(one)[:60])
def test_a_fault_is_named_with_its_path_and_a_way_to_mend_it(spec, code, path, words):
    document = virtual_service()
    document["spec"] |= spec
    problems = decode(document).problems
    assert (code, path) in {(problem.code, problem.origin.path) for problem in problems}
    assert words in " ".join(problem.message for problem in problems)


def test_all_faults_of_a_document_are_found_in_one_go():
    document = virtual_service(
        hosts=["reviews", 5, "bad host"],
        http=[
            rule(timeout="x", match=[{"uri": {"regex": "("}}]),
            rule(retries={"attempts": -1, "retryOn": "never"}),
        ],
        extra=1,
    )
    assert said(document) == {
        ("InvalidValue", "spec.hosts[1]"),
        ("InvalidHost", "spec.hosts[2]"),
        ("InvalidDuration", "spec.http[0].timeout"),
        ("InvalidRegex", "spec.http[0].match[0].uri.regex"),
        ("InvalidValue", "spec.http[1].retries.attempts"),
        ("InvalidRetryOn", "spec.http[1].retries.retryOn"),
        ("UnknownField", "spec.extra"),
    }


# Documents that are no object


NOT_OBJECTS = [
    (b"", "NotJSON", "JSON"),
    (b"{", "NotJSON", "JSON"),
    (b"\xff\xfe", "NotJSON", "JSON"),
    (b"[1]", "NotAnObject", "mapping"),
    (b"null", "NotAnObject", "mapping"),
    (b"{}", "NotAnObject", "apiVersion"),
    (b'{"apiVersion":"v1"}', "NotAnObject", "kind"),
    (b"[" * 100_000, "NestedTooDeep", "nested"),
    (b'{"apiVersion":"v1","kind":"Pod","spec":' * 5_000, "NestedTooDeep", "nested"),
    (b" " * (8 * 1024 * 1024 + 1), "DocumentTooLarge", "bytes"),
    ([1, 2], "NotAnObject", "list"),
    ("text", "NotAnObject", "str"),
    ({"apiVersion": 1, "kind": ["x"]}, "NotAnObject", "apiVersion"),
    ({"apiVersion": "networking.istio.io/v2", "kind": "Gateway"}, "VersionNotServed", "networking.istio.io/v1"),
    ({"apiVersion": "v1beta1", "kind": "Service"}, "VersionNotServed", "v1"),
    ({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}, "KindIgnored", "Job"),
    ({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "x"}}, "KindReplaced", "EndpointSlice"),
]


@pytest.mark.parametrize(("document", "code", "words"), NOT_OBJECTS, ids=lambda one: str(one)[:40])
def test_what_is_no_object_gets_one_clear_problem(document, code, words):
    decoded = decode(document)
    assert decoded.value is None
    (problem,) = decoded.problems
    assert problem.code == code
    assert words in problem.message


def test_a_document_that_holds_itself_is_read_as_far_as_types_lead():
    document = virtual_service()
    document["spec"]["http"][0]["route"][0]["destination"]["host"] = document
    document["loop"] = document
    assert said(document) == {
        ("InvalidValue", "spec.http[0].route[0].destination.host"),
        ("UnknownField", "loop"),
    }


@pytest.mark.parametrize(("missing", "path"), [("metadata", "metadata"), ("spec", "spec"), ("name", "metadata.name")])
def test_what_must_be_there_is_asked_for(missing, path):
    document = virtual_service()
    (document["metadata"] if missing == "name" else document).pop(missing)
    decoded = decode(document)
    assert ("RequiredField", path) in said(document)
    assert decoded.value is None or decoded.value.invalid


def test_an_object_without_a_namespace_belongs_to_the_given_one():
    document = virtual_service()
    del document["metadata"]["namespace"]
    assert decode(document).value.meta.namespace == "default"
    assert decode(document, namespace="shop").value.meta.namespace == "shop"


def test_a_clusterwide_object_has_no_namespace():
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "namespace": "odd"}}
    assert decode(node).value.meta.namespace == ""


def test_thousands_of_faults_do_not_make_thousands_of_problems():
    decoded = decode(virtual_service(**{f"field{i}": i for i in range(10_000)}))
    assert len(decoded.problems) == 101
    assert "9900 more" in decoded.problems[100].message


# Kinds that are not supported


def test_a_security_kind_that_is_not_enforced_is_an_error():
    decoded = decode(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "Something",
            "metadata": {"name": "deny", "namespace": "x", "creationTimestamp": "2026-01-02T03:04:05Z"},
        }
    )
    (problem,) = decoded.problems
    assert (problem.code, problem.level) == ("KindNotSupportedYet", Level.ERROR)
    assert str(decoded.value.ref) == "Something x/deny"
    assert decoded.value.created.year == 2026
    assert decoded.value.meta.name == "deny"


@pytest.mark.parametrize(
    "api", ["telemetry.istio.io/v1", "gateway.networking.k8s.io/v1", "networking.istio.io/v1alpha3"]
)
def test_other_unsupported_kinds_are_warned_about(api):
    decoded = decode({"apiVersion": api, "kind": "Something", "metadata": {"name": "x"}})
    assert [(one.code, one.level) for one in decoded.problems] == [("KindNotSupportedYet", Level.WARNING)]
    assert decoded.value.ref.kind == "Something"


@pytest.mark.parametrize(
    ("spec", "invalid"),
    [
        ({"rules": [{"host": 5}]}, "rules[0]"),
        ({"rules": [{"host": "a.example.com", "http": {"paths": [{"path": 5}]}}]}, "rules[0].http.paths[0]"),
        ({"defaultBackend": {"service": {"name": "a", "port": {"number": "x"}}}}, "default_backend.service.port"),
        ({"tls": [{"hosts": ["a.example.com", 5]}]}, "tls[0]"),
        ({"rules": "none", "defaultBackend": {}}, ""),
    ],
)
def test_what_cannot_be_read_of_an_ingress_is_not_taken_for_left_out(spec: dict[str, Any], invalid: str):
    """A rule without a host is for every host: one whose host cannot be read must not be."""
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "x"}}
    decoded = decode({**head, "spec": spec})
    assert [one.code for one in decoded.problems] == ["InvalidValue"]
    assert _marked(decoded.value.spec) == [invalid]


def _marked(value: Any, path: str = "") -> list[str]:
    """Where a value is marked."""
    if isinstance(value, tuple):
        return [one for index, item in enumerate(value) for one in _marked(item, f"{path}[{index}]")]
    if not isinstance(value, msgspec.Struct):
        return []
    here = [path] if getattr(value, "invalid", False) else []
    fields = value.__struct_fields__
    return here + [one for name in fields for one in _marked(getattr(value, name), f"{path}.{name}".lstrip("."))]


# Units and directions


def first_rule(**fields: Any) -> Any:
    return decode(virtual_service(http=[rule(**fields)])).value.spec.http[0]


@pytest.mark.parametrize(
    "match",
    [
        {"uri": {"regex": "("}},
        {"uri": {"exact": "/a", "prefix": "/a"}},
        {"uri": {}},
        {"uri": {"prefx": "/a"}},
        {"hedaers": {"x": {"exact": "1"}}},
        {"port": 70000},
        {"headers": {"x": {"exact": 1}}},
        {"sourceLabels": {"app": "a*"}},
        "not a mapping",
        5,
    ],
    ids=str,
)
def test_a_bad_match_never_matches_and_its_neighbours_do(match):
    made = first_rule(match=[{"uri": {"exact": "/"}}, match, {"uri": {"exact": "/b"}}])
    assert [one.invalid for one in made.match] == [False, True, False]
    assert not made.invalid


@pytest.mark.parametrize("match", [5, "x", {"uri": {"exact": "/"}}], ids=str)
def test_a_list_of_matches_that_cannot_be_read_never_matches(match):
    made = first_rule(match=match)
    assert [one.invalid for one in made.match] == [True]


def test_a_rule_that_cannot_be_read_never_matches():
    made = decode(virtual_service(http=["nonsense", rule()])).value.spec.http
    assert [one.invalid for one in made] == [True, False]
    assert [one.invalid for one in made[0].match] == [True]


@pytest.mark.parametrize(
    "fields",
    [
        {"route": [{"destination": {"host": "a b"}}]},
        {"route": [{"destination": {"host": "a"}, "weight": "many"}]},
        {"route": [{"destination": {"host": "a"}, "weight": 0}, {"destination": {"host": "b"}, "weight": 0}]},
        {"route": []},
        {"redirect": {"uri": "/x"}},
        {"timeout": "soon"},
        {"retries": {"retryOn": "never"}},
        {"fault": {"abort": {"httpStatus": 999}}},
        {"headers": {"request": {"set": {"x": "100%"}}}},
        {"mirrorPercentage": {"value": 101}},
    ],
    ids=str,
)
def test_a_bad_action_is_marked_and_its_match_stays(fields):
    made = first_rule(match=[{"uri": {"exact": "/"}}], **fields)
    assert made.invalid
    assert not made.match[0].invalid


def test_a_bad_mirror_is_absent():
    assert not first_rule(mirror={"host": "a b"}).invalid
    assert first_rule(mirror={"host": "a b"}).mirror is None
    kept = first_rule(mirrors=[{"destination": {"host": "a b"}}, {"destination": {"host": "ok"}}]).mirrors
    assert [one.destination.host for one in kept] == ["ok"]


def test_a_bad_host_is_gone_and_the_others_stay():
    value = decode(virtual_service(hosts=["bad host", "reviews", 7, "*.a.*"])).value
    assert value.spec.hosts == ("reviews",)
    assert not value.invalid


def test_without_any_good_host_the_object_is_invalid():
    """An empty list would make a delegate of it."""
    assert decode(virtual_service(hosts=["bad host", 7])).value.invalid


def test_an_unreadable_export_makes_the_object_invalid():
    """Dropped, it would mean: exported to everybody."""
    assert decode(virtual_service(exportTo=["Not A Namespace"])).value.invalid


def test_a_bad_subset_is_absent():
    rule = decode(
        destination_rule(subsets=[{"name": "v1", "labels": {"v": 1}}, {"name": "v2", "labels": {"v": "2"}}])
    ).value
    assert [subset.name for subset in rule.spec.subsets] == ["v2"]
    assert not rule.invalid


def test_an_unknown_field_of_a_subset_loses_the_subset():
    """`lables` would otherwise select every endpoint."""
    rule = decode(destination_rule(subsets=[{"name": "v1", "lables": {"v": "1"}}])).value
    assert rule.spec.subsets == ()


def test_a_bad_policy_block_is_absent_and_the_others_stay():
    policy = {
        "loadBalancer": {"simple": "ROUND_ROBIN", "consistentHash": {"useSourceIp": True}},
        "connectionPool": {"tcp": {"maxConnections": -1}},
        "outlierDetection": {"consecutive5xxErrors": 3},
    }
    made = decode(destination_rule(trafficPolicy=policy)).value.spec.traffic_policy
    assert made.load_balancer is None
    assert made.connection_pool is None
    assert made.outlier_detection.consecutive_5xx_errors == 3


@pytest.mark.parametrize("tls", [5, {"mode": "MUTAL"}, {"mode": "MUTUAL"}, {"mode": "SIMPLE", "sni": "a b"}], ids=str)
def test_bad_tls_does_not_become_plaintext(tls):
    made = decode(destination_rule(trafficPolicy={"tls": tls})).value.spec.traffic_policy.tls
    assert made.invalid


def test_a_bad_server_is_not_opened_and_the_others_stay_with_their_numbers():
    document = deepcopy(named("every-server"))
    document["spec"]["servers"][1]["tls"] = {"mode": "SIMPLE"}
    document["spec"]["servers"][2]["port"]["number"] = 0
    made = decode(document).value
    assert [server.invalid for server in made.spec.servers[:4]] == [False, True, True, False]
    assert len(made.spec.servers) == len(document["spec"]["servers"])
    assert not made.invalid


def test_a_bad_endpoint_is_gone_but_not_the_last():
    """A ServiceEntry with resolution DNS and no endpoints would resolve its hosts instead."""
    document = deepcopy(named("static"))
    endpoint = document["spec"]["endpoints"][0]
    document["spec"]["endpoints"] = [endpoint, {"address": "not an address"}]
    assert len(decode(document).value.spec.endpoints) == 1
    document["spec"]["endpoints"] = [{"address": "not an address"}]
    assert decode(document).value.invalid


def test_a_bad_egress_host_is_gone_but_not_the_last():
    """Without egress hosts a Sidecar would see the whole mesh."""
    document = deepcopy(named("every-field"))
    document["spec"]["egress"] = [{"hosts": ["./a.b", "nonsense"]}]
    assert decode(document).value.spec.egress[0].hosts == ("./a.b",)
    document["spec"]["egress"] = [{"hosts": ["nonsense"]}]
    assert decode(document).value.invalid


def test_two_faults_in_one_list_take_out_the_right_elements():
    value = decode(virtual_service(hosts=["a", "b b", "c", "d d", "e"])).value
    assert value.spec.hosts == ("a", "c", "e")


def test_a_mark_cannot_be_written():
    document = virtual_service(http=[rule(invalid=True)])
    document["invalid"] = True
    decoded = decode(document)
    assert not decoded.value.invalid
    assert not decoded.value.spec.http[0].invalid
    assert {path for code, path in said(document) if code == "UnknownField"} == {"invalid", "spec.http[0].invalid"}


def test_objects_made_in_code_are_checked_the_same_way():
    match = HTTPMatchRequest(uri=StringMatch(regex="("))
    made = VirtualService(
        meta=Meta(name="x", namespace="y"),
        spec=VirtualServiceSpec(hosts=("a",), http=(HTTPRoute(match=(match,), route=()),)),
    )
    value, problems = checked(made)
    assert {problem.code for problem in problems} == {"InvalidRegex", "RequiredField"}
    assert value.spec.http[0].invalid
    assert value.spec.http[0].match[0].invalid
    assert not made.spec.http[0].invalid
