"""The incremental variant: requests change a subscription, responses carry what changed.

Virtual hosts travel by VHDS here. Envoy subscribes to them once a stream, as a wildcard over all its route
configurations, and tells nobody when it drops hosts; so the hosts of a route configuration follow every answer to a
*subscription* of that route configuration, and are forgotten when it is unsubscribed.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from controlplane.base.clock import Clock
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.routes import is_placeholder, placeholder_name, route_of
from controlplane.snapshot.types import ENDPOINT, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.snapshot.view import Change, Changes, View
from controlplane.xds.protocol import wire
from controlplane.xds.protocol.commands import Close, Command, Reason, Send
from controlplane.xds.protocol.ledger import DOUBTED, NO_DOUBTS, UNSEEN, Doubts, Known, Ledger, forgotten
from controlplane.xds.protocol.planner import Hosts
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.scope import Forward, Scope, Step
from controlplane.xds.protocol.script import Part, Scene
from controlplane.xds.protocol.stream import Stream
from controlplane.xds.protocol.subscriptions import WILDCARD
from controlplane.xds.protocol.versions import Report, Versions
from controlplane.xds.protocol.wire import DeltaRequest

_MANY: Final = 256  # names in one request; from here on they are answered together, with what others asked for too


class DeltaStream(Stream):
    """One `DeltaAggregatedResources` stream."""

    protocol: ClassVar[str] = "delta"

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
        self._acks: dict[bytes, tuple[Ledger, str]] = {}  # a plain ACK, byte for byte -> what it acknowledges
        self._scenes: deque[Scene] = deque()  # what is left of a big revision
        self._parts: deque[Part] = deque()  # of the scene that was begun

    def request_received(self, raw: bytes) -> list[Command]:
        """The proxy sent a message. Nearly always it is a plain ACK, known by its bytes."""
        known = self._acks.pop(raw, None)
        if known is not None:
            self._acknowledged(*known)
            return self._said() if self._quiet else self._finish()
        self._improvise()
        try:
            self._requested(wire.read_delta(raw))
        except wire.Malformed as error:
            return [Close(Reason.INVALID_ARGUMENT, f"not a DeltaDiscoveryRequest: {error}")]
        return self._finish()

    def _requested(self, request: DeltaRequest) -> None:
        ledger = self._ledger_for(request.type_url)
        if ledger is not None:
            self._answer(ledger, request)
            if ledger.started:
                self._update(ledger, request)
            elif request.error is None:
                self._first(ledger, request)
            self._bound_names()

    # Answers

    def _answer(self, ledger: Ledger, request: DeltaRequest) -> None:
        """A nonce we do not wait for says nothing; what the request changes in the subscription counts all the same."""
        flight = ledger.flights.get(request.nonce)
        if flight is None:
            return
        self._acks.pop(flight.response.ack, None)
        if request.error is None:
            self._acknowledged(ledger, request.nonce)
        else:
            self._refused(ledger, request.nonce, request.error)

    # Subscriptions

    def _first(self, ledger: Ledger, request: DeltaRequest) -> None:
        names = _without_wildcard(request.subscribe)
        subscription = ledger.subscription
        subscription.begin(named=bool(request.subscribe))
        if WILDCARD in request.subscribe:
            subscription.subscribe(WILDCARD)
        if request.initial:
            self._reconnected(ledger, names, request.initial)
        else:
            self._subscribed(ledger, names)
        self._doubt_again(ledger)
        self._pay_owed(ledger)

    def _subscribed(self, ledger: Ledger, names: Sequence[str]) -> None:
        """The first names of a proxy that has nothing."""
        if ledger.subscription.wildcard:
            self._begin_all(ledger)
        self._subscribe_all(ledger, names)

    def _subscribe_all(self, ledger: Ledger, names: Sequence[str]) -> None:
        if len(names) >= _MANY and ledger.type_url == ENDPOINT:
            self._subscribe_many(ledger, tuple(names))
            return
        for name in names:
            self._subscribe(ledger, name)

    def _begin_all(self, ledger: Ledger) -> None:
        if ledger.type_url != VIRTUAL_HOST:
            ledger.due = True
            self._begin_sweep(ledger)
            return
        for route in tuple(self._opened):
            self._introduce(route)

    def _subscribe_many(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        """The endpoints of clusters that came together: what is clear of them goes out as a whole."""
        batch = self._scope.batch(self.protocol, ledger.type_url, names)
        own = self._content.view.own(ledger.type_url)
        for name in batch.absent:
            self._ask(ledger, name)
        for part in batch.parts:
            ledger.subscription.names.update(part)
            ledger.batches[part] = members = frozenset(part)
            for name in members.intersection(ledger.odd, own):
                ledger.look_at(name, None)
        self._compact(ledger)

    def _update(self, ledger: Ledger, request: DeltaRequest) -> None:
        for name in request.unsubscribe:
            self._unsubscribe(ledger, name)
        if WILDCARD in request.subscribe:
            ledger.subscription.subscribe(WILDCARD)
            self._begin_all(ledger)
        self._subscribe_all(ledger, _without_wildcard(request.subscribe))
        if request.subscribe:
            self._compact(ledger)

    def _subscribe(self, ledger: Ledger, name: str) -> None:
        if ledger.type_url == VIRTUAL_HOST:
            self._ask_for_host(ledger, name)
        else:
            self._ask(ledger, name)

    def _unsubscribe(self, ledger: Ledger, name: str) -> None:
        if ledger.type_url == VIRTUAL_HOST and name in ledger.aliases:
            name = ledger.aliases.pop(name) or name
            if name in ledger.aliases.values():
                return  # another authority still asks for this host
        ledger.subscription.unsubscribe(name)
        if name == WILDCARD:
            self._wildcard_ended(ledger)
        elif ledger.subscription.wildcard:
            self._answer_unsubscribed(ledger, name)
        else:
            ledger.forget((name,))
        if ledger.type_url == ROUTE and not ledger.wants(name):
            self._close_route(name)

    def _wildcard_ended(self, ledger: Ledger) -> None:
        ledger.sweeps.clear()
        ledger.due = False
        ledger.forget(tuple(name for name in ledger.odd if not ledger.wants(name)))

    def _answer_unsubscribed(self, ledger: Ledger, name: str) -> None:
        """The proxy cannot know whether the wildcard still gives it this name: say so, one way or the other."""
        found = self._content.get(ledger.type_url, name) if ledger.wants(name) else None
        if found is None:
            ledger.forget((name,))
            ledger.gone.add(name)
        else:
            had = ledger.has(name)
            ledger.look_at(name, forgotten(had))

    # Reconnect

    def _reconnected(self, ledger: Ledger, names: Sequence[str], initial: Sequence[bytes]) -> None:
        """The proxy says what it has: only the difference is sent, and what is gone is removed."""
        expected = self._scope.versions(ledger.type_url)
        report = Report(initial, expected)
        subscription = ledger.subscription
        self._take_up(ledger, names, report, expected)
        self._judge.came_back(self._clock.monotonic())
        if ledger.type_url == ROUTE:
            self._opened.update({name: Hosts.TAKEN for name in report.names if ledger.wants(name)})
        if self._clusters_swept and ledger.type_url in {ENDPOINT, SECRET}:
            report = Report((), expected)  # every cluster was sent on this stream, so all of them warm again
        for name in self._different(ledger, report):
            self._compare(ledger, name, report.version(name))
        if ledger.type_url == VIRTUAL_HOST and subscription.wildcard:
            for route in [route for route, hosts in self._opened.items() if hosts is Hosts.DUE]:
                self._introduce(route)

    def _take_up(self, ledger: Ledger, names: Sequence[str], report: Report, expected: Versions) -> None:
        """The names it asks for; it may leave out what it has (envoy #22418)."""
        own = self._content.view.own(ledger.type_url)
        if not own and not report.different and expected.are_of(names):
            ledger.subscription.names.fill()
            return
        ledger.subscription.names.update(names)
        if not ledger.subscription.wildcard:
            ledger.subscription.names.update(report.names)
        self._compact(ledger)

    def _doubt_again(self, ledger: Ledger) -> None:
        """Responses that were never acknowledged: applied in part and not recorded, or recorded and still warming."""
        for name in self._doubts.get(ledger.type_url, ()):
            self._judge.came_back(self._clock.monotonic())
            is_to_come = not ledger.swept(name) and self._content.get(ledger.type_url, name) is not None
            if ledger.wants(name) and not is_to_come:
                ledger.look_at(name, DOUBTED)

    def _different(self, ledger: Ledger, report: Report) -> list[str]:
        """Names whose version differs from the scope's, and the few that are compared one by one anyway."""
        own = self._content.view.own(ledger.type_url)
        return sorted({*report.different, *own, *ledger.subscription.names.absent})

    def _compare(self, ledger: Ledger, name: str, version: str | None) -> None:
        if not ledger.wants(name):
            return
        found = self._content.get(ledger.type_url, name)
        if version is None:
            self._ask(ledger, name) if name in ledger.subscription.names else self._lacks(ledger, name, found)
        elif is_placeholder(name):  # always an exception: the view shows it only while there is no real host
            ledger.look_at(name, found if found is not None and found.version == version else UNSEEN)
        elif found is None or found.version != version:
            ledger.look_at(name, UNSEEN)

    def _lacks(self, ledger: Ledger, name: str, found: Resource | None) -> None:
        if found is not None and not is_placeholder(name):
            ledger.look_at(name, None)

    # Responses

    def _pass_on(self, *revisions: Changes) -> Send | None:
        forward = self._scope.forward(revisions[0]) if len(revisions) == 1 else None
        if forward is None or not self._may_pass_on(forward):
            return None
        now = self._clock.monotonic()
        ledger = self._ledgers[forward.type_url]
        if ledger.type_url == VIRTUAL_HOST:
            if self._pacer.wait_until(now, self._content.view.count(VIRTUAL_HOST)) is not None:
                return None
            self._pacer.sent(now)
        self._writing = True
        return self._register(ledger, forward.send, now, {name: change.old for name, change in forward.changed.items()})

    def _is_told_apart(self, ledger: Ledger) -> bool:
        """Whether this stream knows anything that other streams of the scope may not."""
        return bool(
            ledger.odd
            or ledger.asked
            or ledger.aliases
            or self._hold.warming
            or not self._first_set.is_over
            or self._judge.any_refused()
        )

    def _may_pass_on(self, forward: Forward) -> bool:
        """Whether nothing that this stream knows tells it from the others."""
        ledger = self._ledgers[forward.type_url]
        if self._writing or self._is_told_apart(ledger) or forward.send.response.nonce in ledger.flights:
            return False
        return all(
            ledger.wants(name) and self._content.get(forward.type_url, name) is change.new
            for name, change in forward.changed.items()
        )

    # Big revisions

    def _take_up_script(self, changes: Changes) -> Changes:
        script = self._scope.script(changes)
        if script is None:
            return changes
        rest = script.rest
        for type_url, scenes in script.scenes.items():
            if self._may_follow(type_url, scenes):
                self._scenes.extend(scenes)
            else:
                rest = {**rest, type_url: changes[type_url]}
        return rest

    def _may_follow(self, type_url: str, scenes: Sequence[Scene]) -> bool:
        """Whether nothing that this stream knows of the type tells it from the others."""
        ledger, endpoints = self._ledgers[type_url], self._ledgers[ENDPOINT]
        if not ledger.idle or self._is_told_apart(ledger) or not ledger.subscription.wildcard:
            return False
        if not endpoints.started or endpoints.sweeps or endpoints.batches:
            return False
        return all(self._opened.get(route) not in {None, Hosts.DUE} for scene in scenes for route in scene.routes)

    def _next_scripted(self, now: float) -> Send | None:
        if self._judge.any_refused():
            self._improvise()
        if not self._on_script or not (self._parts or self._may_begin(self._scenes[0], now)):
            return None
        if not self._parts:
            self._parts.extend(self._scenes.popleft().parts)
        part = self._parts.popleft()
        ledger = self._ledgers[part.type_url]
        send = self._scope.responses.shared(part.key, ledger.flights, lambda: self._composed(part))
        for each in part.resources if ledger.odd else ():
            if each.name in ledger.odd:  # it changed again meanwhile
                ledger.look_at(each.name, each)
        if part.type_url == VIRTUAL_HOST:
            self._pacer.sent(now)
        if part.without:
            self._follow(ENDPOINT, [name for name in part.without if self._ledgers[ENDPOINT].wants(name)])
        return self._register(ledger, send, now, part.prior)

    @property
    def _on_script(self) -> bool:
        return bool(self._parts or self._scenes)

    @property
    def _scripted_types(self) -> set[str]:
        return {each.type_url for each in self._parts} | {each.type_url for each in self._scenes}

    def _may_begin(self, scene: Scene, now: float) -> bool:
        if scene.type_url != VIRTUAL_HOST:
            return True
        later = self._pacer.wait_until(now, self._content.view.count(VIRTUAL_HOST))
        self._judge.wake_at(later)
        return later is None

    def _composed(self, part: Part) -> Send:
        frames = [wire.delta_frame(each) for each in part.resources]
        return self._scope.responses.delta_frames(part.type_url, frames, part.resources)

    def _improvise(self) -> None:
        parts, self._parts = self._parts, deque()
        scenes, self._scenes = self._scenes, deque()
        follow = True  # the clusters of the endpoints at the head of what is left were sent
        for part in parts:
            follow = follow and part.follows
            if follow:
                self._following.append((ENDPOINT, tuple(part.prior)))
            if follow or not part.follows:
                self._enter(self._ledgers[part.type_url], part.prior)
        for scene in scenes:
            self._enter(self._ledgers[scene.type_url], {name: each.old for name, each in scene.changed.items()})

    @staticmethod
    def _enter(ledger: Ledger, prior: Mapping[str, Known]) -> None:
        """The proxy has these versions still, and the stream has to see to it that it gets the present ones."""
        for name, had in prior.items():
            if ledger.wants(name):
                ledger.look_at(name, had)

    def _compose(
        self, ledger: Ledger, resources: list[Resource], removed: tuple[str, ...], gone: tuple[str, ...]
    ) -> Send:
        responses = self._scope.responses
        if ledger.type_url != VIRTUAL_HOST or not ledger.aliases:
            return responses.delta(ledger.type_url, resources, removed, gone, ledger.flights)
        frames = [wire.delta_frame(each, self._questions(ledger, each.name)) for each in resources]
        frames.extend(wire.absent_frame(name) for name in gone if name in ledger.aliases)
        unasked = tuple(name for name in gone if name not in ledger.aliases)
        return responses.delta_frames(ledger.type_url, frames, resources, removed, unasked)

    def _compose_step(self, ledger: Ledger, step: Step, names: tuple[str, ...]) -> Send:
        responses = self._scope.responses
        if names is not step.names:
            return responses.delta(ledger.type_url, self._found(ledger, names), taken=ledger.flights)

        def build() -> Send:
            resources = step.resources()
            return responses.delta_frames(ledger.type_url, [wire.delta_frame(each) for each in resources], resources)

        return responses.shared(step.key, ledger.flights, build)

    def _heartbeat(self, resource: Resource) -> Send:
        return self._scope.responses.delta_frames(resource.type_url, [wire.heartbeat_frame(resource)], ())

    def _expect(self, ledger: Ledger, send: Send) -> None:
        self._acks[send.response.ack] = (ledger, send.response.nonce)

    # Virtual hosts on demand: the question is an authority, the answer a resource with the question as its alias

    def _ask_for_host(self, ledger: Ledger, question: str) -> None:
        found = self._content.find(question)
        ledger.aliases[question] = found.name if found is not None else ""
        if found is not None:
            self._ask(ledger, found.name)
        else:
            ledger.subscription.subscribe(question)
            ledger.gone.add(question)

    def _questions(self, ledger: Ledger, name: str) -> list[str]:
        return [question for question, answer in ledger.aliases.items() if answer == name]

    def _hosts_changed(self, ledger: Ledger, changed: Mapping[str, Change]) -> None:
        super()._hosts_changed(ledger, changed)
        if not ledger.aliases or all(change.old is not None and change.new is not None for change in changed.values()):
            return
        for question, answer in tuple(ledger.aliases.items()):
            found = self._content.find(question)
            if found is not None and found.name != answer:
                self._ask_for_host(ledger, question)

    # Virtual hosts by route configuration

    def _shows(self, type_url: str, name: str) -> bool:
        if type_url == VIRTUAL_HOST and route_of(name) not in self._opened:
            return False
        return super()._shows(type_url, name)

    def _routes_sent(self, names: Sequence[str], removed: Sequence[str], asked: Sequence[str]) -> None:
        for name in removed:
            left = self._hosts_left(name)
            self._close_route(name)
            if left:
                self._leftover[name] = left
            self._ledgers[ROUTE].asked.add(name)  # if it comes back, its hosts have to come with it
        for name in names:
            if name in asked or name not in self._opened:
                self._introduce(name)

    def _hosts_left(self, route: str) -> tuple[str, ...]:
        """Hosts of a table that is removed: Envoy ignores the removal, and keeps them while a listener drains."""
        hosts = self._ledgers[VIRTUAL_HOST].odd.items()
        return tuple(name for name, has in hosts if has is not None and route_of(name) == route)

    def _introduce(self, route: str) -> None:
        """All hosts of a route configuration that is new to the proxy, right after it."""
        hosts = self._ledgers[VIRTUAL_HOST]
        self._opened[route] = Hosts.DUE
        if not hosts.subscription.wildcard:
            return
        self._opened[route] = Hosts.SENT
        hosts.forget(tuple(name for name in hosts.odd if route_of(name) == route))
        self._begin_sweep(hosts, route)
        placeholder = placeholder_name(route)
        if self._content.get(VIRTUAL_HOST, placeholder) is not None:
            hosts.look_at(placeholder, None)
        self._following.append((VIRTUAL_HOST, (route,)))

    def _hosts_refused(self, names: Sequence[str]) -> None:
        """A route configuration that never had a host keeps its listener closed: it gets the placeholder for now."""
        hosts = self._ledgers[VIRTUAL_HOST]
        for route in {route_of(name) for name in names}:
            if self._opened.get(route) is Hosts.SENT:
                self._content.hollow.add(route)
                placeholder = placeholder_name(route)
                hosts.look_at(placeholder, hosts.odd.get(placeholder))

    def _hosts_taken(self, names: Sequence[str]) -> None:
        if all(hosts is Hosts.TAKEN for hosts in self._opened.values()):
            return
        self._quiet = False
        hosts = self._ledgers[VIRTUAL_HOST]
        for route in {route_of(name) for name in names if not is_placeholder(name)}:
            if self._opened.get(route) is Hosts.SENT:
                self._opened[route] = Hosts.TAKEN
                self._content.hollow.discard(route)
                placeholder = placeholder_name(route)
                if placeholder in hosts.odd:
                    hosts.look_at(placeholder, hosts.odd[placeholder])

    def _close_route(self, route: str) -> None:
        """The proxy unsubscribed from a route configuration, and dropped its hosts without a word."""
        hosts = self._ledgers[VIRTUAL_HOST]
        self._opened.pop(route, None)
        self._content.hollow.discard(route)
        self._leftover.pop(route, None)
        hosts.sweeps.pop(route, None)
        hosts.forget(tuple(name for name in hosts.odd if route_of(name) == route))


def _without_wildcard(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != WILDCARD) if WILDCARD in names else names
