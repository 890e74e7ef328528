"""What an Ingress says of one host, read and not yet joined with what others say of it."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from controlplane.ir.route import StringMatch
from controlplane.model.ingress import Ingress
from controlplane.model.problem import ObjectRef, Origin

_NO_AGE: Final = datetime.max.replace(tzinfo=UTC)

Order = tuple[datetime, str, str]


class Backend(msgspec.Struct, frozen=True):
    """A port of a Service beside the Ingress, by number or by name; no service: it answers 500, which has been said."""

    origin: Origin
    service: str = ""
    port: int = 0
    port_name: str = ""


class PathRule(msgspec.Struct, frozen=True):
    """`match` None: every path."""

    match: StringMatch | None
    backend: Backend
    origin: Origin


class HostRules(msgspec.Struct, frozen=True):
    """The paths of one host in one Ingress, as written, and where the rest goes."""

    host: str  # exact, "*.suffix" or "*"
    order: Order  # of its Ingress
    ref: ObjectRef  # that Ingress
    paths: tuple[PathRule, ...] = ()
    default: Backend | None = None

    @property
    def namespace(self) -> str:
        return self.ref.namespace


def order(ingress: Ingress) -> Order:
    """Sorts the oldest first; objects without age, such as files, come last, by (namespace, name)."""
    return ingress.meta.created or _NO_AGE, ingress.meta.namespace, ingress.meta.name
