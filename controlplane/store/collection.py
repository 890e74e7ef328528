"""What a graph is made of: typed handles for its collections, and the question a function may ask.

A handle is a name with types. It holds no values: the same handle stands for the collection in the store, in
each of its forks, and in the second store that assert mode fills from scratch. Handles are made by `Store`
(`store.input`, `store.derive`, …), each after the collections it is made from, so the order of creation is an
order of evaluation and cycles cannot be written down.
"""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from controlplane.store.graph import Graph

K = TypeVar("K")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
IK = TypeVar("IK")

Kind = Literal["input", "derive", "expand", "index", "keys", "join", "match", "query", "union"]


class Handle:
    """One collection of a graph: its name, what it is made from, and its place in the order of evaluation."""

    __slots__ = ("function", "graph", "kind", "name", "slot", "sources")

    def __init__(
        self, graph: "Graph", kind: Kind, name: str, sources: "tuple[Handle, ...]", function: Callable[..., Any] | None
    ) -> None:
        self.graph = graph
        self.kind = kind
        self.name = name
        self.sources = sources
        self.function = function
        self.slot = graph.add(self)
        """Height: a collection may read those of a smaller slot, and no others."""

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class Readable(Handle, Generic[K, V_co]):
    """What `fetch` reads by key: a collection or a query."""

    __slots__ = ()


class Collection(Readable[K, V_co]):
    """A keyed set of frozen values. No value is None: an absent key reads as None.

    Keys are hashable and have an order among themselves. Values that compare equal must mean the same, since a
    change from one to the other is silent: beware of 1 and True in values that hold raw JSON.
    """

    __slots__ = ()


class Input(Collection[K, V_co]):
    """A collection filled from outside, by `apply`."""

    __slots__ = ()


class Query(Readable[K, V_co]):
    """A lazy memo: has an entry for each key that some function reads, and for no other."""

    __slots__ = ()


class Index(Handle, Generic[IK, K, V_co]):
    """Under each index key the set of source keys that belong there. Read through `fetch.keys` and `fetch.values`."""

    __slots__ = ()


class Fetch(Protocol):
    """What a function reads other collections with. Each call is recorded as a dependency of the running node.

    Only collections created before the running one may be read, and only while the function runs.
    Raises GraphError otherwise.
    """

    def __call__(self, source: Readable[K, V], key: K, /) -> V | None:
        """The value under `key`. Absence is an answer too: a later create wakes the reader."""
        ...

    def has(self, source: Readable[K, Any], key: K, /) -> bool:
        """Whether there is a value under `key`. A changed value does not wake the reader."""
        ...

    def keys(self, index: Index[IK, K, Any], key: IK, /) -> tuple[K, ...]:
        """The source keys under `key`, sorted. Membership (and so emptiness) wakes the reader, values do not."""
        ...

    def values(self, index: Index[IK, K, V], key: IK, /) -> tuple[tuple[K, V], ...]:
        """The entries under `key`, sorted by key. Membership and each of the values wake the reader."""
        ...

    def report(self, *values: Any) -> None:
        """Files `values` (hashable) beside the running node's entry, until it runs again or goes.

        For what somebody must be told and no function reads: no dependency, no part of the entry's equality.
        """
        ...


class Change(msgspec.Struct, Generic[K, V], frozen=True):
    """An input entry set to `value`; None deletes it."""

    collection: Input[K, V]
    key: K
    value: V | None


class StoreError(Exception):
    """The store was used against its rules: a bug of the caller, never of a user's object."""


class GraphError(StoreError):
    """The graph of collections is wired wrongly, or a function read what it may not."""


Node = tuple[int, Hashable]
"""One run of one function: (slot of its collection, key it runs for)."""
