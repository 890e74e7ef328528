"""What a RequestAuthentication may not say, and that every fault makes its rule believe nobody."""

from copy import deepcopy
from typing import Any

import pytest

from controlplane.model import jwksuri
from controlplane.model.problem import Level
from controlplane.model.requestauthentication import JWTPresence, JWTRule
from tests import tokens
from tests.model.documents import decode
from tests.tokens import key

KEYS = tokens.jwks(key())
GOOD = {"issuer": "a", "jwks": KEYS}


def policy(*rules: Any, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "default"},
        "spec": deepcopy({"jwtRules": list(rules), **spec}),
    }


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"issuer": None}, "RequiredField", "issuer"),
    ({"issuer": ""}, "RequiredField", "issuer"),
    ({"issuer": "i" * 1025}, "InvalidValue", "issuer"),
    ({"issuer": 3}, "InvalidValue", "issuer"),
    ({"audience": ["x"]}, "UnknownField", "audience"),
    ({"audiences": [""]}, "RequiredField", "audiences[0]"),
    ({"audiences": "x"}, "InvalidValue", "audiences"),
    ({"jwks": "{}"}, "InvalidKeys", "jwks"),
    ({"jwks": '{"keys": [{"kty": "PGP"}]}'}, "InvalidKeys", "jwks"),
    ({"jwksUri": "https://issuer.example.com"}, "ConflictingFields", ""),
    ({"jwks": None, "jwksUri": "ftp://issuer.example.com"}, "InvalidURI", "jwksUri"),
    ({"jwks": None, "jwksUri": "https://169.254.169.254/"}, "InvalidURI", "jwksUri"),
    ({"fromHeaders": [{"name": ""}]}, "RequiredField", "fromHeaders[0].name"),
    ({"fromHeaders": [{"name": ":path"}]}, "InvalidHeader", "fromHeaders[0].name"),
    ({"fromHeaders": [{"name": "a", "prefix": "a\r\n"}]}, "InvalidValue", "fromHeaders[0].prefix"),
    ({"fromParams": [""]}, "RequiredField", "fromParams[0]"),
    ({"fromCookies": ["a\nb"]}, "InvalidValue", "fromCookies[0]"),
    ({"fromParams": ["p"] * 65}, "InvalidValue", "fromParams"),
    ({"outputPayloadToHeader": "a b"}, "InvalidHeader", "outputPayloadToHeader"),
    ({"outputPayloadToHeader": "Authorization"}, "InvalidHeader", "outputPayloadToHeader"),
    ({"outputPayloadToHeader": "x-forwarded-client-cert"}, "InvalidHeader", "outputPayloadToHeader"),
    ({"outputClaimToHeaders": [{"header": "Host", "claim": "a"}]}, "InvalidHeader", "outputClaimToHeaders[0].header"),
    ({"outputClaimToHeaders": [{"header": "x-a"}]}, "RequiredField", "outputClaimToHeaders[0].claim"),
    ({"outputClaimToHeaders": [{"claim": "a"}]}, "RequiredField", "outputClaimToHeaders[0].header"),
    ({"outputClaimToHeaders": [{"header": "x-a", "claim": "a..b"}]}, "InvalidValue", "outputClaimToHeaders[0].claim"),
    (
        {"outputClaimToHeaders": [{"header": "x-a", "claim": "a"}, {"header": "X-A", "claim": "b"}]},
        "DuplicateValue",
        "outputClaimToHeaders[1].header",
    ),
    ({"timeout": "0s"}, "InvalidDuration", "timeout"),
    ({"timeout": "2m"}, "InvalidDuration", "timeout"),
    ({"spaceDelimitedClaims": [""]}, "RequiredField", "spaceDelimitedClaims[0]"),
    ({"presence": "Required"}, "InvalidValue", "presence"),
]


@pytest.mark.parametrize(("fields", "code", "path"), FAULTS, ids=lambda one: str(one)[:60])
def test_a_fault_is_named_and_its_rule_believes_nobody(fields: dict[str, Any], code: str, path: str) -> None:
    decoded = decode(policy({**GOOD, **fields}, GOOD))
    assert (code, f"spec.jwtRules[0].{path}".rstrip(".")) in {(one.code, one.origin.path) for one in decoded.problems}
    bad, good = decoded.value.spec.jwt_rules
    assert bad.invalid
    assert not good.invalid
    assert not decoded.value.invalid


