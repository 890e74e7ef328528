"""Configuration that an Envoy refused is not offered to Envoys of that version again.

Keyed by content, so a repaired object is tried at once; bounded and in memory, so a restart tries again.

A proxy may lie: one that refuses whatever it is sent would keep the whole mesh at what it has. So who refuses is a
witness, and the word of one witness binds those who have the same name alone. Of two it binds all.
"""

from typing import Final, NamedTuple

from controlplane.snapshot.resource import Resource

_KEPT: Final = 1024  # refusals
_ENOUGH: Final = 2  # witnesses
TRUSTED: Final = ""  # a witness whose word is enough: proxies of this machine


class Refusal(NamedTuple):
    """What was refused, by which Envoy."""

    type_url: str
    name: str
    version: str
    envoy: str


_Heard = dict[str, Resource | None]  # witness -> what it has instead


class Quarantine:
    """Refused resources, and what to serve instead. Shared by all streams, each of which sees it as a witness."""

    def __init__(self, kept: int = _KEPT, witness: str = TRUSTED, refused: dict[Refusal, _Heard] | None = None) -> None:
        self._kept = kept
        self._witness = witness
        self._refused: dict[Refusal, _Heard] = {} if refused is None else refused

    def of(self, witness: str) -> "Quarantine":
        """The same, for streams of this witness."""
        return Quarantine(self._kept, witness, self._refused)

    @property
    def is_empty(self) -> bool:
        """Nothing was refused."""
        return not self._refused

    def add(self, refused: Resource, envoy: str, last_good: Resource | None) -> None:
        """`refused` was refused; `last_good` is what the proxy has instead."""
        key = _key(refused, envoy)
        heard = self._refused.pop(key, None) or {}
        self._refused[key] = heard
        if last_good is not None or self._witness not in heard:
            heard[self._witness] = last_good
        while len(self._refused) > self._kept:
            del self._refused[next(iter(self._refused))]

    def holds(self, resource: Resource, envoy: str) -> bool:
        """Whether this content was refused by an Envoy of this version."""
        return bool(self._refused) and self._binds(self._refused.get(_key(resource, envoy), {}))

    def last_good(self, resource: Resource, envoy: str) -> Resource | None:
        """What is served instead of a refused resource, if there is anything."""
        heard = self._refused.get(_key(resource, envoy), {})
        if not self._binds(heard):
            return None
        own = heard.get(self._witness)
        return own if own is not None else next((one for one in heard.values() if one is not None), None)

    def refusals(self) -> tuple[Refusal, ...]:
        """For status and debugging, oldest first."""
        return tuple(self._refused)

    def _binds(self, heard: _Heard) -> bool:
        return self._witness in heard or TRUSTED in heard or len(heard) >= _ENOUGH


def _key(resource: Resource, envoy: str) -> Refusal:
    return Refusal(resource.type_url, resource.name, resource.version, envoy)
