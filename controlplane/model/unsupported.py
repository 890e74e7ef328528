"""An object we see but do not act on yet: kept only to say so."""

from datetime import datetime
from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.problem import ObjectRef


class UnsupportedObject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An object of a group we serve, of a kind we do not serve yet."""

    KIND: ClassVar[str] = "UnsupportedObject"

    ref: ObjectRef
    created: datetime | None = None

    @property
    def GROUP(self) -> str:  # noqa: N802  (every kind names its group so; here it is the object's own)
        return self.ref.group

    @property
    def meta(self) -> Meta:
        return Meta(name=self.ref.name, namespace=self.ref.namespace, created=self.created)
