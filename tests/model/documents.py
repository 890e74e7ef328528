"""The documents of `documents/`: good ones, for every field of every mesh kind."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from controlplane.model import decode as decoding

HERE = Path(__file__).parent / "documents"


def documents(*, deprecated: bool = False) -> list[dict[str, Any]]:
    """All good documents; with `deprecated` those that are good but warned about instead."""
    return deepcopy(_parsed(deprecated=deprecated))


@cache
def _parsed(*, deprecated: bool) -> list[dict[str, Any]]:
    names = sorted(path for path in HERE.glob("*.yaml") if (path.stem == "deprecated") is deprecated)
    return [document for path in names for document in yaml.safe_load_all(path.read_text())]


def named(name: str) -> dict[str, Any]:
    """A fresh copy of one of them."""
    return next(one for one in documents() if one["metadata"]["name"] == name)


def decode(document: Any, **how: Any) -> Any:
    """`decode`, with a value that tests may take for the kind they know it to be."""
    return decoding.decode(document, **how)
