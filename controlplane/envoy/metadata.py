"""`filter_metadata.istio`: what Istio says about an Envoy resource, and users' EnvoyFilters and dashboards read.

Encoded field by field: these maps of structs stand in every cluster and in every route, and protobuf's own `Struct`
costs several microseconds each.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from envoy.config.core.v3 import base_pb2
from google.protobuf import struct_pb2

from controlplane.envoy import wire
from controlplane.model.problem import ObjectRef

_FieldsEntry = struct_pb2.Struct.FieldsEntry
_FilterEntry = base_pb2.Metadata.FilterMetadataEntry

_FIELD: Final = wire.embedded(struct_pb2.Struct, "fields")
_KEY: Final = wire.text(_FieldsEntry, "key")
_VALUE: Final = wire.embedded(_FieldsEntry, "value")
_STRING: Final = wire.text(struct_pb2.Value, "string_value")
_LIST_OF_STRUCT: Final = wire.nested(
    wire.embedded(struct_pb2.Value, "list_value"),
    wire.embedded(struct_pb2.ListValue, "values"),
    wire.embedded(struct_pb2.Value, "struct_value"),
)
_NUMBER_TAG: Final = wire.encoded(struct_pb2.Value(number_value=1.0))[:1]

_FILTER: Final = wire.embedded(base_pb2.Metadata, "filter_metadata")
_ISTIO: Final = wire.text(_FilterEntry, "key")("istio")
_FILTER_VALUE: Final = wire.embedded(_FilterEntry, "value")

# The version under which a group is served; it is part of the path Istio writes.
_SERVED: Final = {
    "networking.istio.io": "v1",
    "security.istio.io": "v1",
    "gateway.networking.k8s.io": "v1",
    "networking.k8s.io": "v1",
}


def _field(key: str) -> Callable[[bytes], bytes]:
    head = _KEY(key)
    return lambda value: _FIELD(head + _VALUE(value))


_CONFIG: Final = _field("config")
_HOST: Final = _field("host")
_NAME: Final = _field("name")
_NAMESPACE: Final = _field("namespace")
_PORT: Final = _field("default_original_port")
_SERVICES: Final = _field("services")
_SUBSET: Final = _field("subset")


@lru_cache(maxsize=65_536)
def config_field(ref: ObjectRef) -> bytes:
    """`config`: the path of the object that this resource comes from. Empty for what is no configuration object."""
    if ref.group not in _SERVED:
        return b""
    version = _SERVED[ref.group]
    path = f"/apis/{ref.group}/{version}/namespaces/{ref.namespace}/{kebab(ref.kind)}/{ref.name}"
    return _CONFIG(_STRING(path))


@lru_cache(maxsize=65_536)
def config_metadata(ref: ObjectRef) -> bytes:
    """An encoded `Metadata` that holds `istio.config` alone; empty when there is nothing to say."""
    field = config_field(ref)
    return istio(field) if field else b""


def istio(fields: bytes) -> bytes:
    """An encoded `Metadata` with these fields of its `istio` part."""
    return _FILTER(_ISTIO + _FILTER_VALUE(fields))


def port_field(port: int) -> bytes:
    """`default_original_port`: the service port a cluster stands for."""
    return _PORT(_NUMBER_TAG + struct.pack("<d", port))


@lru_cache(maxsize=4096)
def services_field(name: str, host: str, namespace: str) -> bytes:
    """`services`: the one service behind a cluster."""
    service = _HOST(_STRING(host)) + _NAME(_STRING(name)) + _NAMESPACE(_STRING(namespace))
    return _SERVICES(_LIST_OF_STRUCT(service))


def subset_field(subset: str) -> bytes:
    """`subset`, as a rule names it."""
    return _SUBSET(_STRING(subset))


@lru_cache(maxsize=64)
def kebab(kind: str) -> str:
    """ "VirtualService" -> "virtual-service", "HTTPRoute" -> "http-route"."""
    out: list[str] = []
    for at, letter in enumerate(kind):
        after_lower = at > 0 and kind[at - 1].islower()
        ends_acronym = at > 0 and kind[at - 1].isupper() and kind[at + 1 : at + 2].islower()
        if letter.isupper() and (after_lower or ends_acronym):
            out.append("-")
        out.append(letter.lower())
    return "".join(out)
