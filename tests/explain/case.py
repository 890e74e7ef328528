"""A configuration and calls to make of it: what generators provide, what the real Envoy and the simulator are asked.

Anything that yields `Case`s can be held against Envoy: random Envoy configurations (`tests.explain.generate`), or a
compiler of random meshes, as long as it follows three rules:

- bound listeners and endpoints are on 127.0.0.0/8 (`Addresses` hands out free ones) or on all addresses, and names
  are unique in a batch;
- a call that is captured enters at a listener that restores original destinations; the harness then speaks the
  PROXY protocol to it instead of redirecting with iptables, so no other `proxy_protocol` filter may stand there;
- what depends on chance is left to weights: no runtime fractions between 0 and 100 %.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from controlplane.explain import Address, Call, Resources
from tests.envoys.upstreams import loopback_address


class Case(msgspec.Struct, frozen=True):
    """One configuration, complete in itself, and calls."""

    resources: Resources
    calls: tuple[Call, ...]
    stand_in: str = "127.0.0.1"  # where listeners for all addresses are bound; captured calls enter there


class Provider(Protocol):
    """Where random configurations come from. `endpoints` are addresses where an echo upstream answers."""

    def __call__(self, seed: int, addresses: "Addresses", endpoints: Sequence[Address]) -> Case: ...


class Addresses:
    """Addresses nobody else listens on: each from a loopback network drawn for this object."""

    def __init__(self) -> None:
        self._network = loopback_address().rpartition(".")[0]
        self._free = self._all()

    def take(self) -> str:
        """An IP address with all its ports."""
        return next(self._free)

    def _all(self) -> Iterator[str]:
        first, second, third = (int(part) for part in self._network.split("."))
        while True:
            yield from (f"{first}.{second}.{third}.{last}" for last in range(1, 255))
            third = (third + 1) % 256


def merge(cases: Iterable[Case]) -> Resources:
    """All cases in one Envoy. Names must differ; a clash is a fault of the provider."""
    parts: tuple[dict, ...] = ({}, {}, {}, {}, {})
    for case in cases:
        found = case.resources
        kinds = (found.listeners, found.routes, found.clusters, found.endpoints, found.secrets)
        for whole, own in zip(parts, kinds, strict=True):
            assert not whole.keys() & own.keys()
            whole.update(own)
    return Resources(*parts)
