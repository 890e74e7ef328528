"""The wiring: which collections there are and what each is made from. Fixed once values are in."""

from collections.abc import Iterable, Iterator, Mapping

from controlplane.store.collection import GraphError, Handle


class GraphDescription:
    """The graph for people: `str()` is a table in order of evaluation, `dot()` is a picture for Graphviz."""

    def __init__(self, handles: Iterable[Handle], sizes: Mapping[int, int], reads: Mapping[int, Iterable[int]]) -> None:
        self._handles = tuple(handles)
        self._sizes = sizes
        self._reads = {slot: sorted(read) for slot, read in reads.items()}

    def __str__(self) -> str:
        width = max((len(handle.name) for handle in self._handles), default=0)
        return "\n".join(self._line(handle, width) for handle in self._handles)

    def _line(self, handle: Handle, width: int) -> str:
        line = f"{handle.name:{width}}  {handle.kind:6}  {self._sizes.get(handle.slot, 0):>7}"
        if handle.sources:
            line += "  of " + ", ".join(source.name for source in handle.sources)
        if reads := self._reads.get(handle.slot):
            line += "  reads " + ", ".join(self._handles[slot].name for slot in reads)
        return line

    def dot(self) -> str:
        """Solid edges are what a collection is made from, dashed ones what its functions fetched."""
        lines = ["digraph store {", "  rankdir=LR; node [shape=box];"]
        for handle in self._handles:
            lines.append(
                f'  "{handle.name}" [label="{handle.name}\\n{handle.kind} {self._sizes.get(handle.slot, 0)}"];'
            )
            lines.extend(f'  "{source.name}" -> "{handle.name}";' for source in handle.sources)
            reads = self._reads.get(handle.slot, ())
            lines.extend(f'  "{self._handles[slot].name}" -> "{handle.name}" [style=dashed];' for slot in reads)
        return "\n".join([*lines, "}"])


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
