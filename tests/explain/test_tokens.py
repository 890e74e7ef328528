"""Tokens: the simulator against Envoy, on thousands that are nearly good and on those that matter by name."""

from typing import Any

import msgspec
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.explain import Address, Call, Resources, Stage, Verdict, decode, simulate
from tests.conftest import Proved, Size
from tests.envoys import Upstreams
from tests.explain.case import Addresses
from tests.explain.compare import disagreements
from tests.explain.differential import Disagreement, run
from tests.explain.observe import envoy_of, observe
from tests.explain.tokens import NOW, provide
from tests.tokens import FAR, Key, jwks, key, token, unsigned
from tests.world import VIRTUAL_INBOUND, World


@pytest.mark.point
@pytest.mark.timeout(1800)
def test_random_tokens(size: Size, proved: Proved) -> None:
    with Upstreams() as upstreams:
        report = run(provide, range(size(30, 1_000)), upstreams, batch=1)
    print(report.coverage.table())
    print("\n\n".join(map(_words, report.disagreements[:3])))
    found = len(report.disagreements)
    proved(
        "3.1", "calls with tokens: simulator against Envoy",
        bound="0 disagreements", figure=f"{found} disagreements", holds=not found,
        cases=report.coverage.calls, asked=size(1_200, 40_000),
    )  # fmt: skip
    assert report.coverage.doubtful == 0
    assert 0.2 < report.coverage.negative_share < 0.8


def _words(one: Disagreement) -> str:
    steps = "\n".join(f"    {step.stage}: {step.found} ({step.why})" for step in one.said.steps)
    return "\n".join([*one.differences, steps, one.call.path, *map(str, one.call.headers)])


# One issuer

RS, ES, PS, ED, OTHER = key("RS256"), key("ES256"), key("PS256"), key("EdDSA"), key("ES256", "other")
PEM = RS.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
KEYS = jwks(RS.jwk(kid="rs", alg="RS256"), ES.jwk(kid="es"), PS.jwk(kid="ps"), ED.jwk())
ISSUER = {"iss": "a", "aud": "shop"}
GOOD = token(ES, ISSUER)


def bearer(text: str) -> tuple[str, str]:
    return "authorization", f"Bearer {text}"


CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "no token": (200, {}),
    "RS256": (200, {"headers": [bearer(token(RS, ISSUER))]}),
    "ES256": (200, {"headers": [bearer(GOOD)]}),
    "PS256": (200, {"headers": [bearer(token(PS, ISSUER))]}),
    "EdDSA": (200, {"headers": [bearer(token(ED, ISSUER))]}),
    "the key it names": (200, {"headers": [bearer(token(RS, ISSUER, kid="rs"))]}),
    "a key the issuer does not have": (401, {"headers": [bearer(token(RS, ISSUER, kid="x"))]}),
    "another of the issuer's keys": (401, {"headers": [bearer(token(RS, ISSUER, kid="es"))]}),
    "a key of somebody else": (401, {"headers": [bearer(token(OTHER, ISSUER))]}),
    "a key of somebody else by the issuer's name": (401, {"headers": [bearer(token(OTHER, ISSUER, kid="es"))]}),
    "too old": (401, {"headers": [bearer(token(ES, {**ISSUER, "exp": 1_000_000_000}))]}),
    "from tomorrow": (401, {"headers": [bearer(token(ES, {**ISSUER, "nbf": FAR}))]}),
    "without an end": (200, {"headers": [bearer(token(ES, {**ISSUER, "exp": None}))]}),
    "for others": (403, {"headers": [bearer(token(ES, {**ISSUER, "aud": "bank"}))]}),
    "for nobody in particular": (403, {"headers": [bearer(token(ES, {**ISSUER, "aud": None}))]}),
    "for others and us": (200, {"headers": [bearer(token(ES, {**ISSUER, "aud": ["bank", "shop"]}))]}),
    "of another issuer": (401, {"headers": [bearer(token(ES, {**ISSUER, "iss": "b"}))]}),
    "of no issuer": (401, {"headers": [bearer(token(ES, {**ISSUER, "iss": None}))]}),
    "not signed": (401, {"headers": [bearer(unsigned(ISSUER))]}),
    "not signed, whatever it says": (401, {"headers": [bearer(unsigned(ISSUER, "ES256"))]}),
    "signed with zeros": (401, {"headers": [bearer(unsigned(ISSUER, "ES256", bytes(64)))]}),
    "public key as a secret": (401, {"headers": [bearer(token(Key("HS256", PEM), ISSUER))]}),
    "public key as a secret, by name": (401, {"headers": [bearer(token(Key("HS256", PEM), ISSUER, kid="rs"))]}),
    "its own key in its header": (401, {"headers": [bearer(token(OTHER, ISSUER, jwk=OTHER.jwk()))]}),
    "an algorithm the key is not for": (401, {"headers": [bearer(token(Key("RS512", RS.private), ISSUER, kid="rs"))]}),
    "no token at all": (401, {"headers": [bearer("junk")]}),
    "another scheme": (200, {"headers": [("authorization", "Basic YTpi")]}),
    "in a parameter": (200, {"path": f"/?access_token={GOOD}"}),
    "in a parameter, bad": (401, {"path": "/?access_token=junk"}),
    "in a cookie nobody reads": (200, {"headers": [("cookie", "access_token=junk")]}),
    "two, both good": (200, {"path": f"/?access_token={GOOD}", "headers": [bearer(GOOD)]}),
    "two, one bad": (401, {"path": "/?access_token=junk", "headers": [bearer(GOOD)]}),
    "two, the other bad": (401, {"path": f"/?access_token={GOOD}", "headers": [bearer("junk")]}),
    "two in one header": (401, {"headers": [bearer(GOOD), bearer("junk")]}),
    "two in one header, the other way round": (401, {"headers": [bearer("junk"), bearer(GOOD)]}),
    "a preflight request": (200, {"method": "OPTIONS", "headers": [("origin", "b"), ("access-control-request-method", "GET"), bearer("junk")]}),
}  # fmt: skip

