"""Keys over time: when they are asked for again, what stays while that fails, what is there after a restart."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.sources.keys.fetching import FetchError
from controlplane.sources.keys.keeping import KeptKeys, NotKept
from controlplane.sources.keys.source import AT_ONCE_PER_NAMESPACE, MAX_PER_NAMESPACE, REFRESH, Keeping, KeysSource
from tests.runtime.turning import TurningClock, settle
from tests.tokens import key

ONE, TWO = "https://one.example.com/keys", "https://two.example.com/keys"
KEYS, OTHERS = (f'{{"keys":[{{"kty":"EC","alg":"ES256","crv":"P-256","x":"{x}","y":"{y}"}}]}}' for x, y in (
    (one["x"], one["y"]) for one in (key().jwk(), key(name="other").jwk())
))  # fmt: skip


class Issuers:
    """What is asked, and what comes back: keys, or why there are none."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []

    async def __call__(self, uri: str) -> str:
        self.asked.append(uri)
        await asyncio.sleep(0)
        answer = self.answers.get(uri, "it answers 500")
        if not answer.startswith("{"):
            raise FetchError(answer)
        return answer


class Turned:
    """A source whose clock a test moves."""

    def __init__(self, *uris: str, keeping: Keeping | None = None, **answers: str) -> None:
        self.issuers = Issuers({ONE: answers.get("one", KEYS), TWO: answers.get("two", OTHERS)})
        self.wanted = [("default", uri) for uri in uris]
        self.known: dict[str, FetchedKeys] = {}
        self.clock = TurningClock()
        self.source = KeysSource(
            lambda: self.wanted,
            asyncio.Event(),
            self.issuers,
            keeping or NotKept(),
            self._publish,
            self.clock,
            lambda: 1.0,
        )

    def _publish(self, news: Mapping[str, FetchedKeys | None]) -> None:
        for uri, known in news.items():
            if known is None:
                del self.known[uri]
            else:
                self.known[uri] = known

    async def turn(self, seconds: float = 0.0) -> list[str]:
        """Lets time pass, and answers who was asked then."""
        await self.clock.turn(seconds)
        self.issuers.asked.clear()
        self.source.look()
        await self.source.turn()
        return list(self.issuers.asked)


async def test_keys_are_asked_for_at_once_and_again_after_twenty_minutes() -> None:
    it = Turned(ONE, TWO)
    assert await it.turn() == [ONE, TWO]
    assert it.known == {ONE: FetchedKeys(KEYS), TWO: FetchedKeys(OTHERS)}
    assert await it.turn(REFRESH - 1) == []
    it.issuers.answers[ONE] = OTHERS
    assert await it.turn(1) == [ONE, TWO]
    assert it.known[ONE] == FetchedKeys(OTHERS)


async def test_an_issuer_that_is_away_at_the_start_has_no_keys_until_it_is_back() -> None:
    it = Turned(ONE, one="it answers 500")
    await it.turn()
    assert it.known == {ONE: FetchedKeys(failure="it answers 500")}
    assert await it.turn(9) == []
    assert await it.turn(1) == [ONE]
    it.issuers.answers[ONE] = KEYS
    assert await it.turn(19) == []
    assert await it.turn(1) == [ONE]
    assert it.known == {ONE: FetchedKeys(KEYS)}


async def test_it_is_asked_ever_less_often_but_never_less_than_every_twenty_minutes() -> None:
    it = Turned(ONE, one="it answers 500")
    await it.turn()
    for seconds in (10, 20, 40, 80, 160, 320, 640, REFRESH, REFRESH):
        assert await it.turn(seconds - 1) == []
        assert await it.turn(1) == [ONE]


async def test_an_issuer_that_goes_away_leaves_its_last_keys() -> None:
    it = Turned(ONE)
    await it.turn()
    it.issuers.answers[ONE] = "it answers 500"
    await it.turn(REFRESH)
    assert it.known == {ONE: FetchedKeys(KEYS, "it answers 500")}
    it.issuers.answers[ONE] = OTHERS
    await it.turn(10)
    assert it.known == {ONE: FetchedKeys(OTHERS)}


async def test_the_last_keys_are_there_after_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    await Turned(ONE, keeping=KeptKeys(folder)).turn()
    again = Turned(ONE, keeping=KeptKeys(folder), one="it answers 500")
    again.source.look()
    assert again.known == {ONE: FetchedKeys(KEYS)}
    await asyncio.wait_for(again.source.settled(), 1)  # nobody waits for what is known
    assert again.issuers.asked == []
    await again.turn()
    assert again.known == {ONE: FetchedKeys(KEYS, "it answers 500")}


