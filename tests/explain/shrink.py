"""Make a disagreement small enough to read: remove whatever is not needed for it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from google.protobuf import any_pb2, json_format, symbol_database
from google.protobuf.message import Message

from controlplane.explain import Address, Call, Resources, simulate
from tests.explain.compare import disagreements
from tests.explain.observe import envoy_of, observe

_KINDS = ("listeners", "routes", "clusters", "endpoints", "secrets")
_ATTEMPTS = 200  # each starts an Envoy


def differing(resources: Resources, call: Call) -> set[str]:
    """In what Envoy sees this call differently; nothing if it does not take the configuration."""
    try:
        with envoy_of(resources, call.captured_at.ip if call.captured_at else "127.0.0.1") as envoy:
            did = observe(envoy, [call])[0]
    except (AssertionError, TimeoutError):
        return set()
    return {one.partition(":")[0] for one in disagreements(simulate(resources, did.call), did)}


def shrink(
    resources: Resources, call: Call, differs: Callable[[Resources, Call], set[str]] = differing
) -> tuple[Resources, Call]:
    """The smallest found by removing one thing at a time, as long as it is the same that differs."""
    wanted = differs(resources, call)
    attempts = 0
    progress = True
    while progress and wanted and attempts < _ATTEMPTS:
        progress = False
        for candidate in _smaller(resources, call):
            attempts += 1
            if differs(*candidate) == wanted:
                (resources, call), progress = candidate, True
                break
    return resources, call


def to_json(resources: Resources, call: Call) -> dict[str, Any]:
    """What goes into a file under `cases/`."""
    parts = {
        kind: [
            json_format.MessageToDict(one, preserving_proto_field_name=True)
            for one in getattr(resources, kind).values()
        ]
        for kind in _KINDS
    }
    return {"resources": {kind: part for kind, part in parts.items() if part}, "call": msgspec.to_builtins(call)}


def _smaller(resources: Resources, call: Call) -> Iterator[tuple[Resources, Call]]:
    for kind in _KINDS:
        found = getattr(resources, kind)
        for name in found:
            without = {other: found[other] for other in found if other != name}
            yield msgspec.structs.replace(resources, **{kind: without}), call
    for kind in _KINDS:
        found = getattr(resources, kind)
        for name in found:
            for one in pruned(found[name]):
                yield msgspec.structs.replace(resources, **{kind: {**found, name: one}}), call
    yield from ((resources, one) for one in _smaller_calls(call))


def _smaller_calls(call: Call) -> Iterator[Call]:
    for index in range(len(call.headers)):
        yield msgspec.structs.replace(call, headers=call.headers[:index] + call.headers[index + 1 :])
    plain = Call(address=Address("", 0))
    for field in ("tls", "proxy_header", "speaks", "path", "method", "scheme"):
        if getattr(call, field) != getattr(plain, field):
            yield msgspec.structs.replace(call, **{field: getattr(plain, field)})


def pruned(message: Message) -> Iterator[Any]:
    """Copies with one field or element less, big things first."""
    if isinstance(message, any_pb2.Any):
        yield from _pruned_any(message)
        return
    for field, value in message.ListFields():
        entry = field.message_type
        nested = entry is not None
        if entry is not None and entry.GetOptions().map_entry:
            yield _cleared(message, field.name)
        elif field.is_repeated:
            yield from _pruned_list(message, field.name, value, nested=nested)
        else:
            yield _cleared(message, field.name)
            yield from _pruned_field(message, field.name, value) if nested else ()


def _cleared(message: Message, name: str) -> Any:
    copy = _copy(message)
    copy.ClearField(name)
    return copy


def _pruned_field(message: Message, name: str, value: Message) -> Iterator[Any]:
    for inner in pruned(value):
        copy = _copy(message)
        getattr(copy, name).CopyFrom(inner)
        yield copy


def _pruned_list(message: Message, name: str, values: Sequence[Any], *, nested: bool) -> Iterator[Any]:
    for index in range(len(values)):
        copy = _copy(message)
        del getattr(copy, name)[index]
        yield copy
    for index in range(len(values) if nested else 0):
        for inner in pruned(values[index]):
            copy = _copy(message)
            getattr(copy, name)[index].CopyFrom(inner)
            yield copy


def _pruned_any(packed: any_pb2.Any) -> Iterator[any_pb2.Any]:
    inner = symbol_database.Default().GetSymbol(packed.type_url.rpartition("/")[2])()
    packed.Unpack(inner)
    for one in pruned(inner):
        smaller = any_pb2.Any()
        smaller.Pack(one)
        yield smaller


def _copy(message: Message) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
