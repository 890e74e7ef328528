"""Which other resources an encoded one names, found while it is encoded."""

from collections.abc import Iterable
from functools import lru_cache

from controlplane.snapshot.resource import Ref
from controlplane.snapshot.types import CLUSTER, ROUTE, SECRET

# A reference is made once and shared: the same clusters are named again and again.
_REMEMBERED = 65_536


@lru_cache(maxsize=_REMEMBERED)
def cluster(name: str) -> Ref:
    """A cluster that a route, a listener or a mirror leads to."""
    return Ref(CLUSTER, name)


@lru_cache(maxsize=_REMEMBERED)
def route_table(name: str) -> Ref:
    """A route configuration that a listener asks for."""
    return Ref(ROUTE, name)


@lru_cache(maxsize=_REMEMBERED)
def secret(name: str) -> Ref:
    """A secret that a TLS context asks for."""
    return Ref(SECRET, name)


def in_order(refs: Iterable[Ref]) -> tuple[Ref, ...]:
    """Sorted, each once: what a `Resource` carries."""
    return tuple(sorted(set(refs)))
