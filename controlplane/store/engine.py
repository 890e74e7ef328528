"""Evaluation: what was marked, in the order of the graph, each node at most once.

The work list is a set of marked keys for each collection. The collection of the smallest slot goes first. All it
can read has a smaller slot and is final, so each of its marked keys is brought up to date once, and what that
changes marks keys of larger slots alone: readers by recorded fetch, and collections made from it. There is no
recursion, but that of a query fetched for the first time inside a function; such chains are no longer than the
graph has queries, since a query too may only read smaller slots.

What a function read is recorded in one log for all: a nested query takes its part off the end. The engine is
synchronous and knows no domain; when to run, and for how long at a stretch, is for the caller.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, cast

from controlplane.store.collection import Change, Fetch, GraphError, Handle, Index, Node, Readable
from controlplane.store.graph import Graph, GraphDescription
from controlplane.store.tables import TABLES, Changed, IndexTable, InputTable, Table, equal

IDLE: Final = -1
"""The slot limit while no function runs: nothing may be fetched."""

FEW_READS: Final = 24
"""Records up to this length (twelve fetches) are kept as they are, repetitions and all."""

Reads = tuple[Any, ...]
Trace = Callable[[str, Any], object]


class Counts:
    """How often a collection's function ran, and how often its answer was the one before."""

    __slots__ = ("runs", "unchanged")

    def __init__(self) -> None:
        self.runs = 0
        self.unchanged = 0


class Monitor:
    """Who watches the runs. One for a store and whatever works on its behalf; a fork has its own."""

    __slots__ = ("counts", "trace")

    def __init__(self) -> None:
        self.counts: defaultdict[int, Counts] = defaultdict(Counts)
        """By slot."""
        self.trace: Trace | None = None


class Record(NamedTuple):
    """What an apply did that somebody wants to be told."""

    changed: dict[int, Changed]
    failed: dict[Node, Exception]
    noted: dict[Node, tuple[Any, ...]]


def pairs(reads: Reads) -> Iterator[tuple[int, Hashable]]:
    """A flat record (slot, key, slot, key, …) as pairs."""
    flat = iter(reads)
    return zip(flat, flat, strict=True)


def _distinct(reads: Reads) -> Reads:
    """The record without repetitions: a function may ask the same in each turn of a loop."""
    return tuple(item for pair in dict.fromkeys(pairs(reads)) for item in pair)


