"""The state-of-the-world variant.

Listeners and clusters travel as full sets: what is not in a response is deleted. So a held resource is in the set in
its older version, and a cluster that must outlive its routes stays in it. Other types are named in the request, and a
response carries only what is due of them; nothing but their parent deletes them.
"""

from collections.abc import Iterator
from typing import ClassVar, Final

import msgspec

from controlplane.base.clock import Clock
from controlplane.base.digest import digest
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import CLUSTER, LISTENER, ROUTE
from controlplane.snapshot.view import View
from controlplane.xds.protocol import wire
from controlplane.xds.protocol.commands import Close, Command, Reason, Send
from controlplane.xds.protocol.content import is_slow
from controlplane.xds.protocol.ledger import NO_DOUBTS, Doubts, Guess, Ledger, forgotten
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.scope import Scope, Step
from controlplane.xds.protocol.stream import Stream, goes_apart
from controlplane.xds.protocol.subscriptions import WILDCARD
from controlplane.xds.protocol.wire import SotwRequest

_FULL: Final = frozenset({LISTENER, CLUSTER})


class SotwStream(Stream):
    """One `StreamAggregatedResources` stream."""

    protocol: ClassVar[str] = "sotw"

    def __init__(  # noqa: PLR0913, PLR0917 - what one stream needs
        self,
        scope: Scope,
        view: View,
        clock: Clock,
        quarantine: Quarantine,
        envoy: str = "",
        doubts: Doubts = NO_DOUBTS,
    ) -> None:
        super().__init__(scope, view, clock, quarantine, envoy, doubts)
        self._listed: dict[str, int] = {}  # type -> hash of the names in its last request
        self._left_out: dict[str, set[str]] = {}  # type -> names that a stale request left out
        self._asked_again = False  # there was a request for route configurations that answers nothing
        self._returning: set[str] = set()  # types of which the proxy had a version before this stream

    def request_received(self, raw: bytes) -> list[Command]:
        """The proxy sent a message."""
        try:
            request = wire.read_sotw(raw)
        except wire.Malformed as error:
            return [Close(Reason.INVALID_ARGUMENT, f"not a DiscoveryRequest: {error}")]
        return self.requested(request)

    def requested(self, request: SotwRequest) -> list[Command]:
        """The same, parsed."""
        ledger = self._ledger_for(request.type_url)
        if ledger is not None:
            stale = ledger.started and request.nonce != ledger.nonce
            if ledger.type_url == ROUTE and ledger.started and request.nonce not in ledger.flights:
                self._asked_again = True
            if not ledger.started and request.version:
                self._returning.add(request.type_url)
            self._answer(ledger, request)
            if stale:
                self._shrink(ledger, request.names)
            elif ledger.started or request.error is None:
                self._subscribe(ledger, request.names)
            self._bound_names()
        return self._finish()

    def _answer(self, ledger: Ledger, request: SotwRequest) -> None:
        """An answer speaks for all responses up to its own.

        While a type is paused (clusters, as long as some are warming) Envoy says nothing, and then answers the last
        response alone.
        """
        if request.nonce not in ledger.flights:
            return
        flights = list(ledger.flights)
        for nonce in flights[: flights.index(request.nonce)]:
            self._answer_one(ledger, nonce, request.error, tainted=True)
        self._answer_one(ledger, request.nonce, request.error)

    def _answer_one(self, ledger: Ledger, nonce: str, error: str | None, *, tainted: bool = False) -> None:
        """`tainted`: whatever is refused may be in a later response as well."""
        if error is None:
            self._acknowledged(ledger, nonce)
            return
        flight = ledger.flights[nonce]
        flight.tainted = flight.tainted or tainted
        self._refused(ledger, nonce, error)

    # Subscriptions

    def _subscribe(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        """The list replaces what was asked before. It is repeated in every ACK, so an equal one must cost little."""
        for name in self._left_out.pop(ledger.type_url, set()).intersection(names):
            ledger.look_at(name, ledger.has(name))
        if ledger.type_url == ROUTE and self._asked_again:
            self._ask_again(ledger, names)
        listed = hash(names)  # 64 bits: an accidental match would take 2**32 different lists of one proxy
        if ledger.started and self._listed.get(ledger.type_url) == listed:
            return
        self._listed[ledger.type_url] = listed
        if ledger.type_url in _FULL:
            self._subscribe_set(ledger, names)
        else:
            self._subscribe_names(ledger, names)
        if not ledger.started:
            ledger.subscription.started = True
            self._pay_owed(ledger)

    def _ask_again(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        """A request that answers nothing asks for something, even if it names what was named before.

        Envoy that drops its last use of a route configuration and takes it up again in one update says just that, and
        the listener waits until it comes.
        """
        self._asked_again = False
        for name in self._names_of(ledger).intersection(names):
            self._ask(ledger, name)

    def _shrink(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        """A stale request gets no answer. But what it leaves out was forgotten, even if the next one names it again."""
        if ledger.type_url in _FULL:
            return
        left_out = self._names_of(ledger) - set(names)
        for name in left_out:
            ledger.odd[name] = forgotten(ledger.has(name))
            ledger.calm(name)  # sent now, it would make the answer to come stale as well, and that one's, for ever
        self._left_out.setdefault(ledger.type_url, set()).update(left_out)

    def _subscribe_set(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        subscription = ledger.subscription
        had = subscription.wildcard
        subscription.replace(names, legacy=True)
        if subscription.wildcard and not had:
            ledger.due = True
            self._begin_sweep(ledger)
        elif had and not subscription.wildcard:
            ledger.sweeps.clear()
        ledger.due = True  # a full set answers every change of the list
        ledger.forget(tuple(name for name in ledger.odd if not ledger.wants(name)))
        for name in names:
            if name != WILDCARD and not subscription.wildcard:
                self._ask(ledger, name)

    def _subscribe_names(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        subscription = ledger.subscription
        wanted = {name for name in names if name != WILDCARD}
        before = self._names_of(ledger)
        for name in before - wanted:
            subscription.unsubscribe(name)
        ledger.forget(before - wanted)
        for name in sorted(wanted - before):
            self._ask(ledger, name)
        self._compact(ledger)

    # Responses

    def _may_try(self, ledger: Ledger) -> bool:
        """One at a time: the next full set would contain this group as well, and be refused for it."""
        return ledger.type_url not in _FULL or not ledger.flights

    def _taint(self, ledger: Ledger) -> None:
        if ledger.type_url in _FULL:
            for flight in ledger.flights.values():
                flight.tainted = True

    def _compose(
        self, ledger: Ledger, resources: list[Resource], removed: tuple[str, ...], gone: tuple[str, ...]
    ) -> Send:
        assert not gone
        if ledger.type_url in _FULL:
            return self._full_set(ledger, resources, removed)
        return self._scope.responses.sotw(ledger.type_url, resources, _version_of(resources), ledger.flights)

    def _beside_sweep(self, ledger: Ledger, route: str) -> list[str]:
        names = super()._beside_sweep(ledger, route)
        if ledger.type_url not in _FULL:
            return names
        return [name for name in names if goes_apart(self._content.get(ledger.type_url, name))]

    def _sweep(self, ledger: Ledger, route: str, now: float) -> Send | None:
        """A full set has one step, whatever its size."""
        if ledger.type_url not in _FULL:
            return super()._sweep(ledger, route, now)
        ledger.sweeps.clear()
        names = tuple(name for name in self._wanted(ledger) if name not in ledger.odd)
        if self._judge.any_refused():
            names = tuple(name for name in names if not self._sets_refused_aside(ledger, name))
        joining = self._joining(ledger, now)
        for each in joining:
            ledger.settle(each.name, each)
        send = self._full_set(ledger, [*self._found(ledger, names), *joining], ())
        if ledger.type_url == CLUSTER:
            self._follow_clusters((*names, *(each.name for each in joining)))
        self._sent(ledger, joining, (), (), now)
        return self._register(ledger, send, now)

    def _joining(self, ledger: Ledger, now: float) -> list[Resource]:
        """What is looked at by itself and must be in the first full set: a proxy that comes back deletes what is not.

        To one that is new, slow clusters are nothing to be deleted: they follow, so that they delay no other.
        """
        verdicts = (self._judge.verdict(ledger, name, now) for name in sorted(ledger.todo))
        found = [each for each in verdicts if isinstance(each, Resource)]
        if ledger.type_url in self._returning:
            return found
        return [each for each in found if ledger.type_url != CLUSTER or not is_slow(each)]

    def _plan_removal(self, ledger: Ledger, name: str, removed: list[str]) -> None:
        """Only full sets can remove; the rest goes with its parent."""
        if ledger.type_url in _FULL:
            super()._plan_removal(ledger, name, removed)
        else:
            ledger.drop(name)

    def _ask(self, ledger: Ledger, name: str) -> None:
        """There is no way to say "no such resource": the answer comes when it exists."""
        super()._ask(ledger, name)
        ledger.gone.discard(name)

    def _compose_step(self, ledger: Ledger, step: Step, names: tuple[str, ...]) -> Send:
        del step  # the names are what is left of it
        present = self._found(ledger, names)
        return self._scope.responses.sotw(ledger.type_url, present, _version_of(present), ledger.flights)

    def _heartbeat(self, resource: Resource) -> Send:
        frame = wire.sotw_heartbeat_frame(resource)
        ledger = self._ledgers[resource.type_url]
        return self._scope.responses.sotw_frames(resource.type_url, [frame], ledger.version, ())

    def _full_set(self, ledger: Ledger, resources: list[Resource], removed: tuple[str, ...]) -> Send:
        """All the proxy has after this response. Shared when that is what the scope shows, and nothing else.

        `resources` and `removed` are what is new in it: what a refusal would be about.
        """
        responses = self._scope.responses
        plain = ledger.subscription.wildcard and not ledger.odd and not self._content.view.own(ledger.type_url)
        if not plain:
            listed = list(self._present(ledger))
            frames = [wire.sotw_frame(each) for each in listed]
            return responses.sotw_frames(ledger.type_url, frames, _version_of(listed), resources, removed)

        def build() -> Send:
            listed = list(self._present(ledger))
            frames = [wire.sotw_frame(each) for each in listed]
            return responses.sotw_frames(ledger.type_url, frames, _version_of(listed), ())

        key = ("full", *self._scope.key(ledger.type_url))
        shared = responses.shared(key, ledger.flights, build)
        names = tuple(each.name for each in resources)
        about = msgspec.structs.replace(shared.response, resources=tuple(resources), names=names, removed=removed)
        return Send(shared.payload, about)

    def _present(self, ledger: Ledger) -> Iterator[Resource]:
        """What is in the full set now, each name once, sorted."""
        names = {*self._wanted(ledger), *ledger.odd}
        for name in sorted(names):
            has = ledger.has(name)
            if isinstance(has, Guess):
                has = self._likely(ledger, name, has)
            if has is not None:
                yield has

    def _likely(self, ledger: Ledger, name: str, guess: Guess) -> Resource | None:
        """What to repeat of a resource that was in a refused response: the newest of it that is above suspicion."""
        if any(name in trial for trial in ledger.trials):
            return guess.good
        fine = (each for each in reversed(guess.candidates) if not self._judge.is_refused(each))
        return next(fine, guess.good)


def _version_of(resources: list[Resource]) -> str:
    """A digest of what is in it: equal content has an equal version, on every replica."""
    return digest("\n".join(f"{each.name} {each.version}" for each in resources).encode())
