"""YAML in an annotation: a few lines, from a stranger.

No anchors (a short text could become a long one), no depth, no dates; JSON is YAML.
"""

from typing import Any, Final

import yaml

_LONGEST: Final = 65_536  # characters
_DEEPEST: Final = 32
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Plain(_Loader):  # type: ignore[misc]  # chosen at import: in C where it is built so
    """Reads no timestamps: Kubernetes' YAML is JSON with comments."""

    yaml_implicit_resolvers: Final = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in _Loader.yaml_implicit_resolvers.items()
    }


def read(text: str) -> Any:
    """One document; None for an empty one. Raises ValueError, in words for the author."""
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    try:
        _check(text)
        return yaml.load(text, Loader=_Plain)  # noqa: S506  (a safe loader of ours)
    except yaml.YAMLError as error:
        raise ValueError(f"is no YAML: {' '.join(str(error).split())}") from error


def _check(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError("uses an anchor or an alias of YAML: write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"nests deeper than {_DEEPEST}")
