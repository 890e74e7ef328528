"""A container its author began and injection completes: `istio-proxy` in the Pod's own manifest.

That is Istio's way to change anything about the proxy, and how gateways are made: the author writes the container with
what is to be different and `image: auto`, and gets the rest. What the author wrote wins, field by field, as in a
strategic merge patch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

AUTO: Final = "auto"

# `auto` is no image, and "Always" is what an API server puts beside an image without a tag: nobody's wish.
_SAYS_NOTHING: Final = {"image": AUTO, "imagePullPolicy": "Always"}

# By which field two elements of a list are the same one; other lists are taken as a whole.
_KEYS: Final = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath", "volumeDevices": "devicePath"}
_PROBES: Final = frozenset({"readinessProbe", "livenessProbe", "startupProbe", "preStop", "postStart"})
_ACTIONS: Final = frozenset({"exec", "httpGet", "tcpSocket", "grpc", "sleep"})  # of which there can be one
_SOURCES: Final = frozenset({"value", "valueFrom"})  # likewise, of a variable


def merged(ours: Mapping[str, Any], author: Mapping[str, Any]) -> dict[str, Any]:
    """One container."""
    nothing = _SAYS_NOTHING if author.get("image") == AUTO else {}
    said = {key: value for key, value in author.items() if not (key in nothing and nothing[key] == value)}
    return _object(ours, said)


def _object(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(ours)
    for key, value in theirs.items():
        found[key] = _value(key, ours.get(key), value)
    return {key: value for key, value in found.items() if value is not None}


def _value(key: str, ours: Any, theirs: Any) -> Any:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return _object(_without_others(ours, theirs, _ACTIONS) if key in _PROBES else ours, theirs)
    if key in _KEYS and isinstance(ours, list) and isinstance(theirs, list):
        return _list(_KEYS[key], ours, theirs)
    return ours if theirs is None else theirs


def _list(key: str, ours: Sequence[Any], theirs: Sequence[Any]) -> list[Any]:
    """Ours first, so that variables may refer to those before them."""
    said = {one.get(key): one for one in theirs if isinstance(one, Mapping)}
    kept = [_element(one, said.pop(one.get(key))) if one.get(key) in said else one for one in ours]
    return [*kept, *said.values()]


def _element(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    return _object(_without_others(ours, theirs, _SOURCES), theirs)


def _without_others(ours: Mapping[str, Any], theirs: Mapping[str, Any], one_of: frozenset[str]) -> dict[str, Any]:
    """Without those of `one_of` that the author decided otherwise."""
    decided = not one_of.isdisjoint(theirs)
    return {key: value for key, value in ours.items() if not (decided and key in one_of and key not in theirs)}
