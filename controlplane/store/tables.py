"""What a collection holds, and how it brings itself up to date: one table for each kind of collection.

A table is asked to `update` the keys that were marked, when everything it reads is final, and answers with what
really changed: `{key: (old, new)}`. It never looks at a key that was not marked, so the cost of a change is the
cost of what it touches. Who is marked next is for the engine to say: readers are known by recorded fetches, and
collections made from this one by `wake`.

Two words are kept apart. A *run key* is what a table is marked with and its function runs for; an *entry key* is
what readers see. They are the same except in an `expand` (runs for source keys, has the emitted keys), an `index`
(runs for source keys, has index keys) and nothing else.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from controlplane.store.collection import GraphError, Handle
from controlplane.store.maps import Map, MapOverlay, Members, Multimap, MultimapOverlay

if TYPE_CHECKING:
    from controlplane.store.engine import Engine

How = Literal["value", "presence", "members"]
"""What was asked: the value, whether there is one, or who is filed under an index key."""

Changed = dict[Any, tuple[Any, Any]]
"""Entry key -> (old, new), None for absent; only where old and new differ."""


def equal(old: Any, new: Any) -> bool:
    """Whether a change is silent. Values that cannot even be compared have changed."""
    try:
        return bool(old is new or old == new)
    except Exception:  # noqa: BLE001  a broken `__eq__` is a bug of the value, and must not stop the others
        return False


def smallest(keys: Collection[Any]) -> Any:
    """The smallest key; keys without an order (a mistake in the wiring) are taken by their text."""
    if len(keys) == 1:
        return next(iter(keys))
    try:
        return min(keys)
    except TypeError:
        return min(keys, key=repr)


class Table:
    """One collection's entries in one store or fork, and who reads them."""

    __slots__ = (
        "below", "consumers", "counts", "data", "deps", "engine", "failures", "function", "name", "overlays",
        "presence", "readers", "reports", "slot",
    )  # fmt: skip

    runs_functions: ClassVar[bool] = False

    def __init__(self, handle: Handle, engine: "Engine", below: "Table | None") -> None:
        self.engine = engine
        self.slot = handle.slot
        self.name = handle.name
        self.function: Any = handle.function
        self.below = below
        self.counts = engine.monitor.counts[handle.slot]
        self.consumers: list[Table] = []
        self.overlays: list[MapOverlay | MultimapOverlay] = []
        """The maps of this table, if it is laid over another."""
        self.data = self._map("data")
        """entry key -> value"""
        self.deps = self._map("deps")
        """run key -> what its function read, flat: (slot, key, slot, key, …); ~slot stands for presence alone.

        Flat and without references to containers, so that the garbage collector soon stops looking at it.
        """
        self.failures = self._map("failures")
        """run key -> the exception that its last run ended with"""
        self.reports = self._map("reports")
        """run key -> what its last run reported beside its value"""
        self.readers = self._members("readers")
        """entry key -> nodes that fetched it"""
        self.presence = self._members("presence")
        """entry key -> nodes that asked whether it is there"""

    def _map(self, name: str) -> Map:
        """A fresh map, or one laid over the map of that name below."""
        if self.below is None:
            return {}
        overlay = MapOverlay(getattr(self.below, name))
        self.overlays.append(overlay)
        return overlay

    def _members(self, name: str) -> Members:
        """A fresh multimap, or one laid over the multimap of that name below."""
        if self.below is None:
            return Multimap()
        overlay = MultimapOverlay(getattr(self.below, name))
        self.overlays.append(overlay)
        return overlay

    def source(self, position: int) -> "Table":
        """The table of the handle's source at `position`."""
        return self.engine.tables[self.engine.graph[self.slot].sources[position].slot]

    def update(self, keys: Iterable[Any]) -> Changed:
        """Brings the marked run keys up to date."""
        changed: Changed = {}
        data = self.data
        for key in keys:
            old = data.get(key)
            new = self.value_of(key, old)
            if new is not old:
                changed[key] = (old, new)
                if new is None:
                    data.pop(key, None)
                else:
                    data[key] = new
        return changed

    def value_of(self, key: Any, old: Any) -> Any:
        """What belongs under `key` now; `old` itself when nothing changed."""
        raise NotImplementedError

    def read(self) -> Any:
        """The function that looks an entry up for a fetch."""
        return self.data.get

    def wake(self, _source: "Table", changed: Mapping[Any, Any]) -> Iterable[Any]:
        """The run keys to look at when `changed` entries of a source did."""
        return changed

    def run_keys(self) -> Iterator[Any]:
        """Every run key there should be a node for, for audits."""
        return iter(self.data)

    def kept_runs(self) -> Iterator[Any]:
        """Every run key that something is kept for, for audits."""
        return iter(self.data)

    def kept(self, key: Any) -> Any:
        """What is kept of the last run for `key`."""
        return self.data.get(key)

    def inspect(self, key: Any) -> Changed:
        """Brings one run key up to date although nobody marked it; tells what that changed."""
        return self.update((key,))

    def entries_of(self, key: Any) -> Iterable[Any]:
        """The entry keys that a run for `key` makes."""
        return (key,)

    def entry_keys(self) -> Iterator[Any]:
        """Every entry key."""
        return iter(self.data)

    def runs_of(self, entry: Any) -> Iterable[Any]:
        """The run keys that made an entry."""
        return (entry,)

    def comes_and_goes(self, _entry: Any) -> Any:
        """The greatest change there can be of an entry, for those who ask what it would reach."""
        return (None, True)

    def made_of(self, key: Any) -> Iterator["tuple[Table, Any, How]"]:
        """What a run for `key` takes without a fetch: (table, entry key, how)."""
        yield self.source(0), key, "value"


