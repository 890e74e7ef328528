"""Maps that a fork can lay over another store's maps, without copying or touching these.

The engine keeps all it knows in two shapes: key -> value, and key -> set of members (index entries, readers of a
key). In a store they are a `dict` and a `Multimap`; in a fork a `MapOverlay` and a `MultimapOverlay`, which hold
the differences alone, tombstones among them. The engine's code is the same over both.

`sink` moves differences down into the map below, a few at a time. Whoever looks from above sees the same before,
between and after: this is how a big change that was worked out on a fork becomes the store's own in small steps.
"""

from collections.abc import Collection, Hashable, Iterator
from typing import Any, Final, Protocol

Key = Hashable
Member = Hashable

_MISSING: Final[Any] = object()


class Map(Protocol):
    """The part of `dict` that the engine uses. Values are never None."""

    def get(self, key: Any, default: Any = None, /) -> Any: ...
    def pop(self, key: Any, default: Any, /) -> Any: ...
    def items(self) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __contains__(self, key: Any, /) -> bool: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


class MapOverlay:
    """A map over `below`: `own` holds what differs, None stands for a key that is gone."""

    __slots__ = ("below", "own")

    def __init__(self, below: Map) -> None:
        self.below = below
        self.own: dict[Any, Any] = {}

    def get(self, key: Any, default: Any = None, /) -> Any:
        value = self.own.get(key, _MISSING)
        if value is _MISSING:
            return self.below.get(key, default)
        return default if value is None else value

    def __setitem__(self, key: Any, value: Any, /) -> None:
        self.own[key] = value

    def pop(self, key: Any, default: Any, /) -> Any:
        value = self.get(key, default)
        if key in self.below:
            self.own[key] = None
        else:
            self.own.pop(key, None)
        return value

    def __contains__(self, key: Any, /) -> bool:
        value = self.own.get(key, _MISSING)
        return key in self.below if value is _MISSING else value is not None

    def __iter__(self) -> Iterator[Any]:
        own, below = self.own, self.below
        yield from (key for key in below if key not in own)
        yield from (key for key, value in own.items() if value is not None)

    def items(self) -> Iterator[tuple[Any, Any]]:
        own, below = self.own, self.below
        yield from (item for item in below.items() if item[0] not in own)
        yield from (item for item in own.items() if item[1] is not None)

    def __len__(self) -> int:
        """Counts what differs: for people who look, never on the path of a change."""
        hidden = sum(1 for key in self.own if key in self.below)
        return len(self.below) - hidden + sum(1 for value in self.own.values() if value is not None)

    def size(self) -> int:
        """How many differences it holds."""
        return len(self.own)

    def sink(self, limit: int) -> int:
        """Moves up to `limit` differences into the map below. Returns how many it moved."""
        own, below = self.own, self.below
        for moved in range(limit):
            if not own:
                return moved
            key, value = own.popitem()
            if value is None:
                below.pop(key, None)
            else:
                below[key] = value
        return limit


