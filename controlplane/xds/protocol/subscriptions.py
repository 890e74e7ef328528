"""What one stream asked for of one type.

A proxy of a mesh with 5,000 services subscribes to thousands of endpoint names one by one. As a set of strings that is
a megabyte a stream; but it is also "all names the view has, except a few", and that is how `NameSet` keeps it.

Wildcards follow the paragraph "How the client specifies what resources to return" of Envoy's xds_protocol.rst.
"""

from collections.abc import Callable, Iterable
from typing import Final

WILDCARD: Final = "*"
_COMPACT_FROM: Final = 64  # names; below this a plain set is small enough


class NameSet:
    """A set of names, kept relative to a universe that it is told the changes of."""

    __slots__ = ("_all", "_minus", "_plus", "_universe")

    def __init__(self, universe: Callable[[str], bool]) -> None:
        self._universe = universe
        self._all = False  # the universe is in, except `_minus`
        self._plus: set[str] = set()
        self._minus: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._plus or (self._all and name not in self._minus and self._universe(name))

    def __bool__(self) -> bool:
        return self._all or bool(self._plus)

    def add(self, name: str) -> None:
        """Add a name, of the universe or not."""
        if self._all and self._universe(name):
            self._minus.discard(name)
        else:
            self._plus.add(name)

    def update(self, names: Iterable[str]) -> None:
        """Add many names."""
        if self._all:
            for name in names:
                self.add(name)
        else:
            self._plus.update(names)

    def fill(self) -> None:
        """All names of the universe, and no others."""
        self.clear()
        self._all = True

    def discard(self, name: str) -> None:
        """Remove a name."""
        self._plus.discard(name)
        if self._all and self._universe(name):
            self._minus.add(name)

    def clear(self) -> None:
        """Remove all names."""
        self._all = False
        self._plus.clear()
        self._minus.clear()

    def appeared(self, name: str) -> None:
        """The universe grew: the name is in this set only if it was asked for before."""
        if self._all and name not in self._plus:
            self._minus.add(name)

    def vanished(self, name: str) -> None:
        """The universe shrank: a name that was asked for stays asked for."""
        if not self._all:
            return
        if name in self._minus:
            self._minus.discard(name)
        else:
            self._plus.add(name)

    def compact(self, universe: Callable[[], Iterable[str]], size: int) -> None:
        """Take the shorter form. Costs the size of the universe, and only when the set has grown by much."""
        if len(self._plus) < _COMPACT_FROM or 2 * len(self._plus) < size:
            return
        names = set(universe())
        missing = self._minus if self._all else names - self._plus
        if len(missing) * 2 > len(self._plus):
            return
        self._plus = self._plus - names  # a new set: in place, it would keep the table it grew to
        self._minus = missing
        self._all = True

    def explicit(self, universe: Iterable[str]) -> set[str]:
        """All names, spelled out: for the rare move to another universe."""
        if not self._all:
            return set(self._plus)
        return self._plus | {name for name in universe if name not in self._minus}

    @property
    def complete(self) -> bool:
        """Whether the whole universe is in."""
        return self._all and not self._minus

    @property
    def extent(self) -> int:
        """How many names this set keeps in memory."""
        return len(self._plus) + len(self._minus)

    @property
    def size(self) -> int:
        """Their characters, counted one by one."""
        return sum(map(len, self._plus)) + sum(map(len, self._minus))

    @property
    def absent(self) -> tuple[str, ...]:
        """Names kept beside the universe: asked for, and mostly not there."""
        return tuple(self._plus)


class Subscription:
    """The interest of one stream in one type: a wildcard, names, or both."""

    __slots__ = ("_named_once", "names", "started", "wildcard")

    def __init__(self, universe: Callable[[str], bool]) -> None:
        self.names = NameSet(universe)
        self.wildcard = False
        self.started = False  # a request of this type was seen
        self._named_once = False  # from then on an empty list means "nothing"

    def begin(self, *, named: bool, legacy: bool = True) -> None:
        """The first request: without a name it means everything ("legacy wildcard")."""
        self.started = True
        if named:
            self._named_once = True
        elif legacy:
            self.wildcard = True

    def subscribe(self, name: str) -> None:
        """Add one name, or `*`. A legacy wildcard goes on beside it until `*` is unsubscribed."""
        self._named_once = True
        if name == WILDCARD:
            self.wildcard = True
        else:
            self.names.add(name)

    def unsubscribe(self, name: str) -> None:
        """Remove one name, or `*`."""
        if name == WILDCARD:
            self.wildcard = False
        else:
            self.names.discard(name)

    def replace(self, names: Iterable[str], *, legacy: bool) -> None:
        """SotW: this list is all there is. Empty means everything only as long as no name was ever given."""
        listed = set(names)
        if listed:
            self._named_once = True
        self.wildcard = WILDCARD in listed or (not listed and legacy and not self._named_once)
        self.names.clear()
        for name in listed - {WILDCARD}:
            self.names.add(name)