class Engine:
    """All tables of one store, fork or recomputation, and the evaluation over them."""

    __slots__ = (
        "add_reader", "below", "dirty", "failed", "fetch", "graph", "interrupted", "last_good", "limit", "log",
        "monitor", "moved", "noted", "orphans", "outputs", "queries", "readers", "record", "reported", "tables",
    )  # fmt: skip

    def __init__(
        self,
        graph: Graph,
        outputs: set[int],
        monitor: Monitor,
        below: "Engine | None",
        last_good: "Engine | None" = None,
    ) -> None:
        self.graph = graph
        self.below = below
        self.last_good = last_good
        """Where a recomputation finds what was good last, for functions that fail in it as they did there."""
        self.outputs = outputs
        self.monitor = monitor
        self.limit = IDLE
        self.log: list[Any] = []
        self.reported: list[Any] = []
        self.dirty: defaultdict[int, dict[Any, Any]] = defaultdict(dict)
        self.orphans: dict[Node, None] = {}
        """Query nodes that lost a reader: looked at when all is evaluated, since another may have come."""
        self.record: dict[int, Changed] = {}
        """What changed in outputs since the record was taken last."""
        self.failed: dict[Node, Exception] = {}
        """Runs that ended with an exception since `record` was taken last."""
        self.noted: dict[Node, tuple[Any, ...]] = {}
        """What runs report that reported something else before, since `record` was taken last."""
        self.moved = False
        """Whether anything changed since `record` was taken last."""
        self.interrupted = False
        self.queries = frozenset(handle.slot for handle in graph if handle.kind == "query")
        self.tables: list[Table] = []
        for handle in graph:
            self._add(handle)
        self.readers = [t.readers for t in self.tables] + [t.presence for t in reversed(self.tables)]
        """By slot; presence from the end, so that ~slot finds it."""
        self.add_reader = [readers.add for readers in self.readers]
        self.fetch = _fetch_of(self)

    def _add(self, handle: Handle) -> None:
        table = TABLES[handle.kind](handle, self, self.below.tables[handle.slot] if self.below else None)
        self.tables.append(table)
        sources = {source.slot for source in handle.sources}
        if handle.kind in ("join", "match"):
            sources.add(handle.sources[1].sources[0].slot)
        for slot in sorted(sources):
            self.tables[slot].consumers.append(table)

    # --- applying changes ------------------------------------------------------------------------------------

    def run(self, changes: Iterable[Change[Any, Any]], batch: int) -> Generator[None, None, None]:
        """Brings all tables up to date with `changes`; yields after every `batch` nodes.

        A run that was not finished leaves the engine unusable (`interrupted`): throw it away.
        """
        self._accept(changes)
        self.interrupted = True
        dirty = self.dirty
        while dirty:
            slot = min(dirty)
            marked = iter(dirty.pop(slot))
            table = self.tables[slot]
            while keys := tuple(islice(marked, batch)):
                changed = table.update(keys)
                if changed:
                    self._propagate(table, changed)
                yield
        while self.orphans:
            self._collect(batch)
            yield
        self.interrupted = False

    def _accept(self, changes: Iterable[Change[Any, Any]]) -> None:
        """Marks input keys. Of two changes of one key the later counts. Raises before it has marked anything."""
        accepted: defaultdict[int, dict[Any, Any]] = defaultdict(dict)
        for change in changes:
            handle = change.collection
            if handle.graph is not self.graph or handle.kind != "input":
                raise GraphError(f"{handle.name}: not an input of this store")
            accepted[handle.slot][change.key] = change.value
        for slot, pending in accepted.items():
            table = self.tables[slot]
            assert isinstance(table, InputTable)
            table.pending = pending
            self.dirty[slot].update(pending)

    def _propagate(self, table: Table, changed: dict[Any, Any]) -> None:
        """Marks who depends on what changed."""
        dirty = self.dirty
        self.moved = True
        if table.slot in self.outputs:
            self._keep_record(table.slot, changed)
        for consumer in table.consumers:
            keys = consumer.wake(table, changed)
            if keys:
                dirty[consumer.slot].update(keys if type(keys) is dict else dict.fromkeys(keys))
        if table.readers:
            members = table.readers.members
            for key in changed:
                for slot, reader in members(key):
                    dirty[slot][reader] = None
        if table.presence:
            self._propagate_presence(table, changed)

    def _propagate_presence(self, table: Table, changed: Changed) -> None:
        for key, (old, new) in changed.items():
            if (old is None) is not (new is None):
                for slot, reader in table.presence.members(key):
                    self.dirty[slot][reader] = None

    def _keep_record(self, slot: int, changed: Changed) -> None:
        """Adds to the record; a key that changed twice keeps its first old value, and goes when it came back."""
        record = self.record.setdefault(slot, {})
        if record.keys().isdisjoint(changed):
            record.update(changed)
            return
        for key, (old, new) in changed.items():
            first = record.pop(key, (old, None))[0]
            if not equal(first, new):
                record[key] = (first, new)

    def take_record(self) -> Record:
        """What happened since the last time."""
        taken = Record(self.record, self.failed, self.noted)
        self.record, self.failed, self.noted, self.moved = {}, {}, {}, False
        return taken

    def describe(self) -> GraphDescription:
        """The graph with the number of entries and the collections that were really read. Looks at every node."""
        reads = {t.slot: {self.owner(s).slot for _, deps in t.deps.items() for s in deps[::2]} for t in self.tables}
        sizes = {t.slot: sum(1 for _ in t.entry_keys()) for t in self.tables}
        return GraphDescription(self.graph, sizes, reads)

    def owner(self, slot: int) -> Table:
        """The table that a recorded read went to; ~slot stands for presence."""
        return self.tables[slot if slot >= 0 else ~slot]

    def sink(self, limit: int) -> bool:
        """Moves up to `limit` entries into the engine below. Answers whether all are there."""
        for table in self.tables:
            for overlay in table.overlays:
                limit -= overlay.sink(limit)
                if not limit:
                    return False
        return True

    # --- running functions -----------------------------------------------------------------------------------

    def evaluate(self, table: Table, key: Any, old: Any, value: Any = None) -> Any:
        """Runs the table's function for `key` and records what it read. Answers `old` itself when nothing changed.

        A function that raises leaves the last value in place; what it read up to then is what can wake it.
        A query's function gets no value. This is the hottest code there is: two microseconds for each node.
        """
        log, reported = self.log, self.reported
        mark, reported_mark = len(log), len(reported)
        limit = self.limit
        self.limit = table.slot
        try:
            new = table.function(self.fetch, key) if value is None else table.function(self.fetch, key, value)
            if new is not old and new == old:
                new = old
        except Exception as error:  # noqa: BLE001  any bug of a function poisons its own key and no more
            new = self.fail(table, key, error, old)
        else:
            if table.failures:
                self.recover(table, key)
        finally:
            self.limit = limit
        if mark:
            reads = tuple(log[mark:])
            del log[mark:]
        else:
            reads = tuple(log)
            log.clear()
        before = table.deps.get(key)
        if before is None:
            self._link(table, key, reads)
        elif reads != before:
            self._relink(table, key, before, reads)
        if reported or table.reports:
            self._file_reports(table, key, reported_mark)
        counts = table.counts
        counts.runs += 1
        counts.unchanged += new is old
        if self.monitor.trace is not None:
            self.monitor.trace(table.name, key)
        return new

    def begin(self, table: Table, key: Any) -> None:
        """Works out a query that is asked for the first time. Its reader is running, so nobody needs marking."""
        value = self.evaluate(table, key, None)
        if value is not None:
            table.data[key] = value
            if table.slot in self.outputs:
                self._keep_record(table.slot, {key: (None, value)})

    def _file_reports(self, table: Table, key: Any, start: int) -> None:
        """Keeps what a run reported instead of what the run before it did."""
        found = tuple(dict.fromkeys(self.reported[start:]))
        del self.reported[start:]
        if not equal(found, table.reports.get(key, ())):
            self._report(table, key, found)

    def _report(self, table: Table, key: Any, found: tuple[Any, ...]) -> None:
        if found:
            table.reports[key] = found
        else:
            table.reports.pop(key, None)
        self.noted[table.slot, key] = found

    def fail(self, table: Table, key: Any, error: Exception, last: Any) -> Any:
        """Records a failure. Answers what stays in place: what was there last."""
        table.failures[key] = error
        self.failed[table.slot, key] = error
        return last if self.last_good is None else self.last_good.tables[table.slot].kept(key)

    def recover(self, table: Table, key: Any) -> None:
        table.failures.pop(key, None)
        self.failed.pop((table.slot, key), None)

    # --- dependencies ----------------------------------------------------------------------------------------

    def _link(self, table: Table, key: Any, reads: Reads) -> None:
        """Records what a new node read."""
        if len(reads) > FEW_READS:
            reads = _distinct(reads)
        table.deps[key] = reads
        if reads:
            node = (table.slot, key)
            add = self.add_reader
            flat = iter(reads)
            for slot in flat:  # as `pairs`, but a third faster
                add[slot](next(flat), node)

    def _relink(self, table: Table, key: Any, before: Reads, reads: Reads) -> None:
        """Records what a node reads now, and drops the edges to what it no longer does."""
        if len(reads) > FEW_READS:
            reads = _distinct(reads)
            if reads == before:
                return
        table.deps[key] = reads
        node = (table.slot, key)
        was = dict.fromkeys(pairs(before))
        for pair in pairs(reads):
            if was.pop(pair, self) is self:
                self.readers[pair[0]].add(pair[1], node)
        self._unlink(node, was)

    def _unlink(self, node: Node, dropped: Iterable[tuple[int, Hashable]]) -> None:
        for slot, read in dropped:
            self.readers[slot].discard(read, node)
            owner = slot if slot >= 0 else ~slot
            if owner in self.queries:
                self.orphans[owner, read] = None

    def forget(self, table: Table, key: Any) -> None:
        """Drops what is known about a run whose source entry is gone."""
        if table.failures:
            self.recover(table, key)
        if table.reports and key in table.reports:
            self._report(table, key, ())
        reads = table.deps.pop(key, None)
        if reads:
            self._unlink((table.slot, key), pairs(reads))

    def _collect(self, batch: int) -> None:
        """Drops queries that nobody reads any more; what they read may follow."""
        for _ in range(min(batch, len(self.orphans))):
            (slot, key), _ = self.orphans.popitem()
            table = self.tables[slot]
            if key in table.deps and key not in table.readers and key not in table.presence:
                self.forget(table, key)
                old = table.data.pop(key, None)
                if old is not None and slot in self.outputs:
                    self._keep_record(slot, {key: (old, None)})


