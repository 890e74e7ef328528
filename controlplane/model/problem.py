"""User mistakes are data.

A front end never raises for what a user wrote. It returns what is good and, beside it, problems: each names the
object, the field and what to do, so that `lateen analyze`, the status writer, the webhook and the log all say the
same sentence.
"""

from enum import StrEnum

import msgspec


class ObjectRef(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """Names one object the way its author does."""

    group: str  # "networking.istio.io", "" for core Kubernetes
    kind: str  # "VirtualService"
    namespace: str  # "" for cluster-wide kinds
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Origin(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """Where a value came from: an object and a field path in it.

    Holds nothing that changes without meaning (no uid, no resourceVersion, no line number), so that equal
    configuration stays equal whatever was re-applied.
    """

    ref: ObjectRef
    path: str = ""  # "spec.http[0].route[1].destination"; "" = the whole object

    def at(self, path: str) -> "Origin":
        """The same object, at a field below this one: `at("http[0]")`, `at("[1]")`."""
        if not self.path or not path:
            return Origin(self.ref, self.path or path)
        return Origin(self.ref, f"{self.path}{path}" if path.startswith("[") else f"{self.path}.{path}")

    def __str__(self) -> str:
        return f"{self.ref} {self.path}" if self.path else str(self.ref)


class Level(StrEnum):
    """How bad a problem is for the object's author."""

    ERROR = "error"  # something asked for does not happen
    WARNING = "warning"  # it happens, but probably not as meant
    INFO = "info"


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is not as its author wanted it."""

    code: str  # CamelCase, stable, documented: "ReferencedResourceNotFound"
    level: Level
    origin: Origin
    message: str  # a sentence a person can act on
