"""Random route configurations with every kind of match and action."""

from collections.abc import Callable, Sequence
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

from tests.explain.generate.words import (
    DOMAINS,
    EXACT,
    HEADERS,
    PARAMETERS,
    PATH_REGEXES,
    PREFIXES,
    PSEUDO,
    REGEXES,
    SEPARATED,
    TYPE,
    VALUES,
    Json,
    maybe,
    some,
)


def route_configuration(rng: Random, name: str, clusters: Sequence[str]) -> Json:
    """A few virtual hosts; no domain twice, as Envoy demands."""
    domains = some(rng, DOMAINS, 8)
    cuts = sorted(rng.sample(range(1, len(domains)), min(rng.randint(0, 3), len(domains) - 1)))
    groups = [domains[a:b] for a, b in zip([0, *cuts], [*cuts, len(domains)], strict=True)]
    hosts = [_virtual_host(rng, f"h{i}", group, clusters) for i, group in enumerate(groups)]
    flags = maybe(rng, 0.15, ignore_port_in_host_matching=True)
    return {
        "name": name,
        "virtual_hosts": hosts,
        **flags,
        **maybe(rng, 0.1, ignore_path_parameters_in_path_matching=True),
    }


def _virtual_host(rng: Random, name: str, domains: list[str], clusters: Sequence[str]) -> Json:
    routes = [route(rng, f"r{i}", clusters) for i in range(rng.choice((0, 2, 3, 4, 5, 6)))]
    if rng.random() < 0.5:
        routes.append({"match": {"prefix": "/"}, **action(rng, clusters)})
    return {"name": name, "domains": domains, "routes": routes, **maybe(rng, 0.06, require_tls="ALL")}


def route(rng: Random, name: str, clusters: Sequence[str]) -> Json:
    return {"match": match(rng), **action(rng, clusters), **maybe(rng, 0.7, name=name), **_faults(rng)}


def match(rng: Random) -> Json:
    headers = [header_matcher(rng) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))]
    return {
        **_path(rng),
        **maybe(rng, 0.2, case_sensitive=rng.random() < 0.3),
        **({"headers": headers} if headers else {}),
        **maybe(rng, 0.2, query_parameters=[_parameter(rng) for _ in range(rng.randint(1, 2))]),
        **maybe(rng, 0.05, grpc={}),
        **maybe(rng, 0.07, tls_context={rng.choice(("presented", "validated")): rng.random() < 0.5}),
        **maybe(rng, 0.05, runtime_fraction={"default_value": {"numerator": rng.choice((0, 100))}}),
    }


def _path(rng: Random) -> Json:
    kind = rng.choice(("prefix", "prefix", "path", "path_separated_prefix", "safe_regex"))
    if kind == "safe_regex":
        return {kind: {"regex": rng.choice(PATH_REGEXES)}}
    return {kind: rng.choice({"prefix": PREFIXES, "path": EXACT, "path_separated_prefix": SEPARATED}[kind])}


def header_matcher(rng: Random) -> Json:
    name = rng.choice((*HEADERS, *HEADERS[:3], *PSEUDO))
    kind = rng.choice(("string_match",) * 6 + ("present_match", "range_match", "nothing"))
    made: dict[str, Callable[[], Any]] = {
        "string_match": lambda: {"string_match": string_matcher(rng, _value_for(rng, name))},
        "present_match": lambda: {"present_match": rng.random() < 0.7},
        "range_match": lambda: {"range_match": {"start": rng.choice((-5, 0, 1, 7)), "end": rng.choice((1, 7, 8, 11))}},
        "nothing": dict,
    }
    inverted = maybe(rng, 0.3, invert_match=True)
    return {"name": name, **made[kind](), **inverted, **maybe(rng, 0.25, treat_missing_header_as_empty=True)}


def _value_for(rng: Random, name: str) -> str:
    known = {
        ":method": ("GET", "POST", "get"),
        ":path": ("/a", "/a?x=1", "/"),
        ":scheme": ("http", "https"),
        ":authority": ("a.test", "a.test:8080"),
        "host": ("a.test", "A.Test"),
        "x-forwarded-proto": ("http", "https"),
        "content-type": ("application/grpc", "text/plain"),
    }
    return rng.choice(known.get(name, VALUES))


def string_matcher(rng: Random, value: str) -> Json:
    kind = rng.choice(("exact", "exact", "prefix", "suffix", "contains", "safe_regex"))
    if kind == "safe_regex":
        return {"safe_regex": {"regex": rng.choice((*REGEXES, value.replace("?", "\\?") or "b*"))}}
    part = value[: rng.randint(1, 3)] if kind != "exact" else value
    fallback = "" if kind == "exact" else "a"  # the others must not be empty
    return {kind: part or fallback, **maybe(rng, 0.3, ignore_case=True)}


