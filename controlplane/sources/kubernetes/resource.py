"""One kind of objects, as an API server serves it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controlplane.model.decode import Decoded, decode
from controlplane.model.kinds import Kind
from controlplane.model.problem import Level, ObjectRef, Origin, Problem

_JSON: Final = "application/json"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What is listed and watched as one."""

    group: str  # "networking.istio.io", "" for core Kubernetes
    version: str  # "v1"
    plural: str  # "virtualservices"
    kind: str  # "VirtualService"
    known: Kind | None = None  # what decodes it; None: its objects are only reported as not supported
    namespace: str = ""  # only what is in this one; "" = everywhere
    fields: str = ""  # a field selector
    metadata_only: bool = False  # the API server leaves out everything else

    def __str__(self) -> str:
        name = f"{self.plural}.{self.group}" if self.group else self.plural
        return f"{name} in {self.namespace}" if self.namespace else name

    @property
    def path(self) -> str:
        """Where it is asked for."""
        api = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{api}{where}/{self.plural}"

    @property
    def list_type(self) -> str:
        """The media type of its lists."""
        return METADATA_LIST if self.metadata_only else _JSON

    @property
    def object_type(self) -> str:
        """The media type of its objects, and so of a watch."""
        return METADATA if self.metadata_only else _JSON

    def ref(self, namespace: str, name: str) -> ObjectRef:
        return ObjectRef(self.group, self.kind, namespace, name)

    def problem(self, code: str, level: Level, message: str) -> Problem:
        """What is said of all of it."""
        return Problem(code, level, Origin(ObjectRef("", "Resource", "", str(self))), message)

    def decode(self, raw: bytes) -> Decoded:
        """One object, as the API server wrote it. Raises nothing for what it holds."""
        if self.known is not None:
            return decode(raw, kind=self.known, namespace="")
        return decode(self._manifest(raw), namespace="")

    def _manifest(self, raw: bytes) -> Mapping[str, Any]:
        """Of a kind nobody decodes: metadata says of itself that it is PartialObjectMetadata."""
        version = f"{self.group}/{self.version}".removeprefix("/")
        try:
            metadata = _METADATA_OF.decode(raw).metadata
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            metadata = {}
        return {"apiVersion": version, "kind": self.kind, "metadata": metadata}


def reads_metadata_only(kind: Kind) -> bool:
    """Whether the model reads nothing else of it: of Nodes there are kilobytes that change all the time."""
    return [field.name for field in msgspec.structs.fields(kind.type)] == ["meta"]


class _HasMetadata(msgspec.Struct):
    metadata: dict[str, Any]


_METADATA_OF: Final = msgspec.json.Decoder(_HasMetadata)
