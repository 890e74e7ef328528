"""Headers: what is set, added and removed, on requests and responses.

Envoy refuses to edit pseudo headers and `host`. Istio takes a `host` or `:authority` that is set (or, failing that,
added) on a request for a rewrite of the authority, and skips the other ones; so does this.
"""

from collections.abc import Iterable, Mapping

from controlplane.ir.route import NO_HEADER_OPS, HeaderOps
from controlplane.model.virtualservice import HeaderOperations, Headers

_NOTHING = HeaderOperations()


def header_ops(headers: Headers | None) -> tuple[HeaderOps, str | None]:
    """The changes, and the authority to send instead, if they name one."""
    if headers is None:
        return NO_HEADER_OPS, None
    request, response = headers.request or _NOTHING, headers.response or _NOTHING
    ops = HeaderOps(
        request_set=_pairs(request.set),
        request_add=_pairs(request.add),
        request_remove=_names(request.remove),
        response_set=_pairs(response.set),
        response_add=_pairs(response.add),
        response_remove=_names(response.remove),
    )
    return ops, _authority(request.set) or _authority(request.add)


def join(first: HeaderOps, second: HeaderOps) -> HeaderOps:
    """Both changes, the second after the first."""
    if second is NO_HEADER_OPS:
        return first
    if first is NO_HEADER_OPS:
        return second
    return HeaderOps(
        request_set=first.request_set + second.request_set,
        request_add=first.request_add + second.request_add,
        request_remove=first.request_remove + second.request_remove,
        response_set=first.response_set + second.response_set,
        response_add=first.response_add + second.response_add,
        response_remove=first.response_remove + second.response_remove,
    )


def is_internal(name: str) -> bool:
    """A header no proxy may edit as one."""
    return name.startswith(":") or name.lower() == "host"


def _pairs(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """By name: a mapping has no order of its own worth keeping."""
    return tuple((name, headers[name]) for name in sorted(headers) if not is_internal(name)) if headers else ()


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not is_internal(name))


def _authority(headers: Mapping[str, str]) -> str | None:
    found = (headers[name] for name in sorted(headers) if name.lower() in {"host", ":authority"})
    return next((value for value in found if value), None)
