"""Calls that should hit: everything one filter chain and one route ask for, as far as it can be had."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

from controlplane.explain import Address, ProxyHeader, Resources, Speaks, Tls
from controlplane.explain.network import http_manager, negotiated, takes_identity, tls_context
from tests.explain.generate.words import ALPNS, AUTHORITIES, PATHS, SNIS

SOURCES = ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.1.0.1")
SOURCE_PORTS = (40001, 40002, 40004)
DESTINATIONS = (("10.0.0.9", 443), ("10.1.2.3", 80))
FAR = "10.1.2.3"  # a client behind another proxy

_EXAMPLES = {"/a.*": "/abc", "/v[12]/x": "/v2/x", ".*": "/q", "(?i)/A/B": "/a/B", "/[a-z]+": "/abc"}
NAMES = (
    *(("spiffe://cluster.local/ns/alpha/sa/a",),) * 4,
    ("spiffe://old.example/ns/beta/sa/b",),
    ("spiffe://stranger/ns/alpha/sa/a",),
    ("spiffe://cluster.local.stranger/ns/a/sa/a",),
    (),
)
_SNIFFED = {"http/1.0": Speaks.HTTP10, "http/1.1": Speaks.HTTP11, "h2c": Speaks.HTTP2}
_EXTERNAL = 2  # FilterChainMatch.ConnectionSourceType


def aimed(rng: Random, resources: Resources, wanted: Sequence[Address]) -> dict[str, Any]:
    """Fields of a `Call` for one chain of one listener, not of one that is just an entry while there are others."""
    every = [*resources.listeners.values()]
    listener = rng.choice([one for one in every if not one.use_original_dst.value] or every)
    default = [listener.default_filter_chain] if listener.HasField("default_filter_chain") else []
    chain = rng.choice([*listener.filter_chains, *default])
    port = listener.address.socket_address.port_value
    at = rng.choice([one for one in wanted if one.port == port] or list(wanted))
    return {"address": at, **_transport(rng, chain), **_request(rng, resources, chain), **_source(rng, chain)}


def proxy_header(rng: Random, chain_match: Any | None, at: Address, source: Address) -> ProxyHeader:
    """What a proxy before this one would say; as the chain wants it, if one is aimed at."""
    far = rng.random() < 0.4 if chain_match is None else chain_match.source_type == _EXTERNAL
    to = rng.choice((at, at, Address(at.ip, 9999), *(Address(*one) for one in DESTINATIONS)))
    if chain_match is not None:
        to = _destination(rng, chain_match, at)
    return ProxyHeader(Address(FAR, source.port) if far else source, to)


def _destination(rng: Random, match: Any, at: Address) -> Address:
    port = match.destination_port.value or at.port
    ips = [ip for ip in (at.ip, "10.0.0.9") if not match.prefix_ranges or _inside(ip, match.prefix_ranges)]
    return Address(rng.choice(ips or [at.ip]), port)


def _inside(ip: str, ranges: Any) -> bool:
    networks = [ip_network((one.address_prefix, one.prefix_len.value), strict=False) for one in ranges]
    return any(network.version == ip_address(ip).version and ip_address(ip) in network for network in networks)


def _source(rng: Random, chain: Any) -> dict[str, Any]:
    match = chain.filter_chain_match
    ranges = [*match.source_prefix_ranges, *match.direct_source_prefix_ranges]
    fitting = [ip for ip in SOURCES if not ranges or _inside(ip, ranges)]
    ports = [port for port in SOURCE_PORTS if port in match.source_ports] or SOURCE_PORTS
    return {"source": Address(rng.choice(fitting or SOURCES), rng.choice(ports)), "match": match}


def _transport(rng: Random, chain: Any) -> dict[str, Any]:
    match, context = chain.filter_chain_match, tls_context(chain)
    if not (context or match.transport_protocol == "tls" or match.server_names):
        fitting = [_SNIFFED[one] for one in match.application_protocols if one in _SNIFFED]
        plain = [Speaks.HTTP11, Speaks.HTTP11, Speaks.HTTP2]
        return {"speaks": rng.choice(fitting or (plain if http_manager(chain) else [*plain, Speaks.BYTES]))}
    name = rng.choice(match.server_names or SNIS).replace("*", rng.choice(("x", "b.a")))
    alpn = tuple(match.application_protocols) or rng.choice(ALPNS)
    needs = bool(context and context.require_client_certificate.value)
    tls = Tls(sni=name, alpn=alpn, client_certificate=needs or rng.random() < 0.2, names=_names(rng, context))
    agreed = negotiated(context, alpn) if context else ""
    return {"tls": tls, "speaks": Speaks.HTTP2 if agreed == "h2" else Speaks.HTTP11}


def _names(rng: Random, context: Any | None) -> tuple[str, ...]:
    """Mostly one that is taken, where a chain asks for one."""
    asked = context is not None and not takes_identity(context, ())
    return rng.choice(NAMES) if asked else ()


def _request(rng: Random, resources: Resources, chain: Any) -> dict[str, Any]:
    manager = http_manager(chain)
    if manager is None:
        return {}
    config = manager.route_config
    if manager.HasField("rds"):
        config = resources.routes[manager.rds.route_config_name]
    host = rng.choice(config.virtual_hosts)
    request: dict[str, Any] = {"authority": _authority(rng, rng.choice(host.domains))}
    if host.routes:
        match = rng.choice(host.routes).match
        request["path"] = _path(rng, match)
        request["headers"] = tuple(pair for matcher in match.headers for pair in _header(matcher))
        request["headers"] += (("content-type", "application/grpc"),) if match.HasField("grpc") else ()
        request |= _pseudo(match)
    return request


def _authority(rng: Random, domain: str) -> str:
    if domain == "*":
        return rng.choice(AUTHORITIES)
    return domain.replace("*", rng.choice(("x", "a", "x.y", "b.a")))


def _path(rng: Random, match: Any) -> str:
    kind = match.WhichOneof("path_specifier")
    value = getattr(match, kind)
    path = _EXAMPLES.get(value.regex, value.regex.partition("(")[0]) if kind == "safe_regex" else value
    if kind in {"prefix", "path_separated_prefix"}:
        longer = [one for one in PATHS if one.startswith(value) and "?" not in one]
        path = rng.choice([path, path, *longer])
    wanted = [one for one in match.query_parameters if one.present_match or not one.HasField("present_match")]
    query = "&".join(f"{one.name}={_example(one.string_match) or 'abc'}" for one in wanted)
    return (path or "/") + (f"?{query}" if query else "")


def _header(matcher: Any) -> list[tuple[str, str]]:
    """A header that fits, or, where the match is inverted, one that does not."""
    absent = matcher.WhichOneof("header_match_specifier") == "present_match" and not matcher.present_match
    if matcher.name.startswith(":") or matcher.name == "host" or absent != matcher.invert_match:
        return [(matcher.name, "other")] if matcher.invert_match and not absent and matcher.name[0] == "x" else []
    if matcher.HasField("range_match"):
        return [(matcher.name, str(matcher.range_match.start))]
    return [(matcher.name, _example(matcher.string_match) or "abc")]


def _example(matcher: Any) -> str:
    regex = {"[0-9]+": "7", "(a|b)c?": "ac", "\\d{2,}": "42", "(?i)abc": "AbC"}
    if matcher.HasField("safe_regex"):
        return regex.get(matcher.safe_regex.regex, str(matcher.safe_regex.regex).replace(".*", "x"))
    return str(matcher.exact or matcher.prefix or matcher.suffix or matcher.contains)


def _pseudo(match: Any) -> dict[str, str]:
    methods = [one.string_match.exact for one in match.headers if one.name == ":method" and not one.invert_match]
    return {"method": methods[0]} if methods and methods[0] in {"GET", "POST"} else {}
