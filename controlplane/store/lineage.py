"""What an entry was made of, and what is made of it: walks along the recorded dependencies, in both directions.

The engine needs the edges to know what a change reaches; people need the same edges to know which objects made a
route and which proxies an object reaches.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from controlplane.store.collection import Handle
from controlplane.store.engine import Engine, pairs
from controlplane.store.tables import How, IndexTable, InputTable, Table

Entry = tuple[Handle, Any]
"""(collection or index, entry key)"""


class Read(msgspec.Struct, frozen=True):
    """Something that the making of an entry asked for, found or not."""

    collection: Handle
    key: Any
    how: How

    def __str__(self) -> str:
        return f"{self.how} of {self.collection.name} {self.key!r}"


def why(engine: Engine, handle: Handle, key: Any) -> tuple[Read, ...]:
    """What an entry was made of, one step back: its source entry and all that was fetched, in this order."""
    return tuple(
        dict.fromkeys(
            Read(engine.graph[table.slot], read, how)
            for table, read, how in _reads(engine, engine.tables[handle.slot], key)
        )
    )


def origins(engine: Engine, handle: Handle, key: Any) -> tuple[Entry, ...]:
    """The input entries that an entry was made of, all the way back. Absent ones that were asked for are left out."""

    def back(table: Table, entry: Any) -> Iterator[tuple[Table, Any]]:
        return ((source, read) for source, read, _ in _reads(engine, table, entry))

    return tuple(
        (engine.graph[table.slot], entry)
        for table, entry in _walk(engine.tables[handle.slot], key, back)
        if isinstance(table, InputTable) and entry in table.data
    )


def affected(engine: Engine, handle: Handle, key: Any) -> tuple[Entry, ...]:
    """The entries that depend on this one as things are, nearest first, index entries among them."""

    def forth(table: Table, entry: Any) -> Iterator[tuple[Table, Any]]:
        return _dependents(engine, table, entry)

    start = engine.tables[handle.slot]
    return tuple(
        (engine.graph[table.slot], entry)
        for table, entry in _walk(start, key, forth)
        if (table.slot, entry) != (start.slot, key)
    )


def _reads(engine: Engine, table: Table, entry: Any) -> Iterator[tuple[Table, Any, How]]:
    for run in table.runs_of(entry):
        yield from table.made_of(run)
        for slot, read in pairs(table.deps.get(run, ())):
            owner = engine.owner(slot)
            yield owner, read, "presence" if slot < 0 else "members" if isinstance(owner, IndexTable) else "value"


def _dependents(engine: Engine, table: Table, entry: Any) -> Iterator[tuple[Table, Any]]:
    for consumer, run in _dependent_runs(engine, table, entry):
        for made in consumer.entries_of(run):
            yield consumer, made


def _dependent_runs(engine: Engine, table: Table, entry: Any) -> Iterator[tuple[Table, Any]]:
    for consumer in table.consumers:
        for run in consumer.wake(table, {entry: table.comes_and_goes(entry)}):
            yield consumer, run
    for readers in (table.readers, table.presence):
        for slot, run in readers.members(entry):
            yield engine.tables[slot], run


def _walk(
    start: Table, entry: Any, step: Callable[[Table, Any], Iterable[tuple[Table, Any]]]
) -> Iterator[tuple[Table, Any]]:
    """Breadth first, every entry once."""
    seen = {(start.slot, entry)}
    waiting = deque([(start, entry)])
    while waiting:
        here = waiting.popleft()
        yield here
        for table, found in step(*here):
            if (table.slot, found) not in seen:
                seen.add((table.slot, found))
                waiting.append((table, found))
