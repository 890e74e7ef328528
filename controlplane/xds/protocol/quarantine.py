"""Configuration that an Envoy refused is not offered to Envoys of that version again.

Keyed by content, so a repaired object is tried at once; bounded and in memory, so a restart tries again.
"""

from typing import Final, NamedTuple

from controlplane.snapshot.resource import Resource

_KEPT: Final = 1024  # refusals


class Refusal(NamedTuple):
    """What was refused, by which Envoy."""

    type_url: str
    name: str
    version: str
    envoy: str


class Quarantine:
    """Refused resources, and what to serve instead. Shared by all streams."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._refused: dict[Refusal, Resource | None] = {}

    @property
    def is_empty(self) -> bool:
        """Nothing was refused."""
        return not self._refused

    def add(self, refused: Resource, envoy: str, last_good: Resource | None) -> None:
        """`refused` was refused; `last_good` is what the proxy has instead."""
        key = Refusal(refused.type_url, refused.name, refused.version, envoy)
        known = self._refused.pop(key, None)
        self._refused[key] = last_good if last_good is not None else known
        while len(self._refused) > self._kept:
            del self._refused[next(iter(self._refused))]

    def holds(self, resource: Resource, envoy: str) -> bool:
        """Whether this content was refused by an Envoy of this version."""
        return bool(self._refused) and _key(resource, envoy) in self._refused

    def last_good(self, resource: Resource, envoy: str) -> Resource | None:
        """What is served instead of a refused resource, if there is anything."""
        return self._refused.get(_key(resource, envoy))

    def refusals(self) -> tuple[Refusal, ...]:
        """For status and debugging, oldest first."""
        return tuple(self._refused)


def _key(resource: Resource, envoy: str) -> Refusal:
    return Refusal(resource.type_url, resource.name, resource.version, envoy)
