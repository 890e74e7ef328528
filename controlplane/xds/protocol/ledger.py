"""What one proxy has of one type.

"Everything the view shows me, except `odd`": that is all a steady stream keeps, whatever the size of the mesh. A change
puts what the proxy has until now into `odd`; sending takes it out again. What waits (for an ACK of something it names,
for a deadline) stays in `odd` meanwhile, and so does what is kept although the view has it no more.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.routes import is_placeholder, route_of
from controlplane.snapshot.types import VIRTUAL_HOST
from controlplane.snapshot.view import Change
from controlplane.xds.protocol.commands import Response
from controlplane.xds.protocol.content import Content
from controlplane.xds.protocol.subscriptions import Subscription


class Guess(NamedTuple):
    """What the proxy has is not known: one of these, or nothing, or (`anything`) a version we never saw.

    After a NACK, because refused responses are applied in part; when a name is asked for again, because "the client may
    have forgotten"; after a reconnect with another version than ours.
    """

    candidates: tuple[Resource, ...] = ()
    anything: bool = False
    good: Resource | None = None  # what it took without complaint, last
    reported: bool = False  # it says itself that it has some version

    def may_name(self, ref: Ref) -> bool:
        """Whether what the proxy has may refer to `ref`."""
        return self.anything or any(ref in each.refs for each in self.candidates)

    @property
    def never_good(self) -> bool:
        """It may have it only if it applied what it refused, or what it never answered."""
        return self.good is None and not self.reported


Known = Resource | Guess | None  # None: surely absent
Doubts = Mapping[str, frozenset[str]]  # type -> names of which it is not known what a proxy has
NO_DOUBTS: Final[Doubts] = {}
UNSEEN: Final = Guess((), anything=True, reported=True)
DOUBTED: Final = Guess((), anything=True)


def forgotten(had: Known) -> Known:
    """It had this, and may have it no more."""
    return Guess((had,), good=had) if isinstance(had, Resource) else had


class Flight(msgspec.Struct, eq=False):
    """A response that is sent and not acknowledged, and what the proxy had of its names before (absent: nothing)."""

    response: Response
    prior: Mapping[str, Known]
    introduced: tuple[str, ...] = ()  # clusters the proxy did not have
    tainted: bool = False  # sent while an earlier response was about to be refused: its refusal proves nothing

    def may_name(self, ref: Ref) -> bool:
        """Whether it brings, or replaces, something that refers to `ref`."""
        brings = any(ref in each.refs for each in self.response.resources)
        return brings or any(_names(known, ref) for known in self.prior.values())

    def speaks_of(self, name: str) -> bool:
        """Whether it brings or removes this name."""
        return name in self.response.names or name in self.response.removed


class Ledger:
    """One type on one stream."""

    __slots__ = (
        "_content",
        "_shows",
        "acked_at",
        "aliases",
        "asked",
        "batches",
        "due",
        "error",
        "flights",
        "gone",
        "leaving",
        "nonce",
        "odd",
        "parked",
        "subscription",
        "sweeps",
        "todo",
        "trials",
        "type_url",
        "version",
    )

    def __init__(self, type_url: str, content: Content, shows: Callable[[str], bool]) -> None:
        self.type_url = type_url
        self._content = content
        self._shows = shows  # whether a wildcard shows this name to this stream
        self.subscription = Subscription(self._exists)
        self.odd: dict[str, Known] = {}
        self.todo: set[str] = set()  # to be looked at when the next response is planned
        self.parked: set[str] = set()  # looked at; again after the next ACK or deadline
        self.leaving: set[str] = set()  # to be removed when nothing is left to be added
        self.asked: set[str] = set()  # subscribed by name and not answered yet
        self.gone: set[str] = set()  # to be answered with "there is no such resource"
        self.aliases: dict[str, str] = {}  # on-demand question -> name of the resource that answers it
        self.sweeps: dict[str, str] = {}  # route configuration ("" for other types) -> where its first sync is
        self.batches: dict[tuple[str, ...], frozenset[str]] = {}  # asked for together and not sent yet
        self.due = False  # an answer must come even if it is empty
        self.flights: dict[str, Flight] = {}  # by nonce
        self.trials: list[tuple[str, ...]] = []  # groups to be tried apart
        self.nonce = ""  # of the last response
        self.version = ""  # the last one sent; SotW only
        self.acked_at: float | None = None
        self.error = ""  # of the last NACK, until the next ACK

    def content_is(self, content: Content) -> None:
        """The stream moved to another view; what the proxy has did not change."""
        self._content = content

    def rebase(self, names: Iterable[str]) -> None:
        """The content is that of another view now: what the proxy has is going to be said anew. `names`: asked for."""
        for each in (self.odd, self.todo, self.parked, self.leaving, self.sweeps, self.batches, self.trials):
            each.clear()
        self.subscription.names.clear()
        self.subscription.names.update(names)

    def _exists(self, name: str) -> bool:
        return self._content.view.get(self.type_url, name) is not None

    @property
    def started(self) -> bool:
        """Whether the proxy asked for this type on this stream."""
        return self.subscription.started

    @property
    def extent(self) -> int:
        """How many names are kept in memory."""
        asked = len(self.asked) + len(self.gone) + len(self.aliases) + self.subscription.names.extent
        return len(self.odd) + len(self.flights) + len(self.trials) + asked

    @property
    def busy(self) -> bool:
        """Whether there may be something to send."""
        return bool(self.todo or self.sweeps or self.batches or self.gone or self.due or self.trials)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to send, nor anything put off until something else happens."""
        return not (self.parked or self.leaving or self.busy)

    def wants(self, name: str) -> bool:
        """Whether the proxy asked for this name, by itself or by a wildcard."""
        subscription = self.subscription
        return (subscription.wildcard and self._shows(name)) or name in subscription.names

    def has(self, name: str) -> Known:
        """What the proxy has under this name."""
        if name in self.odd:
            return self.odd[name]
        if not self.wants(name) or not self.swept(name):
            return None
        return self._content.get(self.type_url, name)

    def swept(self, name: str) -> bool:
        """Whether the first sync, or what was asked for together, is past this name."""
        if self.batches and any(name in batch for batch in self.batches.values()):
            return False
        if not self.sweeps:
            return True
        position = self.sweeps.get(route_of(name) if self.type_url == VIRTUAL_HOST else "")
        return position is None or name < position

    def look_at(self, name: str, has: Known) -> None:
        """Plan this name; the proxy has `has` of it."""
        self.odd[name] = has
        self._plan(name)

    def _plan(self, name: str) -> None:
        self.todo.add(name)
        self.parked.discard(name)
        self.leaving.discard(name)

    def changed(self, name: str, change: Change, *, apart: bool = False) -> None:
        """The view has another resource of this name now. `apart`: the first sync leaves it out."""
        names = self.subscription.names
        if change.old is None:
            names.appeared(name)
        elif change.new is None:
            names.vanished(name)
        if name in self.odd:
            self._plan(name)
        elif self.wants(name):
            if self.swept(name):
                self.look_at(name, change.old)
            elif apart:
                self.look_at(name, None)

    def settle(self, name: str, sent: Resource | None) -> None:
        """A response with `sent` (None: its removal) is on its way: that is what the proxy has now."""
        self.calm(name)
        self.asked.discard(name)
        if not self.wants(name):
            self.odd.pop(name, None)
            return
        shown = self._content.get(self.type_url, name)
        if (shown.version if shown else None) == (sent.version if sent else None) and not self._is_transient(name):
            self.odd.pop(name, None)
        else:
            self.odd[name] = sent
            self.parked.add(name)  # an older version, while the one shown waits

    def _is_transient(self, name: str) -> bool:
        """Nobody tells when the view stops showing a placeholder, so what the proxy has of it is always kept."""
        return self.type_url == VIRTUAL_HOST and is_placeholder(name)

    def rest(self, name: str) -> None:
        """The proxy has what it should have."""
        self.calm(name)
        if not self._is_transient(name):
            self.odd.pop(name, None)

    def park(self, name: str) -> None:
        """Nothing to send for this name before something else happens."""
        self.todo.discard(name)
        self.parked.add(name)

    def leave(self, name: str) -> None:
        """Remove this name once nothing is left to be added."""
        self.todo.discard(name)
        self.leaving.add(name)

    def shrink(self) -> None:
        """Give back what a big exchange took: sets and dicts never get smaller by themselves."""
        self.odd = dict(self.odd)
        self.todo, self.parked, self.leaving = set(self.todo), set(self.parked), set(self.leaving)
        self.asked, self.gone = set(self.asked), set(self.gone)

    def calm(self, name: str) -> None:
        """Nothing to plan for this name."""
        self.todo.discard(name)
        self.parked.discard(name)
        self.leaving.discard(name)

    def unpark(self) -> None:
        """Something happened: look at all that waits again."""
        self.todo |= self.parked
        self.parked.clear()

    def drop(self, name: str) -> None:
        """The proxy has what it should have, or it is none of our business any more."""
        self.odd.pop(name, None)
        self.calm(name)

    def try_apart(self, groups: Iterable[tuple[str, ...]]) -> None:
        """Each group in a response of its own: one of them holds the culprit."""
        for group in groups:
            self.trials.append(group)
            self.todo.difference_update(group)

    def forget(self, names: Iterable[str]) -> None:
        """The proxy wants these no more, and dropped them by itself."""
        names = tuple(names)
        if self.batches:
            left = (tuple(each for each in batch if each not in names) for batch in self.batches)
            self.batches = {batch: frozenset(batch) for batch in left if batch}
        for name in names:
            self.drop(name)
            self.asked.discard(name)
            self.gone.discard(name)
        self.trials = [kept for trial in self.trials if (kept := tuple(each for each in trial if each in self.odd))]

    @property
    def doubted(self) -> frozenset[str]:
        """Names of which it is not known what the proxy has: a response may be applied in part and not recorded."""
        guessed = (name for name, known in self.odd.items() if isinstance(known, Guess))
        told = (name for flight in self.flights.values() for name in (*flight.response.names, *flight.response.removed))
        return frozenset((*guessed, *told))

    def may_name(self, ref: Ref) -> bool:
        """Whether the proxy may have a resource that refers to `ref`, beside those the view shows.

        What is under way counts before and after: a name may be unsubscribed here and subscribed again there.
        """
        return any(_names(known, ref) for known in self.odd.values()) or any(
            flight.may_name(ref) for flight in self.flights.values()
        )


def _names(known: Known, ref: Ref) -> bool:
    if known is None:
        return False
    return known.may_name(ref) if isinstance(known, Guess) else ref in known.refs