SEVERAL = f"""
- {{issuer: a, audiences: [shop], jwks: '{KEYS}', presence: REQUIRED, outputClaimToHeaders: [{{header: x-user, claim: sub}}]}}
- {{issuer: b, jwks: '{jwks(RS)}', fromHeaders: [{{name: x-b}}, {{name: x-both}}]}}
- {{issuer: c, jwks: '{jwks(ED)}', fromHeaders: [{{name: x-both}}], fromCookies: [c]}}
- {{issuer: d, fromParams: [d]}}
"""
B, C = token(RS, {"iss": "b"}), token(ED, {"iss": "c"})
OF_SEVERAL: dict[str, tuple[int, dict[str, Any]]] = {
    "nothing": (401, {}),
    "what is demanded": (200, {"headers": [bearer(GOOD)]}),
    "only another": (401, {"headers": [("x-b", B)]}),
    "another where one is demanded": (401, {"headers": [bearer(B)]}),
    "what is demanded and another": (200, {"headers": [bearer(GOOD), ("x-b", B)]}),
    "what is demanded and a bad one": (401, {"headers": [bearer(GOOD), ("x-b", "junk")]}),
    "what is demanded and one in the wrong place": (401, {"headers": [bearer(GOOD), ("x-b", C)]}),
    "either in the place of both": (200, {"headers": [bearer(GOOD), ("x-both", B)]}),
    "the other in the place of both": (200, {"headers": [bearer(GOOD), ("x-both", C)]}),
    "both in the place of both": (401, {"headers": [bearer(GOOD), ("x-both", B), ("x-both", C)]}),
    "a good one beside a bad one of the same rule": (401, {"headers": [bearer(GOOD), ("x-both", C), ("cookie", "c=junk")]}),
    "a header twice, first good": (401, {"headers": [bearer(GOOD), ("x-b", B), ("x-b", "junk")]}),
    "a header twice, first bad": (401, {"headers": [bearer(GOOD), ("x-b", "junk"), ("x-b", B)]}),
    "in a cookie": (200, {"headers": [bearer(GOOD), ("cookie", f"a=b; c={C}")]}),
    "of a rule without keys": (401, {"path": f"/?d={token(ES, {'iss': 'd'})}", "headers": [bearer(GOOD)]}),
}  # fmt: skip


def sidecar(rules: str, at: Address) -> Resources:
    """Of a workload that these rules guard."""
    service = {"clusterIP": "10.96.0.1", "selector": {"app": "a"}, "ports": [{"name": "http", "port": at.port}]}
    documents = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "default"}, "spec": service},
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"jwtRules": yaml.safe_load(rules)},
        },
    ]
    world = World().apply(yaml.safe_dump_all(documents))
    resources, _ = decode(world.sidecar(labels={"app": "a"}, ips=(at.ip,)).resources())
    own = {"virtualInbound": resources.listeners["virtualInbound"]}
    return msgspec.structs.replace(resources, listeners=own)