class Multimap:
    """key -> set of members, small: one member is held as it is, more in a dict that remembers their order.

    Most index keys have one member and most values one reader, so this saves the 230 bytes of a set, and with
    them a container for the garbage collector to visit. Members are hashable, so a dict is never one of them.
    """

    __slots__ = ("_bags", "_sorted")

    def __init__(self) -> None:
        self._bags: dict[Any, Any] = {}
        self._sorted: dict[Any, tuple[Any, ...]] = {}

    def add(self, key: Key, member: Member) -> None:
        if self._sorted:
            self._sorted.pop(key, None)
        bag = self._bags.setdefault(key, member)
        if bag is member:
            return  # the first, as nearly always
        if type(bag) is dict:
            bag[member] = None
        elif bag != member:
            self._bags[key] = {bag: None, member: None}

    def discard(self, key: Key, member: Member) -> None:
        if self._sorted:
            self._sorted.pop(key, None)
        bag = self._bags.get(key)
        if type(bag) is dict:
            bag.pop(member, None)
            if len(bag) == 1:
                (self._bags[key],) = bag
        elif bag is not None and bag == member:
            del self._bags[key]

    def members(self, key: Key) -> Collection[Any]:
        """In the order they came. The view is live: finish with it before the next change."""
        bag = self._bags.get(key)
        if bag is None:
            return ()
        return bag if type(bag) is dict else (bag,)

    def sorted(self, key: Key) -> tuple[Any, ...]:
        """The members, sorted; kept until membership changes."""
        bag = self._bags.get(key)
        if type(bag) is not dict:
            return () if bag is None else (bag,)
        found = self._sorted.get(key)
        if found is None:
            found = self._sorted[key] = tuple(sorted(bag))
        return found

    def has(self, key: Key, member: Member) -> bool:
        bag = self._bags.get(key)
        return member in bag if type(bag) is dict else bag is not None and bag == member

    def count(self, key: Key) -> int:
        bag = self._bags.get(key)
        if bag is None:
            return 0
        return len(bag) if type(bag) is dict else 1

    def __contains__(self, key: Key) -> bool:
        return key in self._bags

    def __bool__(self) -> bool:
        return bool(self._bags)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._bags)


class MultimapOverlay:
    """A multimap over `below`: for each key that differs, which members came (True) and which went (False)."""

    __slots__ = ("_counts", "_own", "_sorted", "below")

    def __init__(self, below: "Multimap | MultimapOverlay") -> None:
        self.below = below
        self._own: dict[Any, dict[Any, bool]] = {}
        self._counts: dict[Any, int] = {}
        self._sorted: dict[Any, tuple[Any, ...]] = {}

    def add(self, key: Key, member: Member) -> None:
        if not self.has(key, member):
            self._differ(key, member, present=True)

    def discard(self, key: Key, member: Member) -> None:
        if self.has(key, member):
            self._differ(key, member, present=False)

    def _differ(self, key: Key, member: Member, *, present: bool) -> None:
        self._sorted.pop(key, None)
        own = self._own.get(key)
        if own is None:
            own = self._own[key] = {}
            self._counts[key] = self.below.count(key)
        if self.below.has(key, member) is present:
            del own[member]
        else:
            own[member] = present
        self._counts[key] += 1 if present else -1

    def members(self, key: Key) -> Collection[Any]:
        own = self._own.get(key)
        if own is None:
            return self.below.members(key)
        kept = [member for member in self.below.members(key) if member not in own]
        kept.extend(member for member, present in own.items() if present)
        return kept

    def sorted(self, key: Key) -> tuple[Any, ...]:
        if key not in self._own:
            return self.below.sorted(key)
        found = self._sorted.get(key)
        if found is None:
            found = self._sorted[key] = tuple(sorted(self.members(key)))
        return found

    def has(self, key: Key, member: Member) -> bool:
        own = self._own.get(key)
        present = None if own is None else own.get(member)
        return self.below.has(key, member) if present is None else present

    def count(self, key: Key) -> int:
        count = self._counts.get(key)
        return self.below.count(key) if count is None else count

    def __contains__(self, key: Key) -> bool:
        count = self._counts.get(key)
        return key in self.below if count is None else count > 0

    def __bool__(self) -> bool:
        return bool(self._own) or bool(self.below)

    def __iter__(self) -> Iterator[Any]:
        yield from (key for key in self.below if key not in self._own)
        yield from (key for key, count in self._counts.items() if count > 0)

    def size(self) -> int:
        """How many differences it holds."""
        return sum(map(len, self._own.values()))

    def sink(self, limit: int) -> int:
        """Moves up to `limit` memberships into the multimap below. Returns how many it moved."""
        for moved in range(limit):
            if not self._own:
                return moved
            self._sink_one()
        return limit

    def _sink_one(self) -> None:
        key = next(reversed(self._own))
        own = self._own[key]
        if own:
            member, present = own.popitem()
            (self.below.add if present else self.below.discard)(key, member)
        if not own:
            del self._own[key]
            del self._counts[key]


Members = Multimap | MultimapOverlay
