"""A look at all that a store holds, as plain comparable values."""

from collections.abc import Generator
from typing import Any, TypeVar

from controlplane.store import Store
from controlplane.store.engine import pairs
from controlplane.store.tables import ExpandTable, IndexTable, Table

T = TypeVar("T")


def drain(steps: Generator[None, None, T]) -> T:
    """Runs a generator of steps to its end, and answers what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the stubs do not know


def visible(store: Store) -> tuple[dict[str, dict[Any, Any]], dict[str, dict[Any, frozenset[Any]]]]:
    """Entries of all collections, and of all indexes, by name."""
    data: dict[str, dict[Any, Any]] = {}
    entries: dict[str, dict[Any, frozenset[Any]]] = {}
    for table in store._serving().tables:
        data[table.name] = dict(table.data.items())
        assert len(table.data) == len(data[table.name])
        if isinstance(table, IndexTable):
            entries[table.name] = _members(table.entries)
            for key, members in entries[table.name].items():
                assert table.entries.sorted(key) == tuple(sorted(members))
    return data, entries


def everything(store: Store) -> Any:
    """What is visible and what is not: recorded reads, readers, failures, claims."""
    return visible(store), [_inside(table) for table in store._serving().tables], store.revision


def _inside(table: Table) -> Any:
    found: list[Any] = [
        dict(table.deps.items()),
        dict(table.failures.items()),
        dict(table.reports.items()),
        _members(table.readers),
        _members(table.presence),
    ]
    if isinstance(table, ExpandTable):
        found += [dict(table.emitted.items()), _members(table.claims)]
    if isinstance(table, IndexTable):
        found.append(dict(table.keys_of.items()))
    return found


def _members(multimap: Any) -> dict[Any, frozenset[Any]]:
    found = {}
    for key in multimap:
        assert key not in found
        members = tuple(multimap.members(key))
        assert len(set(members)) == len(members) == multimap.count(key)
        assert members
        assert key in multimap
        assert all(multimap.has(key, member) for member in members)
        found[key] = frozenset(members)
    return found


def reads(store: Store) -> dict[tuple[str, Any], list[tuple[str, str, Any]]]:
    """(collection, run key) -> the questions it asked: (value | presence | members, collection, key)."""
    tables = store._serving().tables
    found: dict[tuple[str, Any], list[tuple[str, str, Any]]] = {}
    for table in tables:
        for key in table.run_keys() if table.runs_functions else ():
            asked = found[table.name, key] = []
            if store._graph[table.slot].sources:
                asked.append(("value", store._graph[table.slot].sources[0].name, key))
            for slot, read in pairs(table.deps.get(key, ())):
                owner = tables[slot if slot >= 0 else ~slot]
                how = "presence" if slot < 0 else "members" if isinstance(owner, IndexTable) else "value"
                asked.append((how, owner.name, read))
    return found


def structure(store: Store) -> None:
    """Readers are the inverse of what was read, and a query that nobody reads is not there."""
    engine = store._serving()
    readers: list[dict[Any, set[Any]]] = [{} for _ in engine.readers]
    for table in engine.tables:
        for key, asked in table.deps.items():
            for slot, read in pairs(asked):
                readers[slot].setdefault(read, set()).add((table.slot, key))
    assert [_members(multimap) for multimap in engine.readers] == readers
    for slot in engine.queries:
        for key in engine.tables[slot].deps:
            assert readers[slot].get(key) or readers[~slot].get(key)
    assert not engine.dirty
    assert not engine.orphans
    assert not engine.log
