"""All the keys that somebody wants: asked for in time, known at once where they were good before.

An answer holds for 20 minutes, then it is asked for again. While that fails the last good keys stay, because they were
the issuer's and nothing says that they are not any more; where there are none, there are none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from math import inf
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.runtime.backoff import Backoff, BackoffPolicy
from controlplane.sources.keys.fetching import FetchError

log = structlog.get_logger(__name__)

REFRESH: Final = 20 * 60.0  # seconds
AT_ONCE: Final = 128  # questions
AT_ONCE_PER_NAMESPACE: Final = 8  # so that issuers who never answer hold up their own namespace
MAX_PER_NAMESPACE: Final = 64  # places; whoever wants more shall not make others wait
_AFTER_FAILURE: Final = BackoffPolicy(first=10.0, factor=2.0, longest=REFRESH, healthy_after=0.0)

Wanted = tuple[str, str]  # (namespace of who asks, URI)
Fetch = Callable[[str], Awaitable[str]]
Publish = Callable[[Mapping[str, FetchedKeys | None]], None]


class Keeping(Protocol):
    """See `KeptKeys`."""

    def load(self, uri: str) -> str: ...

    def save(self, uri: str, text: str) -> None: ...

    def keep_only(self, uris: Iterable[str]) -> None: ...


class _Place(msgspec.Struct):
    """One URI."""

    backoff: Backoff
    gate: asyncio.Semaphore  # of its namespace
    next: float  # when it is asked again; monotonic, `inf` while it is being asked
    known: FetchedKeys = FetchedKeys()


class KeysSource:
    """`wanted` is asked again whenever `news` is set. `publish` gets what is new, None for keys nobody wants now."""

    def __init__(  # noqa: PLR0913, PLR0917  what it asks, what it tells, and what a test turns
        self,
        wanted: Callable[[], Iterable[Wanted]],
        news: asyncio.Event,
        fetch: Fetch,
        keeping: Keeping,
        publish: Publish,
        clock: Clock,
        randomness: Callable[[], float],
    ) -> None:
        """`randomness` gives floats in [0, 1)."""
        self._wanted = wanted
        self._news = news
        self._fetch = fetch
        self._keeping = keeping
        self._publish = publish
        self._clock = clock
        self._randomness = randomness
        self._places: dict[str, _Place] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # by namespace
        self._learned = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as asking:
            while True:
                self._news.clear()
                self.look()
                for question in self._due():
                    asking.create_task(question)
                await self._wait()

    async def settled(self) -> None:
        """Until something is known of every place: keys of an earlier run, an answer, or that there is none."""
        self.look()
        while any(place.known == _NOTHING for place in self._places.values()):
            self._learned.clear()
            await self._learned.wait()

    def look(self) -> None:
        """Take up what is wanted now, with what was kept of it, and drop the rest."""
        uris, too_many = _admitted(self._wanted())
        gone = {uri: None for uri in self._places if uri not in uris}
        for uri in gone:
            del self._places[uri]
        new = {
            uri: self._taken_up(uri, self._gates.setdefault(namespace, asyncio.Semaphore(AT_ONCE_PER_NAMESPACE)))
            for uri, namespace in uris.items()
            if uri not in self._places
        }
        if gone or new:
            self._keeping.keep_only(uris)
        self._tell({**gone, **{uri: known for uri, known in new.items() if known != _NOTHING}, **too_many})

    async def turn(self) -> None:
        """Ask for all that is due now."""
        await asyncio.gather(*self._due())

    def _due(self) -> list[Coroutine[object, object, None]]:
        now = self._clock.monotonic()
        due = {uri: place for uri, place in self._places.items() if place.next <= now}
        for place in due.values():
            place.next = inf
        return [self._ask(uri, place) for uri, place in due.items()]

    def _taken_up(self, uri: str, gate: asyncio.Semaphore) -> FetchedKeys:
        """A new place: what was kept of it, if anything was."""
        known = FetchedKeys(self._keeping.load(uri))
        backoff = Backoff(_AFTER_FAILURE, self._randomness)
        self._places[uri] = _Place(backoff, gate, self._clock.monotonic(), known)
        return known

    async def _ask(self, uri: str, place: _Place) -> None:
        try:
            async with place.gate, self._gate:
                text = await self._fetch(uri)
            if self._places.get(uri) is place:
                await self._answered(uri, place, text)
        except FetchError as error:
            self._failed(uri, place, str(error))
        finally:
            if place.next == inf:  # nobody expected what happened
                place.next = self._clock.monotonic() + place.backoff.next()
            self._news.set()

    async def _answered(self, uri: str, place: _Place, text: str) -> None:
        place.backoff.failures = 0
        place.next = self._clock.monotonic() + REFRESH * (0.9 + 0.1 * self._randomness())
        if text != place.known.jwks:
            await asyncio.to_thread(self._keeping.save, uri, text)
        self._learn(uri, place, FetchedKeys(text))

    def _failed(self, uri: str, place: _Place, why: str) -> None:
        place.next = self._clock.monotonic() + place.backoff.next()
        if place.known.failure != why:
            log.warning("keys of a token issuer cannot be had", uri=uri, reason=why, kept=bool(place.known.jwks))
        self._learn(uri, place, FetchedKeys(place.known.jwks, why))

    def _learn(self, uri: str, place: _Place, known: FetchedKeys) -> None:
        if self._places.get(uri) is place and place.known != known:
            place.known = known
            self._learned.set()
            self._tell({uri: known})

    def _tell(self, news: Mapping[str, FetchedKeys | None]) -> None:
        if news:
            self._publish(news)

    async def _wait(self) -> None:
        """Until something is due, or somebody wants something else."""
        soonest = min((place.next for place in self._places.values()), default=inf)
        wait = None if soonest == inf else max(0.0, soonest - self._clock.monotonic())
        try:
            await asyncio.wait_for(self._news.wait(), wait)
        except TimeoutError:
            return


_NOTHING: Final = FetchedKeys()
_TOO_MANY: Final = FetchedKeys(failure=f"its namespace asks in more than {MAX_PER_NAMESPACE} places")


def _admitted(wanted: Iterable[Wanted]) -> tuple[dict[str, str], dict[str, FetchedKeys]]:
    """The URIs that are asked for, each with a namespace that wants it, and those that are one namespace's too many."""
    count: dict[str, int] = {}
    uris: dict[str, str] = {}
    over: set[str] = set()
    for namespace, uri in sorted(set(wanted)):
        count[namespace] = count.get(namespace, 0) + 1
        if count[namespace] <= MAX_PER_NAMESPACE:
            uris.setdefault(uri, namespace)
        else:
            over.add(uri)
    return uris, dict.fromkeys(sorted(over - uris.keys()), _TOO_MANY)
