"""The store: what is known, what follows from it, and what a change changes.

A control plane is one big function from objects to configuration. Computing it anew for each change costs what
the mesh costs; updating its result by hand is where such programs go wrong. Here the function is written as a
graph of small pure functions over keyed collections, every one of which reads other collections through `fetch`.
What was read is recorded, so the store knows what a change reaches, runs that and nothing else, and stops where a
result comes out equal. The same functions do the first build, one change, the dry run and the explanation.

    store = Store()
    services: Input[Key, Service] = store.input("Services")
    hosts = store.derive("Hosts", services, hosts_of_service)
    store.output(hosts)
    revision = store.apply([Change(services, ("default", "reviews"), reviews)])
    revision.changes[hosts]  # {("default", "reviews"): (None, …)}

`apply` is synchronous: there is no state in between, nothing to lock, nothing to wait for.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from controlplane.store.audit import InconsistencyError, Mismatch, inspect_each, recompute
from controlplane.store.collection import (
    IK,
    Change,
    Collection,
    Fetch,
    GraphError,
    Handle,
    Index,
    Input,
    K,
    Node,
    Query,
    Readable,
    StoreError,
    V,
)
from controlplane.store.engine import Counts, Engine, Monitor, Record
from controlplane.store.graph import Graph, GraphDescription
from controlplane.store.lineage import Entry, Read, affected, origins, why
from controlplane.store.maps import Map
from controlplane.store.tables import Changed, IndexTable, Table, equal

K2 = TypeVar("K2")
V2 = TypeVar("V2")

Trace = list[tuple[str, Any]] | Callable[[str, Any], object] | None
Failures = Mapping[tuple[Handle, Any], Exception]

APPLY_BATCH: Final = 1024
"""Nodes between two looks at the work list in `apply`, which nobody interrupts."""
STEP_BATCH: Final = 8
"""Nodes between two looks at the budget in `apply_steps`: a heavy function may take a millisecond."""
SINK_BATCH: Final = 1000
"""Entries between two looks at the budget in `settle`: about half a millisecond."""
CATCH_UP_ROUNDS: Final = 8
"""How often `apply_steps` works off, step by step, what was applied meanwhile, before it does the rest at once."""

_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})


class StaleForkError(StoreError):
    """The store that this fork was made of has moved on; make a new fork."""


class Changes(Mapping[Readable[Any, Any], Mapping[Any, tuple[Any, Any]]]):
    """Collection -> {key: (old, new)}: what really changed in outputs, None for absent. Empty where nothing did."""

    __slots__ = ("_by_collection", "_outputs")

    def __init__(self, by_collection: Mapping[Readable[Any, Any], Changed], outputs: Container[int]) -> None:
        self._by_collection = by_collection
        self._outputs = outputs

    def __getitem__(self, collection: Readable[K, V]) -> Mapping[K, tuple[V | None, V | None]]:
        if collection.slot not in self._outputs:
            raise GraphError(f"{collection.name}: not an output; changes of other collections are not kept")
        return self._by_collection.get(collection, _NOTHING)

    def __contains__(self, collection: object) -> bool:
        return collection in self._by_collection

    def __iter__(self) -> Iterator[Readable[Any, Any]]:
        return iter(self._by_collection)

    def __len__(self) -> int:
        return len(self._by_collection)

    def __repr__(self) -> str:
        return f"Changes({ {c.name: dict(changed) for c, changed in self._by_collection.items()} })"


class Revision(msgspec.Struct, frozen=True):
    """One consistent state, as the difference to the one before."""

    number: int
    """Grows by one with each state. An apply that changed nothing answers the number there was."""
    changes: Changes
    failures: Failures
    """(collection, key) -> exception: the runs that failed in this revision. Their last values stay."""
    reports: Mapping[tuple[Handle, Any], tuple[Any, ...]] = msgspec.field(default_factory=dict)
    """(collection, key) -> what its run reports now, for those that reported something else before."""


class _Stepping:
    """A big change under way: worked out on `working`, while `serving` answers and takes small changes."""

    __slots__ = ("late", "noted", "overtaken", "working")

    def __init__(self, working: Engine) -> None:
        self.working = working
        self.late: list[Change[Any, Any]] = []
        """Applied to `serving` already, not yet to `working`."""
        self.overtaken: defaultdict[int, dict[Any, None]] = defaultdict(dict)
        """slot -> keys of outputs that were published since the big change began"""
        self.noted: dict[Node, None] = {}
        """Nodes whose reports were published since then"""

    def note(self, record: Record) -> None:
        """Remembers what was published while the big change is under way."""
        for slot, changed in record.changed.items():
            self.overtaken[slot].update(dict.fromkeys(changed))
        self.noted.update(dict.fromkeys(record.noted))


class Store:
    """Collections, and the functions between them."""

    def __init__(self) -> None:
        self._graph = Graph()
        self._outputs: set[int] = set()
        self._monitor = Monitor()
        self._base: Engine | None = None
        self._top: Engine | None = None
        self._stepping: _Stepping | None = None
        self._trace: Trace = None
        self.revision = 0
        """The number of the state that is served."""
        self.assert_mode = False
        """Recompute everything after each change, and raise InconsistencyError where it comes out different."""

    # --- wiring ----------------------------------------------------------------------------------------------

    def input(self, name: str) -> Input[K, V]:
        """A collection that `apply` fills: `services: Input[Key, Service] = store.input("Services")`."""
        return Input(self._graph, "input", name, (), None)

    def derive(
        self, name: str, source: Collection[K, V], function: Callable[[Fetch, K, V], V2 | None]
    ) -> Collection[K, V2]:
        """One entry for each entry of `source`: what `function(fetch, key, value)` answers, none for None."""
        return Collection(self._graph, "derive", name, (source,), function)

    def expand(
        self, name: str, source: Collection[K, V], function: Callable[[Fetch, K, V], Mapping[K2, V2]]
    ) -> Collection[K2, V2]:
        """The entries that `function(fetch, key, value)` emits for each entry of `source`, all in one collection.

        Where two source entries emit one key, the smallest source key wins; when it goes, the next takes over.
        """
        return Collection(self._graph, "expand", name, (source,), function)

    def index(self, name: str, source: Collection[K, V], function: Callable[[K, V], Iterable[IK]]) -> Index[IK, K, V]:
        """Files each entry of `source` under the index keys that `function(key, value)` answers."""
        return Index(self._graph, "index", name, (source,), function)

    def keys(self, name: str, index: Index[IK, K, V]) -> Collection[IK, bool]:
        """The index keys that have a member, each with the value True."""
        return Collection(self._graph, "keys", name, (index,), None)

    def join(self, name: str, left: Collection[K2, Any], index: Index[K2, K, V]) -> Collection[tuple[K2, K], V]:
        """(left key, source key) -> source value, for each left key and each source key filed under it."""
        return Collection(self._graph, "join", name, (left, index), None)

    def match(self, name: str, left: Index[IK, K2, Any], right: Index[IK, K, V]) -> Collection[tuple[K2, K], V]:
        """(left source key, right source key) -> right value, for members of both that share an index key."""
        return Collection(self._graph, "match", name, (left, right), None)

    def query(self, name: str, function: Callable[[Fetch, K], V | None]) -> Query[K, V]:
        """A memo of `function(fetch, key)`, for the keys that other functions fetch and as long as they do.

        Worked out when first fetched, inside the function that asks: one that asks for thousands of new keys is one
        long step. Worked out again when something changes that it read, before those who read it.
        """
        return Query(self._graph, "query", name, (), function)

    def union(self, name: str, *parts: Collection[K, V]) -> Collection[K, V]:
        """The entries of all `parts`, whose keys are disjoint. Where they are not, the first part wins."""
        return Collection(self._graph, "union", name, parts, None)

    def output(self, collection: Readable[K, V]) -> None:
        """Revisions report what changes in `collection` from now on."""
        if collection.graph is not self._graph or collection.kind == "index":
            raise GraphError(f"{collection.name}: not a collection of this store")
        self._outputs.add(collection.slot)

    def freeze(self) -> None:
        """Ends the wiring; the first apply does so by itself."""
        self._serving()

    # --- looking, from outside of functions --------------------------------------------------------------------

    def reader(self, collection: Readable[K, V]) -> Callable[[K], V | None]:
        """`get` for many keys, good until the next apply."""
        return self._table(collection).data.get

    def get(self, collection: Readable[K, V], key: K) -> V | None:
        """The value under `key`. A query has values for the keys that functions read, and for no other."""
        return self._table(collection).data.get(key)  # type: ignore[no-any-return]  # tables are untyped inside

    def items(self, collection: Readable[K, V]) -> Iterable[tuple[K, V]]:
        """A live view of all entries, in no particular order: finish with it before the next apply."""
        return self._table(collection).data.items()  # type: ignore[no-any-return]  # tables are untyped inside

    def entry(self, index: Index[IK, K, V], key: IK) -> tuple[K, ...]:
        """The source keys under an index key, sorted."""
        table = self._table(index)
        assert isinstance(table, IndexTable)
        return table.entries.sorted(key)

    def reports(self) -> Iterator[tuple[Handle, Any, tuple[Any, ...]]]:
        """(collection, key, what its last run reported), for all that reported something."""
        for table in self._serving().tables:
            for key, reported in table.reports.items():
                yield self._graph[table.slot], key, reported

    @property
    def failures(self) -> Failures:
        """(collection, key) -> the exception its last run ended with. Its last good value, if any, stays served."""
        return {
            (self._graph[table.slot], key): error
            for table in self._serving().tables
            for key, error in table.failures.items()
        }

    @property
    def trace(self) -> Trace:
        """Told (collection name, key) for every run of a function: a list to append to, or something to call."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace) -> None:
        self._trace = trace
        if isinstance(trace, list):
            self._monitor.trace = lambda name, key: trace.append((name, key))
        else:
            self._monitor.trace = trace

    def counts(self) -> Mapping[str, Counts]:
        """Collection name -> how often its function ran."""
        return {handle.name: self._monitor.counts[handle.slot] for handle in self._graph}

    def graph(self) -> GraphDescription:
        """The collections, what each is made from and what it was seen to read: `str()` for text, `.dot()`."""
        return self._serving().describe()

    def why(self, collection: Handle, key: Any) -> tuple[Read, ...]:
        """What the making of an entry took and asked for, one step back."""
        return why(self._table(collection).engine, collection, key)

    def origins(self, collection: Handle, key: Any) -> tuple[Entry, ...]:
        """The input entries that an entry was made of."""
        return origins(self._table(collection).engine, collection, key)

    def affected(self, collection: Handle, key: Any) -> tuple[Entry, ...]:
        """The entries that depend on this one as it is now, all the way down, nearest first.

        A change that files something under another index key reaches the readers of that key, too.
        """
        return affected(self._table(collection).engine, collection, key)

    def audit(
        self, budget: Callable[[], bool], nodes: Iterable[tuple[Handle, Any]] | None = None
    ) -> Generator[None, None, tuple[Mismatch, ...]]:
        """Runs nodes again, beside what is served, and returns those that come out different: a bug of ours.

        In steps of one node, yields when `budget()` says it is time. Changes may be applied between two steps.
        `nodes` are (collection, run key); all by default.
        """
        flat = None if nodes is None else ((handle.slot, key) for handle, key in nodes)
        return inspect_each(lambda: (self._serving(), self.revision), flat, budget)

    # --- changing ----------------------------------------------------------------------------------------------

    def apply(self, changes: Iterable[Change[Any, Any]]) -> Revision:
        """Sets inputs and brings everything up to date, now. Of two changes of one key the later counts."""
        engine = self._serving()
        changes = tuple(changes)
        for _ in engine.run(changes, APPLY_BATCH):
            pass
        if self._stepping:
            self._stepping.late.extend(changes)
        self._sink_some()
        return self._publish(engine)

    def apply_steps(
        self, changes: Iterable[Change[Any, Any]], budget: Callable[[], bool]
    ) -> Generator[None, None, Revision]:
        """`apply` in bounded steps: yields whenever `budget()` says it is time, and returns the revision.

        Until then the store serves what it served, and other changes may be applied between two steps: each is
        published at once, and is in the state that is published at the end as well.

        While it runs, the state it began with is left alone. What is served and what is being worked out are
        two overlays on it that know nothing of each other, and small changes go into both. Publishing is to
        serve the other one: its cost is that of a few pointers, however much has changed. The entries sink into
        the state below later (`settle`, and a few with each apply). Merging the result into a state that has
        moved would have to find out what the two did to each other's dependencies; this way there is nothing to
        find out. The price is that small changes are worked out twice in that time.

        One at a time; a generator that is closed early leaves the store as if the change had not been asked for.
        """
        yield from self.settle(budget)
        if self._stepping:
            raise StoreError("another change is being applied in steps")
        working = self._split()
        stepping = self._stepping = _Stepping(working)
        try:
            yield from self._catch_up(stepping, tuple(changes), budget)
            return self._switch(stepping)
        finally:
            self._stepping = None

    def settle(self, budget: Callable[[], bool]) -> Generator[None, None, None]:
        """Finishes what a big change left to tidy, in bounded steps. Changes nothing that can be seen.

        Reading and changing are somewhat slower until then. A good moment for `gc.freeze()` is right after.
        """
        while self._sink_some():
            if budget():
                yield

    def fork(self) -> "Fork":
        """A store of its own that starts as this one is now, and holds no more than what is changed in it."""
        return Fork(self)

    # --- inside ------------------------------------------------------------------------------------------------

    def _serving(self) -> Engine:
        """The engine that answers. Builds it when the wiring is done."""
        if self._top is None:
            self._graph.freeze()
            self._top = self._base = self._engine(below=None)
        if self._top.interrupted:
            raise StoreError("an apply is running, or was interrupted (functions read through fetch alone)")
        return self._top

    def _engine(self, below: Engine | None) -> Engine:
        return Engine(self._graph, self._outputs, self._monitor, below)

    def _table(self, handle: Handle) -> Table:
        if handle.graph is not self._graph:
            raise GraphError(f"{handle.name}: not a collection of this store")
        return self._serving().tables[handle.slot]

    def _publish(self, engine: Engine) -> Revision:
        if engine.moved:
            self.revision += 1
        record = engine.take_record()
        if self._stepping:
            self._stepping.note(record)
        return self._revision(record)

    def _revision(self, record: Record) -> Revision:
        graph = self._graph
        changes: dict[Any, Changed] = {graph[slot]: changed for slot, changed in record.changed.items() if changed}
        failures = {(graph[slot], key): error for (slot, key), error in record.failed.items()}
        reports = {(graph[slot], key): reported for (slot, key), reported in record.noted.items()}
        if self.assert_mode and (mismatches := recompute(self._serving())):
            raise InconsistencyError(mismatches)
        return Revision(self.revision, Changes(changes, self._outputs), failures, reports)

    def _split(self) -> Engine:
        """Lays an engine to serve and one to work on over the base, which now rests. Returns the latter."""
        base = self._serving()
        assert base is self._base, "settled"
        if not self.revision and self._is_root():
            return self._engine(below=None)
        self._top = self._engine(below=base)
        return self._engine(below=base)

    def _is_root(self) -> bool:
        return True

    def _catch_up(
        self, stepping: _Stepping, changes: Iterable[Change[Any, Any]], budget: Callable[[], bool]
    ) -> Generator[None, None, None]:
        """Works off the big change, then what was applied meanwhile, and so on until nothing is left."""
        rounds = 0
        while changes:
            for _ in stepping.working.run(changes, STEP_BATCH):
                if rounds < CATCH_UP_ROUNDS and budget():
                    yield
                    self._serving()
            changes, stepping.late = stepping.late, []
            rounds += 1

    def _switch(self, stepping: _Stepping) -> Revision:
        """Serves what was worked out, and reports the difference to what was served until now."""
        served, working = self._serving(), stepping.working
        self.revision += working.moved
        record = working.take_record()
        for slot, keys in stepping.overtaken.items():
            _rebase(record.changed.setdefault(slot, {}), keys, served.tables[slot].data, working.tables[slot].data)
        for slot, key in stepping.noted:
            record.noted[slot, key] = working.tables[slot].reports.get(key, ())
        self._top = working
        if working.below is None:
            self._base = working
        return self._revision(record)

    def _sink_some(self) -> bool:
        """Moves some entries of a big change down. Answers whether there are more."""
        if self._top is self._base or self._stepping:
            return False
        if self._serving().sink(SINK_BATCH):
            self._top = self._base
            return False
        return True


def _rebase(changed: Changed, keys: Iterable[Any], old: Map, new: Map) -> None:
    """Makes the record for `keys` the difference between what was served last and what is served now."""
    for key in keys:
        changed.pop(key, None)
        before, after = old.get(key), new.get(key)
        if not equal(before, after):
            changed[key] = (before, after)


class Fork(Store):
    """What would be if: a store over another one, which it reads and never changes.

    Holds the differences alone. Worthless as soon as the other moves on: everything then raises StaleForkError.
    """

    def __init__(self, parent: Store) -> None:
        super().__init__()
        below = parent._serving()  # noqa: SLF001  a fork is part of the store
        self._parent = parent
        self._started = parent.revision
        self._graph = parent._graph  # noqa: SLF001
        self._outputs = set(parent._outputs)  # noqa: SLF001
        self._top = self._base = self._engine(below)
        self.revision = parent.revision
        self.assert_mode = parent.assert_mode

    def _serving(self) -> Engine:
        if self._parent.revision != self._started:
            raise StaleForkError(f"forked from revision {self._started}, which is now {self._parent.revision}")
        self._parent._serving()  # noqa: SLF001  a fork of a stale fork is stale
        return super()._serving()

    def _is_root(self) -> bool:
        return False
