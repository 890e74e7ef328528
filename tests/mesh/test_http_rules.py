"""What a rule does with the requests it is for."""

from datetime import timedelta
from textwrap import dedent

import pytest

from controlplane.ir.policy import HashCookie, HashHeader
from controlplane.ir.route import (
    Cors,
    DirectResponse,
    Fault,
    Forward,
    HeaderOps,
    MatchKind,
    Mirror,
    Redirect,
    Retry,
    Rewrite,
    StringMatch,
    WeightedCluster,
)
from controlplane.model.settings import Settings
from controlplane.model.virtualservice import HTTPRetry
from tests.mesh.traffic import TO_REVIEWS, Known, doing, http, short


def forward(action: str, **place) -> Forward:
    found = doing(action, **place).only.action
    assert isinstance(found, Forward)
    return found


def shares(action: str, **place) -> list[tuple[str, int]]:
    return [(short(one.cluster), one.weight) for one in forward(action, **place).destinations]


# Order


def test_rules_are_asked_in_order_and_the_first_for_everything_ends_the_list():
    read = http(
        """
        - match: [{uri: {prefix: /a}}]
          route: [{destination: {host: reviews, subset: v1}}]
        - route: [{destination: {host: reviews, subset: v2}}]
        - match: [{uri: {prefix: /b}}]
          route: [{destination: {host: reviews, subset: v3}}]
        """
    )
    assert read.clusters == ["reviews:9080/v1", "reviews:9080/v2"]
    assert read.complaints == [("VirtualServiceUnreachableRule", "spec.http[2]")]


def test_an_empty_match_among_several_ends_the_list_too():
    read = http("- match: [{uri: {prefix: /a}}, {}, {uri: {prefix: /b}}]\n  " + TO_REVIEWS)
    assert [route.match.is_catch_all for route in read.all] == [False, True]


def test_a_catch_all_for_some_callers_only_makes_nothing_unreachable():
    read = http(f"- match: [{{sourceNamespace: other}}]\n  {TO_REVIEWS}\n- {TO_REVIEWS}")
    assert len(read.all) == 1
    assert read.complaints == []


# Destinations


def test_a_single_destination_gets_everything_whatever_its_weight():
    assert shares("route: [{destination: {host: reviews}, weight: 0}]") == [("reviews:9080", 1)]


def test_weights_need_not_sum_to_a_hundred_and_zeros_get_nothing():
    action = """
        route:
        - {destination: {host: reviews, subset: v1}, weight: 3}
        - {destination: {host: reviews, subset: v2}, weight: 0}
        - {destination: {host: ratings}, weight: 1}
        """
    assert shares(action) == [("reviews:9080/v1", 3), ("ratings:9080", 1)]


@pytest.mark.parametrize(
    ("destination", "cluster"),
    [
        ("{host: reviews}", "reviews:9080"),
        ("{host: reviews, port: {number: 9080}}", "reviews:9080"),
        ("{host: reviews.default.svc.cluster.local}", "reviews:9080"),
        ("{host: reviews.default.svc}", "reviews:9080"),
        ("{host: reviews.default}", "reviews:9080"),
        ("{host: REVIEWS}", "reviews:9080"),
        ("{host: many, port: {number: 90}}", "many:90"),
        ("{host: many}", "many:80"),
    ],
)
def test_destinations_in_all_their_forms(destination, cluster):
    """Of a service with several ports the listener's is taken, 80 here; of one with a single port that one."""
    assert shares(f"route: [{{destination: {destination}}}]", port=80) == [(cluster, 1)]


