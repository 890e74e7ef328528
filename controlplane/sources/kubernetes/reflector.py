"""The list+watch protocol of one resource, without I/O: what happened comes in, what to do next comes out.

The rules are those of "Kubernetes API concepts" (efficient detection of changes, resourceVersion, pages) and what
client-go's reflector learned, with these of our own:

* A list is always asked without a resourceVersion: it is the newest there is, whichever API server answers. History
  never goes back by itself; where a version in a watch is lower than the one before, it is another history (etcd was
  restored) or not the API server's words, and only a list helps.
* A watch is short. HTTP/1.1 has no ping, so that on a half-open connection silence looks like peace: one that has not
  ended by itself when it should is dead. It costs a request per kind every 25 s, and the API server sends a bookmark
  two seconds before the end, which keeps our version fresh.
* What a list lacks is gone, except where it lacks most of what was there, or all: that may be an etcd that lost its
  data, and what it lacks stays until a second list, a minute later, lacks it too.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Final

import msgspec

from controlplane.base.clock import Clock
from controlplane.model.problem import Level, ObjectRef, Problem
from controlplane.runtime.backoff import Backoff, BackoffPolicy
from controlplane.sources.kubernetes.mirror import Mirror, unreadable
from controlplane.sources.kubernetes.resource import Resource
from controlplane.sources.kubernetes.wire import Answer, Event, Garbage, Page, order, read_error, read_head

_DENIED: Final = 403
_ABSENT: Final = 404
_UNRULY: Final = 3  # failures without progress, until a list is tried instead of the watch; and tokens that expired
_FEW: Final = 3  # fewer objects may vanish at once without a second look, as long as others stay


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, and objects."""

    page: int = 500  # objects
    watch: float = 25.0  # a watch ends by itself; each a little earlier than that, so that not all do at once
    between_watches: float = 1.0  # from the beginning of one to that of the next
    between_lists: float = 10.0  # on average: two at once, since the first after a start may soon be outdated
    confirm: float = 60.0  # between the two lists that remove most of what there was
    failing: BackoffPolicy = BackoffPolicy(first=0.5, factor=2.0, longest=8.0)
    denied: BackoffPolicy = BackoffPolicy(first=1.0, factor=2.0, longest=30.0)  # 401, 403, 404: for a person to change


class List(msgspec.Struct, frozen=True):
    """Ask for a part of the list. `token` "" begins it."""

    limit: int  # 0 = all in one part
    token: str


class Watch(msgspec.Struct, frozen=True):
    """Ask for what changes after `version`, for so many seconds."""

    version: str
    seconds: float


class Wait(msgspec.Struct, frozen=True):
    """Ask nothing for so many seconds."""

    seconds: float


Step = List | Watch | Wait


class State(StrEnum):
    """For people."""

    LISTING = "listing"
    WATCHING = "watching"
    FAILING = "failing"
    DENIED = "denied"
    ABSENT = "not served"
    HOLDING = "holding"  # most of it vanished: kept until a second list says so, too


class _Listing(msgspec.Struct):
    """A list that is under way."""

    token: str = ""
    version: str = ""
    seen: set[ObjectRef] = msgspec.field(default_factory=set)
    unreadable: int = 0


class _Held(msgspec.Struct, frozen=True):
    """What a list lacked, when that was too much to believe at once."""

    refs: AbstractSet[ObjectRef]
    since: float


