"""Random calls: most aimed at a chain and a route, some changed a little then, the others at anything."""

from collections.abc import Sequence
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

import msgspec

from controlplane.explain import Address, Call, Resources, Speaks, Tls
from tests.explain.generate.aim import SOURCE_PORTS, SOURCES, aimed, proxy_header
from tests.explain.generate.words import ALPNS, AUTHORITIES, HEADERS, METHODS, PATHS, SNIS, VALUES

_AIMED = 0.75


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
        fields = aimed(rng, resources, wanted) if rng.random() < _AIMED else _anything(rng, resources, wanted)
        match = fields.pop("match", None)
        call = _disturbed(rng, resources, Call(captured_at=captured_at, **fields))
        if proxied and rng.random() < 0.95:
            header = proxy_header(rng, match, call.address, call.source)
            call = msgspec.structs.replace(call, proxy_header=header)
        made.append(call)
    return tuple(made)


def _anything(rng: Random, resources: Resources, wanted: Sequence[Address]) -> dict[str, Any]:
    """Mostly HTTP; TLS where a chain could want it."""
    kinds = (Speaks.HTTP11,) * 6 + (Speaks.HTTP10, Speaks.HTTP2, Speaks.HTTP2, Speaks.BYTES, Speaks.NOTHING)
    at = rng.choice(wanted)
    tls = Tls(sni=rng.choice(SNIS), alpn=rng.choice(ALPNS), client_certificate=rng.random() < 0.3)
    return {
        "address": at if rng.random() < 0.95 else Address(at.ip, 1999),
        "source": Address(rng.choice(SOURCES), rng.choice(SOURCE_PORTS)),
        "speaks": rng.choice(kinds),
        "tls": tls if rng.random() < (0.5 if resources.secrets else 0.05) else None,
        "authority": rng.choice(AUTHORITIES) if rng.random() < 0.95 else "",
        "path": rng.choice(PATHS),
        "method": rng.choice(METHODS),
        "scheme": rng.choice(("http", "https", "HTTP")) if rng.random() < 0.1 else "",
    }


def _disturbed(rng: Random, resources: Resources, call: Call) -> Call:
    """A few things more, some of which change the answer."""
    more = [(rng.choice(HEADERS), rng.choice(VALUES)) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))]
    more += _special(rng, resources)
    if call.speaks is Speaks.HTTP11:
        more += _upgrade(rng)
    fields: dict[str, Any] = {"headers": (*call.headers, *more)}
    if rng.random() < 0.1:
        fields["method"] = rng.choice(METHODS)
    if rng.random() < 0.08:
        fields["method"] = rng.choice(("OPTIONS", "OPTIONS", "GET"))
        origin = rng.choice(("http://good.test", "http://bad.test"))
        fields["headers"] += (("origin", origin), ("access-control-request-method", "GET"))
    if rng.random() < 0.1:
        fields["path"] = rng.choice(PATHS)
    if rng.random() < 0.02:
        fields["speaks"] = rng.choice((Speaks.HTTP10, Speaks.BYTES, Speaks.NOTHING))
    return msgspec.structs.replace(call, **fields)


def _upgrade(rng: Random) -> list[tuple[str, str]]:
    if rng.random() > 0.04:
        return []
    protocol = rng.choice(("websocket", "WebSocket", "x"))
    return [("connection", rng.choice(("Upgrade", "keep-alive, upgrade"))), ("upgrade", protocol)]


def _special(rng: Random, resources: Resources) -> list[tuple[str, str]]:
    """Headers some configurations look at."""
    found = []
    if rng.random() < 0.5:
        found.append(("x-cluster", rng.choice([*resources.clusters, "nowhere"])))
    if rng.random() < 0.03:
        found.append(("content-type", rng.choice(("application/grpc", "application/grpc+proto", "application/grpcx"))))
    return found
