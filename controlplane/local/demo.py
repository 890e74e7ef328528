"""The story of a first canary, told with real calls: what `lateen demo` does.

The steps are data; each says which rules are in force, what is called, and what must come of it. A split is right when
it is within four standard deviations of what the weights say: a run that is right fails once in 16,000.
"""

import asyncio
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

import controlplane
from controlplane.local import envoys
from controlplane.local.calls import Caller, Tally
from controlplane.local.mesh import Mesh
from controlplane.local.ports import ControlPlane, SyncState
from controlplane.local.running import RunningReplica
from controlplane.local.up import Running

EXAMPLE: Final = "bill-service"
CALLER: Final = "front-tomcat"
URL: Final = "http://bill-service:9999/"
RULES: Final = "rules.yaml"
_TEXTS: Final = {"v1": b"this is bill-service-v1", "v2": b"hello, this is bill-service-v2"}
_SETTLES_WITHIN: Final = 60.0  # seconds
_SIGMAS: Final = 4
_BALANCED: Final = 0.2  # how far from its share a version may be where calls go to the less busy


class Step(msgspec.Struct, frozen=True):
    """One step of the story."""

    title: str
    rules: str | None  # a file of the example's rules; None: no rules
    calls: int
    v1: float  # share of the answers that must come from v1; the rest from v2
    headers: tuple[tuple[str, str], ...] = ()
    mirrored: bool = False  # v2 gets a copy of every call

    @property
    def is_drawn(self) -> bool:
        """Whether calls are drawn by weight. Without rules each goes to the less busy of two: near half."""
        return self.rules is not None


class Result(msgspec.Struct, frozen=True):
    """What came of a step."""

    step: Step
    v1: int
    v2: int
    failed: int
    copies: int  # calls that v2 got beside those it answered

    @property
    def is_right(self) -> bool:
        """Whether this is what the rules say."""
        copies_right = self.copies == (self.step.calls if self.step.mirrored else 0)
        return self.failed == 0 and copies_right and self._is_split_right()

    def _is_split_right(self) -> bool:
        if self.step.is_drawn:
            return within(self.step.calls, self.step.v1, self.v1)
        return abs(self.v1 / self.step.calls - self.step.v1) <= _BALANCED


STORY: Final = (
    Step("no rules: as kube-proxy would", None, 2000, 0.5),
    Step("weights 90/10", "1-ninety-ten.yaml", 2000, 0.9),
    Step("weights 99/1", "2-ninety-nine-one.yaml", 4000, 0.99),
    Step("testers, by header", "3-testers.yaml", 500, 0.0, (("x-tester", "true"),)),
    Step("everybody else", "3-testers.yaml", 500, 1.0),
    Step("v1 answers, v2 gets a copy", "4-mirror.yaml", 500, 1.0, mirrored=True),
    Step("all to v2", "5-all-v2.yaml", 1000, 0.0),
    Step("and back: no rules", None, 2000, 0.5),
)


def within(calls: int, share: float, measured: int) -> bool:
    """Whether `measured` of `calls` is within four sigma of `share`."""
    return abs(measured - calls * share) <= _SIGMAS * math.sqrt(calls * share * (1 - share))


def examples() -> Path:
    """Where the examples are: in the package when it was installed, beside it in a checkout."""
    package = Path(controlplane.__file__).parent
    return next(place for place in (package / "examples", package.parent / "examples") if (place / EXAMPLE).is_dir())


def lay_out(directory: Path) -> Path:
    """A copy of the example to play with; the directory to run."""
    source = examples()
    shutil.copy(source / "server.py", directory / "server.py")
    shutil.copytree(source / EXAMPLE, directory / EXAMPLE, ignore=shutil.ignore_patterns(".lateen"))
    return directory / EXAMPLE


