"""Which fields of the API, and which of their values, occur in meshes.

Read off the manifests instead of counted while they are made: a generator cannot claim what is not there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.meshes.mesh import Mesh

_MAPS = frozenset(
    {
        "headers",
        "withoutHeaders",
        "queryParams",
        "labels",
        "matchLabels",
        "sourceLabels",
        "selector",
        "to",
        "set",
        "add",
        "data",
        "annotations",
    }
)
_WORDS = frozenset(
    {
        "resolution",
        "location",
        "simple",
        "mode",
        "protocol",
        "captureMode",
        "type",
        "h2UpgradePolicy",
        "unmatchedPreflights",
        "derivePort",
        "redirectCode",
        "appProtocol",
        "trafficDistribution",
    }
)


def coverage(meshes: Iterable[Mesh]) -> Counter[str]:
    """`VirtualService.http.match.uri.regex` -> how often; `...tls.mode=SIMPLE` for fields with few values."""
    found: Counter[str] = Counter()
    for mesh in meshes:
        for manifest in mesh.manifests.values():
            for part in ("spec", "endpoints", "ports"):
                if part in manifest:
                    found.update(_paths(manifest["kind"], "" if part == "spec" else part, manifest[part]))
    return found


def _paths(prefix: str, name: str, value: Any) -> Iterator[str]:
    at = f"{prefix}.{name}" if name else prefix
    if name:
        yield at
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths(at, "*" if name in _MAPS else str(key), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(at, "", inner)
    elif name in _WORDS:
        yield f"{at}={value}"