class InputTable(Table):
    """Values from outside."""

    __slots__ = ("pending",)

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        self.pending: dict[Any, Any] = {}

    def value_of(self, key: Any, old: Any) -> Any:
        new = self.pending.pop(key)
        return new if old is None or not equal(old, new) else old

    def made_of(self, _key: Any) -> Iterator[tuple[Table, Any, How]]:
        return iter(())


class DeriveTable(Table):
    """One value for each entry of the source, or none."""

    __slots__ = ("_input",)

    runs_functions = True

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        self._input = self.source(0).data

    def value_of(self, key: Any, old: Any) -> Any:
        value = self._input.get(key)
        if value is None:
            self.engine.forget(self, key)
            return None
        return self.engine.evaluate(self, key, old, value)

    def run_keys(self) -> Iterator[Any]:
        return iter(self._input)


class ExpandTable(Table):
    """Many entries for each entry of the source. Where two emit the same key, the smallest source key wins."""

    __slots__ = ("_input", "claims", "emitted")

    runs_functions = True

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        self.function = _checked(handle.function)
        self._input = self.source(0).data
        self.emitted = self._map("emitted")
        """source key -> the mapping its function returned"""
        self.claims = self._members("claims")
        """entry key -> source keys that emit it"""

    def update(self, keys: Iterable[Any]) -> Changed:
        touched: dict[Any, None] = {}
        for key in keys:
            self._run(key, touched)
        return self._settle(touched)

    def _settle(self, touched: Iterable[Any]) -> Changed:
        """Gives each touched entry what its winner emits."""
        changed: Changed = {}
        data, claimants, emitted = self.data, self.claims.members, self.emitted
        for entry in touched:
            old = data.get(entry)
            claims = claimants(entry)
            new = emitted.get(smallest(claims))[entry] if claims else None
            if new is not old and (old is None or not equal(old, new)):
                changed[entry] = (old, new)
                if new is None:
                    data.pop(entry, None)
                else:
                    data[entry] = new
        return changed

    def _run(self, key: Any, touched: dict[Any, None]) -> None:
        old = self.emitted.get(key)
        value = self._input.get(key)
        if value is None:
            self.engine.forget(self, key)
            new = None
        else:
            new = self.engine.evaluate(self, key, old, value)
        if new is old:
            return
        if new is None:
            self.emitted.pop(key, None)
        else:
            self.emitted[key] = new
        if old is None:
            claim = self.claims.add
            for entry in new or ():
                claim(entry, key)
                touched[entry] = None
        else:
            self._compare(key, old, new or {}, touched)

    def _compare(self, key: Any, before: Mapping[Any, Any], after: Mapping[Any, Any], touched: dict[Any, None]) -> None:
        for entry in before:
            if entry not in after:
                self.claims.discard(entry, key)
                touched[entry] = None
        for entry, emitted in after.items():
            if entry not in before:
                self.claims.add(entry, key)
                touched[entry] = None
            elif not equal(before[entry], emitted):
                touched[entry] = None

    def run_keys(self) -> Iterator[Any]:
        return iter(self._input)

    def kept_runs(self) -> Iterator[Any]:
        return iter(self.emitted)

    def kept(self, key: Any) -> Any:
        return self.emitted.get(key)

    def inspect(self, key: Any) -> Changed:
        """Looks at the entries that were emitted, too: whether each is what its winner says."""
        emitted = dict.fromkeys(self.entries_of(key))
        return self.update((key,)) | self._settle(emitted)

    def entries_of(self, key: Any) -> Iterable[Any]:
        return tuple(self.emitted.get(key) or ())

    def runs_of(self, entry: Any) -> Iterable[Any]:
        claims = self.claims.members(entry)
        return (smallest(claims),) if claims else ()