def test_short_names_are_completed_with_the_namespace_of_the_rule_and_not_of_the_caller():
    known = Known()
    known.hosts["reviews.shop.svc.cluster.local"] = (9080,)
    action = "route: [{destination: {host: reviews}}]"
    (found,) = forward(action, namespace="shop", caller="default", known=known).destinations
    assert found.cluster == "outbound|9080||reviews.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("destination", "complaint", "cluster"),
    [
        ("{host: nobody}", ("ReferencedResourceNotFound", "host"), "nobody:9080"),
        ("{host: reviews, subset: v9}", ("ReferencedResourceNotFound", "subset"), "reviews:9080/v9"),
        ("{host: reviews, port: {number: 1}}", ("ReferencedResourceNotFound", "port.number"), "reviews:1"),
        ("{host: many}", ("VirtualServiceDestinationPortSelectorRequired", "port"), "many:9080"),
    ],
)
def test_a_destination_that_does_not_exist_is_named_and_its_route_made_all_the_same(destination, complaint, cluster):
    """The proxy does not know the cluster and answers 503 for that share."""
    read = doing(f"route: [{{destination: {destination}}}]")
    assert read.clusters == [cluster]
    assert read.complaints == [(complaint[0], f"spec.http[0].route[0].destination.{complaint[1]}")]


def test_every_share_knows_the_field_it_comes_from():
    read = doing("route: [{destination: {host: reviews}, weight: 1}, {destination: {host: ratings}, weight: 1}]")
    action = read.only.action
    assert isinstance(action, Forward)
    assert [one.origin.path for one in action.destinations if one.origin] == [
        "spec.http[0].route[0]",
        "spec.http[0].route[1]",
    ]
    assert read.only.origin.path == "spec.http[0]"


@pytest.mark.parametrize(
    "action",
    [
        "timeout: 1s",
        "route: [{destination: {host: reviews}, weight: 0}, {destination: {host: ratings}, weight: 0}]",
        "redirect: {uri: /a, redirectCode: 404}",
        "directResponse: {status: 42}",
        "directResponse: {status: 200, body: {bytes: 'no base64!'}}",
    ],
)
def test_a_good_match_with_a_bad_action_answers_500(action):
    assert doing(action).only.action == DirectResponse(500)


# Names


def test_route_names_carry_the_name_of_the_match():
    read = http(f"- name: canary\n  match: [{{name: testers, uri: {{prefix: /a}}}}, {{}}]\n  {TO_REVIEWS}")
    assert [route.name for route in read.all] == ["canary.testers", "canary"]


def test_stat_prefix():
    assert http(f"- match: [{{statPrefix: slow}}]\n  {TO_REVIEWS}").only.stat_prefix == "slow"


@pytest.mark.parametrize(
    ("match", "operation"),
    [
        ("{}", "reviews.default.svc.cluster.local:9080/*"),
        ("{uri: {prefix: /a}}", "reviews.default.svc.cluster.local:9080/a*"),
        ("{uri: {exact: /a}}", "reviews.default.svc.cluster.local:9080/a"),
    ],
)
def test_traces_name_the_destination_and_the_path(match, operation):
    assert http(f"- match: [{match}]\n  {TO_REVIEWS}").only.operation == operation


def test_traces_of_several_destinations_name_the_virtual_service():
    action = "route: [{destination: {host: reviews}, weight: 1}, {destination: {host: ratings}, weight: 1}]"
    assert doing(action).only.operation == "reviews:9080/*"


# Answers


@pytest.mark.parametrize(
    ("redirect", "answer"),
    [
        ("{uri: /b}", Redirect(path="/b")),
        ("{prefixRewrite: /b}", Redirect(prefix="/b")),
        ("{authority: b.com}", Redirect(authority="b.com")),
        ("{scheme: https}", Redirect(scheme="https")),
        ("{uri: /b, redirectCode: 308}", Redirect(308, path="/b")),
        ("{port: 8443}", Redirect(port=8443)),
        ("{port: 80}", Redirect()),
        ("{scheme: https, port: 443}", Redirect(scheme="https")),
        ("{scheme: https, port: 80}", Redirect(scheme="https", port=80)),
        ("{derivePort: FROM_REQUEST_PORT}", Redirect(port=9080)),
        ("{uri: /b, derivePort: FROM_PROTOCOL_DEFAULT}", Redirect(path="/b")),
    ],
)
def test_redirects(redirect, answer):
    assert doing(f"redirect: {redirect}").only.action == answer


