"""One ADS stream, whichever of the two protocols it speaks.

A stream is told what happened and answers with commands. It writes one response at a time: what changes meanwhile is
merged by name, and a response is made from the newest content when the socket is free again. So a slow proxy costs
memory for names, not for bytes, and hurts nobody else.

`DeltaStream` and `SotwStream` add what differs: how a request reads, and what a response contains.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from controlplane.base.clock import Clock
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.routes import placeholder_name, route_of
from controlplane.snapshot.types import CLUSTER, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.snapshot.view import Change, Changes, View
from controlplane.xds.protocol.commands import (
    Accepted,
    Close,
    Command,
    Reason,
    Refused,
    Response,
    Send,
    WakeAt,
)
from controlplane.xds.protocol.content import is_slow
from controlplane.xds.protocol.ledger import NO_DOUBTS, UNSEEN, Doubts, Flight, Guess, Known, Ledger, forgotten
from controlplane.xds.protocol.nack import culprits, halves, is_local
from controlplane.xds.protocol.planner import Planner
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.scope import Scope
from controlplane.xds.protocol.status import TypeStatus, standing_of

_WAKE_WAITING: Final = frozenset({CLUSTER, SECRET, LISTENER, ROUTE})  # types whose changes may end a wait
_BIG: Final = 64  # names in a response
_MOST_TYPES: Final = 32
_FEW_NAMES: Final = 10_000  # kept by one stream: their bytes are counted from here on
_MOST_BYTES: Final = 32 * 1024 * 1024  # of names that a stream keeps because nobody else has them


class Stream(Planner):
    """What both protocols share."""

    def __init__(  # noqa: PLR0913, PLR0917 - what one stream needs
        self,
        scope: Scope,
        view: View,
        clock: Clock,
        quarantine: Quarantine,
        envoy: str = "",
        doubts: Doubts = NO_DOUBTS,
    ) -> None:
        """`envoy`: its version; `doubts`: what was not known of the proxy when its last stream ended."""
        super().__init__(scope, view, clock, quarantine, envoy)
        self._doubts = doubts
        self._writing = False
        self._quiet = False  # nothing is to be sent or waited for: a plain answer changes nothing
        self._wake: float | None = None

    # Events

    def view_changed(self, *revisions: Changes) -> list[Command]:
        """The view is at a new revision: what `Scope.advance` or `own_changes` said of it, and of those before."""
        passed_on = self._pass_on(*revisions) if self._quiet else None
        if passed_on is not None:
            return [passed_on]
        for changes in revisions:
            for type_url, changed in self._take_up_script(changes).items():
                ledger = self._ledgers.get(type_url)
                if ledger is not None and ledger.started:
                    self._type_changed(ledger, changed)
            if not _WAKE_WAITING.isdisjoint(changes):
                self._unpark()
        return self._finish()

    def _pass_on(self, *revisions: Changes) -> Send | None:  # noqa: ARG002 - delta looks at them
        """The response of a quiet stream to a plain revision, which takes no decision; None: decide."""
        return None

    def _take_up_script(self, changes: Changes) -> Changes:
        """Of a big revision: what this stream has to decide by itself."""
        return changes

    @property
    def _scripted_types(self) -> set[str]:
        """Types of which a script has more."""
        return set()

    def _improvise(self) -> None:
        """Something happened: whatever is left of a script is this stream's own business from now on."""

    def own_changes(self, changes: Changes) -> Changes:
        """Changes of what only this proxy sees, in the form `view_changed` takes."""
        return self._content.own_changes(changes)

    def view_replaced(self, scope: Scope, view: View) -> list[Command]:
        """The proxy belongs to another scope now. What it has is compared with what it should have, once."""
        self._improvise()
        before = [(each, dict(self._inventory(each)), self._names_of(each)) for each in self._started()]
        self._scope = scope
        hollow = self._content.hollow
        self._content = self._judge.content = scope.content(self.protocol, view)
        self._content.hollow |= hollow
        for ledger in self._ledgers.values():
            ledger.content_is(self._content)
        for ledger, had, names in before:
            self._rebase(ledger, had, names)
        return self._finish()

    def write_finished(self) -> list[Command]:
        """The socket took the last response."""
        self._writing = False
        return [] if self._quiet else self._finish()

    def time_passed(self) -> list[Command]:
        """The deadline asked for with `WakeAt` is here."""
        self._wake = None
        self._unpark()
        return self._finish()

    # State, for those who look

    def status(self) -> tuple[TypeStatus, ...]:
        """Where each type stands."""
        scripted = self._scripted_types
        return tuple(_status_of(ledger, scripted=ledger.type_url in scripted) for ledger in self._started())

    def doubts(self) -> Doubts:
        """What is not known of the proxy now that the stream ends: the next one has to be told."""
        self._improvise()
        before = {type_url: names for type_url, names in self._doubts.items() if not self._ledgers[type_url].started}
        return before | {each.type_url: doubted for each in self._started() if (doubted := each.doubted)}

    @property
    def extent(self) -> int:
        """How many names this stream keeps in memory: a few, once it is steady."""
        names = sum(each.extent for each in self._ledgers.values()) + sum(map(len, self._owed.values()))
        return names + len(self._opened) + len(self._beats) + len(self._hold.warming)

    def _started(self) -> Iterator[Ledger]:
        return (ledger for ledger in self._ledgers.values() if ledger.started)

    # Changes of the view

    def _type_changed(self, ledger: Ledger, changed: Mapping[str, Change]) -> None:
        for name, change in changed.items():
            ledger.changed(name, change, apart=bool(ledger.sweeps) and goes_apart(change.new))
        if ledger.type_url == VIRTUAL_HOST:
            self._hosts_changed(ledger, changed)

    def _hosts_changed(self, ledger: Ledger, changed: Mapping[str, Change]) -> None:
        """A real host replaces the placeholder."""
        for name in changed if ledger.odd else ():
            placeholder = placeholder_name(route_of(name))
            if placeholder in ledger.odd:
                ledger.look_at(placeholder, ledger.odd[placeholder])

    def _inventory(self, ledger: Ledger) -> Iterator[tuple[str, Known]]:
        for name in (*self._wanted(ledger), *ledger.odd):
            yield name, ledger.has(name)

    def _wanted(self, ledger: Ledger) -> Iterator[str]:
        """All names the proxy asked for that the view has, and those asked for that it has not."""
        if ledger.subscription.wildcard:
            yield from self._shown(ledger.type_url)
        yield from sorted(self._names_of(ledger))

    def _shown(self, type_url: str) -> Iterator[str]:
        view = self._content.view
        if type_url != VIRTUAL_HOST:
            yield from view.names(type_url)
            return
        for route in self._opened:
            yield from tuple(view.virtual_hosts(route)) or (placeholder_name(route),)

    def _names_of(self, ledger: Ledger) -> set[str]:
        return ledger.subscription.names.explicit(self._content.view.names(ledger.type_url))

    def _rebase(self, ledger: Ledger, had: Mapping[str, Known], names: Iterable[str]) -> None:
        ledger.rebase(names)
        self._compact(ledger)
        for name in {*had, *self._wanted(ledger)}:
            has = had.get(name)
            want = self._content.get(ledger.type_url, name) if ledger.wants(name) else None
            same = isinstance(has, Resource) and want is not None and has.version == want.version
            if not same and not (has is None and want is None):
                ledger.look_at(name, has)

    def _compact(self, ledger: Ledger) -> None:
        view = self._content.view
        ledger.subscription.names.compact(lambda: view.names(ledger.type_url), view.count(ledger.type_url))

    # Answers of the proxy

    def _acknowledged(self, ledger: Ledger, nonce: str) -> None:
        flight = self._landed(ledger, nonce)
        response = flight.response
        self._hold.warm(name for name in flight.introduced if not _is_introduced_again(ledger, name))
        ledger.acked_at = self._clock.monotonic()
        ledger.error = ""
        if ledger.type_url == VIRTUAL_HOST:
            self._hosts_taken(response.names)
        if len(response.names) + len(response.removed) > _BIG:
            ledger.shrink()
        self._out.append(Accepted(ledger.type_url, nonce, response.names, response.removed))
        self._unpark()

    def _refused(self, ledger: Ledger, nonce: str, error: str) -> None:
        """Good parts of a refused response may have been applied: from now on nothing in it is known."""
        flight = self._landed(ledger, nonce)
        response = flight.response
        ledger.error = error
        names = response.names
        blamed = names if len(names) == 1 and not flight.tainted else culprits(error, names)
        found = [each for each in response.resources if each.name in blamed]
        for each in found:
            self._quarantine(each, flight.prior.get(each.name), error)
        if ledger.type_url == VIRTUAL_HOST:
            self._hosts_refused(names)
        for name, sent in _told(response):
            self._doubt(ledger, name, _guess(flight.prior.get(name), sent), is_new=name in flight.introduced)
        if not blamed and not flight.tainted:
            ledger.try_apart(halves(names))
        self._taint(ledger)
        self._out.append(Refused(ledger.type_url, nonce, error, tuple((each.name, each.version) for each in found)))
        self._unpark()

    def _quarantine(self, refused: Resource, prior: Known, error: str) -> None:
        self._judge.refused(refused, prior if isinstance(prior, Resource) else None, local=is_local(error))

    def _doubt(self, ledger: Ledger, name: str, guess: Guess, *, is_new: bool) -> None:
        """What the proxy has of a name is not known, except that a later response about it is on its way."""
        later = next((each for each in ledger.flights.values() if each.speaks_of(name)), None)
        if later is not None:
            later.prior = {**later.prior, name: guess}  # streams share it
            if is_new:
                later.introduced = (*later.introduced, name)
            return
        if is_new:
            self._hold.warm((name,))
        if ledger.wants(name):
            ledger.look_at(name, guess)

    def _taint(self, ledger: Ledger) -> None:
        """For SotW: responses under way contain the refused resource too."""

    def _landed(self, ledger: Ledger, nonce: str) -> Flight:
        flight = ledger.flights.pop(nonce)
        self._first_set.answered(nonce)
        return flight

    def _unpark(self) -> None:
        self._judge.held_until = None
        for ledger in self._ledgers.values():
            if ledger.parked:
                ledger.unpark()

    # Requests

    def _ledger_for(self, type_url: str) -> Ledger | None:
        """The ledger of a type, also of one we have nothing of: its answer is "nothing", so that nobody waits."""
        found = self._ledgers.get(type_url)
        if found is None and len(self._ledgers) < _MOST_TYPES:
            found = self._ledgers[type_url] = self._new_ledger(type_url)
        if found is None:
            self._out.append(Close(Reason.RESOURCE_EXHAUSTED, f"more than {_MOST_TYPES} types on one stream"))
        return found

    def _ask(self, ledger: Ledger, name: str) -> None:
        """A name was subscribed, maybe again: send it whatever was sent before, "the client may have forgotten"."""
        had = ledger.has(name)
        ledger.subscription.subscribe(name)
        ledger.asked.add(name)
        if self._content.get(ledger.type_url, name) is None:
            ledger.gone.add(name)
        else:
            ledger.gone.discard(name)
            ledger.look_at(name, forgotten(had))

    def _begin_sweep(self, ledger: Ledger, route: str = "") -> None:
        """Send all of a type, or all hosts of one route configuration, whatever was sent before."""
        ledger.sweeps[route] = ""
        for name in self._beside_sweep(ledger, route):
            ledger.look_at(name, None)

    def _beside_sweep(self, ledger: Ledger, route: str) -> list[str]:
        """What the shared steps of a first sync leave out."""
        plan = self._scope.plan(self.protocol, ledger.type_url, route)
        own = self._content.view.own(ledger.type_url)
        return [name for name in (*plan.apart, *own) if not route or route_of(name) == route]

    def _pay_owed(self, ledger: Ledger) -> None:
        """Endpoints and secrets of clusters that were sent before the proxy asked for the type."""
        for name in self._owed.pop(ledger.type_url, ()):
            if ledger.wants(name) and self._content.get(ledger.type_url, name) is not None:
                ledger.look_at(name, UNSEEN)

    def _bound_names(self) -> None:
        """What a stream asks for by name and nobody has is its own memory."""
        kept = [each.subscription.names for each in self._ledgers.values()]
        if sum(each.extent for each in kept) > _FEW_NAMES and sum(each.size for each in kept) > _MOST_BYTES:
            self._out.append(Close(Reason.RESOURCE_EXHAUSTED, f"more than {_MOST_BYTES} bytes of names"))

    def _finish(self) -> list[Command]:
        """After anything but a plain answer: see what is to be sent now."""
        self._quiet = False
        if not self._writing:
            self._plan_next()
        return self._said()

    def _said(self) -> list[Command]:
        out, self._out = self._out, []
        return out

    def _plan_next(self) -> None:
        self._judge.deadline = None
        now = self._clock.monotonic()
        send = self._next(now)
        if send is not None:
            self._writing = True
            self._out.append(send)
        elif self._ledgers[CLUSTER].started:
            self._first_set.is_complete(now)  # nothing of it is left: a proxy that came back may need none of it
        self._judge.wake_at(self._judge.held_until)
        if self._judge.deadline != self._wake:
            self._wake = self._judge.deadline
            self._out.append(WakeAt(self._wake))
        self._quiet = send is None and self._wake is None and all(each.idle for each in self._ledgers.values())


