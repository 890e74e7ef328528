"""Who runs what: exact after anything that happens, at the cost of what changed."""

from collections.abc import Collection
from random import Random  # noqa: TID251  (seeded)

from controlplane.model.problem import ObjectRef, Origin
from controlplane.snapshot import types
from controlplane.snapshot.resource import Resource, resource
from controlplane.snapshot.view import Change
from controlplane.status.parts import Progress
from controlplane.status.reach import Reach

LAYERS = ("mesh", "shop", "bank")


def rule(name: object) -> ObjectRef:
    return ObjectRef("networking.istio.io", "VirtualService", "shop", str(name))


class Fleet:
    """Proxies that see layers, each with types outstanding."""

    def __init__(self) -> None:
        self.sees: dict[int, tuple[str, ...]] = {}
        self.owes: dict[int, set[str]] = {}
        self.asked = 0

    def members(self, layer: str) -> Collection[int]:
        return [number for number, layers in self.sees.items() if layer in layers]

    def is_seen(self, layer: str) -> bool:
        return bool(self.members(layer))

    def outstanding(self, connection: int) -> frozenset[str]:
        self.asked += 1
        return frozenset(self.owes.get(connection, ()))

    def name(self, connection: int) -> str:
        return f"web-{connection}.shop"


def made(name: str, body: str, *refs: ObjectRef, type_url: str = types.CLUSTER) -> Resource:
    return resource(type_url, name, body.encode(), origins=tuple(Origin(ref) for ref in refs))


def change(reach: Reach[str], layer: str, old: Resource | None, new: Resource | None) -> None:
    either = new or old
    assert either is not None
    reach.published({layer: {either.type_url: {either.name: Change(old, new)}}})
    counted(reach)


def counted(reach: Reach[str]) -> int:
    """In how many steps."""
    return sum(1 for _ in reach.count())


def test_a_change_is_everywhere_when_all_whom_it_concerns_have_acknowledged_it() -> None:
    fleet = Fleet()
    fleet.sees = {1: ("mesh",), 2: ("mesh", "shop"), 3: ("bank",)}
    reach = Reach(fleet, lambda _ref: True)
    fleet.owes = {1: {types.CLUSTER}, 2: {types.CLUSTER}, 3: {types.CLUSTER}}
    change(reach, "mesh", None, made("a", "1", rule("a")))
    assert reach.look() == set()
    assert reach.progress(rule("a")) == Progress(2, 2, ("web-1.shop", "web-2.shop"))
    fleet.owes[1] = {types.LISTENER}
    assert reach.look() == set()
    assert reach.progress(rule("a")) == Progress(2, 1, ("web-2.shop",))
    fleet.owes[2] = set()
    assert reach.look() == {rule("a")}
    assert reach.progress(rule("a")) == Progress(2, 0)
    assert reach.look() == set(), "said once"


def test_who_has_not_acknowledged_and_leaves_is_not_waited_for() -> None:
    fleet = Fleet()
    fleet.sees = {1: ("mesh",), 2: ("mesh",)}
    fleet.owes = {2: {types.CLUSTER}}
    reach = Reach(fleet, lambda _ref: True)
    change(reach, "mesh", None, made("a", "1", rule("a")))
    assert reach.look() == set()
    del fleet.sees[2]
    reach.gone(2)
    assert reach.look() == {rule("a")}


def test_endpoints_and_certificates_are_no_news() -> None:
    fleet = Fleet()
    fleet.sees = {1: ("mesh",)}
    reach = Reach(fleet, lambda _ref: True)
    for type_url in (types.ENDPOINT, types.SECRET):
        change(reach, "mesh", None, made("a", "1", rule("a"), type_url=type_url))
    assert not reach.unsettled


def test_a_change_that_nobody_sees_waits_for_nobody_until_somebody_comes() -> None:
    fleet = Fleet()
    reach = Reach(fleet, lambda _ref: True)
    change(reach, "mesh", None, made("a", "1", rule("a")))
    assert not reach.unsettled
    assert reach.progress(rule("a")) == Progress()
    fleet.sees, fleet.owes = {1: ("mesh",)}, {1: set(types.PUSH_ORDER)}
    reach.mark(rule("a"))
    assert reach.look() == set()
    fleet.owes = {}
    assert reach.look() == {rule("a")}
    assert reach.progress(rule("a")) == Progress(1, 0)


def test_counts_are_those_of_a_recount_whatever_happens() -> None:
    for seed in range(50):
        random, fleet = Random(seed), Fleet()
        fleet.sees = {number: tuple(random.sample(LAYERS, 2)) for number in range(6)}
        reach = Reach(fleet, lambda _ref: True)
        stands: dict[tuple[str, str], Resource] = {}
        for step in range(60):
            place = layer, name = random.choice(LAYERS), random.choice("abcd")
            refs = tuple(rule(number) for number in random.sample(range(5), random.randint(0, 3)))
            new = made(name, str(step), *refs) if random.random() < 0.7 else None
            old = stands.pop(place, None)
            if new is not None:
                stands[place] = new
            if old is not None or new is not None:
                change(reach, layer, old, new)
            reach.look()
            for ref in map(rule, range(5)):
                layers = {at for (at, _), found in stands.items() if Origin(ref) in found.origins}
                seen = {number for number, sees in fleet.sees.items() if layers & set(sees)}
                assert reach.progress(ref) == Progress(len(seen), 0)


def test_a_change_costs_what_it_touches() -> None:
    """Of 20 and of 2,000 objects and of as many proxies in other layers: the same."""
    costs = []
    for size in (20, 2_000):
        fleet = Fleet()
        fleet.sees = dict.fromkeys(range(1, size), ("bank",))
        fleet.sees[0] = ("mesh",)
        reach = Reach(fleet, lambda _ref: True)
        stands = [made(f"{number}", "1", rule(number)) for number in range(size)]
        reach.published({"mesh": {types.CLUSTER: {each.name: Change(None, each) for each in stands}}})
        assert counted(reach) == size
        reach.look()
        before = reach.touched
        change(reach, "mesh", stands[7], made("7", "2", rule(7)))
        reach.look()
        costs.append(reach.touched - before)
    assert costs == [2, 2]