class Reflector:
    """Makes a `Mirror` equal to what the API server has, whatever happens in between."""

    def __init__(
        self,
        resource: Resource,
        mirror: Mirror,
        clock: Clock,
        randomness: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        """`randomness` gives floats in [0, 1)."""
        self.resource = resource
        self.mirror = mirror
        self.served = True  # what discovery says; nothing is removed for a 404 while it says yes
        self.synced = False  # listed as a whole, once
        self.lists = 0  # begun
        self.repairs = 0  # because of events that never came
        self.failures = 0
        self.trouble = ""  # the last failure, while nothing went well since
        self.heard = clock.monotonic()  # when the API server last said something of it
        self._clock = clock
        self._randomness = randomness
        self._pace = pace or Pace()
        self._failing = Backoff(self._pace.failing, randomness)
        self._denied = Backoff(self._pace.denied, randomness)
        self._version = ""  # watch from here; "" = list first
        self._listing: _Listing | None = None
        self._held: _Held | None = None
        self._unreadable = 0
        self._refusal: Answer | None = None
        self._not_before = 0.0
        self._may_list = 0.0
        self._begun = float("-inf")  # the last list
        self._may_watch = 0.0
        self._watched_since = 0.0
        self._brought = False  # anything, by the watch that is under way or was last
        self._under_way = False  # a watch
        self._fruitless = 0  # failures of watches since one brought anything
        self._in_a_row = 0  # failures of any kind
        self._expired_tokens = 0
        self._limit = self._pace.page

    # What to do

    def next(self) -> Step:
        """What is to be done now."""
        now = self._clock.monotonic()
        must_list = not self._version or (self._held is not None and now >= self._held.since + self._pace.confirm)
        may = self._may_list if must_list and self._listing is None else 0.0 if must_list else self._may_watch
        if (wait := max(self._not_before, may) - now) > 0:
            return Wait(wait)
        return self._list(now) if must_list else self._watch(now)

    def _list(self, now: float) -> List:
        if self._listing is None:
            self._listing = _Listing()
            self._may_list, self._begun = self._begun + 2 * self._pace.between_lists, now
            self._version = ""
            self.lists += 1
        return List(0 if self._expired_tokens >= _UNRULY else self._limit, self._listing.token)

    def _watch(self, now: float) -> Watch:
        self._may_watch = now + self._pace.between_watches
        self._watched_since = now
        self._brought = False
        seconds = self._pace.watch * (1 - self._randomness() / 5)
        if self._held is not None:
            seconds = min(seconds, max(1.0, self._held.since + self._pace.confirm - now))
        return Watch(self._version, seconds)

    def begin_anew(self) -> None:
        """Whatever was under way is not any more; what is known stays until a list says otherwise."""
        self._listing, self._version = None, ""

    @property
    def version(self) -> str:
        """Up to where we were told everything; "" while a list is due."""
        return self._version

    @property
    def is_settled(self) -> bool:
        """What is known is meant to be what there is: nothing is held back, no list is due."""
        return bool(self._version) and self._held is None and not self._unreadable

    def repair(self) -> None:
        """The watch did not tell everything."""
        self.repairs += 1
        self.begin_anew()

    def move(self, resource: Resource) -> None:
        """The same objects are served in another version of their API."""
        self.resource = resource
        self.begin_anew()

    # What happened

    def page(self, page: Page) -> Iterator[None]:
        """A part of the list came; yields after each object, so that others get their turn."""
        listing = self._listing
        if listing is None:
            return
        listing.version = listing.version or page.version
        for raw in page.items:
            try:
                listing.seen.add(self.mirror.put(raw))
            except Garbage:
                listing.unreadable += 1
            yield
        self._went_well()
        listing.token = page.token
        if not page.token:
            self._listed(listing)

    def began(self) -> None:
        """The API server took the watch."""
        self._under_way = True
        self.heard = self._clock.monotonic()

    def event(self, event: Event) -> bool:
        """Something changed. Whether the watch may go on."""
        if not self._version:
            return False  # a list is due
        if event.type == "ERROR":
            self.refused(read_error(event.object))
            return False
        try:
            self._version = self._applied(event)
        except Garbage as error:
            self.failed(f"a watch is not to be trusted: {error}")
            self.begin_anew()
            return False
        self._fruitless, self._brought = 0, True
        self._went_well()
        return True

    def _applied(self, event: Event) -> str:
        """What is known then, as a version. Raises Garbage."""
        head = read_head(event.object)
        if not head.version or event.type not in _TYPES:
            raise Garbage(f"an event {event.type[:40]!r}, resourceVersion {head.version[:40]!r}")
        if order(head.version) < order(self._version):
            raise Garbage(f"resourceVersion {head.version[:40]} after {self._version[:40]}")
        if event.type == "DELETED":
            self.mirror.remove([self.resource.ref(head.namespace, head.name)])
        elif event.type != "BOOKMARK":
            self.mirror.put(event.object)
        return head.version

    def ended(self) -> None:
        """A watch ended as it should. One that brought nothing and ends at once, again and again, costs too much."""
        self._under_way = False
        now = self._clock.monotonic()
        early = now - self._watched_since < self._pace.watch / 2
        if early and not self._brought:
            self._not_before = now + self._failing.next()
        else:
            self._went_well()

    def refused(self, answer: Answer) -> None:
        """The API server said no."""
        now = self._clock.monotonic()
        if answer.expired:
            self._expired()
            return
        self._count(str(answer), answer)
        if answer.code == _ABSENT:
            self._absent()
        denied = answer.code in {401, _DENIED, _ABSENT}
        wait = (self._denied if denied else self._failing).next()
        self._not_before = now + max(wait, answer.retry_after * (1 + self._randomness() / 5))
        if self._listing is not None and 400 <= answer.code < 500 and answer.code != 429:
            self._listing = None  # perhaps it does not like the token

    def failed(self, why: str) -> None:
        """No answer, or none that can be read; or one that was cut off."""
        self._count(why, None)
        self._not_before = self._clock.monotonic() + self._failing.next()

    def unreached(self, why: str) -> None:
        """Nobody answers, which is not about this resource: whoever asks is told when to try again."""
        self._under_way = False
        self.failures += 1
        self.trouble, self._refusal = why, None

    def too_large(self) -> None:
        """A part of the list was more than we read."""
        self._limit = max(1, self._limit // 8)
        self.failed("an answer is too large; smaller parts are asked for")

    # What that means

    def _went_well(self) -> None:
        self.heard = self._clock.monotonic()
        self.trouble, self._refusal, self._in_a_row = "", None, 0
        self._failing.ran(self._pace.failing.healthy_after)
        self._denied.ran(self._pace.denied.healthy_after)

    def _count(self, why: str, answer: Answer | None) -> None:
        self._under_way = False
        self.failures += 1
        self._in_a_row += 1
        self.trouble, self._refusal = why, answer
        if self._version:
            self._fruitless += 1
            if self._fruitless >= _UNRULY:
                self._fruitless = 0
                self.begin_anew()

    def _expired(self) -> None:
        """What is between is lost: list. A list that takes longer than its token lasts is asked for in one part."""
        self._expired_tokens += self._listing is not None and bool(self._listing.token)
        self.heard = self._clock.monotonic()
        self._under_way = False
        self.begin_anew()

    def _listed(self, listing: _Listing) -> None:
        self._listing, self._expired_tokens, self._fruitless = None, 0, 0
        self._version = listing.version
        self._unreadable = listing.unreadable
        self.synced = True
        if listing.unreadable:
            return  # what seems to be missing may be among these
        missing = self.mirror.refs - listing.seen
        few = len(missing) < _FEW or 2 * len(missing) <= len(self.mirror)
        self._lacks(missing, too_many=bool(missing) and (not few or len(missing) == len(self.mirror)))

    def _absent(self) -> None:
        """It is not served: what a list lacks is everything. However little that is, it is asked for twice."""
        self.begin_anew()
        self._unreadable = 0
        if not self.served:
            self._lacks(frozenset(self.mirror.refs), too_many=len(self.mirror) > 0)

    def _lacks(self, missing: AbstractSet[ObjectRef], *, too_many: bool) -> None:
        now, held = self._clock.monotonic(), self._held
        if not too_many:
            self._held = None
            self.mirror.remove(missing)
        elif held is None:
            self._held = _Held(frozenset(missing), now)
        elif now >= held.since + self._pace.confirm:
            self.mirror.remove(missing & held.refs)
            rest = missing - held.refs
            self._held = _Held(rest, now) if rest else None
        else:
            self._held = _Held(missing & held.refs, held.since)

    # What people are told

    @property
    def gone(self) -> bool:
        """It is not served, and nothing is left of it."""
        return not self.served and self.state is State.ABSENT and not len(self.mirror)

    @property
    def held(self) -> int:
        """Objects that only their last list lacked."""
        return len(self._held.refs & self.mirror.refs) if self._held is not None else 0

    @property
    def state(self) -> State:
        if self._refusal is not None and self._refusal.code in _STATES:
            return _STATES[self._refusal.code]
        if self.trouble and not self._under_way:
            return State.FAILING
        if self._held is not None:
            return State.HOLDING
        return State.WATCHING if self._version else State.LISTING

    def problems(self) -> Iterator[Problem]:
        """What is wrong with all of it; `Mirror.problems` are those of single objects. Says the same until it is
        something else.
        """
        if self._refusal is not None and self._refusal.code in {401, _DENIED}:
            yield self._problem("AccessDenied", f"{self.resource} may not be listed and watched: {self._refusal}")
        elif self.state is State.ABSENT and len(self.mirror):
            yield self._problem("NotServed", f"{self.resource} is not served any more; its objects stay for a minute")
        elif self._refusal is not None and self._in_a_row >= _UNRULY:
            yield self._problem(
                "NotReadable", f"{self.resource} cannot be read, what is known of it stays: {self._refusal}"
            )
        if (held := self.held) and self.state is not State.ABSENT:
            words = f"{held} of {len(self.mirror)} {self.resource} vanished at once"
            yield self._problem("RemovalsHeld", f"{words}; they stay until a second list lacks them, too")
        if self._unreadable:
            yield unreadable(self.resource, self._unreadable)

    def _problem(self, code: str, message: str) -> Problem:
        return self.resource.problem(code, Level.ERROR, message)


_TYPES: Final = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})
_STATES: Final = {401: State.DENIED, _DENIED: State.DENIED, _ABSENT: State.ABSENT}
