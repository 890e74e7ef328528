"""Make before break.

A route that arrives before its cluster answers 503; a cluster that goes before its route does too. Envoy does not warm
routes, so order is the server's duty:

1. What names a cluster the proxy lacks is held if the proxy has an older version of it; the first versions wait for the
   first full set of clusters and endpoints. The proof is the ACK of CDS: "all clusters of that response are warm".
2. A cluster goes only after the proxy acknowledged versions that no longer name it of all that did.

Warming may depend on a DNS name or a secret that never comes, and then Envoy never acknowledges. So a hold ends at most
`HOLD` after the cluster was sent, and says so.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import CLUSTER
from controlplane.xds.protocol.content import Content, is_slow
from controlplane.xds.protocol.ledger import Guess, Ledger

HOLD: Final = 10.0  # seconds


class Waiting(NamedTuple):
    """Why a resource is held: for these clusters; until then at most, if all of them are on their way."""

    clusters: tuple[str, ...]
    until: float | None


class FirstSet:
    """The first full set of clusters and endpoints: nothing that names clusters goes out before its ACK."""

    __slots__ = ("_complete", "_open_at", "_pending")

    def __init__(self) -> None:
        self._pending: set[str] = set()  # nonces
        self._complete = False
        self._open_at = 0.0

    def sent(self, nonce: str, now: float) -> None:
        """A part of the set is on its way."""
        self._pending.add(nonce)
        self._open_at = now + HOLD

    def answered(self, nonce: str) -> None:
        """The proxy acknowledged or refused a response."""
        self._pending.discard(nonce)

    def is_complete(self, now: float) -> bool:
        """Asked when nothing of the set is left to be sent."""
        self._complete = self._complete or not self._pending or now >= self._open_at
        return self._complete

    @property
    def is_over(self) -> bool:
        """Whether it was complete once: from then on each resource waits for its own clusters only."""
        return self._complete

    @property
    def deadline(self) -> float | None:
        """When waiting ends."""
        return None if self._complete or not self._pending else self._open_at


class Hold:
    """Which clusters are on their way on this stream, and what waits for them."""

    __slots__ = ("_clusters", "_warming")

    def __init__(self, clusters: Ledger) -> None:
        self._clusters = clusters
        self._warming: dict[str, float] = {}  # cluster that was new to the proxy -> when waiting for it ends

    def sent(self, clusters: Iterable[str], now: float) -> None:
        """Clusters the proxy did not have are on their way."""
        for name in clusters:
            self._warming.setdefault(name, now + HOLD)

    def warm(self, clusters: Iterable[str]) -> None:
        """The proxy answered for these clusters, or they were removed again."""
        for name in clusters:
            self._warming.pop(name, None)

    def late(self, resource: Resource, now: float) -> tuple[str, ...]:
        """Clusters this resource no longer waits for although nothing was heard of them."""
        named = (ref.name for ref in resource.refs if ref.type_url == CLUSTER)
        return tuple(name for name in named if self._warming.get(name, now + 1) <= now)

    def waiting(self, resource: Resource, content: Content, now: float, *, older: bool) -> Waiting | None:
        """What this resource has to wait for; `older`: the proxy has an earlier version of it."""
        if not resource.refs or not self._clusters.started:
            return None
        named = (ref.name for ref in resource.refs if ref.type_url == CLUSTER)
        ends = {name: end for name in named if (end := self._end(name, content, older=older)) > now}
        if not ends:
            return None
        last = max(ends.values())
        return Waiting(tuple(ends), None if last == _UNKNOWN else last)

    def _end(self, name: str, content: Content, *, older: bool) -> float:
        if name in self._warming:
            return self._warming[name] if older or not _stuck(content, name) else 0.0
        return _UNKNOWN if older and self._lacks(name) else 0.0

    def _lacks(self, name: str) -> bool:
        """It was not sent, or it is in quarantine and the proxy never had a good version."""
        if not self._clusters.wants(name):
            return False
        has = self._clusters.has(name)
        refused = isinstance(has, Guess) and has.never_good
        return has is None or (refused and name in self._clusters.parked)

    @property
    def warming(self) -> Mapping[str, float]:
        """For status."""
        return self._warming


_UNKNOWN: Final = float("inf")  # the cluster was not sent: nobody knows when it will be


def _stuck(content: Content, name: str) -> bool:
    """A new resource does not wait for a cluster that may never be warm: it would answer 404 instead of 503."""
    cluster = content.get(CLUSTER, name)
    return cluster is not None and is_slow(cluster)