class Teller:
    """Tells the story in a running mesh."""

    def __init__(self, now: Running, directory: Path) -> None:
        self._mesh = now.mesh
        self._control = now.control
        self._directory = directory
        self._background = Tally()  # calls that went on while the rules changed
        self._measuring = asyncio.Lock()  # one at a time: background calls, or those that are counted

    @property
    def background(self) -> Tally:
        """What happened to the calls between the steps."""
        return self._background

    async def tell(self, steps: Sequence[Step], done: Callable[[Result], None]) -> tuple[Result, ...]:
        """All steps, with calls going on all the time."""
        await _until(self._mesh.is_settled)
        caller = self._caller()
        steady = asyncio.ensure_future(self._call_steadily(caller))
        results = []
        try:
            for step in steps:
                await self._use(step.rules)
                results.append(await self._measure(step, caller))
                done(results[-1])
        finally:
            steady.cancel()
            await asyncio.gather(steady, return_exceptions=True)
        return tuple(results)

    async def _call_steadily(self, caller: Caller) -> None:
        while True:
            async with self._measuring:
                self._background = self._background + await caller.call(10)
            await asyncio.sleep(0.02)

    async def _use(self, rules: str | None) -> None:
        """Put other rules in force, and wait until the caller's sidecar has them."""
        source = self._directory / "rules" / rules if rules else None
        target = self._directory / RULES
        before = target.read_text() if target.exists() else None
        after = source.read_text() if source else None
        if before == after:
            return
        seen = self._routes()
        if after is None:
            target.unlink()
        else:
            fresh = target.with_suffix(".new")
            fresh.write_text(after)
            fresh.rename(target)
        await _until(lambda: self._routes() != seen and is_synced(self._control, self._proxy()))
        await asyncio.sleep(0.1)  # an acknowledgement comes from Envoy's main thread; its worker follows

    async def _measure(self, step: Step, caller: Caller) -> Result:
        async with self._measuring:
            before = await self._calls_to("v2")
            tally = await caller.call(step.calls, step.headers, 8)
            v1, v2 = (tally.count(_TEXTS[version]) for version in ("v1", "v2"))
            copies = await self._copies(before + v2, step.calls if step.mirrored else 0)
        return Result(step, v1, v2, step.calls - v1 - v2, copies)

    async def _copies(self, answered: int, wanted: int) -> int:
        """Calls that v2 got beside those it answered. Nobody waits for copies: the last may be on its way."""
        for _ in range(20):
            if (copies := await self._calls_to("v2") - answered) >= wanted:
                break
            await asyncio.sleep(0.05)
        return copies

    async def _calls_to(self, version: str) -> int:
        """How many calls the caller's sidecar has sent to a version."""
        address = self._replica(f"{EXAMPLE}-{version}").replica.address
        sent = await envoys.calls(self._replica(CALLER).envoy.admin)
        return sum(each.total for each in sent if each.address == address)

    def _caller(self) -> Caller:
        replica = self._replica(CALLER).replica
        return Caller(replica.address, replica.http_proxy_port, URL)

    def _proxy(self) -> str:
        replica = self._replica(CALLER).replica
        return f"{replica.name}.{replica.namespace}"

    def _routes(self) -> object:
        found = self._control.config(self._proxy())
        return found["routes"] if found else None

    def _replica(self, workload: str) -> RunningReplica:
        return next(one for one in self._mesh.replicas() if one.replica.workload.name == workload)


def is_synced(control: ControlPlane, proxy: str) -> bool:
    """Whether a proxy has acknowledged everything it should have."""
    return any(
        status.name == proxy
        and all(each.state in (SyncState.SYNCED, SyncState.NOT_SENT) for each in status.types.values())
        for status in control.proxies()
    )


async def wait_until_settled(mesh: Mesh) -> None:
    """Until all replicas are ready. Raises TimeoutError."""
    await _until(mesh.is_settled)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_SETTLES_WITHIN):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event: a file read, a proxy's answer)
            await asyncio.sleep(0.02)
