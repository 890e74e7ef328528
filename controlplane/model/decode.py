"""From a document to a value and its problems. (The slow walker that keeps every good part comes next.)"""

from collections.abc import Mapping
from typing import Any

import msgspec

from controlplane.model.kinds import Object
from controlplane.model.problem import Problem


class Decoded(msgspec.Struct, frozen=True):
    """What a document says, as far as it can be understood, and what is wrong with it."""

    value: Object | None  # None: it is not an object of a kind we know, the problems say why
    problems: tuple[Problem, ...] = ()


def decode(raw: bytes | Mapping[str, Any]) -> Decoded:
    """Decode one Kubernetes object from JSON or from a mapping."""
    raise NotImplementedError