def goes_apart(resource: Resource | None) -> bool:
    """Whether the shared steps of a first sync leave this out: it may hold up others, or needs heartbeats."""
    if resource is None:
        return False
    return bool(resource.ttl) or (resource.type_url == CLUSTER and is_slow(resource))


def _is_introduced_again(ledger: Ledger, name: str) -> bool:
    later = ledger.flights.values()
    return any(name in each.introduced or name in each.response.removed for each in later)


def _told(response: Response) -> Iterator[tuple[str, Resource | None]]:
    """What a response said of each name. A response of nothing but removals has no culprit, so it is not repeated."""
    for each in response.resources:
        yield each.name, each
    for name in response.removed if response.resources else ():
        yield name, None


def _guess(prior: Known, sent: Known) -> Guess:
    candidates: list[Resource] = []
    for known in (prior, sent):
        if isinstance(known, Guess):
            candidates.extend(known.candidates)
        elif known is not None:
            candidates.append(known)
    anything = any(isinstance(known, Guess) and known.anything for known in (prior, sent))
    good = prior.good if isinstance(prior, Guess) else prior
    return Guess(tuple(candidates), anything, good, isinstance(prior, Guess) and prior.reported)


def _status_of(ledger: Ledger, *, scripted: bool) -> TypeStatus:
    waiting = tuple(sorted(ledger.parked))
    pending = scripted or bool(ledger.busy or ledger.flights)
    standing = standing_of(ledger.error, pending=pending, waiting=bool(waiting))
    return TypeStatus(
        ledger.type_url,
        standing,
        ledger.nonce,
        ledger.version,
        ledger.acked_at,
        ledger.error,
        waiting,
        is_behind=pending or bool(waiting),
    )
