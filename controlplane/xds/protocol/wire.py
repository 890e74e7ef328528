"""The bytes of discovery requests and responses.

Responses are joins: the resources in them were encoded once, elsewhere, so the fields around them are written by hand
and no message object is built. Requests are parsed by upb and leave as frozen values; nothing else in this room
touches a protobuf message. Field numbers are those of `envoy/service/discovery/v3/discovery.proto`.

Whoever has a certificate may send what it likes, and parsing is work that nothing interrupts: so a request has at most
so many names, a name so many bytes, and of the first one nothing but the node is looked at before it is admitted.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from controlplane.base.varint import varint
from controlplane.snapshot.resource import Resource

DISCOVERY_RESOURCE: Final = "type.googleapis.com/envoy.service.discovery.v3.Resource"
_OWN: Final = "lateen"
MOST_NAMES: Final = 250_000  # in one request, the entries of `initial_resource_versions` with them
LONGEST_NAME: Final = 4096  # bytes, and of a type URL
LARGEST_NODE: Final = 512 * 1024  # bytes; its metadata may repeat a Pod's annotations, of which there are 256 KiB


class Malformed(Exception):  # noqa: N818 - a peer's mistake, named as such
    """The peer sent bytes that are no request. Its fault, not ours."""


class Peer(msgspec.Struct, frozen=True):
    """What a proxy says about itself in its first request. Claims, not facts: identity comes from its certificate."""

    id: str
    cluster: str = ""
    envoy_version: str = ""  # "1.40.0"; part of the quarantine key
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    locality: tuple[str, str, str] = ("", "", "")  # region, zone, sub-zone


class DeltaRequest(msgspec.Struct, frozen=True):
    """One `DeltaDiscoveryRequest`; `error` is None unless it refuses the response named by `nonce`."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: tuple[bytes, ...] = ()  # entries of name and version, on the first of a type
    nonce: str = ""
    error: str | None = None


class SotwRequest(msgspec.Struct, frozen=True):
    """One `DiscoveryRequest`; `names` replaces what was asked before."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None


def field(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited field."""
    return tag + varint(len(payload)) + payload


def read_delta(raw: bytes) -> DeltaRequest:
    """Parse a delta request."""
    message = _parse(_kinds().delta, raw)
    subscribe, unsubscribe = message.resource_names_subscribe, message.resource_names_unsubscribe
    _bounded(message.type_url, subscribe, unsubscribe, message.initial_resource_versions)
    return DeltaRequest(
        message.type_url,
        tuple(subscribe),
        tuple(unsubscribe),
        tuple(message.initial_resource_versions),
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )


def read_sotw(raw: bytes) -> SotwRequest:
    """Parse a state-of-the-world request."""
    message = _parse(discovery_pb2.DiscoveryRequest, raw)
    _bounded(message.type_url, message.resource_names)
    return SotwRequest(
        message.type_url,
        tuple(message.resource_names),
        message.version_info,
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )


def read_peer(raw: bytes, *, delta: bool) -> Peer:
    """Who speaks, from the first request of a stream: the only one that surely names the node."""
    first = _parse(_kinds().first_delta if delta else _kinds().first_sotw, raw).node
    if len(first) > LARGEST_NODE:
        raise Malformed(f"a node has at most {LARGEST_NODE} bytes, this one has {len(first)}")
    node = _parse(base_pb2.Node, first)
    if len(node.id) > LONGEST_NAME:
        raise Malformed(f"a node id has at most {LONGEST_NAME} bytes")
    version = node.user_agent_build_version.version
    return Peer(
        node.id,
        node.cluster,
        f"{version.major_number}.{version.minor_number}.{version.patch}",
        _plain_struct(node.metadata),
        (node.locality.region, node.locality.zone, node.locality.sub_zone),
    )


def version_entry(name: str, version: str) -> bytes:
    """An entry of `initial_resource_versions`, as every protobuf library writes it."""
    return field(b"\x0a", name.encode()) + field(b"\x12", version.encode())


def read_version_entry(entry: bytes) -> tuple[str, str]:
    """Its name and version. Raises `Malformed`."""
    message = _parse(_kinds().entry, entry)
    return message.key, message.value


class _Kinds(NamedTuple):
    """Message types of our own, on the wire the same as those they stand for."""

    delta: Any  # DeltaDiscoveryRequest with the entries of its map left as bytes
    entry: Any  # the message in such an entry
    first_delta: Any  # nothing but the node of a DeltaDiscoveryRequest, left as bytes
    first_sotw: Any  # likewise of a DiscoveryRequest


@cache
def _kinds() -> _Kinds:
    """The wire format of a map is that of a repeated message, and that of a message is that of bytes. A map of 7,000
    strings costs 5 ms to parse and to copy, as bytes it costs 1.
    """
    delta = descriptor_pb2.DescriptorProto()
    discovery_pb2.DeltaDiscoveryRequest.DESCRIPTOR.CopyToProto(delta)
    delta.nested_type[0].options.ClearField("map_entry")
    versions = next(each for each in delta.field if each.name == "initial_resource_versions")
    versions.type = versions.TYPE_BYTES
    versions.ClearField("type_name")
    dependencies = [each.name for each in discovery_pb2.DESCRIPTOR.dependencies]
    file = descriptor_pb2.FileDescriptorProto(name=_OWN, package=_OWN, syntax="proto3", dependency=dependencies)
    file.message_type.extend((delta, _only_node("FirstDelta", 1), _only_node("FirstSotw", 2)))
    pool = descriptor_pool.Default()
    pool.Add(file)
    delta_kind, *first = (pool.FindMessageTypeByName(f"{_OWN}.{each.name}") for each in file.message_type)
    kinds = (delta_kind, delta_kind.nested_types[0], *first)
    return _Kinds(*map(message_factory.GetMessageClass, kinds))


