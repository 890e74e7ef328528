"""Distrust: is what the store holds what its functions say?

Two ways to ask. `recompute` fills a second engine from scratch and compares all of it: assert mode, on in tests.
`inspect_each` runs nodes one by one on a throw-away overlay, where nothing may change: if every node is what its
function makes of what it reads, so is the whole, and it can be asked a little at a time, in production.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec

from controlplane.store.collection import Change, GraphError, Input, StoreError
from controlplane.store.engine import Engine, Monitor, pairs
from controlplane.store.frozen import mutable_part
from controlplane.store.tables import IndexTable, InputTable, QueryTable, Table, UnionTable, equal

RECOMPUTE_BATCH = 1024
SHOWN = 10


class Mismatch(msgspec.Struct, frozen=True):
    """Something the store holds that its functions do not say.

    As text it names the place and keeps quiet about the values, which may be secret.
    """

    collection: str
    key: Hashable
    what: str
    found: Any = None
    expected: Any = None

    def __str__(self) -> str:
        return f"{self.collection} {self.key!r}: {self.what}"

    def detail(self) -> str:
        return f"{self}: found {self.found!r}, expected {self.expected!r}"


class InconsistencyError(StoreError):
    """The store is not what its functions say, or a value can be changed in place. Raised in assert mode alone."""

    def __init__(self, mismatches: tuple[Mismatch, ...]) -> None:
        self.mismatches = mismatches
        shown = [mismatch.detail() for mismatch in mismatches[:SHOWN]]
        if len(mismatches) > SHOWN:
            shown.append(f"and {len(mismatches) - SHOWN} more")
        super().__init__("\n".join(shown))


# --- all at once: from scratch --------------------------------------------------------------------------------


def recompute(engine: Engine) -> tuple[Mismatch, ...]:
    """Fills a second engine with the same inputs, last first, and compares all there is."""
    scratch = Engine(engine.graph, set(), Monitor(), below=None, last_good=engine)
    inputs = [handle for handle in engine.graph if isinstance(handle, Input)]
    changes = [
        Change(handle, key, value) for handle in inputs for key, value in engine.tables[handle.slot].data.items()
    ]
    for _ in scratch.run(reversed(changes), RECOMPUTE_BATCH):
        pass
    return tuple(
        mismatch
        for found, expected in zip(engine.tables, scratch.tables, strict=True)
        for mismatch in chain(_compare(found, expected), _mistakes(found))
    )


def _compare(found: Table, expected: Table) -> Iterator[Mismatch]:
    yield from _differences(found.name, "value", dict(found.data.items()), dict(expected.data.items()))
    yield from _differences(found.name, "failure", _types(found.failures), _types(expected.failures))
    yield from _differences(found.name, "reads", _read_sets(found), _read_sets(expected))
    yield from _differences(found.name, "reports", dict(found.reports.items()), dict(expected.reports.items()))
    if isinstance(found, IndexTable) and isinstance(expected, IndexTable):
        yield from _differences(found.name, "members", _members(found), _members(expected))


def _differences(name: str, what: str, found: dict[Any, Any], expected: dict[Any, Any]) -> Iterator[Mismatch]:
    for key in dict.fromkeys(chain(found, expected)):
        if not equal(found.get(key), expected.get(key)):
            yield Mismatch(name, key, what, found.get(key), expected.get(key))


def _types(failures: Any) -> dict[Any, type[Exception]]:
    return {key: type(error) for key, error in failures.items()}


def _read_sets(table: Table) -> dict[Any, Any]:
    return {key: frozenset(pairs(reads)) for key, reads in table.deps.items()}


def _members(table: IndexTable) -> dict[Any, Any]:
    return {key: frozenset(table.entries.members(key)) for key in table.entries}


def _mistakes(table: Table) -> Iterator[Mismatch]:
    """What is wrong with the wiring or the values, though it is computed as written."""
    if isinstance(table, UnionTable):
        yield from (Mismatch(table.name, key, "in more than one part") for key in table.overlaps())
    for key, error in table.failures.items():
        if isinstance(error, GraphError):
            yield Mismatch(table.name, key, str(error))
    for key, value in table.data.items():
        if part := mutable_part(value):
            yield Mismatch(table.name, key, f"can be changed in place: {part}")


# --- a little at a time: each node by itself -------------------------------------------------------------------


def inspect_each(
    serving: Callable[[], tuple[Engine, int]], nodes: Iterable[tuple[int, Hashable]] | None, budget: Callable[[], bool]
) -> Generator[None, None, tuple[Mismatch, ...]]:
    """Inspects `nodes` (slot, run key), all if None. `serving` tells the engine and revision there are now."""
    mismatches: list[Mismatch] = []
    engine, revision = serving()
    overlay = _overlay(engine)
    for slot, key in _all_nodes(engine) if nodes is None else nodes:
        found = tuple(_inspect(engine, overlay, slot, key))
        mismatches.extend(found)
        if budget():
            yield
        moved = serving() != (engine, revision)
        if moved or found:  # what a wrong node would have changed must not be held against the next
            engine, revision = serving()
            overlay = _overlay(engine)
    return tuple(mismatches)


def _overlay(engine: Engine) -> Engine:
    return Engine(engine.graph, set(), Monitor(), below=engine)


def _all_nodes(engine: Engine) -> Iterator[tuple[int, Hashable]]:
    """The nodes there are and those there should be. Lists one collection's keys at a time: they may change."""
    for handle in engine.graph:
        table = engine.tables[handle.slot]
        for key in dict.fromkeys(chain(table.run_keys(), table.kept_runs())):
            yield handle.slot, key


def _inspect(engine: Engine, overlay: Engine, slot: int, key: Any) -> Iterator[Mismatch]:
    """Runs one node on the overlay, where it should change nothing."""
    found, again = engine.tables[slot], overlay.tables[slot]
    if isinstance(found, InputTable) or (isinstance(found, QueryTable) and key not in found.deps):
        return  # nothing to run; or a query that has been dropped since the list was made
    for entry, (old, new) in again.inspect(key).items():
        yield Mismatch(found.name, entry, "value", old, new)
    failed, fails = key in found.failures, key in again.failures
    if failed is not fails:
        yield Mismatch(found.name, key, "failure", found.failures.get(key), again.failures.get(key))
    for what, held, says in (("reads", found.deps, again.deps), ("reports", found.reports, again.reports)):
        if not equal(held.get(key), says.get(key)):
            yield Mismatch(found.name, key, what, held.get(key), says.get(key))
    for read_slot, read in pairs(found.deps.get(key, ())):
        if not engine.readers[read_slot].has(read, (slot, key)):
            yield Mismatch(found.name, key, f"not known as a reader of {engine.owner(read_slot).name} {read!r}")