def test_on_a_tls_listener_443_goes_without_saying():
    assert doing("redirect: {port: 443}", tls=True).only.action == Redirect()
    assert doing("redirect: {port: 443}").only.action == Redirect(port=443)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("{status: 503}", DirectResponse(503)),
        ("{status: 200, body: {string: hi}}", DirectResponse(200, text="hi")),
        ("{status: 200, body: {bytes: aGk=}}", DirectResponse(200, b"hi")),
    ],
)
def test_direct_responses(response, answer):
    assert doing(f"directResponse: {response}").only.action == answer


def test_a_broken_rule_answers_500_and_does_nothing_else_that_could_be_bad_too():
    rule = doing(
        """
        headers: {request: {set: {"no name": x}}, response: {remove: [server]}}
        fault: {delay: {fixedDelay: 5s, percentage: {value: 101}}}
        corsPolicy: {allowOrigins: [{regex: "[["}]}
        route: [{destination: {host: reviews}}]
        """
    ).only
    assert rule.action == DirectResponse(500)
    assert (rule.headers, rule.fault, rule.cors) == (HeaderOps(), None, None)


# Rewrites


@pytest.mark.parametrize(
    ("match", "rewrite", "change"),
    [
        ("{uri: {prefix: /a}}", "{uri: /b}", Rewrite(prefix="/b")),
        ("{}", "{uri: /b}", Rewrite(prefix="/b")),
        ("{uri: {exact: /a}}", "{uri: /b}", Rewrite(path="/b")),
        ("{uri: {regex: '/a.*'}}", "{uri: /b}", Rewrite(path="/b")),
        ("{uri: {prefix: /a}}", "{authority: b.com}", Rewrite(authority="b.com")),
        ("{uri: {prefix: /a}}", "{uri: /b, authority: b.com}", Rewrite(prefix="/b", authority="b.com")),
        (
            "{uri: {prefix: /a}}",
            r"{uriRegexRewrite: {match: '^/a/(.*)', rewrite: '/\1'}}",
            Rewrite(regex=("^/a/(.*)", r"/\1")),
        ),
    ],
)
def test_rewrites(match, rewrite, change):
    action = http(f"- match: [{match}]\n  rewrite: {rewrite}\n  {TO_REVIEWS}").only.action
    assert isinstance(action, Forward)
    assert action.rewrite == change


def test_each_match_of_a_rule_is_rewritten_in_its_own_way():
    read = http(f"- match: [{{uri: {{exact: /a}}}}, {{uri: {{prefix: /a/}}}}]\n  rewrite: {{uri: /}}\n  {TO_REVIEWS}")
    changes = [route.action.rewrite for route in read.all if isinstance(route.action, Forward)]
    assert changes == [Rewrite(path="/"), Rewrite(prefix="/")]


# Headers


def test_header_operations_of_a_rule():
    headers = "{request: {set: {b: '2', a: '1'}, add: {c: '3'}, remove: [d]}, response: {remove: [server]}}"
    read = doing(f"headers: {headers}\n{TO_REVIEWS}")
    assert read.only.headers == HeaderOps(
        request_set=(("a", "1"), ("b", "2")),
        request_add=(("c", "3"),),
        request_remove=("d",),
        response_remove=("server",),
    )


def test_headers_of_a_single_destination_come_after_those_of_the_rule():
    read = doing(
        """
        headers: {request: {set: {a: rule}}}
        route:
        - destination: {host: reviews}
          headers: {request: {set: {a: share}}}
        """
    )
    assert read.only.headers.request_set == (("a", "rule"), ("a", "share"))
    assert isinstance(read.only.action, Forward)
    assert read.only.action.destinations[0].headers == HeaderOps()


def test_headers_of_several_destinations_stay_with_each():
    found = forward(
        """
        route:
        - {destination: {host: reviews}, weight: 1, headers: {response: {add: {x: reviews}}}}
        - {destination: {host: ratings}, weight: 1, headers: {request: {set: {Host: ratings.com}}}}
        """
    )
    first, second = found.destinations
    assert (first.headers.response_add, first.authority) == ((("x", "reviews"),), None)
    assert (second.headers, second.authority) == (HeaderOps(), "ratings.com")


@pytest.mark.parametrize("name", ["host", "Host", ":authority"])
def test_setting_host_sends_another_authority(name):
    action = f"headers: {{request: {{set: {{'{name}': b.com}}}}}}\n{TO_REVIEWS}"
    assert forward(action).rewrite == Rewrite(authority="b.com")