def _only_node(name: str, number: int) -> Any:
    node = descriptor_pb2.FieldDescriptorProto(
        name="node",
        number=number,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
    )
    return descriptor_pb2.DescriptorProto(name=name, field=[node])


def _bounded(type_url: str, *named: Any) -> None:
    """Before any of it becomes a Python object."""
    if sum(map(len, named)) > MOST_NAMES:
        raise Malformed(f"a request names at most {MOST_NAMES} resources")
    for names in named:
        if max(map(len, names), default=0) > LONGEST_NAME:
            raise Malformed(f"the name of a resource has at most {LONGEST_NAME} bytes")
    if len(type_url) > LONGEST_NAME:
        raise Malformed(f"a type URL has at most {LONGEST_NAME} bytes")


def _parse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise Malformed(str(error)) from error


def _plain_struct(struct: Any) -> dict[str, Any]:
    return {key: _plain_value(value) for key, value in struct.fields.items()}


def _plain_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain_value(item) for item in value.list_value.values]
    return None if kind in {None, "null_value"} else getattr(value, kind)


def delta_ack(type_url: str, nonce: str) -> bytes:
    """The exact bytes of a plain ACK: a stream recognises them without parsing."""
    return field(b"\x12", type_url.encode()) + field(b"\x32", nonce.encode())


def delta_frame(resource: Resource, aliases: Iterable[str] = ()) -> bytes:
    """One resource as a field of a `DeltaDiscoveryResponse`."""
    return field(b"\x12", _wrapped(resource, aliases))


def absent_frame(asked: str) -> bytes:
    """ "No such virtual host", said to an on-demand question: no body, and the question as its alias."""
    return field(b"\x12", field(b"\x1a", asked.encode()) + field(b"\x22", asked.encode()))


def heartbeat_frame(resource: Resource) -> bytes:
    """A resource with the same version and no body: renews its time to live."""
    name, version = field(b"\x1a", resource.name.encode()), field(b"\x0a", resource.version.encode())
    return field(b"\x12", version + name + _ttl(resource))


def delta_response(
    type_url: str, nonce: str, frames: Sequence[bytes], removed: Iterable[str] = (), gone: Iterable[str] = ()
) -> bytes:
    """A `DeltaDiscoveryResponse`: header, frames, removals."""
    tail = [field(b"\x32", name.encode()) for name in (*removed, *gone)]
    return b"".join((*frames, field(b"\x22", type_url.encode()), field(b"\x2a", nonce.encode()), *tail))


def sotw_frame(resource: Resource) -> bytes:
    """One resource as a field of a `DiscoveryResponse`; wrapped when it has a time to live."""
    if not resource.ttl:
        return field(b"\x12", _any(resource.type_url, resource.body))
    return field(b"\x12", _any(DISCOVERY_RESOURCE, _wrapped(resource, ())))


def sotw_heartbeat_frame(resource: Resource) -> bytes:
    """The SotW form of a heartbeat."""
    name, version = field(b"\x1a", resource.name.encode()), field(b"\x0a", resource.version.encode())
    return field(b"\x12", _any(DISCOVERY_RESOURCE, version + name + _ttl(resource)))


def sotw_response(type_url: str, version: str, nonce: str, frames: Sequence[bytes]) -> bytes:
    """A `DiscoveryResponse`."""
    header = (field(b"\x0a", version.encode()), field(b"\x22", type_url.encode()), field(b"\x2a", nonce.encode()))
    return b"".join((*header, *frames))


def _wrapped(resource: Resource, aliases: Iterable[str]) -> bytes:
    version, name, body = resource.version.encode(), resource.name.encode(), resource.body
    kind = _type_field(resource.type_url)
    size = varint(len(body))
    whole = varint(len(kind) + 1 + len(size) + len(body))  # of the Any: written by its parts, as bodies are long
    parts = [
        *(b"\x0a", varint(len(version)), version),
        *(b"\x12", whole, kind, b"\x12", size, body),
        *(b"\x1a", varint(len(name)), name),
    ]
    parts.extend(field(b"\x22", alias.encode()) for alias in aliases)
    if resource.ttl:
        parts.append(_ttl(resource))
    return b"".join(parts)


def _any(type_url: str, value: bytes) -> bytes:
    return _type_field(type_url) + field(b"\x12", value)


@lru_cache(maxsize=64)
def _type_field(type_url: str) -> bytes:
    return field(b"\x0a", type_url.encode())


def _ttl(resource: Resource) -> bytes:
    seconds, nanos = divmod(round(resource.ttl * 1_000_000_000), 1_000_000_000)
    duration = (b"\x08" + varint(seconds) if seconds else b"") + (b"\x10" + varint(nanos) if nanos else b"")
    return field(b"\x32", duration)
