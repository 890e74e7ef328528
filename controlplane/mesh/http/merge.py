"""How a delegate's rule and the rule that delegates to it become one (Istio's `mergeHTTPRoutes`)."""

from collections.abc import Mapping

import msgspec

from controlplane.model.virtualservice import HTTPMatchRequest, HTTPRoute, StringMatch

Matches = tuple[HTTPMatchRequest, ...]

# What a delegate's rule takes from the root's when it says nothing itself.
_INHERITED = (
    "rewrite",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrors",
    "mirror_percent",
    "mirror_percentage",
    "cors_policy",
    "headers",
)


def merged_rule(root: HTTPRoute, leaf: HTTPRoute, matches: Matches) -> HTTPRoute:
    """The delegate's rule under the root's match."""
    inherited = {name: getattr(root, name) for name in _INHERITED if not _says(leaf, name)}
    return msgspec.structs.replace(
        leaf, name=_joined(root.name, leaf.name), match=matches, invalid=leaf.invalid or root.invalid, **inherited
    )


def _says(rule: HTTPRoute, name: str) -> bool:
    """Whether a field is written at all: `timeout: 0s` and `mirrorPercent: 0` are, and mean something."""
    value = getattr(rule, name)
    return value is not None and value != ()


def merged_matches(root: Matches, leaf: Matches) -> Matches | None:
    """What both match; None when some match of the delegate lies outside of the root's."""
    if not root or not leaf:
        return root or leaf
    merged: list[HTTPMatchRequest] = []
    for inner in leaf:
        within = [_merged(outer, inner) for outer in root if not _conflict(outer, inner)]
        if not within:
            return None
        merged += within
    return tuple(merged)


def _merged(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    return HTTPMatchRequest(
        invalid=root.invalid or leaf.invalid,
        name=_joined(root.name, leaf.name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers={**root.headers, **leaf.headers},
        port=leaf.port or root.port,
        source_labels={**root.source_labels, **leaf.source_labels},
        gateways=leaf.gateways or root.gateways,
        query_params={**root.query_params, **leaf.query_params},
        ignore_uri_case=leaf.ignore_uri_case if leaf.uri is not None else root.ignore_uri_case,
        without_headers={**root.without_headers, **leaf.without_headers},
        source_namespace=leaf.source_namespace or root.source_namespace,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
    )


def _joined(root: str, leaf: str) -> str:
    return f"{root}-{leaf}" if root and leaf else root or leaf


def _conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    return (
        _outside(root.uri, leaf.uri)
        or (root.uri is not None and leaf.uri is not None and bool(root.ignore_uri_case) != bool(leaf.ignore_uri_case))
        or _outside(root.scheme, leaf.scheme)
        or _outside(root.method, leaf.method)
        or _outside(root.authority, leaf.authority)
        or _any_outside(root.headers, leaf.headers)
        or _any_outside(root.without_headers, leaf.without_headers)
        or _any_outside(root.query_params, leaf.query_params)
        or _differ(root.port, leaf.port)
        or _differ(root.source_namespace, leaf.source_namespace)
        or _differ(root.stat_prefix, leaf.stat_prefix)
        or any(leaf.source_labels.get(name, value) != value for name, value in root.source_labels.items())
        or (bool(root.gateways) and not set(leaf.gateways) <= set(root.gateways))
    )


def _differ(root: int | str | None, leaf: int | str | None) -> bool:
    return bool(root) and bool(leaf) and root != leaf


def _any_outside(root: Mapping[str, StringMatch], leaf: Mapping[str, StringMatch]) -> bool:
    return any(name in leaf and _outside(match, leaf[name]) for name, match in root.items())


def _outside(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Whether the leaf can match what the root does not. A regex is never compared with anything but its equal."""
    if root is None or leaf is None or root == leaf:
        return False
    if root.regex is not None or leaf.regex is not None:
        return True
    if root.prefix is not None:
        return not (leaf.exact or leaf.prefix or "").startswith(root.prefix)
    return root.exact is not None  # and another exact string, or a whole prefix, goes beyond it
