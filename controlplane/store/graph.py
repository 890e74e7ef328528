"""The wiring: which collections there are and what each is made from. Fixed once values are in."""

from collections.abc import Iterator

from controlplane.store.collection import GraphError, Handle


class Graph:
    """The collections in the order they were created, which is an order they can be evaluated in."""

    __slots__ = ("_frozen", "_handles", "_names")

    def __init__(self) -> None:
        self._handles: list[Handle] = []
        self._names: set[str] = set()
        self._frozen = False

    def add(self, handle: Handle) -> int:
        """Takes a new collection in and returns its slot. Raises GraphError when it does not fit."""
        if self._frozen:
            raise GraphError(f"{handle.name}: the graph is fixed since the first apply")
        if handle.name in self._names:
            raise GraphError(f"{handle.name}: the name is taken")
        for source in handle.sources:
            if source.graph is not self:
                raise GraphError(f"{handle.name}: {source.name} belongs to another store")
            if source.kind == "query":
                raise GraphError(f"{handle.name}: the query {source.name} has no entries of its own; fetch from it")
            if source.kind == "index" and handle.kind not in {"keys", "join", "match"}:
                raise GraphError(
                    f"{handle.name}: {source.name} is an index; only keys, join and match are made from one"
                )
        self._handles.append(handle)
        self._names.add(handle.name)
        return len(self._handles) - 1

    def freeze(self) -> None:
        self._frozen = True

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._handles)

    def __getitem__(self, slot: int) -> Handle:
        return self._handles[slot]
