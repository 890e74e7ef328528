"""What goes out next on a stream.

The order is Envoy's: clusters, then at once their endpoints and secrets, listeners, route configurations with their
hosts, and last what nothing names any more. A response is planned only when the socket is free, from what is due then.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import ClassVar, Final

from controlplane.base.clock import Clock
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.routes import domains_of, route_of
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, PUSH_ORDER, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.snapshot.view import View
from controlplane.xds.protocol.commands import Command, HoldEnded, Send
from controlplane.xds.protocol.content import is_slow
from controlplane.xds.protocol.hold import FirstSet, Hold
from controlplane.xds.protocol.judge import NAME_CLUSTERS, Judge, Verdict
from controlplane.xds.protocol.ledger import Flight, Guess, Known, Ledger, forgotten
from controlplane.xds.protocol.pacing import Pacer
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.responses import SPLIT_AT, fitting
from controlplane.xds.protocol.scope import Scope, Step

_REMOVED_WITH_ADDITIONS: Final = frozenset({LISTENER, VIRTUAL_HOST})  # an address or domain moves in one response

# Clusters that are new to the proxy, changed ones, and those that wait for DNS or a secret travel apart, so that a
# stuck one delays only its own routes.
_NEW, _CHANGED, _SLOW = range(3)


class Hosts(Enum):
    """How far the hosts of a route configuration are, on one stream."""

    DUE = auto()  # the proxy did not ask for virtual hosts yet
    SENT = auto()
    TAKEN = auto()  # at least one is acknowledged: its listeners are open, and stay so


class Planner:
    """Chooses responses. What is in one, on the wire, is for the two protocols to say."""

    protocol: ClassVar[str]

    def __init__(self, scope: Scope, view: View, clock: Clock, quarantine: Quarantine, envoy: str = "") -> None:
        self._scope = scope
        self._clock = clock
        self._content = scope.content(self.protocol, view)
        self._ledgers = {type_url: self._new_ledger(type_url) for type_url in PUSH_ORDER}
        self._first_set = FirstSet()
        self._hold = Hold(self._ledgers[CLUSTER])
        self._judge = Judge(self._ledgers, self._content, self._hold, quarantine, envoy)
        self._pacer = Pacer()
        self._following: deque[tuple[str, tuple[str, ...]]] = deque()  # type, names: must come right after a response
        self._owed: dict[str, set[str]] = {ENDPOINT: set(), SECRET: set()}  # same, but the type was not asked for yet
        self._clusters_swept = False  # then all endpoints are owed
        self._opened: dict[str, Hosts] = {}  # route configurations the proxy has
        self._leftover: dict[str, tuple[str, ...]] = {}  # removed route configuration -> hosts the proxy may still have
        self._beats: dict[tuple[str, str], float] = {}  # resources with a time to live -> next heartbeat
        self._out: list[Command] = []

    def _new_ledger(self, type_url: str) -> Ledger:
        return Ledger(type_url, self._content, partial(self._shows, type_url))

    def _shows(self, type_url: str, name: str) -> bool:
        """Whether a wildcard shows this name to this stream."""
        return self._content.view.shows(type_url, name)

    def _next(self, now: float) -> Send | None:
        send = self._next_following(now) or self._next_scripted(now)
        if send is not None or self._on_script:
            return send
        return self._next_addition(now) or self._next_removal(now) or self._next_beat(now)

    # What a response just sent makes necessary: endpoints and secrets of clusters, hosts of route configurations

    def _next_following(self, now: float) -> Send | None:
        while self._following:
            type_url, names = self._following.popleft()
            ledger = self._ledgers[type_url]
            send = self._hosts_of(ledger, names[0], now) if type_url == VIRTUAL_HOST else self._push(ledger, names, now)
            if send is not None:
                return send
        return None

    def _push(self, ledger: Ledger, names: Sequence[str], now: float) -> Send | None:
        """These names, asked for or not; what does not fit follows."""
        chosen: list[Resource] = []
        size = 0
        for at, name in enumerate(names):
            verdict = self._judge.verdict(ledger, name, now) if ledger.wants(name) else self._unasked(ledger, name)
            if isinstance(verdict, Resource):
                chosen.append(verdict)
                size += len(verdict.body)
            if size > SPLIT_AT - SPLIT_AT // 8:
                self._following.appendleft((ledger.type_url, tuple(names[at + 1 :])))
                break
        return self._launch(ledger, chosen, now=now) if chosen else None

    def _unasked(self, ledger: Ledger, name: str) -> Resource | None:
        found = self._content.view.get(ledger.type_url, name)
        return found if found is not None and not self._judge.is_refused(found) else None

    def _hosts_of(self, ledger: Ledger, route: str, now: float) -> Send | None:
        if route not in ledger.sweeps:
            return None
        stale = self._stale_hosts(ledger, route)
        if stale:
            self._following.appendleft((VIRTUAL_HOST, (route,)))
            return self._launch(ledger, [], stale, now=now)
        send = self._sweep(ledger, route, now)
        if route in ledger.sweeps:
            self._following.appendleft((VIRTUAL_HOST, (route,)))
        return send

    def _stale_hosts(self, ledger: Ledger, route: str) -> tuple[str, ...]:
        """Hosts from before a route configuration went away. Their domains would clash with those of new ones."""
        left = self._leftover.pop(route, ())
        return tuple(sorted(name for name in left if self._content.get(ledger.type_url, name) is None))

    def _follow_clusters(self, names: Sequence[str]) -> None:
        """Envoy warms every cluster it is sent, and asks for endpoints again only of those it did not know."""
        self._follow(ENDPOINT, names)
        clusters = (self._content.get(CLUSTER, name) for name in names)
        secrets = {ref.name for each in clusters if each for ref in each.refs if ref.type_url == SECRET}
        if secrets:
            self._follow(SECRET, sorted(secrets))

    def _follow(self, type_url: str, names: Sequence[str]) -> None:
        ledger = self._ledgers[type_url]
        if not ledger.started:
            self._owed[type_url].update(names)
            return
        for name in names:
            if ledger.wants(name):
                has = ledger.has(name)
                ledger.look_at(name, forgotten(has))
        self._following.append((type_url, tuple(names)))

    # Additions, in push order

    def _next_addition(self, now: float) -> Send | None:
        for ledger in self._ledgers.values():
            if not ledger.busy:
                continue
            if ledger.type_url in NAME_CLUSTERS and not self._may_name_clusters(now):
                return None
            send = self._addition(ledger, now)
            if send is not None:
                return send
        return None

    def _may_name_clusters(self, now: float) -> bool:
        return not self._ledgers[CLUSTER].started or self._has_first_set(now)

    def _has_first_set(self, now: float) -> bool:
        if self._first_set.is_complete(now):
            return True
        self._judge.wake_at(self._first_set.deadline)
        return False

    def _addition(self, ledger: Ledger, now: float) -> Send | None:
        while ledger.sweeps:
            send = self._sweep(ledger, next(iter(ledger.sweeps)), now)
            if send is not None:
                return send
        return self._asked_together(ledger, now) or self._trial(ledger, now) or self._batch(ledger, now)

    def _asked_together(self, ledger: Ledger, now: float) -> Send | None:
        while ledger.batches:
            part = next(iter(ledger.batches))
            del ledger.batches[part]
            step = self._scope.part(self.protocol, ledger.type_url, part)
            send = self._step(ledger, step, step.names, now)
            if send is not None:
                return send
        return None

    def _trial(self, ledger: Ledger, now: float) -> Send | None:
        while ledger.trials and self._may_try(ledger):
            group = ledger.trials.pop(0)
            verdicts = [self._judge.verdict(ledger, name, now) for name in group if name in ledger.odd]
            chosen = [verdict for verdict in verdicts if isinstance(verdict, Resource)]
            if chosen:
                return self._launch(ledger, chosen, now=now)
        return None

    def _may_try(self, ledger: Ledger) -> bool:  # noqa: ARG002 - SotW looks at it
        """Whether another group may be tried before the last one is answered."""
        return True

    def _batch(self, ledger: Ledger, now: float) -> Send | None:
        if self._is_paced(ledger, now):
            return None
        chosen, removed = self._chosen(ledger, now)
        gone = tuple(sorted(ledger.gone))
        if not (chosen or removed or gone or ledger.due):
            return None
        return self._launch(ledger, chosen, removed, gone, now=now)

    def _is_paced(self, ledger: Ledger, now: float) -> bool:
        if ledger.type_url != VIRTUAL_HOST or not ledger.todo or ledger.asked or ledger.gone:
            return False
        later = self._pacer.wait_until(now, self._content.view.count(VIRTUAL_HOST))
        self._judge.wake_at(later)
        return later is not None

    def _chosen(self, ledger: Ledger, now: float) -> tuple[list[Resource], tuple[str, ...]]:
        """The first kind of what is due, as much of it as fits, and what is removed in the same response."""
        kinds: tuple[list[Resource], ...] = ([], [], [])
        removed: list[str] = []
        for name in self._planned(ledger):
            verdict = self._judge.verdict(ledger, name, now)
            if isinstance(verdict, Resource):
                kinds[self._kind(ledger, verdict)].append(verdict)
            elif verdict is Verdict.REMOVE:
                self._plan_removal(ledger, name, removed)
        if kinds[_SLOW] and not self._has_first_set(now):
            kinds[_SLOW].clear()
        chosen = next((kind for kind in kinds if kind), [])
        if ledger.type_url == VIRTUAL_HOST and ledger.parked:
            chosen = self._without_clashes(ledger, chosen, now)
        return fitting(chosen), tuple(removed)

    def _without_clashes(self, ledger: Ledger, chosen: list[Resource], now: float) -> list[Resource]:
        """A host that waits keeps the domains of its older version, and a table takes no domain twice.

        What wants one of them waits, too. Where nobody knows for how long, the one that has it waits no longer.
        """
        kept = {domain: name for name in ledger.parked for domain in _domains(name, ledger.odd.get(name))}
        going: list[Resource] = []
        for each in chosen:
            others = {kept[domain] for domain in _domains(each.name, each) if domain in kept}
            wanted = [self._content.get(ledger.type_url, name) for name in sorted(others)]
            if all(want is not None and self._judge.waits_for_ever(want, now) for want in wanted):
                going += [want for want in wanted if want is not None and want not in going]
                going.append(each)
            else:
                ledger.park(each.name)
        return going

    def _planned(self, ledger: Ledger) -> list[str]:
        if len(ledger.todo) == 1 and not ledger.trials:
            return list(ledger.todo)
        tried = {name for trial in ledger.trials for name in trial}
        return sorted(ledger.todo - tried)

    def _plan_removal(self, ledger: Ledger, name: str, removed: list[str]) -> None:
        if ledger.type_url in _REMOVED_WITH_ADDITIONS:
            removed.append(name)
        else:
            ledger.leave(name)

    def _kind(self, ledger: Ledger, resource: Resource) -> int:
        if ledger.type_url != CLUSTER:
            return _NEW
        if is_slow(resource):
            return _SLOW
        return _NEW if ledger.has(resource.name) is None else _CHANGED

    # Removals, last of all

    def _next_removal(self, now: float) -> Send | None:
        for ledger in self._ledgers.values():
            if ledger.leaving:
                removed = self._leaving(ledger, now)
                if removed:
                    return self._launch(ledger, [], removed, now=now)
        return None

    def _leaving(self, ledger: Ledger, now: float) -> tuple[str, ...]:
        names = sorted(ledger.leaving)
        return tuple(name for name in names if self._judge.verdict(ledger, name, now) is Verdict.REMOVE)

    # Heartbeats: same version, no body, for what would expire

    def _next_beat(self, now: float) -> Send | None:
        for (type_url, name), at in tuple(self._beats.items()):
            ledger = self._ledgers[type_url]
            has = ledger.has(name)
            if not isinstance(has, Resource) or not has.ttl:
                del self._beats[type_url, name]
            elif at <= now:
                self._beats[type_url, name] = now + has.ttl / 2
                return self._register(ledger, self._heartbeat(has), now)
        self._judge.wake_at(min(self._beats.values(), default=None))
        return None

    # Sending

    def _sweep(self, ledger: Ledger, route: str, now: float) -> Send | None:
        """The next step of a first sync, shared by all streams that take it."""
        step = self._scope.plan(self.protocol, ledger.type_url, route).step(ledger.sweeps[route])
        if step.next is None:
            del ledger.sweeps[route]
        else:
            ledger.sweeps[route] = step.next
        return self._step(ledger, step, self._swept_names(ledger, step), now)

    def _step(self, ledger: Ledger, step: Step, names: tuple[str, ...], now: float) -> Send | None:
        names = self._unrefused(ledger, names)
        if not names and not ledger.due:
            return None
        send = self._compose_step(ledger, step, names)
        for name in tuple(ledger.odd):
            if _is_among(names, name):
                ledger.drop(name)
                ledger.asked.discard(name)
        if ledger.type_url == CLUSTER:
            self._clusters_swept = True
            self._follow_swept(names)
        return self._register(ledger, send, now)

    def _follow_swept(self, names: Sequence[str]) -> None:
        """Endpoints of the clusters it knew already; for those of new ones a proxy asks by itself."""
        endpoints = self._ledgers[ENDPOINT]
        if endpoints.subscription.names:
            known = [name for name in names if endpoints.wants(name)]
            if known:
                self._follow_clusters(known)

    def _swept_names(self, ledger: Ledger, step: Step) -> tuple[str, ...]:
        if ledger.subscription.wildcard or ledger.subscription.names.complete:
            return step.names
        return tuple(name for name in step.names if ledger.wants(name))

    def _unrefused(self, ledger: Ledger, names: tuple[str, ...]) -> tuple[str, ...]:
        if not self._judge.any_refused():
            return names
        return tuple(name for name in names if not self._sets_refused_aside(ledger, name))

    def _sets_refused_aside(self, ledger: Ledger, name: str) -> bool:
        found = self._content.get(ledger.type_url, name)
        if found is None or not self._judge.is_refused(found):
            return False
        ledger.look_at(name, None)
        if ledger.type_url == VIRTUAL_HOST:
            self._hosts_refused((name,))
        return True

    def _launch(
        self,
        ledger: Ledger,
        resources: list[Resource],
        removed: tuple[str, ...] = (),
        gone: tuple[str, ...] = (),
        *,
        now: float,
    ) -> Send:
        """One response. From here on the proxy is taken to have what is in it."""
        names = [each.name for each in resources]
        prior: dict[str, Known] = {}
        for name in (*names, *removed):
            has = ledger.has(name)
            if has is not None:
                prior[name] = has
        asked = tuple(name for name in names if name in ledger.asked)
        for each in resources:
            ledger.settle(each.name, each)
        for name in removed:
            ledger.settle(name, None)
        ledger.gone.difference_update(gone)
        send = self._compose(ledger, resources, removed, gone)
        introduced = self._clusters_sent(names, removed, prior, now) if ledger.type_url == CLUSTER else ()
        self._sent(ledger, resources, removed, asked, now)
        return self._register(ledger, send, now, prior, introduced)

    def _clusters_sent(
        self, names: list[str], removed: tuple[str, ...], prior: Mapping[str, Known], now: float
    ) -> tuple[str, ...]:
        introduced = tuple(name for name in names if _is_new(prior.get(name)))
        self._hold.sent(introduced, now)
        self._hold.warm(removed)
        if names:
            self._follow_clusters(names)
        return introduced

    def _sent(
        self, ledger: Ledger, resources: list[Resource], removed: tuple[str, ...], asked: tuple[str, ...], now: float
    ) -> None:
        """What follows from a response, beyond the ledger."""
        if ledger.type_url == VIRTUAL_HOST:
            self._pacer.sent(now)
        elif ledger.type_url == ROUTE:
            self._routes_sent([each.name for each in resources], removed, asked)
        for each in resources:
            if each.ttl:
                self._beats[ledger.type_url, each.name] = now + each.ttl / 2
            late = self._hold.late(each, now) if ledger.type_url in NAME_CLUSTERS else ()
            if late:
                self._out.append(HoldEnded(ledger.type_url, each.name, late))

    def _register(
        self,
        ledger: Ledger,
        send: Send,
        now: float,
        prior: Mapping[str, Known] | None = None,
        introduced: tuple[str, ...] = (),
    ) -> Send:
        """Keep in mind what the answer of the proxy will mean."""
        response = send.response
        if self._is_of_first_set(ledger, response.resources):
            self._first_set.sent(response.nonce, now)
        ledger.flights[response.nonce] = Flight(response, prior or {}, introduced)
        ledger.nonce, ledger.version, ledger.due = response.nonce, response.version, False
        self._expect(ledger, send)
        return send

    def _is_of_first_set(self, ledger: Ledger, resources: tuple[Resource, ...]) -> bool:
        if self._first_set.is_over:
            return False
        if ledger.type_url == ENDPOINT:
            return True
        return ledger.type_url == CLUSTER and not any(map(is_slow, resources[:1]))

    def _found(self, ledger: Ledger, names: Sequence[str]) -> list[Resource]:
        found = (self._content.get(ledger.type_url, name) for name in names)
        return [each for each in found if each is not None]

    # For the two protocols

    def _next_scripted(self, now: float) -> Send | None:  # noqa: ARG002 - delta has scripts
        """The next part of a big revision that was decided for all streams."""
        return None

    @property
    def _on_script(self) -> bool:
        """Whether there is more of it; nothing else is decided before."""
        return False

    def _hosts_refused(self, names: Sequence[str]) -> None:
        """These hosts were refused, here or elsewhere."""

    def _hosts_taken(self, names: Sequence[str]) -> None:
        """These hosts were acknowledged."""

    def _routes_sent(self, names: Sequence[str], removed: Sequence[str], asked: Sequence[str]) -> None:
        """Route configurations were sent; `asked`: because the proxy (newly) subscribed to them."""

    def _expect(self, ledger: Ledger, send: Send) -> None:
        """A response waits for its answer."""

    def _compose(
        self, ledger: Ledger, resources: list[Resource], removed: tuple[str, ...], gone: tuple[str, ...]
    ) -> Send:
        raise NotImplementedError

    def _compose_step(self, ledger: Ledger, step: Step, names: tuple[str, ...]) -> Send:
        raise NotImplementedError

    def _heartbeat(self, resource: Resource) -> Send:
        raise NotImplementedError


def _is_new(prior: Known) -> bool:
    return prior is None or (isinstance(prior, Guess) and prior.never_good)


def _domains(name: str, known: Known) -> Iterator[tuple[str, str]]:
    """(route configuration, domain) of every version of a virtual host that the proxy may have."""
    versions = known.candidates if isinstance(known, Guess) else () if known is None else (known,)
    return ((route_of(name), domain) for each in versions for domain in domains_of(each.body))


def _is_among(names: tuple[str, ...], name: str) -> bool:
    """Membership in a sorted tuple."""
    at = bisect_left(names, name)
    return at < len(names) and names[at] == name