def test_the_authority_of_a_rewrite_is_stronger_than_that_of_headers():
    action = f"headers: {{request: {{set: {{host: b.com}}}}}}\nrewrite: {{authority: c.com}}\n{TO_REVIEWS}"
    assert forward(action).rewrite == Rewrite(authority="c.com")


def test_the_authority_of_a_rule_is_stronger_than_that_of_its_single_destination():
    action = """
        headers: {request: {set: {host: rule.com}}}
        route: [{destination: {host: reviews}, headers: {request: {set: {host: share.com}}}}]
        """
    assert forward(action).rewrite == Rewrite(authority="rule.com")


# Timeouts and retries

DEFAULT = Retry(attempts=2, on="connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes")


def test_there_is_no_timeout_unless_one_is_given():
    assert forward(TO_REVIEWS).timeout == timedelta(0)
    assert forward(f"timeout: 2.5s\n{TO_REVIEWS}").timeout == timedelta(seconds=2.5)


def test_retries_by_default_are_istios():
    assert forward(TO_REVIEWS).retry == DEFAULT


@pytest.mark.parametrize(
    ("retries", "policy"),
    [
        ("{attempts: 0}", None),
        ("{attempts: 3}", Retry(3, DEFAULT.on)),
        ("{attempts: 1, retryOn: 'reset,5xx'}", Retry(1, "reset,5xx")),
        ("{attempts: 1, retryOn: '503, reset'}", Retry(1, "reset,retriable-status-codes", (503,))),
        ("{attempts: 1, retryOn: '503,retriable-status-codes'}", Retry(1, "retriable-status-codes", (503,))),
        ("{attempts: 1, perTryTimeout: 1s}", Retry(1, DEFAULT.on, per_try_timeout=timedelta(seconds=1))),
        ("{attempts: 1, backoff: 50ms}", Retry(1, DEFAULT.on, backoff=timedelta(milliseconds=50))),
        ("{attempts: 1, retryIgnorePreviousHosts: false}", Retry(1, DEFAULT.on, ignore_previous_hosts=False)),
        ("{attempts: 1, retryRemoteLocalities: true}", Retry(1, DEFAULT.on, previous_priorities=True)),
    ],
)
def test_retries(retries, policy):
    assert forward(f"retries: {retries}\n{TO_REVIEWS}").retry == policy


def test_retries_without_attempts_retry_nothing_and_that_is_said():
    read = doing(f"retries: {{perTryTimeout: 1s}}\n{TO_REVIEWS}")
    assert isinstance(read.only.action, Forward)
    assert read.only.action.retry is None
    assert read.complaints == [("NoEffect", "spec.http[0].retries")]


def test_the_mesh_may_have_another_default():
    settings = Settings(default_http_retry_policy=HTTPRetry(attempts=5, retry_on="reset"))
    assert forward(TO_REVIEWS, settings=settings).retry == Retry(5, "reset")
    assert forward(f"retries: {{attempts: 1}}\n{TO_REVIEWS}", settings=settings).retry == Retry(1, DEFAULT.on)


# Consistent hashing


def hashing() -> Known:
    known = Known()
    known.keys = {"v1": (HashHeader("x"),), "v2": (HashCookie("c"), HashHeader("x"))}
    return known


def test_a_hashed_destination_brings_its_key_and_retries_stay_with_its_host():
    found = forward("route: [{destination: {host: reviews, subset: v1}}]", known=hashing())
    assert found.hash_keys == (HashHeader("x"),)
    assert found.retry is not None
    assert not found.retry.ignore_previous_hosts


def test_several_hashed_destinations_bring_all_their_keys_once():
    action = """
        route:
        - {destination: {host: reviews, subset: v1}, weight: 1}
        - {destination: {host: reviews, subset: v2}, weight: 1}
        """
    assert forward(action, known=hashing()).hash_keys == (HashHeader("x"), HashCookie("c"))


