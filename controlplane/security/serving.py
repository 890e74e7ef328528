"""The control plane's own certificate: of its own authority, under the DNS names that agents and proxies call.

It is made in memory, renewed at half its life, and made anew when another root issues. Each generation carries what
is to be trusted now, so that a rotation reaches every server that takes its generations from here.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.base.clock import Clock
from controlplane.base.identity import Identity
from controlplane.runtime.tls import Generation
from controlplane.security.authorities import Authorities
from controlplane.security.holders import signer_id
from controlplane.security.issuing import STANDARD, Lifetimes, issue_serving
from controlplane.security.keeping import AuthorityError
from controlplane.security.refusal import Refusal
from controlplane.security.sources import Secrets

log = structlog.get_logger(__name__)

_LONGEST_SLEEP: Final = 60.0  # seconds: a clock that was set is noticed
_AGAIN: Final = timedelta(minutes=1)


class Names(msgspec.Struct, frozen=True):
    """What the control plane is called."""

    identity: Identity
    dns: tuple[str, ...]  # the first is what bootstraps and agents demand


class Serving:
    """The generation that counts now; servers follow it. Raises AuthorityError when made of an unusable authority."""

    def __init__(
        self,
        authorities: Authorities,
        names: Names,
        secrets: Secrets,
        clock: Clock,
        lifetimes: Lifetimes = STANDARD,
    ) -> None:
        self._authorities = authorities
        self._names = names
        self._secrets = secrets
        self._clock = clock
        self._lifetimes = lifetimes
        self._followers: list[Callable[[Generation], None]] = []
        self._signer = ""
        self._half: datetime = clock.now()  # when it is to be renewed
        self._current = self._made()
        authorities.follow(self.renew)

    def read(self) -> Generation:
        """See `runtime.tls.GenerationSource`."""
        return self._current

    def follow(self, changed: Callable[[Generation], None]) -> None:
        """Call this with every new generation."""
        self._followers.append(changed)

    def renew(self) -> None:
        """Make what is due anew; else only the roots are others. What cannot work leaves the old generation in use."""
        found = self._due() or self._current._replace(roots=self._authorities.bundle)
        try:
            found.check()
        except (OSError, ValueError) as error:  # SSLError is an OSError
            log.error("what the control plane serves with stays as it was", why=str(error))  # noqa: TRY400  no bug
            return
        if found == self._current:
            return
        self._current = found
        for changed in self._followers:
            changed(found)

    def _due(self) -> Generation | None:
        """A new certificate, if it is time for one and there can be one."""
        if self._clock.now() < self._half and self._signer == signer_id(self._authorities.issuer):
            return None
        try:
            return self._made()
        except AuthorityError as error:
            log.error("the control plane's own certificate stays the old one", why=str(error))  # noqa: TRY400  likewise
            self._half = self._clock.now() + _AGAIN
            return None

    async def run(self) -> None:
        """Renew in time, until cancelled."""
        while True:
            left = (self._half - self._clock.now()).total_seconds()
            await asyncio.sleep(min(max(left, 1.0), _LONGEST_SLEEP))
            self.renew()

    def _made(self) -> Generation:
        key, issuer, now = self._secrets.key(), self._authorities.issuer, self._clock.now()
        issued = issue_serving(
            key.public_key(),
            self._names.dns,
            self._names.identity,
            issuer,
            now=now,
            serial=self._secrets.serial(),
            lifetimes=self._lifetimes,
        )
        if isinstance(issued, Refusal):
            raise AuthorityError(issued.message)
        self._signer, self._half = signer_id(issuer), now + (issued.not_after - now) / 2
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Generation(issued.chain, private, self._authorities.bundle)
