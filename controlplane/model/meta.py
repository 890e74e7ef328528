"""Who an object is: its name, its labels and its age, without what changes on every write."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Protocol

import msgspec

from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.value import Read


class OwnerReference(Read):
    """Who made this object: a ReplicaSet made this Pod."""

    kind: str = ""
    name: str = ""
    controller: bool = False


class Meta(Read, eq=False):
    """metadata, as far as it is read.

    Two Metas are equal when all that can change an answer is equal: `uid`, `resource_version` and `generation`
    change when nothing else does (a status write, a re-apply) and are left out of `==`.
    """

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    created: datetime | None = msgspec.field(default=None, name="creationTimestamp")
    deleted: datetime | None = msgspec.field(default=None, name="deletionTimestamp")
    owners: tuple[OwnerReference, ...] = msgspec.field(default=(), name="ownerReferences")
    uid: str = ""
    resource_version: str = ""
    generation: int = 0

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Meta):
            return NotImplemented
        return (
            self.name == other.name
            and self.namespace == other.namespace
            and self.labels == other.labels
            and self.annotations == other.annotations
            and self.created == other.created
            and self.deleted == other.deleted
            and self.owners == other.owners
        )

    def __hash__(self) -> int:
        return hash((self.namespace, self.name))


class KubernetesObject(Protocol):
    """What every kind has."""

    GROUP: ClassVar[str]
    KIND: ClassVar[str]

    @property
    def meta(self) -> Meta: ...


def ref_of(obj: KubernetesObject) -> ObjectRef:
    """The name of an object, as its author writes it."""
    return ObjectRef(obj.GROUP, obj.KIND, obj.meta.namespace, obj.meta.name)


def origin_of(obj: KubernetesObject, path: str = "") -> Origin:
    """An object, or a field of it, as the origin of what is made from it."""
    return Origin(ref_of(obj), path)


def key_of(obj: KubernetesObject) -> tuple[str, str]:
    """(namespace, name): the key of an object in the store."""
    return (obj.meta.namespace, obj.meta.name)
