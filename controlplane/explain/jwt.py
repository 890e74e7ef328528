"""One token: what it says, and whether a key set says it too.

Envoy's rules (its own library for tokens, as of 1.40), in its order, with its words for what is wrong. A signature is
checked by the algorithm the token names, never by what a key happens to take.
"""

from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from controlplane.model.jwks import Jwk, public

VALID: Final = ""
MISSED: Final = "Jwt is missing"
UNKNOWN_ISSUER: Final = "Jwt issuer is not configured"
WRONG_AUDIENCE: Final = "Audiences in Jwt are not allowed"
UNVERIFIED: Final = "Jwt verification fails"
NO_KEYS: Final = "Jwks doesn't have any valid public key"
_NOT_YET: Final = "Jwt not yet valid"
_EXPIRED: Final = "Jwt is expired"
_NO_KEY_FITS: Final = "Jwks doesn't have key to match kid or alg from Jwt"
_FORM: Final = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
_SIGNATURE_LENGTH: Final = "Jwt ED25519 signature is wrong length"
_ED25519_BYTES: Final = 64
_SKEW_SECONDS: Final = 60
_HASHES: Final = {"256": "SHA256", "384": "SHA384", "512": "SHA512"}
_ALGORITHMS: Final = frozenset({f"{kind}{size}" for kind in ("RS", "PS", "ES", "HS") for size in _HASHES} | {"EdDSA"})


class Token(msgspec.Struct, frozen=True):
    """A token that could be read."""

    claims: Mapping[str, Any]
    issuer: str = ""
    audiences: tuple[str, ...] = ()
    algorithm: str = ""
    key_id: str = ""
    payload: str = ""  # as it is in the token
    signed: bytes = b""  # what the signature is of
    signature: bytes = b""


class _UnreadableError(Exception):
    """Why a text is no token, in Envoy's words."""


def parse(text: str) -> Token | str:
    """The token, or what is wrong with it."""
    try:
        return _parsed(text)
    except _UnreadableError as error:
        return str(error)


def said(claims: Mapping[str, Any]) -> Token | str:
    """A token with these claims, which nobody has to have signed."""
    try:
        return _with_claims(Token(claims))
    except _UnreadableError as error:
        return str(error)


def timely(token: Token, now: float) -> str:
    """VALID, or why it is not at this time (Unix seconds)."""
    seconds = int(now)
    begins, ends = int(token.claims.get("nbf", 0)), int(token.claims.get("exp", 0))
    if seconds + _SKEW_SECONDS < begins:
        return _NOT_YET
    return _EXPIRED if ends and seconds > ends + _SKEW_SECONDS else VALID


def audience_is_allowed(token: Token, allowed: Iterable[str]) -> bool:
    """One of them in common; a scheme and a trailing slash do not count."""
    wanted = {_bare(one) for one in allowed}
    return not wanted or not wanted.isdisjoint(map(_bare, token.audiences))


def verified(token: Token, keys: Iterable[Jwk]) -> str:
    """VALID if one of the keys signed it."""
    fits = False
    for key in keys:
        if (token.key_id and key.kid and key.kid != token.key_id) or (key.alg and key.alg != token.algorithm):
            continue
        fits = True
        if key.kty == "OKP" and len(token.signature) != _ED25519_BYTES:
            return _SIGNATURE_LENGTH
        if _signed_by(token, key):
            return VALID
    return UNVERIFIED if fits else _NO_KEY_FITS


# Reading


def _parsed(text: str) -> Token:
    parts = list(filter(None, text.split(".")))
    if len(parts) != 3:
        raise _UnreadableError(_FORM)
    head = _json(_bytes(parts[0], "Jwt header is an invalid Base64url encoded"), "Jwt header is an invalid JSON")
    algorithm, key_id = head.get("alg"), head.get("kid", "")
    if not isinstance(algorithm, str):
        raise _UnreadableError("Jwt header [alg] field is required and must be a string")
    if algorithm not in _ALGORITHMS:
        raise _UnreadableError("Jwt header [alg] is not supported")
    if not isinstance(key_id, str):
        raise _UnreadableError("Jwt header [kid] field is not a string")
    payload = _bytes(parts[1], "Jwt payload is an invalid Base64url encoded")
    token = _with_claims(Token(_json(payload, "Jwt payload is an invalid JSON")))
    signature = _bytes(parts[2], "Jwt signature is an invalid Base64url encoded")
    return msgspec.structs.replace(
        token,
        algorithm=algorithm,
        key_id=key_id,
        payload=parts[1],
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=signature,
    )


