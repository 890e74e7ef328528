"""What every value of the model is made of.

Values are compared after every change and held by the ten thousand, so they are `msgspec` structs: frozen, cheap to
make and to compare, and outside the garbage collector (they are trees, they cannot form cycles).

A field the author left out is `None`, or empty for lists and maps; defaults belong to the front ends. The comment
beside a field is its description in the CRD.
"""

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self, cast, dataclass_transform

import msgspec
from msgspec import Meta as Bounds

if TYPE_CHECKING:
    Duration = timedelta
    Mark = bool
else:

    class Duration(timedelta):
        """A timedelta, to everyone but msgspec: a type of its own keeps msgspec's ISO 8601 parser away.

        Both APIs write durations as "1.5s" or "1h30m".
        """

        __slots__ = ()

    class Mark:
        """A bool that only our own code sets: no document can carry one."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class ValueMeta(msgspec.StructMeta):
    """Makes every struct below frozen, keyword-only, untracked and camelCase on the wire without saying so."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> "ValueMeta":
        defaults = {"frozen": True, "kw_only": True, "gc": False, "omit_defaults": True, "rename": "camel"}
        return super().__new__(mcls, name, bases, namespace, **cast("Any", defaults | config))


class Value(msgspec.Struct, metaclass=ValueMeta, forbid_unknown_fields=True):
    """A value of the mesh kinds: every field its author may write is declared here, anything else is a problem."""


class Read(msgspec.Struct, metaclass=ValueMeta):
    """A value of the kinds other projects own: we declare what we read and skip the rest."""


UInt32 = Annotated[int, Bounds(ge=0, le=2**32 - 1)]
Int32 = Annotated[int, Bounds(ge=-(2**31), le=2**31 - 1)]
UInt64 = Annotated[int, Bounds(ge=0)]  # msgspec bounds end at int64


class WireEnum(StrEnum):
    """An enum of the API. `number` is its protobuf number, which protobuf JSON also accepts."""

    number: int

    def __new__(cls, name: str, number: int) -> Self:
        member = str.__new__(cls, name)
        member._value_ = name
        member.number = number
        return member
