"""What the HTTP connection manager makes of a request before it asks for a route.

Routes are matched against these headers, not against what the client sent: paths are normalized, ports stripped,
`x-forwarded-proto` and `:scheme` decided, repeated headers joined.
"""

from typing import Any

import msgspec

from controlplane.explain.call import Call, Speaks, split_port
from controlplane.explain.headers import Headers, first, is_grpc, mutated, received, sanitized
from controlplane.explain.metadata import Metadata
from controlplane.explain.outcome import Connection, Failure
from controlplane.explain.paths import canonical, has_escaped_slash, merge_slashes, unescape_slashes

# path_with_escaped_slashes_action; 0 and 1 leave the path alone
_REJECT, _REDIRECT, _FORWARD = 2, 3, 4


class Request(msgspec.Struct, frozen=True):
    """A request as routing sees it."""

    authority: str
    path: str
    method: str
    scheme: str
    headers: Headers
    metadata: Metadata = {}  # what filters have noted
    presented_certificate: bool = False  # the client showed one and was asked to
    validated_certificate: bool = False

    @property
    def forwarded_proto(self) -> str:
        """What Envoy believes about TLS in front of it: requests over TLS were "https"."""
        return first(self.headers, "x-forwarded-proto")

    def moved(self, authority: str, path: str) -> "Request":
        """The same request to another place."""
        headers = {**self.headers, ":authority": (authority,), ":path": (path,)}
        return msgspec.structs.replace(self, authority=authority, path=path, headers=headers)


class Rejection(msgspec.Struct, frozen=True):
    """The connection manager answers before routing."""

    failure: Failure
    location: str = ""


_NORMALIZATION = "path_normalization_failed"
_NOT_NORMAL = Rejection(Failure("", 400, _NORMALIZATION))


def arrive(manager: Any, call: Call, connection: Connection, *, terminated: bool) -> Request | Rejection:
    """`manager` is the HttpConnectionManager that reads the request; `terminated`: Envoy has taken off TLS before."""
    if reason := _refused(manager, call, terminated=terminated):
        return reason
    raw = received(call.headers, http2=call.speaks is Speaks.HTTP2)
    # Our bootstraps let fragments pass (`http_reject_path_with_fragment: false`); Envoy cuts them off.
    normal = _normalize(manager, call.path.partition("#")[0] or "/", redirects=not is_grpc(raw))
    if isinstance(normal, Rejection):
        return normal
    headers = mutated(manager, sanitized(manager, raw, call.source.ip))
    proto = _forwarded_proto(manager, call, headers)
    authority = _strip(manager, call.authority or _default_host(manager, call), connection.local.port)
    pseudo = {":authority": authority, ":path": normal, ":method": call.method, ":scheme": _scheme(call, proto)}
    decided = {name: (value,) for name, value in {**pseudo, "x-forwarded-proto": proto}.items()}
    return Request(authority, normal, call.method, pseudo[":scheme"], {**headers, **decided})


def _refused(manager: Any, call: Call, *, terminated: bool) -> Rejection | None:
    if failure := _codec_failure(manager, call, terminated=terminated):
        return Rejection(failure)
    if not call.authority and not _default_host(manager, call):
        return Rejection(Failure("", 400, "missing_host_header"))
    return None


def _codec_failure(manager: Any, call: Call, *, terminated: bool) -> Failure | None:
    """What the parser does not take, in the order in which it notices."""
    if not call.speaks_http or not call.has_known_method or (call.tls and not terminated):
        return Failure("DPE", 400, "http1.codec_error")
    if call.speaks is Speaks.HTTP2:  # the stream is reset
        return None if call.authority else Failure("DPE", 0, "http2.violation.of.messaging.rule")
    if call.scheme and not call.authority:
        return Failure("DPE", 400, "http1.invalid_url")
    is_edge = manager.use_remote_address.value and not manager.xff_num_trusted_hops
    if is_edge and call.scheme.lower() == "https" and not terminated:
        return Failure("DPE", 403, "http1.https_url_on_plaintext_connection")
    if call.speaks is Speaks.HTTP10 and not manager.http_protocol_options.accept_http_10:
        return Failure("DPE", 426, "low_version")
    return None


def _default_host(manager: Any, call: Call) -> str:
    options = manager.http_protocol_options
    return str(options.default_host_for_http_10) if call.speaks is Speaks.HTTP10 else ""


def _normalize(manager: Any, path: str, *, redirects: bool) -> str | Rejection:
    """Escaped slashes, then RFC 3986, then double slashes: the order of Envoy's PathUtil."""
    action = manager.path_with_escaped_slashes_action
    unescapes = action in {_REDIRECT, _FORWARD} and has_escaped_slash(path)
    if action == _REJECT and has_escaped_slash(path):
        return _NOT_NORMAL
    if unescapes:
        path = unescape_slashes(path)
    if manager.normalize_path.value:
        normal = canonical(path)
        if normal is None:
            return _NOT_NORMAL
        path = normal
    if manager.merge_slashes:
        path = merge_slashes(path)
    if unescapes and action == _REDIRECT:
        return Rejection(Failure("", 307, _NORMALIZATION), path) if redirects else _NOT_NORMAL
    return path


def _forwarded_proto(manager: Any, call: Call, headers: Headers) -> str:
    """An edge proxy trusts nobody; others believe what is there."""
    own = "https" if call.tls else "http"
    trusted = not manager.use_remote_address.value or manager.xff_num_trusted_hops > 0
    return first(headers, "x-forwarded-proto") if trusted and "x-forwarded-proto" in headers else own


def _scheme(call: Call, proto: str) -> str:
    if call.scheme:
        return call.scheme.lower()
    if call.speaks is Speaks.HTTP2:
        return "https" if call.tls else "http"
    return proto if proto in {"http", "https"} else ("https" if call.tls else "http")


def _strip(manager: Any, authority: str, local_port: int) -> str:
    if manager.strip_trailing_host_dot:
        authority = _strip_dot(authority)
    host, port = split_port(authority)
    if not port:
        return authority
    if manager.WhichOneof("strip_port_mode") == "strip_any_host_port" and manager.strip_any_host_port:
        return host
    return host if manager.strip_matching_host_port and int(port) == local_port else authority


def _strip_dot(authority: str) -> str:
    host, port = split_port(authority)
    bare = host.removesuffix(".")
    return f"{bare}:{port}" if port else bare
