"""Random calls: half of them aimed at a route or a chain that is there, the others at anything."""

from collections.abc import Sequence
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

import msgspec

from controlplane.explain import Address, Call, ProxyHeader, Resources, Speaks, Tls
from tests.explain.generate.words import ALPNS, AUTHORITIES, HEADERS, METHODS, PATHS, SNIS, VALUES

_SOURCES = ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.1.0.1")
_EXAMPLES = {"/a.*": "/abc", "/v[12]/x": "/v2/x", ".*": "/q", "(?i)/A/B": "/a/B", "/[a-z]+": "/abc"}


def calls_of(
    rng: Random,
    resources: Resources,
    wanted: Sequence[Address],
    count: int,
    *,
    proxied: bool = False,
    captured_at: Address | None = None,
) -> tuple[Call, ...]:
    """`wanted`: destinations; `proxied`: with a PROXY header; `captured_at`: where captured connections enter."""
    made = []
    for _ in range(count):
        at = rng.choice(wanted)
        call = _call(rng, resources, at, captured_at)
        made.append(
            msgspec.structs.replace(call, proxy_header=_proxy_header(rng, at, call.source)) if proxied else call
        )
    return tuple(made)


def _call(rng: Random, resources: Resources, at: Address, entry: Address | None) -> Call:
    source = Address(rng.choice(_SOURCES), rng.choice((40001, 40002, 40004)))
    return Call(
        address=at if rng.random() < 0.97 else Address(at.ip, 1999),
        captured_at=entry,
        source=source,
        **_transport(rng, resources),
        **_request(rng, resources),
    )


def _proxy_header(rng: Random, at: Address, source: Address) -> ProxyHeader | None:
    if rng.random() < 0.05:
        return None
    source = source if rng.random() < 0.6 else Address("10.1.2.3", source.port)
    to = rng.choice((at, at, Address("10.0.0.9", 443), Address(at.ip, 9999), Address("10.1.2.3", 80)))
    return ProxyHeader(source, to)


def _transport(rng: Random, resources: Resources) -> dict[str, Any]:
    """Mostly HTTP; TLS where a chain could want it."""
    kinds = (Speaks.HTTP11,) * 10 + (Speaks.HTTP10, Speaks.HTTP2, Speaks.HTTP2, Speaks.BYTES, Speaks.NOTHING)
    speaks = rng.choice(kinds)
    if rng.random() > (0.5 if resources.secrets else 0.05):
        return {"speaks": speaks}
    tls = Tls(sni=rng.choice(SNIS), alpn=rng.choice(ALPNS), client_certificate=rng.random() < 0.3)
    return {"speaks": speaks, "tls": tls}


def _request(rng: Random, resources: Resources) -> dict[str, Any]:
    aimed = _aim(rng, resources) if rng.random() < 0.6 else {}
    headers = [(rng.choice(HEADERS), rng.choice(VALUES)) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
    return {
        "authority": aimed.get("authority") or (rng.choice(AUTHORITIES) if rng.random() < 0.98 else ""),
        "path": aimed.get("path") or rng.choice(PATHS),
        "method": rng.choice(METHODS),
        "scheme": rng.choice(("http", "https", "HTTP")) if rng.random() < 0.05 else "",
        "headers": (*headers, *_special(rng, resources), *aimed.get("headers", ())),
    }


def _special(rng: Random, resources: Resources) -> list[tuple[str, str]]:
    """Headers some configurations look at."""
    found = []
    if rng.random() < 0.04:
        found += [("connection", "Upgrade"), ("upgrade", rng.choice(("websocket", "WebSocket", "other")))]
    if rng.random() < 0.3:
        found.append(("x-cluster", rng.choice([*resources.clusters, "nowhere"])))
    if rng.random() < 0.1:
        found += [("origin", rng.choice(("http://good.test", "http://bad.test")))]
        found += [("access-control-request-method", "GET")]
    if rng.random() < 0.05:
        found.append(("content-type", rng.choice(("application/grpc", "application/grpc+proto", "application/grpcx"))))
    return found


def _aim(rng: Random, resources: Resources) -> dict[str, Any]:
    """A request one of the routes would take, other routes permitting."""
    hosts = [host for name in sorted(resources.routes) for host in resources.routes[name].virtual_hosts]
    if not hosts:
        return {}
    host = rng.choice(hosts)
    aimed: dict[str, Any] = {"authority": _authority(rng, rng.choice(host.domains))}
    if host.routes:
        match = rng.choice(host.routes).match
        aimed["path"] = _path(rng, match)
        aimed["headers"] = [pair for matcher in match.headers for pair in _header(matcher)]
    return aimed


def _authority(rng: Random, domain: str) -> str:
    if domain == "*":
        return rng.choice(AUTHORITIES)
    return domain.replace("*", rng.choice(("x", "a", "x.y", "b.a")))


def _path(rng: Random, match: Any) -> str:
    kind = match.WhichOneof("path_specifier")
    value = getattr(match, kind)
    path = _EXAMPLES.get(value.regex, value.regex.partition("(")[0]) if kind == "safe_regex" else value
    query = "&".join(f"{one.name}={one.string_match.exact or 'abc'}" for one in match.query_parameters)
    tail = rng.choice(("", "", "/", "/b", "b")) if kind in {"prefix", "path_separated_prefix"} else ""
    return f"{path or '/'}{tail}" + (f"?{query}" if query else "")


def _header(matcher: Any) -> list[tuple[str, str]]:
    if matcher.name.startswith(":") or matcher.name == "host":
        return []
    kind = matcher.WhichOneof("header_match_specifier")
    if kind == "range_match":
        return [(matcher.name, str(matcher.range_match.start))]
    wanted = matcher.string_match
    return [(matcher.name, wanted.exact or wanted.prefix or wanted.suffix or wanted.contains or "abc")]
