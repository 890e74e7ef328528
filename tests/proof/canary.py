"""Rules of a canary at random: subsets that come, go and change, and weights between them.

A change leads from one state to another in steps, each of which is valid by itself: VirtualService first where all it
names is there already, DestinationRule first where it still has all that is named, both at once, or by way of the
union of both sets of subsets.
"""

from collections.abc import Mapping
from random import Random  # noqa: TID251  seeded by the test
from typing import Any, NamedTuple

SERVICE = "bill-service"
NAMESPACE = "istio-demo"
PORT = 9999
HOST = f"{SERVICE}.{NAMESPACE}.svc.cluster.local"
VERSIONS = ("v1", "v2", "v3")
_NAMES = ("stable", "canary", "blue", "green", "next")
_MOST_SUBSETS = 4
_BALANCERS = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM")


class Subset(NamedTuple):
    """What a subset is."""

    version: str
    balancer: str = "ROUND_ROBIN"


class Rules(NamedTuple):
    """A DestinationRule and a VirtualService."""

    subsets: Mapping[str, Subset]
    weights: Mapping[str, int]  # by subset; together 100

    @property
    def is_valid(self) -> bool:
        return self.weights.keys() <= self.subsets.keys()

    def objects(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return _object("DestinationRule", self._destination_rule()), _object("VirtualService", self._virtual_service())

    def shares(self) -> dict[str, float]:
        """Version -> its share of the answers."""
        found = dict.fromkeys(VERSIONS, 0.0)
        for name, weight in self.weights.items():
            found[self.subsets[name].version] += weight / 100
        return found

    def _destination_rule(self) -> Mapping[str, Any]:
        subsets = [
            {"name": name, "labels": {"version": each.version}, "trafficPolicy": _policy(each)}
            for name, each in self.subsets.items()
        ]
        return {"host": SERVICE, "subsets": subsets}

    def _virtual_service(self) -> Mapping[str, Any]:
        route = [
            {"destination": {"host": SERVICE, "subset": name}, "weight": weight}
            for name, weight in self.weights.items()
        ]
        return {"hosts": [SERVICE], "http": [{"route": route}]}


def weighted(**weights: int) -> Rules:
    """One subset a version: `weighted(v1=99, v2=1)`."""
    return Rules({version: Subset(version) for version in VERSIONS}, weights)


def any_rules(random: Random, before: Rules) -> Rules:
    """Other subsets (some keep their names and become something else) and other weights."""
    kept = {name: each for name, each in before.subsets.items() if random.random() < 0.7}
    changed = {name: _any_subset(random) if random.random() < 0.3 else each for name, each in kept.items()}
    added = random.sample(_NAMES, random.randint(0 if changed else 1, 2))
    subsets = dict(list({**{name: _any_subset(random) for name in added}, **changed}.items())[:_MOST_SUBSETS])
    return Rules(subsets, _any_weights(random, sorted(subsets)))


def any_way(random: Random, before: Rules, after: Rules) -> list[Rules]:
    """Valid steps from `before` (left out) to `after`."""
    union = {**before.subsets, **after.subsets}
    ways = [
        [after],
        [Rules(after.subsets, before.weights), after],  # DestinationRule first
        [Rules(before.subsets, after.weights), after],  # VirtualService first
        [Rules(union, before.weights), Rules(union, after.weights), after],
    ]
    return random.choice([way for way in ways if all(step.is_valid for step in way)])


def _any_subset(random: Random) -> Subset:
    return Subset(random.choice(VERSIONS), random.choice(_BALANCERS))


def _any_weights(random: Random, names: list[str]) -> dict[str, int]:
    chosen = random.sample(names, random.randint(1, len(names)))
    cuts = sorted(random.randint(0, 100) for _ in chosen[1:])
    return {name: end - begin for name, begin, end in zip(chosen, [0, *cuts], [*cuts, 100], strict=True)}


def _policy(subset: Subset) -> Mapping[str, Any]:
    return {"loadBalancer": {"simple": subset.balancer}}


def _object(kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = {"name": SERVICE, "namespace": NAMESPACE}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": meta, "spec": spec}
