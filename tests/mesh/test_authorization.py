"""AuthorizationPolicies -> rules: what each style of value becomes, and that whatever cannot be known fails closed.

What the rules mean is held against Envoys elsewhere; here it is what they are.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from controlplane.ir.authorization import (
    ALWAYS,
    NEVER,
    Action,
    AllOf,
    AnyOf,
    Authorizer,
    Claim,
    Condition,
    DestinationPort,
    Header,
    Identity,
    Judgement,
    Not,
    Path,
    PathTemplate,
    Principal,
    Rule,
)
from controlplane.ir.route import MatchKind, StringMatch
from controlplane.ir.service import Protocol, Resolution, Service, ServicePort
from controlplane.mesh import authorization as mesh_authorization
from controlplane.mesh.authorization.providers import Lookup
from controlplane.model.decode import decode
from controlplane.model.extensionprovider import ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider
from controlplane.model.problem import Level, ObjectRef, Origin
from controlplane.model.settings import Settings

SETTINGS = Settings(trust_domain="mesh.example", trust_domain_aliases=("old.example",))
ANY = StringMatch(MatchKind.PRESENT)


def nowhere(_host: str, _namespace: str) -> None:
    """No service is seen."""


def authorization(policies: Iterable[Any], settings: Settings, lookup: Lookup, *, http: bool) -> Any:
    """Of policies that select one workload."""
    read = [mesh_authorization.read(one, settings) for one in policies]
    return mesh_authorization.authorization(read, settings, lookup, http=http)


def exact(value: str, **how: Any) -> StringMatch:
    return StringMatch(MatchKind.EXACT, value, **how)


def prefix(value: str) -> StringMatch:
    return StringMatch(MatchKind.PREFIX, value)


def suffix(value: str, **how: Any) -> StringMatch:
    return StringMatch(MatchKind.SUFFIX, value, **how)


def policy(spec: str, name: str = "p", namespace: str = "shop", **annotations: str) -> Any:
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": yaml.safe_load(spec),
    }
    return decode(document).value


def judgements(*policies: Any, http: bool = True) -> dict[Action, Judgement]:
    found, _ = authorization(policies, SETTINGS, nowhere, http=http)
    assert found is not None
    return {one.action: one for one in found.judgements}


def only_rule(spec: str, *, http: bool = True) -> Rule | None:
    """The one rule of a policy, None where it never holds."""
    (judgement,) = judgements(policy(spec), http=http).values()
    assert judgement.rules is not None
    return judgement.rules[0] if judgement.rules else None


def source(fields: str) -> Condition:
    found = only_rule(f"{{rules: [{{from: [{{source: {fields}}}]}}]}}")
    assert found is not None
    return found.who


def operation(fields: str) -> Condition:
    found = only_rule(f"{{rules: [{{to: [{{operation: {fields}}}]}}]}}")
    assert found is not None
    return found.what


# Styles


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("/a", exact("/a")),
        ("/a*", prefix("/a")),
        ("*.html", suffix(".html")),
        ("*", ANY),
        ("/a.b+c", exact("/a.b+c")),
    ],
)
def test_styles_of_a_value(value: str, match: StringMatch) -> None:
    assert operation(f'{{paths: ["{value}"]}}') == Path(match)


def test_a_template_is_no_text() -> None:
    assert operation('{paths: ["/a/{*}/{**}"]}') == PathTemplate("/a/{*}/{**}")


def test_hosts_are_compared_whatever_their_case_and_methods_are_not() -> None:
    assert operation("{hosts: [A.example]}") == Header(":authority", exact("A.example", ignore_case=True))
    assert operation("{methods: [get]}") == Header(":method", exact("get"))


def test_values_of_a_field_are_alternatives_and_fields_are_not() -> None:
    assert operation('{ports: ["80", "90"], notMethods: [PUT, POST]}') == AllOf(
        (
            Not(AnyOf((Header(":method", exact("PUT")), Header(":method", exact("POST"))))),
            AnyOf((DestinationPort(80), DestinationPort(90))),
        )
    )


def test_wanted_and_unwanted_values_both_count() -> None:
    assert operation('{paths: ["/a*"], notPaths: ["/a/b"]}') == AllOf((Path(prefix("/a")), Not(Path(exact("/a/b")))))


def test_an_account_without_a_namespace_is_of_the_policys_own() -> None:
    found = source("{serviceAccounts: [front, other/back]}")
    assert found == AnyOf(
        (
            Identity(namespace=exact("shop"), account=exact("front")),
            Identity(namespace=exact("other"), account=exact("back")),
        )
    )


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("mesh.example/ns/a/sa/b", ["mesh.example/ns/a/sa/b", "old.example/ns/a/sa/b"]),
        ("old.example/ns/a/sa/b", ["old.example/ns/a/sa/b", "mesh.example/ns/a/sa/b"]),
        ("cluster.local/ns/a/sa/b", ["cluster.local/ns/a/sa/b", "mesh.example/ns/a/sa/b", "old.example/ns/a/sa/b"]),
        ("elsewhere.example/ns/a/sa/b", ["elsewhere.example/ns/a/sa/b"]),
        ("mesh.example", ["mesh.example"]),
    ],
)
def test_a_trust_domain_of_the_mesh_stands_for_all_of_them(value: str, names: list[str]) -> None:
    found = source(f"{{principals: [{value}]}}")
    alternatives = found.conditions if isinstance(found, AnyOf) else (found,)
    assert alternatives == tuple(Principal(exact(name)) for name in names)


def test_a_trust_domain_written_with_a_wildcard_is_kept_and_only_the_others_are_added() -> None:
    assert source('{principals: ["*.example/ns/a/sa/b"]}') == Principal(suffix(".example/ns/a/sa/b"))
    found = source('{principals: ["*h.example/ns/a/sa/b"]}')
    assert found == AnyOf((Principal(suffix("h.example/ns/a/sa/b")), Principal(exact("old.example/ns/a/sa/b"))))


def test_trust_domains_know_their_aliases() -> None:
    assert source("{trustDomains: [old.example]}") == AnyOf(
        (Identity(trust_domain=exact("old.example")), Identity(trust_domain=exact("mesh.example")))
    )
    assert source('{trustDomains: ["else*"]}') == Identity(trust_domain=prefix("else"))


def token(issuer: StringMatch, subject: StringMatch) -> Condition:
    return AllOf((Claim(("iss",), issuer, single=True), Claim(("sub",), subject, single=True)))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("*", token(ANY, ANY)),
        ("a/b/c", AnyOf((token(exact("a"), exact("b/c")), token(exact("a/b"), exact("c"))))),
        ("a/b", token(exact("a"), exact("b"))),
        ("a", NEVER),
        ("/a", NEVER),
        ("a/", NEVER),
        ("a/*", AnyOf((token(prefix("a/"), ANY), token(exact("a"), ANY)))),
        ("a/b*", AnyOf((token(prefix("a/b"), ANY), token(exact("a"), prefix("b"))))),
        ("*/b", AnyOf((token(ANY, suffix("/b")), token(ANY, exact("b"))))),
        ("*a/b", AnyOf((token(ANY, suffix("a/b")), token(suffix("a"), exact("b"))))),
        ("*b", token(ANY, suffix("b"))),
    ],
)
def test_each_slash_may_be_the_one_between_issuer_and_subject(value: str, found: Condition) -> None:
    assert source(f'{{requestPrincipals: ["{value}"]}}') == found


def test_header_names_have_no_case_and_claims_do() -> None:
    found = only_rule("{rules: [{when: [{key: 'request.headers[X-Team]', values: [a]}]}]}")
    assert found == Rule("ns[shop]-policy[p]-rule[0]", who=Header("x-team", exact("a")))
    found = only_rule("{rules: [{when: [{key: 'request.auth.claims[Realm][roles]', values: [a]}]}]}")
    assert found == Rule("ns[shop]-policy[p]-rule[0]", who=Claim(("Realm", "roles"), exact("a")))


# Policies together


def test_an_empty_rule_holds_for_all_and_no_rule_for_none() -> None:
    assert only_rule("{rules: [{}]}") == Rule("ns[shop]-policy[p]-rule[0]")
    assert judgements(policy("{}")) == {Action.ALLOW: Judgement(Action.ALLOW, ())}
    assert judgements(policy("{action: DENY}")) == {}


def test_audits_and_denials_come_before_what_allows() -> None:
    found, _ = authorization(
        [policy("{rules: [{}]}"), policy("{action: DENY, rules: [{}]}"), policy("{action: AUDIT, rules: [{}]}")],
        SETTINGS,
        nowhere,
        http=True,
    )
    assert found is not None
    assert [one.action for one in found.judgements] == [Action.AUDIT, Action.DENY, Action.ALLOW]


def test_policies_of_one_action_act_together() -> None:
    found = judgements(policy("{rules: [{}, {}]}", "a", "istio-system"), policy("{rules: [{}]}", "b"))
    assert [one.name for one in found[Action.ALLOW].rules or ()] == [
        "ns[istio-system]-policy[a]-rule[0]",
        "ns[istio-system]-policy[a]-rule[1]",
        "ns[shop]-policy[b]-rule[0]",
    ]


def test_a_dry_run_decides_nothing() -> None:
    dry = policy("{}", **{"istio.io/dry-run": "true"})
    assert judgements(dry) == {Action.ALLOW: Judgement(Action.ALLOW, None, ())}
    assert judgements(policy("{}", **{"istio.io/dry-run": "maybe"})) == {Action.ALLOW: Judgement(Action.ALLOW, ())}


def test_nothing_selected_is_no_authorization() -> None:
    assert authorization([], SETTINGS, nowhere, http=True) == (None, ())


# Closed


BAD = [
    "from: [{source: {ipBlocks: [nowhere]}}]",
    "from: [{source: {principals: [a], namspaces: [b]}}]",
    "from: [{sorce: {principals: [a]}}]",
    "from: []",
    "from: [{}]",
    "from: anybody",
    "to: [{operation: {ports: [http]}}]",
    "to: [{operation: {paths: ['/{id}']}}]",
    "to: [{operation: {}}]",
    "when: [{key: request.nothing, values: [a]}]",
    "when: [{key: source.ip, values: [a]}]",
    "when: [{key: source.ip}]",
    "when: [{key: source.ip, vlues: [10.0.0.1]}]",
    "whne: []",
]


@pytest.mark.parametrize("bad", BAD)
def test_a_rule_that_allows_never_holds_if_any_of_it_is_bad(bad: str) -> None:
    assert only_rule(f"{{rules: [{{{bad}}}]}}") is None


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("action", ["DENY", "AUDIT"])
def test_for_a_rule_that_refuses_the_bad_part_counts_as_true(action: str, bad: str) -> None:
    found = only_rule(f"{{action: {action}, rules: [{{{bad}}}]}}")
    assert found is not None
    assert (found.who, found.what) == (ALWAYS, ALWAYS)


def test_what_is_good_of_a_rule_that_refuses_still_narrows_it() -> None:
    found = only_rule(
        "{action: DENY, rules: [{from: [{source: {ipBlocks: [x]}}], to: [{operation: {methods: [GET]}}]}]}"
    )
    assert found is not None
    assert (found.who, found.what) == (ALWAYS, Header(":method", exact("GET")))


def test_a_policy_of_bad_rules_still_refuses() -> None:
    assert judgements(policy("{rules: [5, x]}")) == {Action.ALLOW: Judgement(Action.ALLOW, ())}


@pytest.mark.parametrize(
    "spec", ["{action: DENNY, rules: [{}]}", "{rules: 5}", "{rulse: [{}]}", "5", "{rules: [{}], x: 1}"]
)
def test_a_policy_that_cannot_be_read_allows_nothing(spec: str) -> None:
    assert judgements(policy(spec)) == {Action.ALLOW: Judgement(Action.ALLOW, ())}


@pytest.mark.parametrize("spec", ["{action: DENY, rules: 5}", "{action: DENY, rulse: [{}]}"])
def test_a_policy_that_denies_and_cannot_be_read_denies_everything(spec: str) -> None:
    assert only_rule(spec) == Rule("ns[shop]-policy[p]-rule[0]")


# Connections

HTTP_ONLY = [
    "to: [{operation: {methods: [GET]}}]",
    "to: [{operation: {notPaths: ['/a']}}]",
    "to: [{operation: {hosts: ['*']}}]",
    "from: [{source: {requestPrincipals: ['*']}}]",
    "when: [{key: 'request.headers[x]', notValues: [a]}]",
    "when: [{key: 'request.auth.claims[x]', values: [a]}]",
]


@pytest.mark.parametrize("field", HTTP_ONLY)
def test_a_rule_about_requests_allows_no_connection(field: str) -> None:
    assert only_rule(f"{{rules: [{{{field}}}]}}", http=False) is None


@pytest.mark.parametrize("field", HTTP_ONLY)
def test_a_rule_about_requests_denies_every_connection(field: str) -> None:
    found = only_rule(f"{{action: DENY, rules: [{{{field}}}]}}", http=False)
    assert found is not None
    assert (found.who, found.what) == (ALWAYS, ALWAYS)


def test_ports_narrow_what_is_denied_of_connections() -> None:
    spec = '{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ["90"]}}]}]}'
    found = only_rule(spec, http=False)
    assert found is not None
    assert found.what == DestinationPort(90)


# Others who decide


def test_checks_go_by_provider() -> None:
    policies = [
        policy("{action: CUSTOM, provider: {name: b}, rules: [{}]}", "x"),
        policy("{action: CUSTOM, provider: {name: a}, rules: [{}]}", "y"),
        policy("{action: CUSTOM, provider: {name: b}, rules: [{}]}", "z"),
        policy("{action: CUSTOM, provider: {name: c}, rules: [{}]}", "dry", **{"istio.io/dry-run": "true"}),
    ]
    found, _ = authorization(policies, SETTINGS, nowhere, http=True)
    assert found is not None
    assert [(one.prefix, [rule.name for rule in one.rules]) for one in found.checks] == [
        ("istio-ext-authz-a-", ["istio-ext-authz-a-ns[shop]-policy[y]-rule[0]"]),
        (
            "istio-ext-authz-b-",
            ["istio-ext-authz-b-ns[shop]-policy[x]-rule[0]", "istio-ext-authz-b-ns[shop]-policy[z]-rule[0]"],
        ),
    ]


def test_tokens_are_not_known_when_others_are_asked() -> None:
    """They are read later, so whoever asks for one asks about every call."""
    spec = "{action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}"
    found, _ = authorization([policy(spec)], SETTINGS, nowhere, http=True)
    assert found is not None
    assert found.checks[0].rules == (Rule("istio-ext-authz-a-ns[shop]-policy[p]-rule[0]"),)


HOST = "opa.auth.svc.cluster.local"
ASKING = Settings(
    extension_providers=(
        ExtensionProvider(
            name="web",
            envoy_ext_authz_http=ExtAuthzHttp(
                service="auth/opa",
                port=80,
                path_prefix="/ask",
                include_additional_headers_in_check={"b": "1", "a": "2"},
            ),
        ),
        ExtensionProvider(name="rpc", envoy_ext_authz_grpc=ExtAuthzGrpc(service=HOST, port=90, fail_open=True)),
        ExtensionProvider(name="none", envoy_ext_authz_grpc=ExtAuthzGrpc(service="elsewhere.example", port=90)),
        ExtensionProvider(name="portless", envoy_ext_authz_grpc=ExtAuthzGrpc(service=HOST, port=91)),
        ExtensionProvider(name="tracer"),
    )
)


def one_service(host: str, namespace: str) -> Service | None:
    assert namespace in {"", "auth"}
    ports = (ServicePort(80, "http", Protocol.HTTP, 80), ServicePort(90, "grpc", Protocol.GRPC, 90))
    origin = Origin(ObjectRef("", "Service", "auth", "opa"))
    return Service(host, "auth", "opa", ports, (), Resolution.ENDPOINTS, origin) if host == HOST else None


def asked(provider: str, *, http: bool) -> tuple[Authorizer | None, list[tuple[str, Level]]]:
    spec = f"{{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}"
    found, problems = authorization([policy(spec)], ASKING, one_service, http=http)
    assert found is not None
    return found.checks[0].authorizer, [(one.code, one.level) for one in problems]


def test_an_authorizer_is_a_service_of_the_registry() -> None:
    web = Authorizer(f"outbound|80||{HOST}", HOST, path_prefix="/ask", extra_headers=(("a", "2"), ("b", "1")))
    rpc = Authorizer(f"outbound|90||{HOST}", HOST, grpc=True, fail_open=True)
    assert asked("web", http=True) == (web, [])
    assert asked("rpc", http=True) == (rpc, [])
    assert asked("rpc", http=False) == (rpc, [])


@pytest.mark.parametrize("provider", ["unheard", "none", "portless", "tracer"])
def test_with_nobody_to_ask_nothing_passes(provider: str) -> None:
    assert asked(provider, http=True) == asked(provider, http=False)
    assert asked(provider, http=True) == (None, [("ReferencedResourceNotFound", Level.ERROR)])


def test_whoever_is_asked_over_http_knows_no_connections() -> None:
    assert asked("web", http=False) == (None, [])
