"""Who calls: what a rule may ask about the workload a request comes from."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec


class Caller(msgspec.Struct, frozen=True):
    """A workload, or a gateway, as rules look at it. Callers that match the same selectors get the same answers."""

    namespace: str
    labels: Mapping[str, str] = {}


class Standpoint(NamedTuple):
    """Where a caller stands, and its labels, as far as they rank what it calls."""

    locality: str = ""
    node: str = ""
    labels: Mapping[str, str] = {}


NOWHERE: Final = Standpoint()


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether all the wanted labels are there; nothing wanted is always there."""
    return all(labels.get(name) == value for name, value in wanted.items())
