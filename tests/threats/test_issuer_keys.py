"""Keys of token issuers that the control plane asks for: whatever the issuer does, no token is believed that it did not
sign, and none that it did is refused once its keys are known.

What may be asked, and what of the answers is read, is shown in `tests/sources/keys/test_fetching.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from random import Random  # noqa: TID251  the same cases each time
from time import monotonic
from typing import Any

import msgspec
import pytest

from controlplane.app.control import ControlPlane, resources_of
from controlplane.app.keys import Keys
from controlplane.explain import Address, Call, Resources, Verdict, decode, simulate
from controlplane.model.decode import decode as decode_object
from controlplane.model.meshconfig import decode_settings
from controlplane.model.meta import ref_of
from controlplane.model.proxy import parse_node
from controlplane.snapshot.view import View
from controlplane.sources.keys.fetching import FetchError, KeyFetcher
from controlplane.sources.keys.source import REFRESH
from controlplane.xds.proxies import Denied
from tests.conftest import Proved, Size
from tests.runtime.turning import TurningClock, settle
from tests.tokens import Key, jwks, key, token

URI = "https://issuer.example.com/keys"
NOW = 1_800_000_000.0  # Unix seconds
SIGNERS = FIRST, SECOND, THIRD = tuple(key("ES256", name) for name in ("first", "second", "third"))
FORGER = key("ES256", "forger")
NAMES = {FIRST: "1", SECOND: "2", THIRD: "3", FORGER: "forger"}
USELESS = ("", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA"}]}', "[" * 1000, "<html>")
STEPS = 12


class Issuer(KeyFetcher):
    """Has keys, or is away: `says` is what it answers, None is nothing."""

    def __init__(self) -> None:
        super().__init__(lambda: ())
        self.signers: tuple[Key, ...] = ()
        self.says: str | None = None
        self.last: tuple[Key, ...] = ()  # whose keys somebody was told last
        self.stuck: asyncio.Event | None = None

    def has(self, *signers: Key) -> None:
        self.signers = signers
        self.says = jwks(*(one.jwk(kid=_kid(one)) for one in signers))

    async def _body(self, uri: str) -> bytes:
        assert uri == URI
        if self.stuck is not None:
            await self.stuck.wait()
        if self.says is None:
            raise FetchError("it answers 500")
        if self.says not in USELESS:
            self.last = self.signers
        return self.says.encode()


class Mesh:
    """A control plane with one workload that believes the issuer."""

    def __init__(self, issuer: Issuer, folder: Path) -> None:
        settings, _ = decode_settings({"jwksResolver": "control-plane"})
        self.clock = TurningClock()
        self.plane = ControlPlane(settings, self.clock, lambda: 1.0)
        self.keys = Keys(self.plane, folder, self.clock, lambda: 1.0, issuer)
        self.plane.keys_settled = self.keys.settled
        self._number = 0

    def load(self) -> None:
        spec = {"jwtRules": [{"issuer": "a", "jwksUri": URI}]}
        document = {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": spec,
        }
        value: Any = decode_object(document).value
        self.plane.apply({ref_of(value): value})
        self.plane.start_serving()

    async def join(self) -> View:
        """Another proxy comes."""
        self._number += 1
        node = f"sidecar~10.0.0.{self._number}~a-{self._number}.default~default.svc.cluster.local"
        proxy = parse_node(node, {"INTERCEPTION_MODE": "REDIRECT"})
        view = await self.plane.connected(self._number, proxy)
        assert not isinstance(view, Denied)
        return view

    @property
    def reported(self) -> set[str]:
        return {problem.code for problem in self.plane.problems()}

    async def passes(self, seconds: float) -> None:
        """Time, and all that happens meanwhile."""
        await self.clock.turn(seconds)
        self.plane.keys_wanted.set()
        for _ in range(3):
            await settle()
            await asyncio.to_thread(bool)  # what is kept is written in a thread, the only one there is


@asynccontextmanager
async def running(issuer: Issuer, folder: Path) -> AsyncIterator[Mesh]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    mesh = Mesh(issuer, folder)
    asking = asyncio.ensure_future(mesh.keys.run())
    mesh.load()
    try:
        yield mesh
    finally:
        asking.cancel()


def believed(view: View) -> list[str]:
    """Whose tokens pass, when a request without one does."""
    resources, _ = decode(resources_of(view))
    to = Address("10.0.0.1", 8080)
    call = Call(address=to, captured_at=Address("0.0.0.0", 15006), authority="a", at=NOW)
    assert _passes(resources, call)
    passed: set[str] = set()
    for one in (*SIGNERS, FORGER):
        for kid in {_kid(one), _kid(FIRST)}:
            shown = (("authorization", f"Bearer {_token(one, kid)}"),)
            if _passes(resources, msgspec.structs.replace(call, headers=shown)):
                passed.add(_kid(one))
    return sorted(passed)


def _passes(resources: Resources, call: Call) -> bool:
    outcome = simulate(resources, call)
    assert outcome.verdict is Verdict.FORWARDED or outcome.status == 401
    return outcome.verdict is Verdict.FORWARDED


@cache
def _token(signer: Key, kid: str) -> str:
    return token(signer, {"iss": "a"}, kid=kid)


def _kid(signer: Key) -> str:
    return NAMES[signer]


def kids(*signers: Key) -> list[str]:
    return [_kid(one) for one in SIGNERS if one in signers]


# Row 16


async def test_an_issuer_that_is_away_at_the_start(tmp_path: Path) -> None:
    issuer = Issuer()
    async with running(issuer, tmp_path) as mesh:
        view = await mesh.join()
        assert believed(view) == []
        assert mesh.reported == {"JwksUnavailable"}
        issuer.has(FIRST)
        await mesh.passes(10)
        assert believed(view) == kids(FIRST)
        assert mesh.reported == set()


async def test_an_issuer_that_goes_away(tmp_path: Path) -> None:
    issuer = Issuer()
    issuer.has(FIRST)
    async with running(issuer, tmp_path) as mesh:
        view = await mesh.join()
        assert believed(view) == kids(FIRST)
        issuer.says = None
        for _ in range(5):
            await mesh.passes(REFRESH)
            assert believed(view) == kids(FIRST)
            assert mesh.reported == {"JwksUnavailable"}
        issuer.has(SECOND)
        await mesh.passes(REFRESH)
        assert believed(view) == kids(SECOND)
        assert mesh.reported == set()


async def test_an_issuer_that_is_away_after_a_restart(tmp_path: Path) -> None:
    issuer = Issuer()
    issuer.has(FIRST)
    async with running(issuer, tmp_path) as mesh:
        await mesh.join()
        await mesh.passes(0)
    issuer.says = None
    async with running(issuer, tmp_path) as mesh:
        view = await mesh.join()
        assert believed(view) == kids(FIRST)
        await mesh.passes(0)
        assert believed(view) == kids(FIRST)
        assert mesh.reported == {"JwksUnavailable"}


async def test_an_issuer_that_never_answers_holds_the_first_proxies_up_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.app.keys.PATIENCE", 0.2)
    issuer = Issuer()
    issuer.stuck = asyncio.Event()
    async with running(issuer, tmp_path) as mesh:
        began = monotonic()
        view = await mesh.join()
        assert 0.2 <= monotonic() - began < 2
        assert believed(view) == []
        began = monotonic()
        await mesh.join()
        assert monotonic() - began < 0.2
        issuer.has(FIRST)
        issuer.stuck.set()
        await mesh.passes(0)
        assert believed(view) == kids(FIRST)


@pytest.mark.point
async def test_only_the_issuers_last_keys_are_believed(tmp_path: Path, size: Size, proved: Proved) -> None:
    """Issuers that come, go, turn their keys and talk nonsense, under control planes that come and go."""
    wrong: list[str] = []
    timelines = size(15, 150, 1_500)
    for seed in range(timelines):
        wrong += await _timeline(Random(seed), tmp_path / str(seed))
    proved(
        "identity 7", "issuers that come, go and turn their keys, over restarts: tokens of anybody else's keys believed",
        bound="none", figure=f"{wrong[:3]}" if wrong else "none", holds=not wrong, cases=timelines * STEPS, asked=size(150, 1500, 15_000),
    )  # fmt: skip


async def _timeline(random: Random, folder: Path) -> list[str]:
    issuer, wrong = Issuer(), list[str]()
    if random.random() < 0.5:
        issuer.has(FIRST)
    steps = list(range(STEPS))
    while steps:
        async with running(issuer, folder) as mesh:
            view = await mesh.join()
            while steps:
                await mesh.passes(random.choice([0, 15, REFRESH]))
                if believed(view) != kids(*issuer.last):
                    wrong.append(f"{believed(view)} instead of {kids(*issuer.last)}")
                steps.pop()
                match random.randrange(6):
                    case 0:
                        issuer.says = None
                    case 1:
                        issuer.says = random.choice(USELESS)
                    case 2 | 3:
                        issuer.has(*random.sample(SIGNERS, random.randrange(1, 4)))
                    case 4:
                        break
                    case _:
                        view = await mesh.join()
    return wrong
