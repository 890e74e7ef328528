"""Changing a root while the mesh runs: trust both, issue from the new one, drop the old one.

A peer verifies with the bundle it has, so each step waits for the one before to have arrived everywhere:

    steady      one root is trusted, and issues
    trusting    the next root is trusted too; nobody has a certificate of it yet
    issuing     the next root issues; certificates of the old one are still about, and trusted
    steady      the old root is trusted no more

Steps are pure functions from one state to the next. Who has which bundle is for the caller to say: a step is refused
while a connected proxy lacks what the step relies on, because its calls would fail.
"""

from collections.abc import Collection
from enum import StrEnum

import msgspec
from cryptography import x509

from controlplane.security.authority import Authority, pem
from controlplane.security.refusal import Refusal, Why


class Step(StrEnum):
    """Where a rotation is."""

    STEADY = "steady"
    TRUSTING = "trusting"
    ISSUING = "issuing"


class Roots(msgspec.Struct, frozen=True):
    """`current` issues while `step` is steady or trusting, `coming` while it is issuing."""

    current: Authority
    coming: Authority | None = None
    step: Step = Step.STEADY

    @property
    def issuer(self) -> Authority:
        """Who signs now."""
        return self.coming if self.step is Step.ISSUING and self.coming is not None else self.current

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """What everybody must trust now, each root once."""
        coming = self.coming.roots if self.coming is not None else ()
        return tuple(dict.fromkeys((*self.current.roots, *coming)))

    @property
    def bundle(self) -> bytes:
        """The same as PEM."""
        return pem(self.trusted)


def begin(roots: Roots, coming: Authority) -> Roots | Refusal:
    """Trust the next root too."""
    if roots.step is not Step.STEADY:
        return Refusal(Why.STEP, f"a rotation is under way already ({roots.step}); finish it first")
    if set(coming.roots) <= set(roots.current.roots):
        return Refusal(Why.STEP, "the next root is the one that is trusted now")
    return Roots(roots.current, coming, Step.TRUSTING)


def switch(roots: Roots, lacking: Collection[str]) -> Roots | Refusal:
    """Issue from the next root. `lacking`: connected proxies that do not trust it yet."""
    if roots.step is not Step.TRUSTING:
        return Refusal(Why.STEP, f"there is no new root to issue from (the rotation is {roots.step})")
    if lacking:
        return _wait("must say first that they trust the new root", lacking)
    return Roots(roots.current, roots.coming, Step.ISSUING)


def finish(roots: Roots, holding: Collection[str]) -> Roots | Refusal:
    """Trust the old root no more. `holding`: connected proxies whose own certificate is still of the old root."""
    if roots.step is not Step.ISSUING or roots.coming is None:
        return Refusal(Why.STEP, f"there is no old root to drop (the rotation is {roots.step})")
    if holding:
        return _wait("must say first that their certificate is of the new root; each renews at half its life", holding)
    return Roots(roots.coming)


def abandon(roots: Roots) -> Roots | Refusal:
    """Back to the old root. Only while nobody has a certificate of the new one."""
    if roots.step is not Step.TRUSTING:
        return Refusal(Why.STEP, f"only a rotation that issues nothing yet can be abandoned (it is {roots.step})")
    return Roots(roots.current)


def named(proxies: Collection[str]) -> str:
    """How many, and who."""
    shown = ", ".join(sorted(proxies)[:3])
    more = f" and {len(proxies) - 3} more" if len(proxies) > 3 else ""
    return f"{len(proxies)} connected {'proxy' if len(proxies) == 1 else 'proxies'} ({shown}{more})"


def _wait(why: str, proxies: Collection[str]) -> Refusal:
    return Refusal(Why.STEP, f"not yet: {named(proxies)} {why}")
