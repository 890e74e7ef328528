"""What to do about one name now: send it, remove it, or wait.

The one place where what the view shows, what the proxy has, make-before-break and quarantine meet.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final

from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.routes import route_of
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.xds.protocol.content import Content, is_slow
from controlplane.xds.protocol.hold import Hold
from controlplane.xds.protocol.ledger import Guess, Known, Ledger
from controlplane.xds.protocol.quarantine import Quarantine


class Verdict(Enum):
    """When it is not "send this resource"."""

    NOTHING = auto()
    REMOVE = auto()


NAME_CLUSTERS: Final = frozenset({LISTENER, ROUTE, VIRTUAL_HOST})
_PATIENCE: Final = 30.0  # seconds a proxy that came back has to say what it has of each type

# What may refer to a resource of a type, and so has to go or change before it.
_REFERRERS: Final[Mapping[str, tuple[str, ...]]] = {
    CLUSTER: (LISTENER, ROUTE, VIRTUAL_HOST),
    ROUTE: (LISTENER,),
    SECRET: (LISTENER, CLUSTER),
}


class Judge:
    """The rules of one stream. `deadline` is the earliest time at which a verdict may change by itself."""

    def __init__(
        self, ledgers: Mapping[str, Ledger], content: Content, hold: Hold, quarantine: Quarantine, envoy: str
    ) -> None:
        self.content = content
        self.deadline: float | None = None
        self.held_until: float | None = None  # when the first of what is parked may go on
        self._distrusts_until = float("-inf")
        self._ledgers = ledgers
        self._hold = hold
        self._quarantine = quarantine
        self._envoy = envoy
        self._refused_here: set[tuple[str, str, str]] = set()  # refusals that are about this proxy's machine

    def verdict(self, ledger: Ledger, name: str, now: float) -> Resource | Verdict:
        """What to do about `name`; what waits is parked, what is settled is dropped."""
        has = ledger.has(name)
        want = self.content.get(ledger.type_url, name) if ledger.wants(name) else None
        if want is None:
            return self._without(ledger, name, has, now)
        if self.is_refused(want):
            return self._instead(ledger, want, has)
        if isinstance(has, Resource) and has.version == want.version:
            ledger.rest(name)
            return Verdict.NOTHING
        if self._must_wait(want, has, now):
            return self._meanwhile(ledger, name, has)
        return want

    def is_refused(self, resource: Resource) -> bool:
        """Whether this proxy, or one like it, refused exactly this."""
        here = (resource.type_url, resource.name, resource.version) in self._refused_here
        return here or self._quarantine.holds(resource, self._envoy)

    def any_refused(self) -> bool:
        """Whether anything at all is in quarantine."""
        return bool(self._refused_here) or not self._quarantine.is_empty

    def refused(self, resource: Resource, last_good: Resource | None, *, local: bool) -> None:
        """The proxy refused this; `local`: for a reason that says nothing about others."""
        if local:
            self._refused_here.add((resource.type_url, resource.name, resource.version))
        else:
            self._quarantine.add(resource, self._envoy, last_good)

    def came_back(self, now: float) -> None:
        """The proxy had something before this stream, and asks for one type after the other."""
        self._distrusts_until = now + _PATIENCE

    def wake_at(self, deadline: float | None) -> None:
        """Ask to be asked again."""
        if deadline is not None and (self.deadline is None or deadline < self.deadline):
            self.deadline = deadline

    def _hold_until(self, deadline: float | None) -> None:
        """What is parked is not judged again before something happens, so its deadline has to outlive this plan."""
        if deadline is not None and (self.held_until is None or deadline < self.held_until):
            self.held_until = deadline

    def _instead(self, ledger: Ledger, refused: Resource, has: Known) -> Resource | Verdict:
        """Quarantined: the last good version, if the proxy does not surely have one."""
        good = self._quarantine.last_good(refused, self._envoy)
        if good is None or isinstance(has, Resource) or self.is_refused(good):
            ledger.park(refused.name)
            return Verdict.NOTHING
        return good

    def _meanwhile(self, ledger: Ledger, name: str, has: Known) -> Resource | Verdict:
        """The new version waits. A proxy that may have forgotten the older one gets that again: a listener needs it."""
        good = has.good if isinstance(has, Guess) else None
        if good is None or self.is_refused(good):
            ledger.park(name)
            return Verdict.NOTHING
        return good

    def _must_wait(self, want: Resource, has: Known, now: float) -> bool:
        if want.type_url == CLUSTER:
            return has is None and self._lacks_secret(want)
        if want.type_url not in NAME_CLUSTERS:
            return False
        older = self._may_serve(has) if isinstance(has, Guess) else has is not None
        waiting = self._hold.waiting(want, self.content, now, older=older)
        if waiting is None:
            return False
        self._hold_until(waiting.until)
        return True

    def waits_for_ever(self, want: Resource, now: float) -> bool:
        """Whether something a proxy has an older version of waits for a cluster that nobody knows to be coming."""
        waiting = self._hold.waiting(want, self.content, now, older=True)
        return waiting is not None and waiting.until is None

    def _may_serve(self, guess: Guess) -> bool:
        innocent = any(not self.is_refused(each) for each in guess.candidates)
        return guess.anything or guess.good is not None or innocent

    def _lacks_secret(self, cluster: Resource) -> bool:
        """A cluster whose secret does not exist would warm for ever, and hold back every later ACK of CDS."""
        if not is_slow(cluster):
            return False
        secrets = (ref.name for ref in cluster.refs if ref.type_url == SECRET)
        return any(self.content.view.get(SECRET, name) is None for name in secrets)

    def _without(self, ledger: Ledger, name: str, has: Known, now: float) -> Verdict:
        if has is None or not ledger.wants(name):
            ledger.drop(name)
            return Verdict.NOTHING
        if self._is_needed(ledger.type_url, name, now):
            ledger.park(name)
            return Verdict.NOTHING
        return Verdict.REMOVE

    def _is_needed(self, type_url: str, name: str, now: float) -> bool:
        if type_url == VIRTUAL_HOST:  # its table is about to go as a whole: draining connections still use it
            return self.content.get(ROUTE, route_of(name)) is None
        if type_url == ENDPOINT:
            clusters = self._ledgers[CLUSTER]
            return clusters.has(name) is not None or _in_flight(clusters, name)
        return self._is_named(Ref(type_url, name), now)

    def _is_named(self, ref: Ref, now: float) -> bool:
        """Rule 2: whether anything the proxy may still use refers to this."""
        referrers = [self._ledgers[each] for each in _REFERRERS.get(ref.type_url, ())]
        if self._may_have_more(referrers, now):
            return True
        if any(each.may_name(ref) for each in referrers):
            return True
        return any(self._still_names(each, ref) for each in self.content.referrers(ref))

    def _may_have_more(self, referrers: Sequence[Ledger], now: float) -> bool:
        """What a proxy that came back has of a type it did not ask for yet may name anything."""
        if now >= self._distrusts_until or all(each.started for each in referrers):
            return False
        self._hold_until(self._distrusts_until)
        return True

    def _still_names(self, referrer: Ref, ref: Ref) -> bool:
        ledger = self._ledgers.get(referrer.type_url)
        if ledger is None or not ledger.started:
            return False
        has = ledger.has(referrer.name)
        return has is not None and (has.may_name(ref) if isinstance(has, Guess) else ref in has.refs)


def _in_flight(ledger: Ledger, name: str) -> bool:
    return any(name in flight.prior for flight in ledger.flights.values())
