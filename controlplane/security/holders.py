"""Who trusts which roots, and whose certificate is of which signer: what the steps of a rotation are decided by.

Agents report what they have after every change. A connected proxy that has not reported has, as far as anybody knows,
nothing. Who is not connected at a moment may only be on its way back: streams end with age, and after a start nobody
has come yet. So who was there lately still counts, and until proxies had the time to come back no step is decided.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.base.clock import Clock
from controlplane.base.identity import Identity
from controlplane.security.authority import Authority, public_bytes


class Report(msgspec.Struct, frozen=True):
    """What one agent has. Hexadecimal SHA-256: of roots (DER), and of its signer's SubjectPublicKeyInfo."""

    roots: frozenset[str]
    issued_by: str
    not_after: datetime


class Holder(NamedTuple):
    """One proxy, as its certificate names it and as it calls itself."""

    namespace: str
    account: str
    node: str

    @property
    def name(self) -> str:
        """ "web-7.shop" out of "sidecar~10.0.0.7~web-7.shop~shop.svc.cluster.local"."""
        parts = self.node.split("~")
        return parts[2] if len(parts) == 4 else self.node


class _Heard(NamedTuple):
    report: Report
    at: float


class Holders:
    """What was reported, and who is connected."""

    def __init__(
        self,
        clock: Clock,
        connected: Callable[[], Iterable[Holder]],
        *,
        settled: float = 60.0,
        lately: float = 60.0,
        most: int = 10_000,
    ) -> None:
        """`settled`: seconds in which proxies come back after a start. `lately`: in which one that left may come back.
        `most`: reports kept of one identity, whose workloads could report for as many proxies as they like.
        """
        self._clock = clock
        self._connected = connected
        self._settled = settled
        self._lately = lately
        self._most = most
        self._since = clock.monotonic()
        self._reports: dict[tuple[str, str], dict[str, _Heard]] = {}
        self._seen: dict[Holder, float] = {}  # and when they last were there; longest ago first

    def heard(self, caller: Identity, node: str, report: Report) -> None:
        """An agent with the certificate of `caller` reports for its proxy."""
        of_caller = self._reports.setdefault((caller.namespace, caller.account), {})
        of_caller.pop(node, None)
        of_caller[node] = _Heard(report, self._clock.monotonic())
        if len(of_caller) > self._most:
            del of_caller[next(iter(of_caller))]

    def unsettled(self) -> float:
        """Seconds until who is connected says something; 0 when it does."""
        return max(0.0, self._since + self._settled - self._clock.monotonic())

    def lacking(self, roots: Collection[str]) -> list[str]:
        """Proxies that do not trust all of these roots, by name."""
        return sorted(
            who.name for who, report in self._present() if report is None or not report.roots.issuperset(roots)
        )

    def holding(self, signer: str) -> list[str]:
        """Proxies whose certificate is not of this signer, by name."""
        return sorted(who.name for who, report in self._present() if report is None or report.issued_by != signer)

    def report_of(self, node: str) -> Report | None:
        """What the agent of a proxy that is there reported last."""
        return next((report for who, report in self._present() if who.node == node and report is not None), None)

    def present(self) -> int:
        """How many proxies are there."""
        return sum(1 for _ in self._present())

    def look(self) -> None:
        """See who is there. To be called every few seconds: who comes and goes in between is not remembered."""
        now = self._clock.monotonic()
        for who in self._connected():
            self._seen.pop(who, None)
            self._seen[who] = now
        for who, at in tuple(self._seen.items()):
            if at >= now - self._lately:
                break
            del self._seen[who]

    def forget_ended(self) -> None:
        """Drops reports of certificates that have ended: nobody is there any more, or it would have renewed."""
        now = self._clock.now()
        for key, of_caller in tuple(self._reports.items()):
            left = {node: heard for node, heard in of_caller.items() if heard.report.not_after > now}
            if left:
                self._reports[key] = left
            else:
                del self._reports[key]

    def _present(self) -> Iterator[tuple[Holder, Report | None]]:
        self.look()
        for who in self._seen:
            heard = self._reports.get((who.namespace, who.account), {}).get(who.node)
            yield who, heard.report if heard else None
        lately = self._clock.monotonic() - self._lately
        for (namespace, account), of_caller in self._reports.items():
            for node, heard in of_caller.items():
                who = Holder(namespace, account, node)
                if heard.at >= lately and who not in self._seen:
                    yield who, heard.report


def root_ids(roots: Iterable[x509.Certificate]) -> frozenset[str]:
    """As agents report them."""
    return frozenset(sha256(root.public_bytes(Encoding.DER)).hexdigest() for root in roots)


def signer_id(authority: Authority) -> str:
    """As agents report whom their certificate is of."""
    return sha256(public_bytes(authority.certificate.public_key())).hexdigest()
