"""The simple the clever is held against: the same graph, computed whole, with dictionaries and nothing else.

No marks, no recorded reads, no order but that of the graph. Shares no code with the engine except the handles.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class State(NamedTuple):
    """All there is, by collection name."""

    data: dict[str, dict[Any, Any]]
    entries: dict[str, dict[Any, frozenset[Any]]]
    emitted: dict[str, dict[Any, Any]]
    """Expand: what each source key emits. Index: the index keys each source key is under."""
    failures: frozenset[tuple[str, Any]]
    reports: dict[tuple[str, Any], tuple[Any, ...]]


EMPTY = State({}, {}, {}, frozenset(), {})


def compute(graph: Any, inputs: Mapping[str, Mapping[Any, Any]], before: State = EMPTY) -> State:
    """The state that follows from `inputs`. `before` has the last good values for functions that fail."""
    return _Computation(graph, inputs, before).run()


class _Fetch:
    def __init__(self, computation: "_Computation") -> None:
        self._computation = computation

    def __call__(self, source: Any, key: Any) -> Any:
        if source.kind == "query":
            return self._computation.query(source, key)
        return self._computation.data[source.name].get(key)

    def has(self, source: Any, key: Any) -> bool:
        return self(source, key) is not None

    def report(self, *values: Any) -> None:
        self._computation.reporting[-1].update(dict.fromkeys(values))

    def keys(self, index: Any, key: Any) -> tuple[Any, ...]:
        return tuple(sorted(self._computation.entries[index.name].get(key, ())))

    def values(self, index: Any, key: Any) -> tuple[Any, ...]:
        return tuple((member, self(index.sources[0], member)) for member in self.keys(index, key))


class _Computation:
    def __init__(self, graph: Any, inputs: Mapping[str, Mapping[Any, Any]], before: State) -> None:
        self.graph = graph
        self.inputs = inputs
        self.before = before
        self.data: dict[str, dict[Any, Any]] = {handle.name: {} for handle in graph}
        self.entries: dict[str, dict[Any, frozenset[Any]]] = {}
        self.emitted: dict[str, dict[Any, Any]] = {}
        self.failures: set[tuple[str, Any]] = set()
        self.asked: dict[str, dict[Any, Any]] = {handle.name: {} for handle in graph if handle.kind == "query"}
        self.reports: dict[tuple[str, Any], tuple[Any, ...]] = {}
        self.reporting: list[dict[Any, None]] = []
        self.fetch = _Fetch(self)

    def run(self) -> State:
        for handle in self.graph:
            compute: Callable[[Any], None] = getattr(self, "_" + handle.kind)
            compute(handle)
        for name, values in self.asked.items():
            self.data[name] = {key: value for key, value in values.items() if value is not None}
        return State(self.data, self.entries, self.emitted, frozenset(self.failures), self.reports)

    def _call(self, handle: Any, key: Any, last: Any, *arguments: Any) -> Any:
        self.reporting.append({})
        try:
            return handle.function(*arguments)
        except Exception:  # noqa: BLE001  as the engine does
            self.failures.add((handle.name, key))
            return last
        finally:
            if reported := tuple(self.reporting.pop()):
                self.reports[handle.name, key] = reported

    def _input(self, handle: Any) -> None:
        self.data[handle.name] = dict(self.inputs.get(handle.name, {}))

    def _derive(self, handle: Any) -> None:
        last = self.before.data.get(handle.name, {})
        for key, value in self.data[handle.sources[0].name].items():
            made = self._call(handle, key, last.get(key), self.fetch, key, value)
            if made is not None:
                self.data[handle.name][key] = made

    def _expand(self, handle: Any) -> None:
        last = self.before.emitted.get(handle.name, {})
        emitted = self.emitted[handle.name] = {}
        for key, value in self.data[handle.sources[0].name].items():
            emitted[key] = self._call(handle, key, last.get(key, {}), self.fetch, key, value)
        for key in sorted(emitted, reverse=True):
            self.data[handle.name].update(emitted[key])

    def _index(self, handle: Any) -> None:
        last = self.before.emitted.get(handle.name, {})
        under = self.emitted[handle.name] = {}
        entries: dict[Any, set[Any]] = {}
        for key, value in self.data[handle.sources[0].name].items():
            under[key] = tuple(self._call(handle, key, last.get(key, ()), key, value))
            for index_key in under[key]:
                entries.setdefault(index_key, set()).add(key)
        self.entries[handle.name] = {key: frozenset(members) for key, members in entries.items()}

    def _keys(self, handle: Any) -> None:
        self.data[handle.name] = dict.fromkeys(self.entries[handle.sources[0].name], True)

    def _join(self, handle: Any) -> None:
        left, index = handle.sources
        right = self.data[index.sources[0].name]
        for key in self.data[left.name]:
            for member in self.entries[index.name].get(key, ()):
                self.data[handle.name][key, member] = right[member]

    def _match(self, handle: Any) -> None:
        left, right = handle.sources
        values = self.data[right.sources[0].name]
        for entry, members in self.entries[right.name].items():
            for key in self.entries[left.name].get(entry, ()):
                self.data[handle.name].update({(key, member): values[member] for member in members})

    def _union(self, handle: Any) -> None:
        for part in reversed(handle.sources):
            self.data[handle.name].update(self.data[part.name])

    def _query(self, handle: Any) -> None:
        """Nothing until somebody asks."""

    def query(self, handle: Any, key: Any) -> Any:
        asked = self.asked[handle.name]
        if key not in asked:
            last = self.before.data.get(handle.name, {}).get(key)
            asked[key] = self._call(handle, key, last, self.fetch, key)
        return asked[key]
