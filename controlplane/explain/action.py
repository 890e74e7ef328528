"""What a matched route does: where a redirect points, what the upstream sees, which clusters may get the call."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from controlplane.explain.headers import first
from controlplane.explain.matchers import pattern
from controlplane.explain.request import Request

# RedirectAction.RedirectResponseCode
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Target(NamedTuple):
    """A cluster by name, and its weight."""

    cluster: str
    weight: int
    entry: Any | None = None  # the WeightedCluster.ClusterWeight, where there is one


def targets(action: Any, request: Request) -> list[Target]:
    """Clusters a RouteAction may draw; an empty name where the header that should name it is missing."""
    kind = action.WhichOneof("cluster_specifier")
    if kind == "weighted_clusters":
        return [_weighted(entry, request) for entry in action.weighted_clusters.clusters if entry.weight.value]
    if kind == "cluster_header":
        return [Target(first(request.headers, action.cluster_header), 1)]
    return [Target(action.cluster, 1)]


def _weighted(entry: Any, request: Request) -> Target:
    name = entry.name or first(request.headers, entry.cluster_header)
    return Target(name, entry.weight.value, entry)


def redirect_status(redirect: Any) -> int:
    return _REDIRECT_CODES[redirect.response_code]


def has_location(status: int) -> bool:
    """201 and all redirects."""
    return status == 201 or 300 <= status < 400


def location(match: Any, redirect: Any, request: Request) -> str:
    """The Location header of a redirect, as `RouteEntryImplBase::newUri` puts it together."""
    scheme = "https" if redirect.https_redirect else redirect.scheme_redirect or request.scheme
    port = f":{redirect.port_redirect}" if redirect.port_redirect else ""
    host = redirect.host_redirect or _request_host(request, scheme, port)
    return f"{scheme}://{host}{port}{_redirect_path(match, redirect, request)}"


def tls_location(request: Request) -> str:
    """Where `require_tls` sends a plain request."""
    return f"https://{request.authority}{request.path}"


def _request_host(request: Request, scheme: str, new_port: str) -> str:
    """The port the client wrote stays, unless a new one is given or it was the old scheme's own."""
    authority = request.authority
    colon = authority.rfind("]:") + 1 if authority.startswith("[") else authority.rfind(":")
    if colon <= 0:
        return authority
    proto = request.forwarded_proto
    is_default = scheme != proto and authority[colon:] == _DEFAULT_PORTS.get(proto)
    return authority[:colon] if new_port or is_default else authority


def _redirect_path(match: Any, redirect: Any, request: Request) -> str:
    plain, mark, query = request.path.partition("?")
    kind = redirect.WhichOneof("path_rewrite_specifier")
    if kind == "path_redirect" and "?" in redirect.path_redirect:
        return str(redirect.path_redirect)  # its own query wins, and is never stripped
    if kind == "path_redirect":
        plain = redirect.path_redirect
    elif kind:
        plain = rewritten(match, redirect, plain)
    return plain if redirect.strip_query else plain + mark + query


def upstream_path(match: Any, action: Any, request: Request) -> str:
    plain, mark, query = request.path.partition("?")
    return rewritten(match, action, plain) + mark + query


def rewritten(match: Any, action: Any, path: str) -> str:
    """`prefix_rewrite` and `regex_rewrite` of a route or a redirect, on a path without query."""
    if action.prefix_rewrite:
        return str(action.prefix_rewrite) + path[_matched_length(match, path) :]
    if action.HasField("regex_rewrite"):
        rewrite = action.regex_rewrite
        return substituted(rewrite.pattern.regex, rewrite.substitution, path)
    return path


def _matched_length(match: Any, path: str) -> int:
    """A prefix match replaces the prefix, an exact or regex match the whole path."""
    kind = match.WhichOneof("path_specifier")
    return len(getattr(match, kind)) if kind in {"prefix", "path_separated_prefix"} else len(path)


def substituted(regex: str, substitution: str, text: str) -> str:
    """RE2::GlobalReplace: every match, with \\0..\\9 for the groups."""
    parts = list(_substitution(substitution))
    found = pattern(regex).sub(lambda match: "".join(p if isinstance(p, str) else match[p] or "" for p in parts), text)
    return str(found)


def _substitution(text: str) -> Iterator[str | int]:
    """`a\\1b` -> `a`, 1, `b`. Envoy refuses a configuration with any other escape than `\\\\` and a digit."""
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            yield int(text[at + 1]) if text[at + 1].isdigit() else text[at + 1]
            at += 2
        else:
            yield text[at]
            at += 1


def upstream_authority(action: Any, entry: Any | None, request: Request) -> str:
    """The Host the upstream sees: the weighted cluster's rewrite, then the route's over it.

    With `auto_host_rewrite` it is the endpoint's own name: "" here.
    """
    before = str(entry.host_rewrite_literal) if entry is not None else ""
    before = before or request.authority
    kind = action.WhichOneof("host_rewrite_specifier")
    if kind == "host_rewrite_literal":
        return str(action.host_rewrite_literal)
    if kind == "auto_host_rewrite" and action.auto_host_rewrite.value:
        return ""
    if kind == "host_rewrite_header":
        return first(request.headers, action.host_rewrite_header) or before
    if kind == "host_rewrite_path_regex":
        rewrite = action.host_rewrite_path_regex
        path = request.path.partition("?")[0]
        return substituted(rewrite.pattern.regex, rewrite.substitution, path)
    return before
