"""The mesh's authority on the debug socket: what `lateen ca` shows and does."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.base.identity import Identity
from controlplane.runtime.unixhttp import Handler, NotFound, NotNow
from controlplane.security.authorities import Authorities
from controlplane.security.authority import Authority
from controlplane.security.keeping import AuthorityError, StoreError
from controlplane.security.localtokens import LocalTokens
from controlplane.security.refusal import Refusal
from controlplane.security.rotation import Roots, Step

Query = Mapping[str, str]

_NEXT = {
    Step.STEADY: "begin: trust a new root too",
    Step.TRUSTING: "switch: issue from the new root (or abandon it)",
    Step.ISSUING: "finish: trust the old root no more",
}


def authority_routes(authorities: Authorities | None) -> Mapping[str, Handler]:
    """What is asked for. `None`: a control plane whose certificates somebody else makes."""

    async def show(_query: Query) -> Any:
        return document(_there(authorities))

    return {"/ca": show}


def authority_actions(authorities: Authorities | None) -> Mapping[str, Handler]:
    """What changes something."""

    def action(step: Callable[[Authorities], Awaitable[Roots | Refusal]]) -> Handler:
        async def act(_query: Query) -> Any:
            there = _there(authorities)
            try:
                found = await step(there)
            except (AuthorityError, StoreError) as error:
                raise NotNow(f"the step is not known to be kept, look at it again: {error}") from error
            if isinstance(found, Refusal):
                raise NotNow(found.message)
            return document(there)

        return act

    return {
        "/ca/begin": action(Authorities.begin),
        "/ca/switch": action(Authorities.switch),
        "/ca/finish": action(Authorities.finish),
        "/ca/abandon": action(Authorities.abandon),
    }


def token_action(tokens: LocalTokens, trust_domain: str) -> Mapping[str, Handler]:
    """Proof of an identity, for a workload that somebody starts by hand."""

    async def mint(query: Query) -> Any:
        identity = Identity(trust_domain, query.get("namespace", ""), query.get("account", ""))
        if not identity.is_spelled_right:
            raise NotFound(f"{identity.uri} cannot be the name of a workload")
        return {"identity": identity.uri, "token": tokens.mint(identity)}

    return {"/ca/token": mint}


def _there(authorities: Authorities | None) -> Authorities:
    if authorities is None:
        raise NotFound("this control plane has no authority: its certificates were given to it as files")
    return authorities


def document(authorities: Authorities) -> Any:
    """All there is to know, without keys."""
    roots, ours = authorities.roots, authorities.source.is_ours
    known = [roots.current, *([roots.coming] if roots.coming is not None else [])]
    return {
        "from": str(authorities.source),
        "plugged": not ours,
        "step": str(roots.step),
        "next": _NEXT[roots.step] if ours else "",
        "problem": authorities.problem,
        "signers": [_signer(each, is_issuer=each is roots.issuer) for each in known],
        "trusted": [_certificate(each) for each in roots.trusted],
        "proxies": {
            "known": authorities.holders.present(),
            "lacking": authorities.lacking(),
            "holding": authorities.holding(),
        },
    }


def _signer(authority: Authority, *, is_issuer: bool) -> Mapping[str, Any]:
    return {
        **_certificate(authority.certificate),
        "issues": is_issuer,
        "key": _key(authority.key.public_key()),
        "chain": [_certificate(each) for each in authority.chain],
    }


def _certificate(certificate: x509.Certificate) -> Mapping[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "sha256": sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        "notBefore": _time(certificate.not_valid_before_utc),
        "notAfter": _time(certificate.not_valid_after_utc),
    }


def _key(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return f"RSA {key.key_size}" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__


def _time(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