# Faults, mirrors, CORS


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("{delay: {fixedDelay: 3s, percentage: {value: 10}}}", Fault(timedelta(seconds=3), 10.0)),
        ("{delay: {fixedDelay: 3s, percent: 20}}", Fault(timedelta(seconds=3), 20.0)),
        ("{abort: {httpStatus: 503, percentage: {value: 0.1}}}", Fault(abort_status=503, abort_percent=0.1)),
        (
            "{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}",
            Fault(abort_grpc_status=14, abort_percent=100.0),
        ),
        ("{abort: {grpcStatus: '14', percentage: {value: 100}}}", Fault(abort_grpc_status=14, abort_percent=100.0)),
    ],
)
def test_faults(fault, found):
    assert doing(f"fault: {fault}\n{TO_REVIEWS}").only.fault == found


@pytest.mark.parametrize(
    ("fault", "path"),
    [("{delay: {fixedDelay: 3s}}", "delay.percentage"), ("{abort: {httpStatus: 503}}", "abort.percentage")],
)
def test_a_fault_without_a_share_never_happens_and_that_is_said(fault, path):
    assert doing(f"fault: {fault}\n{TO_REVIEWS}").complaints == [("NoEffect", f"spec.http[0].fault.{path}")]


@pytest.mark.parametrize(
    ("mirror", "copies"),
    [
        ("mirror: {host: ratings}", [("ratings:9080", 100.0)]),
        ("mirror: {host: ratings}\nmirrorPercentage: {value: 12.5}", [("ratings:9080", 12.5)]),
        ("mirror: {host: ratings}\nmirrorPercent: 7", [("ratings:9080", 7.0)]),
        ("mirror: {host: ratings}\nmirror_percent: 7", [("ratings:9080", 7.0)]),
        ("mirror: {host: ratings}\nmirrorPercentage: {value: 0}", []),
        (
            "mirrors: [{destination: {host: ratings}}, {destination: {host: reviews, subset: v2}, percentage: {value: 1}}]",
            [("ratings:9080", 100.0), ("reviews:9080/v2", 1.0)],
        ),
        ("mirrors: [{destination: {host: ratings}, percentage: {value: 0}}]", []),
    ],
)
def test_mirrors(mirror, copies):
    found = forward(f"{mirror}\n{TO_REVIEWS}").mirrors
    assert all(isinstance(copy, Mirror) for copy in found)
    assert [(short(copy.cluster), copy.percent) for copy in found] == copies


def test_a_mirror_that_does_not_exist_is_named():
    read = doing(f"mirror: {{host: nobody}}\n{TO_REVIEWS}")
    assert read.complaints == [("ReferencedResourceNotFound", "spec.http[0].mirror.host")]


def test_cors():
    policy = """
        corsPolicy:
          allowOrigins: [{exact: 'https://a.com'}, {regex: 'https://.*[.]b[.]com'}]
          allowMethods: [GET, POST]
          allowHeaders: [x-a]
          exposeHeaders: [x-b]
          maxAge: 24h
          allowCredentials: true
          unmatchedPreflights: IGNORE
        """
    assert doing(f"{dedent(policy)}\n{TO_REVIEWS}").only.cors == Cors(
        origins=(
            StringMatch(MatchKind.EXACT, "https://a.com"),
            StringMatch(MatchKind.REGEX, "https://.*[.]b[.]com"),
        ),
        methods=("GET", "POST"),
        headers=("x-a",),
        expose_headers=("x-b",),
        max_age=timedelta(hours=24),
        allow_credentials=True,
        forward_unmatched_preflights=False,
    )


def test_the_old_form_of_cors_origins():
    found = doing(f"corsPolicy: {{allowOrigin: ['*']}}\n{TO_REVIEWS}").only.cors
    assert found == Cors(origins=(StringMatch(MatchKind.EXACT, "*"),))


def test_equal_rules_make_equal_routes():
    """Equal means silent: everything a route is made of compares by value."""
    assert doing(TO_REVIEWS) == doing(TO_REVIEWS)
    assert doing(TO_REVIEWS).only.action == Forward(
        (WeightedCluster("outbound|9080||reviews.default.svc.cluster.local", origin=_origin()),), retry=DEFAULT
    )


def _origin():
    return doing(TO_REVIEWS).only.origin.at("route[0]")