def _fetch_of(engine: Engine) -> Fetch:  # noqa: C901  five small functions over one set of locals, not one branchy one
    """A plain function with functions on it: calls to it are twice as fast as to an object with `__call__`."""
    record = engine.log.append
    lookups = [table.read() for table in engine.tables]
    tables = engine.tables

    def refuse(handle: Handle) -> GraphError:
        if engine.limit == IDLE:
            return GraphError(f"{handle.name}: fetched outside of a run; a function must not keep `fetch`")
        return GraphError(f"{tables[engine.limit].name} may not read {handle.name}, which was created after it")

    def fetch(source: Readable[Any, Any], key: Any) -> Any:
        slot = source.slot
        if slot >= engine.limit:
            raise refuse(source)
        value = lookups[slot](key)  # first: what cannot even be looked up is not recorded
        record(slot)
        record(key)
        return value

    def has(source: Readable[Any, Any], key: Any) -> bool:
        slot = source.slot
        if slot >= engine.limit:
            raise refuse(source)
        there = lookups[slot](key) is not None
        record(~slot)
        record(key)
        return there

    def keys(index: Index[Any, Any, Any], key: Any) -> tuple[Any, ...]:
        slot = index.slot
        if slot >= engine.limit:
            raise refuse(index)
        table = tables[slot]
        assert isinstance(table, IndexTable)
        hash(key)
        record(slot)
        record(key)
        return table.entries.sorted(key)  # last: members without an order fail until membership changes

    def values(index: Index[Any, Any, Any], key: Any) -> tuple[tuple[Any, Any], ...]:
        source = cast("Readable[Any, Any]", index.sources[0])
        return tuple((member, fetch(source, member)) for member in keys(index, key))

    def report(*values: Any) -> None:
        if engine.limit == IDLE:
            raise GraphError("reported outside of a run; a function must not keep `fetch`")
        hash(values)
        engine.reported.extend(values)

    fetch.report = report  # type: ignore[attr-defined]
    fetch.has = has  # type: ignore[attr-defined]
    fetch.keys = keys  # type: ignore[attr-defined]
    fetch.values = values  # type: ignore[attr-defined]
    return cast("Fetch", fetch)
