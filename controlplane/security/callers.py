"""Who calls: an identity that somebody vouches for, or a refusal.

Two proofs are taken: a token in the `Authorization` header, or the certificate the caller holds. Where there is a token
it decides, so that a wrong one is never made good by something else.

Asking whether a token is good may cost a question to another server, and guesses cost nothing to make. So addresses
from which failures came too often are not asked for any more, for a while; what is known already is not held up by
that, and workloads that share the address of an attacker go on.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, Protocol

from controlplane.base.identity import Identity
from controlplane.runtime.buckets import Buckets
from controlplane.security.heldcertificate import holder_of
from controlplane.security.refusal import Refusal, Why

LONGEST_TOKEN: Final = 8192  # characters; a projected token has about 1,200
_NETWORK: Final = 64  # bits of an IPv6 address that its holder cannot choose


class TokenKind(Protocol):
    """Tokens of one kind, and whose they are."""

    def known(self, token: str) -> Identity | None:
        """Whose token this is, if that is known here and now."""
        ...

    async def ask(self, token: str) -> Identity | Refusal:
        """Whose token this is, by asking whoever knows."""
        ...


class Callers:
    """Who calls. All identities are in our own trust domain, also those of certificates from one of its aliases."""

    def __init__(
        self,
        tokens: TokenKind,
        trust_domains: Sequence[str],
        failures: Buckets[str],
        now: Callable[[], datetime],
    ) -> None:
        """`trust_domains`: ours first, then its aliases. `failures`: how many an address may have."""
        self._tokens = tokens
        self._trust_domains = trust_domains
        self._failures = failures
        self._now = now

    async def by_any(self, authorization: str | None, certificate: bytes, address: str) -> Identity | Refusal:
        """By its token if there is one, else by its certificate (DER; b"" if it showed none)."""
        if authorization is not None:
            return await self._by_token(authorization, address)
        return self.by_certificate(certificate)

    def by_certificate(self, certificate: bytes) -> Identity | Refusal:
        """By the certificate it holds (DER; b"" if it showed none)."""
        if not certificate:
            return Refusal(Why.UNAUTHENTICATED, "neither a token nor a certificate says who you are")
        found = holder_of(certificate, self._trust_domains, self._now())
        return found._replace(trust_domain=self._trust_domains[0]) if isinstance(found, Identity) else found

    async def _by_token(self, authorization: str, address: str) -> Identity | Refusal:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= LONGEST_TOKEN or not _is_plain(token):
            return Refusal(Why.UNAUTHENTICATED, "the Authorization header holds no bearer token")
        return self._tokens.known(token) or await self._asked(token, network_of(address))

    async def _asked(self, token: str, network: str) -> Identity | Refusal:
        """A failure is counted before it is known to be one: a thousand questions at once are not one question."""
        if wait := self._failures.take(network):
            return Refusal(Why.BUSY, "too many failures came from your address", wait)
        found = await self._tokens.ask(token)
        if isinstance(found, Identity) or found.why is not Why.UNAUTHENTICATED:
            self._failures.give_back(network)
        return found


def network_of(address: str) -> str:
    """What failures are counted by: an IPv4 address, or the part of an IPv6 address that is not its holder's."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((found, _NETWORK), strict=False))


def _is_plain(token: str) -> bool:
    """As RFC 6750 spells them: what a header can carry and a log can show."""
    return token.isascii() and token.isprintable() and " " not in token
