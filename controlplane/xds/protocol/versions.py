"""What a proxy that comes back says it has, against what it should have.

Five hundred proxies that come back name 19,000 resources each, and nearly always exactly those that are expected. So
what they send is first compared as a whole, by the sum of the hashes of its parts, which costs no look into a table;
entries become names and versions only where something differs.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property

from controlplane.xds.protocol import wire


class Versions:
    """Name -> version of all shared resources of a type, and the same as a request spells it."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.by_name = dict(pairs)

    @cached_property
    def by_entry(self) -> Mapping[bytes, str]:
        """Entry of `initial_resource_versions` -> name."""
        return {wire.version_entry(name, version): name for name, version in self.by_name.items()}

    def are(self, entries: Collection[bytes]) -> bool:
        """Whether these are the entries, in any order; wrong once in 2^64 times, as equal versions are."""
        return len(entries) == len(self.by_name) and _fingerprint(entries) == self._entries

    def are_of(self, names: Collection[str]) -> bool:
        """Whether these are the names, in any order."""
        return len(names) == len(self.by_name) and _fingerprint(names) == self._names

    @cached_property
    def _entries(self) -> int:
        return _fingerprint(self.by_entry)

    @cached_property
    def _names(self) -> int:
        return _fingerprint(self.by_name)


class Report:
    """What a proxy says it has of one type: what is expected, except some."""

    def __init__(self, entries: Collection[bytes], expected: Versions) -> None:
        """`entries`: of `initial_resource_versions`. Raises `Malformed`."""
        self._expected = expected
        self._others: dict[str, str] = {}
        self._lacking: frozenset[str] = frozenset()
        if not expected.are(entries):
            reported = frozenset(entries)
            self._others = dict(wire.read_version_entry(entry) for entry in sorted(reported - expected.by_entry.keys()))
            self._lacking = frozenset(expected.by_entry[entry] for entry in expected.by_entry.keys() - reported)

    @property
    def different(self) -> set[str]:
        """Names it does not report as they are expected."""
        return {*self._others, *self._lacking}

    @property
    def names(self) -> AbstractSet[str]:
        """All it reports."""
        names = self._expected.by_name.keys()
        return (names - self._lacking) | self._others.keys() if self.different else names

    def version(self, name: str) -> str | None:
        """What it reports of this name."""
        if name in self._others:
            return self._others[name]
        return None if name in self._lacking else self._expected.by_name.get(name)


def _fingerprint(parts: Iterable[bytes] | Iterable[str]) -> int:
    return sum(map(hash, parts))