def _parameter(rng: Random) -> Json:
    name = rng.choice(PARAMETERS)
    kind = rng.random()
    if kind < 0.2:
        return {"name": name}
    if kind < 0.4:
        return {"name": name, "present_match": rng.random() < 0.7}
    return {"name": name, "string_match": string_matcher(rng, rng.choice(("1", "2", "abc", "a%2Fb", "")))}


def action(rng: Random, clusters: Sequence[str]) -> Json:
    drawn = rng.random()
    if drawn < 0.12:
        body = maybe(rng, 0.7, body={"inline_string": "x" * rng.randint(1, 30)})
        return {"direct_response": {"status": rng.choice((200, 201, 204, 302, 404, 503)), **body}}
    if drawn < 0.3:
        return {"redirect": redirect(rng)}
    missing = maybe(rng, 0.2, cluster_not_found_response_code=rng.choice(("NOT_FOUND", "INTERNAL_SERVER_ERROR")))
    enabled = rng.choice(({}, {"enabled": False}, {"enabled": True}))
    missing |= maybe(rng, 0.08, upgrade_configs=[{"upgrade_type": "websocket", **enabled}])
    return {"route": {**_clusters(rng, clusters), **missing, **_path_rewrite(rng, "path"), **_host_rewrite(rng)}}


def _clusters(rng: Random, clusters: Sequence[str]) -> Json:
    drawn = rng.random()
    if drawn < 0.1:
        return {"cluster_header": "x-cluster"}
    if drawn < 0.3:
        entries = [
            {"name": name, "weight": rng.randint(0, 3), **maybe(rng, 0.2, host_rewrite_literal="weighted.test")}
            for name in some(rng, clusters, 3)
        ]
        entries[0]["weight"] = 1  # all zero is refused
        return {"weighted_clusters": {"clusters": entries}}
    return {"cluster": rng.choice(clusters)}


def _path_rewrite(rng: Random, what: str) -> Json:
    drawn = rng.random()
    if drawn < 0.15:
        return {"prefix_rewrite": rng.choice(("/", "/new", "/new/", "/a/b"))}
    if drawn < 0.3:
        regex, substitution = rng.choice((("/a", "/z"), ("^/(a|v1)(.*)$", "/\\2\\1"), ("b", "\\0\\0"), ("[a-z]", "q")))
        return {"regex_rewrite": {"pattern": {"regex": regex}, "substitution": substitution}}
    return {"path_redirect": rng.choice(("/moved", "/moved?z=1", "/"))} if drawn < 0.45 and what == "redirect" else {}


def _host_rewrite(rng: Random) -> Json:
    drawn = rng.random()
    if drawn < 0.1:
        return {"host_rewrite_literal": "rewritten.test"}
    if drawn < 0.15:
        return {"host_rewrite_header": "x-a"}
    if drawn < 0.2:
        pattern = {"regex": "^/([a-z]+).*$"}
        return {"host_rewrite_path_regex": {"pattern": pattern, "substitution": "\\1.test"}}
    return {}


def redirect(rng: Random) -> Json:
    scheme = rng.choice(({}, {}, {"https_redirect": True}, {"scheme_redirect": "ftp"}, {"scheme_redirect": "http"}))
    codes = ("MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT")
    return {
        **scheme,
        **maybe(rng, 0.4, host_redirect=rng.choice(("moved.test", "moved.test:99"))),
        **maybe(rng, 0.3, port_redirect=rng.choice((80, 443, 8443))),
        **_path_rewrite(rng, "redirect"),
        **maybe(rng, 0.5, response_code=rng.choice(codes)),
        **maybe(rng, 0.2, strip_query=True),
    }


def _faults(rng: Random) -> Json:
    """Filters that answer before the router; the manager has them in its chain."""
    drawn = rng.random()
    if drawn < 0.08:
        status = rng.choice(({"http_status": 418}, {"grpc_status": 14}))
        abort = {**status, "percentage": {"numerator": rng.choice((0, 100))}}
        headers = maybe(rng, 0.3, headers=[header_matcher(rng)])
        fault = {"@type": TYPE + "extensions.filters.http.fault.v3.HTTPFault", "abort": abort, **headers}
        return {"typed_per_filter_config": {"fault": fault}}
    if drawn < 0.2:
        forward = maybe(rng, 0.5, forward_not_matching_preflights=rng.random() < 0.5)
        origins = [{"exact": "http://good.test"}]
        cors = {"@type": TYPE + "extensions.filters.http.cors.v3.CorsPolicy", "allow_origin_string_match": origins}
        return {"typed_per_filter_config": {"cors": {**cors, **forward}}}
    return {}
