"""Tokens for tests: issuers with keys of every kind, what they sign, and what a forger would."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

_HASHES: Any = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
FAR = 4_102_444_800  # Unix seconds: the year 2100
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256")


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Key(msgspec.Struct, frozen=True):
    """A private key, for one algorithm."""

    algorithm: str
    private: Any  # of `cryptography`; bytes for a shared secret

    def sign(self, message: bytes) -> bytes:
        return signature(self.private, self.algorithm, message)

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public key as a set has it."""
        return {**_public(self.private), **more}


@cache
def key(algorithm: str = "ES256", name: str = "") -> Key:
    """One for all tests of a run; `name` tells several of the same kind apart."""
    del name
    if algorithm[:2] in {"RS", "PS"}:
        return Key(algorithm, rsa.generate_private_key(65537, 2048))
    if algorithm == "EdDSA":
        return Key(algorithm, ed25519.Ed25519PrivateKey.generate())
    if algorithm.startswith("HS"):
        return Key(algorithm, b"a secret that the issuer and all who believe it share")
    return Key(algorithm, ec.generate_private_key(_CURVES[algorithm]))


def jwks(*keys: Key | Mapping[str, Any]) -> str:
    """A key set."""
    return json.dumps({"keys": [one.jwk() if isinstance(one, Key) else dict(one) for one in keys]})


def token(signer: Key, claims: Mapping[str, Any] | None = None, **header: Any) -> str:
    """A signed token. Claims begin with a subject and an end in the far future; a header or claim of None is left out.

    `header` may say another `alg` than the one it is signed with.
    """
    said = {"sub": "alice", "exp": FAR, **(claims or {})}
    head = {"alg": signer.algorithm, "typ": "JWT", **header}
    signed = f"{_part(head)}.{_part(said)}"
    return f"{signed}.{base64url(signer.sign(signed.encode()))}"


def unsigned(claims: Mapping[str, Any], algorithm: str = "none", signed: bytes = b"") -> str:
    """What a forger makes without a key."""
    return (
        f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part({'sub': 'alice', 'exp': FAR, **claims})}.{base64url(signed)}"
    )


def signature(private: Any, algorithm: str, message: bytes) -> bytes:
    """Of a message, by an algorithm that fits the key (or, for HS*, by any bytes)."""
    if algorithm == "EdDSA":
        return bytes(private.sign(message))
    digest = _HASHES[algorithm[2:]]
    if algorithm.startswith("HS"):
        mac = hmac.HMAC(private, digest)
        mac.update(message)
        return mac.finalize()
    if algorithm.startswith("ES"):
        numbers = utils.decode_dss_signature(private.sign(message, ec.ECDSA(digest)))
        size = (private.curve.key_size + 7) // 8
        return b"".join(number.to_bytes(size) for number in numbers)
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return bytes(private.sign(message, pss if algorithm.startswith("PS") else padding.PKCS1v15(), digest))


def _part(value: Mapping[str, Any]) -> str:
    return base64url(json.dumps({key: one for key, one in value.items() if one is not None}).encode())


def _public(private: Any) -> dict[str, Any]:
    if isinstance(private, bytes):
        return {"kty": "oct", "k": base64url(private)}
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    if isinstance(public, ec.EllipticCurvePublicKey):
        point, size = public.public_numbers(), (public.key_size + 7) // 8
        curve = {256: "P-256", 384: "P-384", 521: "P-521"}[public.key_size]
        return {"kty": "EC", "crv": curve, "x": _number(point.x, size), "y": _number(point.y, size)}
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}


def _number(value: int, size: int = 0) -> str:
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8))
