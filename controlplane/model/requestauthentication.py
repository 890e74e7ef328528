"""RequestAuthentication: which tokens a workload believes."""

from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.selecting import PolicySelector, PolicyTargetReference
from controlplane.model.value import Duration, Mark, Value, WireEnum


class JWTPresence(WireEnum):
    """What becomes of a request without a token."""

    OPTIONAL = "OPTIONAL", 0
    REQUIRED = "REQUIRED", 1


class JWTHeader(Value):
    """A header that may carry a token."""

    name: str = ""  # Name of the header.
    prefix: str = ""  # What stands before the token, such as "Bearer ".


class ClaimToHeader(Value):
    """A claim of a valid token becomes a header of the request."""

    header: str = ""  # Name of the header.
    claim: str = ""  # Name of the claim; "." leads into nested ones.


class JWTRule(Value):
    """Tokens of one issuer."""

    invalid: Mark = False

    issuer: str = ""  # Who must have issued the token.
    audiences: tuple[str, ...] = ()  # One of these must be among its audiences; absent = any.
    jwks_uri: str | None = None  # Where the issuer's public keys are.
    jwks: str | None = None  # The issuer's public keys, in place.
    from_headers: tuple[JWTHeader, ...] = ()  # Headers to look in; default Authorization: Bearer.
    from_params: tuple[str, ...] = ()  # Query parameters to look in; default access_token.
    from_cookies: tuple[str, ...] = ()  # Cookies to look in.
    output_payload_to_header: str | None = None  # Header that gets the payload, as base64url.
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()  # Headers that get claims.
    forward_original_token: bool | None = None  # Whether the application gets the token; default no.
    timeout: Duration | None = None  # For getting keys; default 5s.
    space_delimited_claims: tuple[str, ...] = ()  # Claims that are lists of words, as scope is.
    presence: JWTPresence | None = None  # Whether a request without a token passes; default it does.


class RequestAuthenticationSpec(Value):
    """Which tokens are believed."""

    selector: PolicySelector | None = None  # Workloads it is for; absent = all of the namespace.
    target_ref: PolicyTargetReference | None = None  # Deprecated: targetRefs.
    target_refs: tuple[PolicyTargetReference, ...] = ()  # Objects it is for, instead of a selector.
    jwt_rules: tuple[JWTRule, ...] = ()  # One for each issuer.


class RequestAuthentication(Value):
    """Which tokens a workload believes."""

    GROUP: ClassVar[str] = "security.istio.io"
    KIND: ClassVar[str] = "RequestAuthentication"

    meta: Meta = msgspec.field(name="metadata")
    spec: RequestAuthenticationSpec = msgspec.field(default_factory=RequestAuthenticationSpec)
    invalid: Mark = False