def call(to: Address, entry: Address = VIRTUAL_INBOUND, **fields: Any) -> Call:
    fields["headers"] = tuple(fields.get("headers", ()))
    return Call(**{"address": to, "captured_at": entry, "authority": "a", "at": NOW, **fields})


@pytest.mark.parametrize(
    ("rules", "cases"),
    [(f"- {{issuer: a, audiences: [shop], jwks: '{KEYS}'}}", CASES), (SEVERAL, OF_SEVERAL)],
    ids=["one issuer", "several issuers"],
)
def test_tokens_by_name(rules: str, cases: dict[str, tuple[int, dict[str, Any]]]) -> None:
    """What becomes of each of them, at Envoy and at the simulator."""
    with Upstreams() as upstreams:
        stand_in = Addresses().take()
        at = Address(*upstreams.add("app", Addresses().take()))
        resources = sidecar(rules, at)
        calls = [call(at, Address(stand_in, 15006), **fields) for _, fields in cases.values()]
        with envoy_of(resources, stand_in) as envoy:
            observed = observe(envoy, calls)
    statuses = {name: did.status for name, did in zip(cases, observed, strict=True)}
    assert statuses == {name: status for name, (status, _) in cases.items()}
    for did in observed:
        assert disagreements(simulate(resources, did.call), did) == [], did.call


# What only the simulator knows


def judged(rules: str, **fields: Any) -> tuple[Verdict, int]:
    at = Address("10.0.0.9", 8080)
    outcome = simulate(sidecar(rules, at), call(at, **fields))
    return outcome.verdict, outcome.status


ONE = f"- {{issuer: a, audiences: [shop], jwks: '{KEYS}', presence: REQUIRED}}"


def test_a_caller_may_say_what_his_token_claims() -> None:
    assert judged(ONE, claims=ISSUER) == (Verdict.FORWARDED, 0)
    assert judged(ONE, claims={**ISSUER, "iss": "b"}) == (Verdict.ANSWERED, 401)
    assert judged(ONE, claims={**ISSUER, "aud": "bank"}) == (Verdict.ANSWERED, 403)
    assert judged(ONE, claims={**ISSUER, "exp": 5}) == (Verdict.ANSWERED, 401)
    assert judged(ONE, claims={**ISSUER, "sub": 5}) == (Verdict.ANSWERED, 401)


@pytest.mark.parametrize("where", ["fromHeaders: [{name: x-b, prefix: 'T '}]", "fromParams: [b]", "fromCookies: [b]"])
def test_what_is_claimed_stands_where_its_issuer_is_looked_for(where: str) -> None:
    rules = f"{ONE}\n- {{issuer: b, jwks: '{KEYS}', {where}, presence: REQUIRED}}"
    assert judged(rules, claims={"iss": "b"}, headers=[bearer(GOOD)]) == (Verdict.FORWARDED, 0)


def test_nobody_is_believed_because_of_what_stands_in_a_request() -> None:
    """What stands for a claimed token means nothing when nothing is claimed."""
    assert judged(ONE, headers=[bearer("\0")]) == (Verdict.ANSWERED, 401)


def test_tokens_whose_keys_the_proxy_would_fetch_are_not_believed_and_that_is_a_doubt() -> None:
    rules = "- {issuer: a, jwksUri: 'https://issuer.example.com/keys'}"
    at = Address("10.0.0.9", 8080)
    shown = simulate(sidecar(rules, at), call(at, headers=[bearer(GOOD)]))
    claimed = simulate(sidecar(rules, at), call(at, claims={"iss": "a"}))
    assert (shown.status, claimed.verdict) == (401, Verdict.FORWARDED)
    assert "https://issuer.example.com/keys" in " ".join(shown.doubts)
    assert claimed.doubts == ()


def test_without_a_time_tokens_are_not_too_old_and_that_is_a_doubt() -> None:
    at = Address("10.0.0.9", 8080)
    old = token(ES, {**ISSUER, "exp": 5})
    outcome = simulate(sidecar(ONE, at), call(at, headers=[bearer(old)], at=None))
    assert outcome.verdict is Verdict.FORWARDED
    assert "too old" in " ".join(outcome.doubts)


def test_who_refused_is_said() -> None:
    at = Address("10.0.0.9", 8080)
    step = simulate(sidecar(ONE, at), call(at)).step(Stage.HTTP_FILTER)
    assert step is not None
    assert (step.found, step.why) == ("envoy.filters.http.jwt_authn", "jwt_authn_access_denied{Jwt_is_missing}")