def test_what_is_kept_is_as_little_believed_as_what_is_fetched(tmp_path: Path) -> None:
    kept = KeptKeys(tmp_path)
    kept.save(ONE, KEYS)
    (file,) = tmp_path.iterdir()
    assert kept.load(ONE) == KEYS
    assert file.stat().st_mode & 0o777 == 0o600
    file.rename(tmp_path / KeptKeys(tmp_path)._file(TWO).name)
    assert kept.load(TWO) == ""  # somebody else's
    for content in (b"", b"{}", b"\xff", b"[" * 100_000, b'{"uri": "%s", "jwks": "{}"}' % ONE.encode()):
        kept._file(ONE).write_bytes(content)
        assert kept.load(ONE) == ""


async def test_keys_that_nobody_wants_any_more_are_forgotten(tmp_path: Path) -> None:
    it = Turned(ONE, TWO, keeping=KeptKeys(tmp_path))
    await it.turn()
    it.wanted = [("default", TWO)]
    assert await it.turn(REFRESH) == [TWO]
    assert set(it.known) == {TWO}
    assert KeptKeys(tmp_path).load(ONE) == ""
    assert KeptKeys(tmp_path).load(TWO) == OTHERS


async def test_keys_cannot_be_kept_where_nothing_can_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    it = Turned(ONE, keeping=KeptKeys(blocked / "keys"))
    await it.turn()
    assert it.known == {ONE: FetchedKeys(KEYS)}


async def test_a_namespace_that_asks_everywhere_makes_nobody_else_wait() -> None:
    it = Turned()
    many = [f"https://{number:03}.example.com/" for number in range(MAX_PER_NAMESPACE + 5)]
    it.wanted = [*(("greedy", uri) for uri in many), ("modest", many[-1]), ("modest", TWO)]
    asked = await it.turn()
    assert len(asked) == MAX_PER_NAMESPACE + 2
    assert {many[-1], TWO} <= set(asked)
    assert "more than" in it.known[many[MAX_PER_NAMESPACE]].failure


async def test_one_that_takes_its_time_keeps_no_other_waiting() -> None:
    it = Turned(ONE, TWO)
    slow, started = asyncio.Event(), asyncio.Event()

    async def fetch(uri: str) -> str:
        if uri == ONE:
            started.set()
            await slow.wait()
        return KEYS

    it.source._fetch = fetch
    it.source.look()
    turn = asyncio.ensure_future(it.source.turn())
    await started.wait()
    await settle()
    assert set(it.known) == {TWO}
    settled = asyncio.ensure_future(it.source.settled())
    await settle()
    assert not settled.done()
    slow.set()
    await asyncio.wait_for(asyncio.gather(turn, settled), 5)
    assert set(it.known) == {ONE, TWO}


async def test_issuers_that_never_answer_hold_up_their_own_namespace_only() -> None:
    it = Turned()
    stuck = [f"https://{number:03}.example.com/" for number in range(AT_ONCE_PER_NAMESPACE + 1)]
    it.wanted = [("greedy", uri) for uri in stuck]
    asked: list[str] = []

    async def fetch(uri: str) -> str:
        asked.append(uri)
        if uri in stuck:
            await asyncio.Event().wait()
        return KEYS

    it.source._fetch = fetch
    running = asyncio.ensure_future(it.source.run())
    await settle()
    assert asked == stuck[:-1]
    it.wanted.append(("modest", TWO))
    it.source._news.set()
    await settle()
    await asyncio.to_thread(bool)  # what is kept is written in a thread
    await settle()
    assert it.known == {TWO: FetchedKeys(KEYS)}
    assert asked == [*stuck[:-1], TWO]
    running.cancel()


async def test_it_runs_by_itself() -> None:
    """With the real clock: asks when something is wanted, waits when nothing is."""
    it = Turned()
    running = asyncio.ensure_future(it.source.run())
    await asyncio.sleep(0)
    assert it.issuers.asked == []
    it.wanted = [("default", ONE)]
    it.source._news.set()
    await asyncio.wait_for(it.source.settled(), 5)
    assert it.known == {ONE: FetchedKeys(KEYS)}
    running.cancel()
