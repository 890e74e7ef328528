"""Key sets: what is used of them, and that the real Envoy takes what is made of them."""

import json
from hashlib import sha256
from random import Random  # noqa: TID251  (seeded)
from typing import Any

import pytest

from controlplane.envoy.filters.jwt_authn import NOBODY
from controlplane.explain.resources import decode
from controlplane.model import jwks
from tests import tokens
from tests.envoys import validate
from tests.tokens import base64url, key
from tests.world import World

RSA, EC, OKP, OCT = (key(one).jwk() for one in ("RS256", "ES256", "EdDSA", "HS256"))


@pytest.mark.parametrize("algorithm", tokens.ALGORITHMS)
def test_a_key_is_kept_with_what_matters_of_it(algorithm: str) -> None:
    found = jwks.read(tokens.jwks(key(algorithm).jwk(kid="1", alg=algorithm, use="sig", x5c=["…"])))
    assert json.loads(found.text) == {"keys": [key(algorithm).jwk(kid="1", alg=algorithm)]}
    assert found.faults == ()


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_for_one_algorithm_is_for_no_other(algorithm: str) -> None:
    """Envoy tries a key that names none on any token, and gives up at the first that cannot be Ed25519's."""
    (found,) = jwks.read(tokens.jwks(key(algorithm))).keys
    assert found.alg == algorithm


UNUSABLE: dict[str, Any] = {
    "no object": 3,
    "no kind": {**EC, "kty": ""},
    "a kind nobody knows": {"kty": "PGP"},
    "a kind in the wrong case": {**RSA, "kty": "rsa"},
    "a member of another type": {**EC, "alg": 3},
    "RSA without numbers": {"kty": "RSA", "kid": "1"},
    "RSA that has been factored": {**RSA, "n": base64url(((1 << 767) + 1).to_bytes(96))},
    "RSA too large": {**RSA, "n": base64url(((1 << 16400) + 1).to_bytes(2051))},
    "RSA that is even": {**RSA, "n": base64url((1 << 2047).to_bytes(256))},
    "RSA whose signatures anybody makes": {**RSA, "e": base64url(b"\1")},
    "RSA with an even exponent": {**RSA, "e": base64url(b"\4")},
    "RSA with a huge exponent": {**RSA, "e": base64url((2**40 + 1).to_bytes(6))},
    "RSA in plain base64": {**RSA, "n": RSA["n"].replace("-", "+").replace("_", "/") + "+/"},
    "RSA for another algorithm": {**RSA, "alg": "ES256"},
    "RSA for encryption": {**RSA, "alg": "RSA-OAEP"},
    "a point off the curve": {**EC, "x": base64url(b"\1" * 32)},
    "a short point": {**EC, "x": base64url(b"\1" * 31)},
    "a long point": {**EC, "x": base64url(b"\0" + b"\1" * 32)},
    "a curve nobody knows": {**EC, "crv": "secp256k1"},
    "no curve": {**EC, "crv": ""},
    "a curve for another algorithm": {**EC, "alg": "ES384"},
    "a key for exchange": {**OKP, "crv": "X25519"},
    "a short Ed25519 key": {**OKP, "x": base64url(b"\1" * 31)},
    "an empty secret": {**OCT, "k": ""},
    "a secret for another algorithm": {**OCT, "alg": "RS256"},
    "no base64": {**OCT, "k": "a b"},
    "half a byte": {**OCT, "k": "a"},
}


@pytest.mark.parametrize("bad", UNUSABLE.values(), ids=UNUSABLE)
def test_a_bad_key_is_left_out_and_named(bad: Any) -> None:
    found = jwks.read(json.dumps({"keys": [EC, bad]}))
    assert json.loads(found.text) == {"keys": [EC | {"alg": "ES256"}]}
    assert [path for path, _ in found.faults] == [".keys[1]"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '"a"',
        '{"keys": []}',
        '{"keys": {}}',
        json.dumps(EC),
        "-----BEGIN PUBLIC KEY-----",
        '{"keys": [' + json.dumps(EC) + "]} and more",
        "\ufeff" + tokens.jwks(EC),
        "\ud800",
        "[" * 60_000,
        '{"keys": ' + "[" * 60_000,
        '{"keys": [{"kty": ' + "[" * 60_000,
        '{"more": ' + "[" * 30_000 + "]" * 30_000 + ', "keys": []}',
        json.dumps({"keys": [EC] * 65}),
        tokens.jwks({**EC, "kid": "k" * 70_000}),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_key_set_has_no_keys_and_says_why(text: str) -> None:
    found = jwks.read(text)
    assert found.keys == ()
    assert found.faults
    assert all(sentence for _, sentence in found.faults)


def test_keys_that_should_not_be_used_are_doubted() -> None:
    weak = {**RSA, "n": base64url(((1 << 1023) + 1).to_bytes(128))}
    found = jwks.read(tokens.jwks(EC, OCT, weak))
    assert len(found.keys) == 3
    assert [path for path, _ in found.doubts] == [".keys[1]", ".keys[2]"]


def test_nobody_holds_the_key_of_nobody() -> None:
    """Its x coordinate is a digest of a text, so no private key led to it; and it is a key, so Envoy takes it."""
    (one,) = jwks.read(NOBODY).keys
    assert one.x == base64url(sha256(b"Lateen: a key nobody holds 0").digest())


def _policy(number: int, text: str) -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: p{number}, namespace: default}}
spec: {{jwtRules: [{{issuer: i{number}, jwks: {json.dumps(text)}}}]}}
"""


def test_envoy_takes_whatever_is_made_of_a_key_set() -> None:
    """Bad keys alone, among others, and random damage: a set Envoy could not read would cost the whole listener."""
    random = Random(4)
    texts = [json.dumps({"keys": keys}) for bad in UNUSABLE.values() for keys in ([bad], [bad, RSA])]
    texts += [_damaged(random, tokens.jwks(*random.sample([RSA, EC, OKP, OCT], 2))) for _ in range(200)]
    world = World().apply("---".join(_policy(number, text) for number, text in enumerate(texts)))
    made = world.sidecar().resources()
    assert sum(one.body.count(b'{"keys":[') for one in made) == len(texts)
    assert validate(decode(made)[0]) == []


def _damaged(random: Random, text: str) -> str:
    at = random.randrange(len(text))
    return text[:at] + random.choice(["", '"', "{", "=", "-", "\\u0000", "A", " "]) + text[at + random.randrange(3) :]
