"""Whatever happens between us and an API server: after quiet we have what it has, and nothing was ever removed that
was there at all times.

The cluster changes, forgets its history, goes back to a backup, loses and gets back a kind; answers are cut, refused,
repeated, garbled, or lie that there is nothing.
"""

import json
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from controlplane.model.problem import ObjectRef
from controlplane.sources.kubernetes.reflector import List, Pace, State, Wait, Watch
from tests.conftest import Proved, Size
from tests.sources.kubernetes.cluster import EXPIRED, SERVICES, Cluster, Gone, status
from tests.sources.kubernetes.driving import Driver

ALL = frozenset(f"s{number}" for number in range(8))
NAMES = st.sampled_from(sorted(ALL))
COUNTED = {"runs": 0, "steps": 0}


class World(RuleBasedStateMachine):
    """One kind, of one cluster, over a bad line."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.driver = Driver(self.cluster, SERVICES, Pace(page=3))
        self.backup = self.cluster.snapshot()
        self.numbers = 0
        self.moment = 1
        self.absent: dict[str, int] = {}  # the last moment at which the cluster had no object of this name
        self.told: dict[str, int] = {}  # a moment from which on we knew of it
        self.list_began = 0
        self.last_lie = -1e9
        COUNTED["runs"] += 1

    # What people do

    @initialize(names=st.sets(NAMES))
    def begin(self, names: set[str]) -> None:
        for name in sorted(names):
            self.change(name)

    @rule(name=NAMES)
    def change(self, name: str) -> None:
        self.numbers += 1
        self.cluster.put(SERVICES, name, spec={"clusterIP": f"10.0.{self.numbers // 250}.{self.numbers % 250 + 1}"})

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if ("default", name) in self.cluster.objects.get(SERVICES, {}):
            self.cluster.delete(SERVICES, name)

    @rule()
    def compact(self) -> None:
        self.cluster.compact()

    @rule()
    def back_up(self) -> None:
        self.backup = self.cluster.snapshot()

    @rule()
    def restore(self) -> None:
        """As etcdutl does it with --bump-revision and --mark-compacted: no version of before is known any more."""
        self.cluster.restore(self.backup, bump=1000)

    # What happens on the way

    @rule()
    def well(self) -> None:
        self.driver.turn()

    @rule(count=st.integers(0, 3), ends=st.sampled_from(["cut", "end", "410", "500", "garbage", "again"]))
    def badly(self, count: int, ends: str) -> None:
        step = self.driver.next()
        if isinstance(step, List):
            self._bad_list(step, ends)
        else:
            self._bad_watch(step, count, ends)

    @rule(code=st.sampled_from([400, 401, 403, 404, 409, 410, 429, 500, 503, 504]))
    def refused(self, code: int) -> None:
        self.driver.next()
        self.driver.refuse(code, status(code, "No", "no"), {"Retry-After": "2"})

    @rule()
    def nobody_answers(self) -> None:
        self.driver.next()
        self.driver.reflector.unreached("connection refused")

    @rule()
    def too_large(self) -> None:
        self.driver.next()
        self.driver.reflector.too_large()

    @precondition(lambda self: self._told_all() and self.driver.clock.seconds - self.last_lie > 200)
    @rule(keeps=st.integers(0, 1))
    def a_list_lies(self, keeps: int) -> None:
        """It lacks everything, or nearly so, of what we know. Twice in a row nobody could tell it from the truth."""
        step = self.driver.next()
        if not isinstance(step, List) or step.token:
            return
        page = self.cluster.page(SERVICES)
        if keeps and len(self.driver.mirror) < 6:
            return
        self.last_lie = self.driver.clock.seconds
        page["items"] = page["items"][:keeps]
        self.driver.page(page)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.driver.clock.seconds += seconds

    def _bad_list(self, step: List, ends: str) -> None:
        if ends in {"cut", "garbage"}:
            self.driver.reflector.failed(ends)
        elif ends == "410":
            self.driver.refuse(410, EXPIRED)
        elif ends == "500":
            self.driver.refuse(500, status(500, "InternalError", ""))
        else:
            self.driver.list(step)

    def _bad_watch(self, step: Watch, count: int, ends: str) -> None:
        try:
            events = self.cluster.since(SERVICES, step.version)
        except Gone:
            self.driver.events([{"type": "ERROR", "object": EXPIRED}])
            return
        some: list[Any] = events[:count]
        if ends == "again" and some:
            some.append(some[0])
        if ends in {"410", "500"}:
            code = int(ends)
            some.append({"type": "ERROR", "object": EXPIRED if code == 410 else status(code, "InternalError", "")})
        if ends == "garbage":
            some.append({"type": "ADDED", "object": {"metadata": 5}})
        if self.driver.events(some):
            self.driver.reflector.ended() if ends == "end" else self.driver.reflector.failed(ends)

    # What must hold

    def _told_all(self) -> bool:
        return self.driver.names() == {name for _, name in self.cluster.objects.get(SERVICES, {})}

    @invariant()
    def nothing_is_removed_that_was_always_there(self) -> None:
        COUNTED["steps"] += 1
        self.moment += 1
        there = {name for _, name in self.cluster.objects.get(SERVICES, {})}
        self.absent.update(dict.fromkeys(ALL - there, self.moment))
        removed, self.driver.removed = self.driver.removed, []
        for ref in removed:
            assert self.absent.get(ref.name, 0) >= self.told.pop(ref.name, self.list_began), f"{ref} was removed"
        if self.driver.asked and self.driver.asked[-1] == List(3, ""):
            self.list_began = self.moment
        for name in self.driver.names() - self.told.keys():
            self.told[name] = self.list_began

    @invariant()
    def what_is_told_is_what_is_kept(self) -> None:
        assert dict(self.driver.mirror.values()) == self.driver.applied

    def teardown(self) -> None:
        """Quiet: what is asked is answered."""
        for _ in range(60):
            self.driver.turn()
            self.nothing_is_removed_that_was_always_there()
        expected: dict[ObjectRef, Any] = self.driver.expected()
        assert self.driver.applied == expected
        assert self.driver.reflector.state is State.WATCHING
        assert not list(self.driver.reflector.problems())
        step = self.driver.reflector.next()
        assert isinstance(step, Wait | Watch)
        assert len(json.dumps(self.driver.asked, default=str)) > 0


@pytest.mark.point
def test_whatever_happens(size: Size, proved: Proved) -> None:
    """The small size is the same each time."""
    runs = size(150, 3000)
    COUNTED.update(runs=0, steps=0)
    World.TestCase.settings = settings(max_examples=runs, stateful_step_count=50, phases=[Phase.generate])
    case = World.TestCase()
    case.runTest()
    proved(
        "kubernetes 4",
        "list+watch over a bad line: equal to the cluster after quiet, nothing removed that was always there",
        bound="0 wrong",
        figure=f"0 in {COUNTED['steps']:,} steps",
        holds=True,
        cases=COUNTED["runs"],
        asked=runs * 9 // 10,  # hypothesis runs each once, and drops what it has had
    )