def test_what_cannot_be_read_is_taken_for_the_strictest() -> None:
    """Somebody who misspells `presence` did not write it to have nothing demanded."""
    (rule,) = decode(policy({**GOOD, "presence": "MUST"})).value.spec.jwt_rules
    assert rule.presence is JWTPresence.REQUIRED


@pytest.mark.parametrize("rules", ["x", {"a": 1}, None, 3])
def test_rules_that_are_no_list_are_one_that_believes_nobody(rules: Any) -> None:
    document = policy()
    document["spec"]["jwtRules"] = rules
    assert decode(document).value.spec.jwt_rules == ((JWTRule(invalid=True),) if rules is not None else ())


def test_a_rule_that_is_no_object_believes_nobody() -> None:
    first, second = decode(policy("x", GOOD)).value.spec.jwt_rules
    assert first.invalid
    assert not second.invalid


@pytest.mark.parametrize(
    "spec",
    [{"selector": {}, "targetRefs": [{"kind": "Gateway", "name": "edge"}]}, {"selectr": {"matchLabels": {"app": "a"}}}],
    ids=str,
)
def test_a_policy_for_nobody_knows_whom_is_bad_as_a_whole(spec: dict[str, Any]) -> None:
    decoded = decode(policy(GOOD, **spec))
    assert decoded.value.invalid
    assert [one.level for one in decoded.problems] == [Level.ERROR]


def test_parts_of_a_key_set_that_are_left_out_are_warned_about() -> None:
    decoded = decode(policy({"issuer": "a", "jwks": tokens.jwks(key(), {"kty": "PGP"}, key("HS256"))}))
    assert not decoded.value.spec.jwt_rules[0].invalid
    assert [(one.level, one.origin.path) for one in decoded.problems] == [
        (Level.WARNING, "spec.jwtRules[0].jwks.keys[1]"),
        (Level.WARNING, "spec.jwtRules[0].jwks.keys[2]"),
    ]


# Where keys may be


REFUSED = """
ftp://issuer.example.com/keys issuer.example.com https:///keys https://user@issuer.example.com/ https://a.example/#x
https://a.example:0/ https://a.example:99999/ https://a..b/ https://exa_mple.c%6Fm/ https://[::1 https://a.example\\b/
http://127.0.0.1/ http://127.8.9.10:15000/ http://0.0.0.0/ http://0/ http://127.1/ http://2130706433/ http://0x7f.1/
http://0x7f000001/ http://017700000001/ http://[::1]/ http://[::]/ http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/
http://[0:0:0:0:0:0:0:1]/ http://[::127.0.0.1]/ http://[64:ff9b::7f00:1]/ http://[2002:7f00:1::]/ http://localhost/
http://LOCALHOST/ http://localhost./ http://a.localhost/ http://169.254.169.254/latest http://[fe80::1]/
http://[fe80::1%25eth0]/ http://[fd00:ec2::254]/ http://100.100.100.200/ http://192.0.0.192/ http://224.0.0.1/
http://metadata/ http://metadata.google.internal/ http://METADATA.google.internal./ http://[::ffff:a9fe:a9fe]/
"""


@pytest.mark.parametrize(
    "uri", [*REFUSED.split(), "https://a.example/ b", "https://bücher.example/", "https://a.example/" + "x" * 2100, ""]
)
def test_some_places_nobody_is_sent_to(uri: str) -> None:
    """The machine itself, its link and its cloud, in every spelling; and what is no place at all."""
    with pytest.raises(jwksuri.UnusableUriError):
        jwksuri.parse(uri)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("https://issuer.example.com/.well-known/jwks.json?a=b", (True, "issuer.example.com", 443)),
        ("http://Keycloak.auth.svc.cluster.local:8080/keys", (False, "keycloak.auth.svc.cluster.local", 8080)),
        ("http://keycloak", (False, "keycloak", 80)),
        ("https://10.1.2.3:8443/", (True, "10.1.2.3", 8443)),
        ("https://[2001:db8::1]/", (True, "2001:db8::1", 443)),
        ("https://issuer.example.com.", (True, "issuer.example.com", 443)),
    ],
)  # fmt: skip
def test_other_places_are_taken_apart(uri: str, parts: tuple[bool, str, int]) -> None:
    found = jwksuri.parse(uri)
    assert (found.tls, found.host, found.port) == parts
