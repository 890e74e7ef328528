"""Tokens of a mesh on one machine: whoever starts a workload gives it one, bound to one identity.

They are kept as digests. A token is found by its digest, which nobody can choose without knowing the token, so how long
a look-up takes says nothing about tokens that exist.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from controlplane.base.identity import Identity
from controlplane.security.refusal import Refusal, Why

_BYTES: Final = 32  # 256 bits


class LocalTokens:
    """One token for each workload that runs."""

    def __init__(self, randomness: Callable[[int], bytes]) -> None:
        """`randomness` gives so many bytes that nobody can guess."""
        self._randomness = randomness
        self._identities: dict[bytes, Identity] = {}

    def mint(self, identity: Identity) -> str:
        """A new token. It says who holds it until it is revoked, or this process ends."""
        token = self._randomness(_BYTES).hex()
        self._identities[_digest(token)] = identity
        return token

    def revoke(self, token: str) -> None:
        """Its workload has ended."""
        self._identities.pop(_digest(token), None)

    def known(self, token: str) -> Identity | None:
        """See `callers.TokenKind`."""
        return self._identities.get(_digest(token))

    async def ask(self, token: str) -> Identity | Refusal:
        """See `callers.TokenKind`: there is nobody else to ask."""
        return self.known(token) or Refusal(Why.UNAUTHENTICATED, "no workload that runs here has this token")


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