def _with_claims(token: Token) -> Token:
    """The claims that every token has, if they are of the right type."""
    claims = token.claims
    for name in ("iss", "sub"):
        _demand_text(claims, name)
    for name in ("iat", "nbf", "exp"):
        _demand_time(claims, name)
    _demand_text(claims, "jti")
    audience = claims.get("aud", [])
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list | tuple) or not all(isinstance(one, str) for one in audiences):
        raise _UnreadableError("Jwt payload [aud] field is not a string or string list")
    return msgspec.structs.replace(token, issuer=claims.get("iss", ""), audiences=tuple(audiences))


def _demand_text(claims: Mapping[str, Any], name: str) -> None:
    if not isinstance(claims.get(name, ""), str):
        raise _UnreadableError(f"Jwt payload [{name}] field is not a string")


def _demand_time(claims: Mapping[str, Any], name: str) -> None:
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnreadableError(f"Jwt payload [{name}] field is not an integer")
    if not 0 <= value < 2**63:
        raise _UnreadableError(f"Jwt payload [{name}] field is not a positive 64 bit integer")


def _json(text: bytes, otherwise: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _UnreadableError(otherwise) from error
    if not isinstance(found, dict):
        raise _UnreadableError(otherwise)
    return found


def _bytes(text: str, otherwise: str) -> bytes:
    """Base64url; padding is allowed where it is right, and blanks do not count."""
    text = "".join(text.split())
    bare = text.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if not bare.isascii() or not bare.replace("-", "").replace("_", "").isalnum() or text not in {bare, padded}:
        raise _UnreadableError(otherwise)
    try:
        return urlsafe_b64decode(padded)
    except ValueError as error:
        raise _UnreadableError(otherwise) from error


def _bare(audience: str) -> str:
    for scheme in ("https://", "http://"):
        audience = audience.removeprefix(scheme)
    return audience.removesuffix("/")


# Signatures


def _signed_by(token: Token, key: Jwk) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  not paid by calls without tokens

    try:
        _CHECKS[key.kty](token, public(key))
    except InvalidSignature:
        return False
    return True


def _hash(token: Token, *kinds: str) -> Any:
    """What an algorithm of these kinds says; for any other it is SHA-256."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  not paid by calls without tokens

    kind, size = token.algorithm[:2], token.algorithm[2:]
    return getattr(hashes, _HASHES[size] if kind in kinds else "SHA256")()


def _check_rsa(token: Token, key: Any) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  not paid by calls without tokens
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    digest = _hash(token, "RS", "PS")
    paddings = {"RS": padding.PKCS1v15(), "PS": padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)}
    if token.algorithm[:2] not in paddings:
        raise InvalidSignature
    key.verify(token.signature, token.signed, paddings[token.algorithm[:2]], digest)


def _check_ec(token: Token, key: Any) -> None:
    """Both halves of the signature are numbers."""
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: PLC0415  not paid by calls without tokens

    half = len(token.signature) // 2
    numbers = int.from_bytes(token.signature[:half]), int.from_bytes(token.signature[half : 2 * half])
    key.verify(utils.encode_dss_signature(*numbers), token.signed, ec.ECDSA(_hash(token, "ES")))


def _check_okp(token: Token, key: Any) -> None:
    key.verify(token.signature, token.signed)


def _check_secret(token: Token, key: bytes) -> None:
    from cryptography.hazmat.primitives import hmac  # noqa: PLC0415  not paid by calls without tokens

    mac = hmac.HMAC(key, _hash(token, "HS"))
    mac.update(token.signed)
    mac.verify(token.signature)


_CHECKS: Final = {"RSA": _check_rsa, "EC": _check_ec, "OKP": _check_okp, "oct": _check_secret}