def _checked(function: Any) -> Any:
    """The function of an `expand`, failing by itself (and not in the engine) when it emits what it must not."""

    def emit(*arguments: Any) -> Any:
        emitted = function(*arguments)
        if type(emitted) is not dict and not isinstance(emitted, Mapping):
            raise TypeError(f"expected a mapping, got {type(emitted).__name__}")
        if None in emitted.values():
            raise TypeError("a value is None; leave the key out instead")
        return emitted

    return emit


class IndexTable(Table):
    """Under each index key the source keys that belong there. Its entries are sets, kept in `entries`."""

    __slots__ = ("_input", "entries", "keys_of")

    runs_functions = True

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        self._input = self.source(0).data
        self.entries = self._members("entries")
        self.keys_of = self._map("keys_of")
        """source key -> the index keys it is under"""

    def update(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """Answers {index key: {source key: whether it came (True) or went}}, or nothing when nobody would hear it.

        In a first build most indexes are filled before anybody asks.
        """
        return self._file(keys, {} if self.consumers or self.readers else None)

    def _file(self, keys: Iterable[Any], moved: dict[Any, Any] | None) -> dict[Any, Any]:
        """Adds to `moved`, unless it is None. Half of all nodes are in indexes: this loop is written out."""
        engine, function, keys_of, value_of = self.engine, self.function, self.keys_of, self._input.get
        trace = engine.monitor.trace
        runs = unchanged = 0
        for key in keys:
            before = keys_of.get(key, ())
            value = value_of(key)
            if value is None:
                engine.forget(self, key)
                after = ()
            else:
                try:
                    after = function(key, value)
                    if type(after) is tuple and len(after) < 2:  # as nearly always
                        hash(after)  # fails here, where it is known whose mistake it is
                    else:
                        after = tuple(dict.fromkeys(after))
                except Exception as error:  # noqa: BLE001  any bug of a function poisons its own key and no more
                    after = engine.fail(self, key, error, before)
                else:
                    if self.failures:
                        engine.recover(self, key)
                runs += 1
                if trace is not None:
                    trace(self.name, key)
            if after == before:
                unchanged += value is not None
            elif before:
                self._move(key, before, after, moved)
            else:
                keys_of[key] = after
                self._come(key, after, moved)
        self.counts.runs += runs
        self.counts.unchanged += unchanged
        return moved or {}

    def _move(self, key: Any, before: tuple[Any, ...], after: tuple[Any, ...], moved: dict[Any, Any] | None) -> None:
        if after:
            self.keys_of[key] = after
        else:
            self.keys_of.pop(key, None)
        stays = set(before).intersection(after)
        for entry in before:
            if entry not in stays:
                self.entries.discard(entry, key)
                if moved is not None:
                    moved.setdefault(entry, {})[key] = False
        self._come(key, (entry for entry in after if entry not in stays), moved)

    def _come(self, key: Any, entries: Iterable[Any], moved: dict[Any, Any] | None) -> None:
        add = self.entries.add
        for entry in entries:
            add(entry, key)
            if moved is not None:
                moved.setdefault(entry, {})[key] = True

    def read(self) -> Any:
        def refuse(key: Any) -> None:
            raise GraphError(f"{self.name}: an index has members, not values (asked for {key!r}); use fetch.keys")

        return refuse

    def run_keys(self) -> Iterator[Any]:
        return iter(self._input)

    def kept_runs(self) -> Iterator[Any]:
        return iter(self.keys_of)

    def kept(self, key: Any) -> Any:
        return self.keys_of.get(key, ())

    def inspect(self, key: Any) -> Changed:
        """Answers {index key: (whether `key` was filed there, whether it should be)}."""
        filed = {entry: self.entries.has(entry, key) for entry in self.entries_of(key)}
        moved = {entry: (not came[key], came[key]) for entry, came in self._file((key,), {}).items()}
        return moved | {entry: (False, True) for entry, there in filed.items() if not there and entry not in moved}

    def entries_of(self, key: Any) -> Iterable[Any]:
        found: tuple[Any, ...] = self.keys_of.get(key, ())
        return found

    def entry_keys(self) -> Iterator[Any]:
        return iter(self.entries)

    def runs_of(self, entry: Any) -> Iterable[Any]:
        return tuple(self.entries.members(entry))

    def comes_and_goes(self, entry: Any) -> Any:
        return dict.fromkeys(self.entries.members(entry), True)


class KeysTable(Table):
    """The index keys that have a member. Silent while members come and go and some stay."""

    __slots__ = ("_entries",)

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        index = self.source(0)
        assert isinstance(index, IndexTable)
        self._entries = index.entries

    def value_of(self, key: Any, _old: Any) -> Any:
        return True if key in self._entries else None

    def run_keys(self) -> Iterator[Any]:
        return iter(self._entries)

    def made_of(self, key: Any) -> Iterator[tuple[Table, Any, How]]:
        yield self.source(0), key, "members"


class JoinTable(Table):
    """Entries (left key, source key) for each left key and each member of the index entry of that name.

    Sources: the left collection, the index. Each pair is kept by itself: a new member touches one pair.
    """

    __slots__ = ("_index", "_left", "_right")

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        index = self.source(1)
        assert isinstance(index, IndexTable)
        self._left = self.source(0)
        self._index = index
        self._right = index.source(0)

    def value_of(self, key: Any, _old: Any) -> Any:
        left, member = key
        if left in self._left.data and self._index.entries.has(left, member):
            return self._right.data.get(member)
        return None

    def wake(self, source: Table, changed: Mapping[Any, Any]) -> Iterable[Any]:
        """One change may reach a join by several ways; whichever comes last finds all of them in place.

        When members of the right collection change before the index has moved them, their old index keys are
        marked here and the new ones when the index speaks.
        """
        pairs: list[Any] = []
        if source is self._left:
            for left, (old, new) in changed.items():
                if (old is None) is not (new is None):
                    pairs.extend((left, member) for member in self._index.entries.members(left))
        if source is self._index:
            for left, members in changed.items():
                if left in self._left.data:
                    pairs.extend((left, member) for member in members)
        if source is self._right:
            for member in changed:
                pairs.extend((left, member) for left in self._index.entries_of(member) if left in self._left.data)
        return pairs

    def run_keys(self) -> Iterator[Any]:
        entries, left = self._index.entries, self._left.data
        return ((key, member) for key in entries if key in left for member in entries.members(key))

    def made_of(self, key: Any) -> Iterator[tuple[Table, Any, How]]:
        left, member = key
        yield self._left, left, "presence"
        yield self._index, left, "members"
        yield self._right, member, "value"


class MatchTable(Table):
    """Entries (left key, right key) for members of two indexes that are filed under one index key.

    Sources: the left index, the right index. Each pair is kept by itself, and has the right member's value.
    """

    __slots__ = ("_left", "_right", "_values")

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        left, right = self.source(0), self.source(1)
        assert isinstance(left, IndexTable)
        assert isinstance(right, IndexTable)
        self._left, self._right = left, right
        self._values = right.source(0)

    def value_of(self, key: Any, old: Any) -> Any:
        left, right = key
        under = self._right.entries_of(right)
        if any(self._left.entries.has(entry, left) for entry in under):
            value = self._values.data.get(right)
            return old if equal(old, value) else value
        return None

    def wake(self, source: Table, changed: Mapping[Any, Any]) -> Iterable[Any]:
        """As in a join, a change may come by several ways; the last finds all of them in place."""
        pairs: list[Any] = []
        if source is self._left:
            for entry, members in changed.items():
                pairs.extend((left, right) for left in members for right in self._right.entries.members(entry))
        if source is self._right:
            for entry, members in changed.items():
                pairs.extend((left, right) for left in self._left.entries.members(entry) for right in members)
        if source is self._values:
            for right in changed:
                for entry in self._right.entries_of(right):
                    pairs.extend((left, right) for left in self._left.entries.members(entry))
        return pairs

    def run_keys(self) -> Iterator[Any]:
        pairs = (
            (left, right)
            for entry in self._left.entries
            for left in self._left.entries.members(entry)
            for right in self._right.entries.members(entry)
        )
        return iter(dict.fromkeys(pairs))

    def made_of(self, key: Any) -> Iterator[tuple[Table, Any, How]]:
        left, right = key
        yield self._left.source(0), left, "value"
        yield self._values, right, "value"
        for entry in self._right.entries_of(right):
            if self._left.entries.has(entry, left):
                yield self._left, entry, "members"
                yield self._right, entry, "members"


class UnionTable(Table):
    """The entries of several collections whose keys are disjoint. Where they are not, the first wins."""

    __slots__ = ("_parts",)

    def __init__(self, handle: Handle, engine: "Engine", below: Table | None) -> None:
        super().__init__(handle, engine, below)
        self._parts = [self.source(position).data for position in range(len(handle.sources))]

    def value_of(self, key: Any, old: Any) -> Any:
        for part in self._parts:
            value = part.get(key)
            if value is not None:
                return old if equal(old, value) else value
        return None

    def run_keys(self) -> Iterator[Any]:
        return chain.from_iterable(self._parts)

    def made_of(self, key: Any) -> Iterator[tuple[Table, Any, How]]:
        for position, part in enumerate(self._parts):
            if key in part:
                yield self.source(position), key, "value"

    def overlaps(self) -> list[Any]:
        """Keys that more than one part has: a mistake in the wiring."""
        return [key for key in self.data if sum(key in part for part in self._parts) > 1]


class QueryTable(Table):
    """Values worked out when they are first asked for, kept while somebody depends on them."""

    __slots__ = ()

    runs_functions = True

    def value_of(self, key: Any, old: Any) -> Any:
        return self.engine.evaluate(self, key, old)

    def read(self) -> Any:
        def look_up(key: Any) -> Any:
            if key not in self.deps:
                self.engine.begin(self, key)
            return self.data.get(key)

        return look_up

    def run_keys(self) -> Iterator[Any]:
        return iter(self.deps)

    def made_of(self, _key: Any) -> Iterator[tuple[Table, Any, How]]:
        return iter(())


TABLES: dict[str, type[Table]] = {
    "input": InputTable,
    "derive": DeriveTable,
    "expand": ExpandTable,
    "index": IndexTable,
    "keys": KeysTable,
    "join": JoinTable,
    "match": MatchTable,
    "query": QueryTable,
    "union": UnionTable,
}
