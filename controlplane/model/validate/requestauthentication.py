"""What a RequestAuthentication may say. A rule with any fault believes no token: see `units`."""

from datetime import timedelta
from typing import Final

from controlplane.model import jwks, jwksuri
from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.requestauthentication import JWTRule, RequestAuthentication
from controlplane.model.validate.common import (
    check_duration,
    check_header_name,
    check_line,
    check_object_name,
    required,
    unique,
)
from controlplane.model.validate.findings import Findings
from controlplane.model.validate.selecting import check_selecting

MAX_RULES: Final = 64
MAX_TEXT: Final = 1024  # characters of an issuer, an audience, a claim
MAX_LIST: Final = 64
MAX_TIMEOUT: Final = timedelta(minutes=1)
# What Envoy and applications take from each other: a claim must not decide it.
_OTHERS: Final = frozenset(
    "host connection content-length transfer-encoding te trailer upgrade keep-alive proxy-connection".split()  # noqa: SIM905  one text
)
_OTHERS_PREFIXES: Final = (":", "x-envoy-", "x-forwarded-")


def validate_request_authentication(policy: RequestAuthentication) -> tuple[Problem, ...]:
    """All that is wrong with a RequestAuthentication by itself."""
    found = Findings(ref_of(policy))
    spec = policy.spec
    check_object_name(found, "metadata.name", policy.meta.name)
    check_selecting(found, "spec", spec)
    if not spec.jwt_rules:
        found.warn("NoEffect", "spec.jwtRules", "without a rule no token is looked at")
    for i, rule in enumerate(spec.jwt_rules):
        path = f"spec.jwtRules[{i}]"
        _check_rule(found, path, rule)
        if i >= MAX_RULES:
            found.error("InvalidValue", path, f"there are {len(spec.jwt_rules)} rules; at most {MAX_RULES} are read")
    return found.done()


def _check_rule(found: Findings, path: str, rule: JWTRule) -> None:
    if required(found, f"{path}.issuer", rule.issuer):
        _check_text(found, f"{path}.issuer", rule.issuer)
    _check_texts(found, f"{path}.audiences", rule.audiences)
    _check_keys(found, path, rule)
    _check_locations(found, path, rule)
    _check_outputs(found, path, rule)
    check_duration(found, f"{path}.timeout", rule.timeout)
    if rule.timeout is not None and rule.timeout > MAX_TIMEOUT:
        found.error("InvalidDuration", f"{path}.timeout", "requests wait for keys: at most 1m is allowed")
    _check_texts(found, f"{path}.spaceDelimitedClaims", rule.space_delimited_claims)


# Keys


def _check_keys(found: Findings, path: str, rule: JWTRule) -> None:
    if rule.jwks is not None and rule.jwks_uri is not None:
        found.error("ConflictingFields", path, "jwks and jwksUri exclude each other; keep one")
    if rule.jwks is not None:
        _check_jwks(found, f"{path}.jwks", rule.jwks)
    if rule.jwks_uri is not None:
        _check_uri(found, f"{path}.jwksUri", rule.jwks_uri)
    elif rule.timeout is not None and rule.jwks is not None:
        found.warn("NoEffect", f"{path}.timeout", "is for getting keys; these are here already")


def _check_jwks(found: Findings, path: str, text: str) -> None:
    keys = jwks.read(text)
    if not keys.keys:
        reasons = "; ".join(f"{at.removeprefix('.')} {why}".strip() for at, why in keys.faults)
        found.error("InvalidKeys", path, f"no key can be used, so no token of this issuer is valid: {reasons}")
        return
    for at, why in (*keys.faults, *keys.doubts):
        found.warn("InvalidKeys", path + at, why)


def _check_uri(found: Findings, path: str, uri: str) -> None:
    try:
        jwksuri.parse(uri)
    except jwksuri.UnusableUriError as error:
        found.error("InvalidURI", path, str(error))


# Where tokens are


def _check_locations(found: Findings, path: str, rule: JWTRule) -> None:
    for i, header in enumerate(rule.from_headers):
        at = f"{path}.fromHeaders[{i}]"
        if required(found, f"{at}.name", header.name):
            check_header_name(found, f"{at}.name", header.name)
        check_line(found, f"{at}.prefix", header.prefix)
    for field, names in (("fromParams", rule.from_params), ("fromCookies", rule.from_cookies)):
        _check_texts(found, f"{path}.{field}", names)
    if not rule.forward_original_token:
        _remark_what_stays(found, path, rule)


def _remark_what_stays(found: Findings, path: str, rule: JWTRule) -> None:
    """What Envoy makes of tokens that applications are not to see."""
    if rule.from_cookies:
        found.warn("NoEffect", f"{path}.fromCookies", "the application gets the token: Envoy takes none out of cookies")
    if rule.from_params:
        message = "to take the token out, Envoy undoes the escapes of all parameters; forwardOriginalToken avoids that"
        found.warn("QueryRewritten", f"{path}.fromParams", message)


# What becomes of claims


def _check_outputs(found: Findings, path: str, rule: JWTRule) -> None:
    read = {header.name.lower() for header in rule.from_headers} or {"authorization"}
    if rule.output_payload_to_header is not None:
        _check_output(found, f"{path}.outputPayloadToHeader", rule.output_payload_to_header, read)
    for i, output in enumerate(rule.output_claim_to_headers):
        at = f"{path}.outputClaimToHeaders[{i}]"
        if required(found, f"{at}.header", output.header):
            _check_output(found, f"{at}.header", output.header, read)
        if required(found, f"{at}.claim", output.claim):
            _check_claim(found, f"{at}.claim", output.claim)
    names = (one.header.lower() for one in rule.output_claim_to_headers)
    unique(found, f"{path}.outputClaimToHeaders", names, field=".header")


def _check_output(found: Findings, path: str, name: str, read: set[str]) -> None:
    lower = name.lower()
    if lower.startswith(_OTHERS_PREFIXES) or lower in _OTHERS:
        found.error("InvalidHeader", path, f"{name} says how a request travels; a claim must not decide it")
    elif lower in read:
        found.error("InvalidHeader", path, f"tokens are read from {name}; what callers send there would be taken away")
    else:
        check_header_name(found, path, name)


def _check_claim(found: Findings, path: str, claim: str) -> None:
    _check_text(found, path, claim)
    if not all(claim.split(".")):
        found.error("InvalidValue", path, f'"{claim}" has an empty step between dots')


# Texts


def _check_texts(found: Findings, path: str, texts: tuple[str, ...]) -> None:
    if len(texts) > MAX_LIST:
        found.error("InvalidValue", path, f"has {len(texts)} entries; at most {MAX_LIST} are allowed")
    for i, text in enumerate(texts):
        if required(found, f"{path}[{i}]", text):
            _check_text(found, f"{path}[{i}]", text)


def _check_text(found: Findings, path: str, text: str) -> None:
    check_line(found, path, text)
    if len(text) > MAX_TEXT:
        found.error("InvalidValue", path, f"has {len(text)} characters; at most {MAX_TEXT} are allowed")
