"""Random rules about tokens, and random tokens for them: most are nearly good.

The rules guard a gateway, whose routes ask for claims, and a sidecar. Whatever is random about a token, its times are
far from now: the simulator is told a time, Envoy has the real one.
"""

import json
from collections.abc import Iterator, Sequence
from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any
from urllib.parse import quote

import msgspec
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.explain import Address, Call, Resources, Speaks, decode
from controlplane.model.proxy import InterceptionMode
from tests import tokens
from tests.explain.case import Addresses, Case
from tests.tokens import FAR, Key, base64url, key
from tests.world import World

NOW = 1_800_000_000.0  # Unix seconds: 2027
_CALLS = 40
_ISSUERS = ("https://a.example.com", "b", "c")
_HEADERS = (("Authorization", "Bearer "), ("Authorization", ""), ("x-jwt", ""), ("x-jwt", "T "), ("X-Other", ""))
_PARAMS = ("access_token", "t")
_COOKIES = ("c", "session")
_KEYS = tuple(key(algorithm, name) for algorithm in tokens.ALGORITHMS for name in ("", "other"))
_GROUPS: tuple[Any, ...] = (
    "admin",
    "users",
    ["users", "admin"],
    ["users"],
    [],
    "",
    7,
    True,
    None,
    {"a": "b"},
    [1, "admin"],
)
_CLAIMS = ("group", "scope", "name.given", "nested.list", "missing", "https://a.example.com/role")


def provide(seed: int, addresses: Addresses, endpoints: Sequence[Address]) -> Case:
    """Even seeds ask a gateway, odd ones a sidecar."""
    rng = Random(seed)
    stand_in = addresses.take()
    rules = [_rule(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    world = World().apply(_manifests(rng, rules, endpoints))
    if seed % 2:
        ip = endpoints[0].ip
        proxy = world.sidecar(labels={"app": "a"}, ips=(ip,), interception=InterceptionMode.REDIRECT)
        way: dict[str, Any] = {"address": Address(ip, endpoints[0].port), "captured_at": Address(stand_in, 15006)}
    else:
        proxy = world.gateway("default", labels={"istio": "ingressgateway", "app": "a"})
        way = {"address": Address(stand_in, 8080)}
    resources = _without_own_calls(decode(proxy.resources())[0])
    return Case(resources, tuple(_call(rng, rules, way) for _ in range(_CALLS)), stand_in)


def _without_own_calls(resources: Resources) -> Resources:
    """Nobody makes any here."""
    kept = {name: one for name, one in resources.listeners.items() if name != "virtualOutbound"}
    return msgspec.structs.replace(resources, listeners=kept)


# Rules


def _rule(rng: Random) -> dict[str, Any]:
    signers = rng.sample(_KEYS, rng.choice([1, 1, 2, 3]))
    rule: dict[str, Any] = {
        "issuer": rng.choice(_ISSUERS),
        "jwks": tokens.jwks(*(one.jwk(**_names(rng, number)) for number, one in enumerate(signers))),
        "_signers": signers,
        "forwardOriginalToken": rng.random() < 0.5,
    }
    if rng.random() < 0.4:
        rule["audiences"] = rng.sample(["x", "https://y/", "z"], rng.choice([1, 2]))
    if rng.random() < 0.7:
        rule |= {key: value for key, value in _locations(rng).items() if value}
    if rng.random() < 0.2:
        rule["presence"] = "REQUIRED"
    if rng.random() < 0.5:
        rule["outputClaimToHeaders"] = [{"header": "x-user", "claim": rng.choice(["sub", *_CLAIMS])}]
    if rng.random() < 0.3:
        rule["outputPayloadToHeader"] = "x-payload"
    return rule


def _names(rng: Random, number: int) -> dict[str, str]:
    return rng.choice([{}, {"kid": f"k{number}"}, {"kid": "k0"}])


def _locations(rng: Random) -> dict[str, Any]:
    chosen = rng.sample(_HEADERS, rng.choice([0, 1, 1, 2]))
    return {
        "fromHeaders": [{"name": name, "prefix": prefix} for name, prefix in chosen],
        "fromParams": rng.sample(_PARAMS, rng.choice([0, 0, 1])),
        "fromCookies": rng.sample(_COOKIES, rng.choice([0, 0, 1])),
    }


def _manifests(rng: Random, rules: Sequence[dict[str, Any]], endpoints: Sequence[Address]) -> str:
    hosts = [f"s{number}.example.com" for number in range(len(_CLAIMS) + 3)]
    documents = [
        _document("networking.istio.io", "ServiceEntry", host, _entry(host, endpoints[number % len(endpoints)]))
        for number, host in enumerate(hosts)
    ]
    documents += [
        _document("security.istio.io", "RequestAuthentication", f"p{number}", {"jwtRules": [_written(rule)]})
        for number, rule in enumerate(rules)
    ]
    server = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    gateway = {"selector": {"istio": "ingressgateway"}, "servers": [server]}
    routing = {"hosts": ["*"], "gateways": ["edge"], "http": list(_routes(rng, hosts))}
    ports = [{"name": "http", "port": endpoints[0].port}]
    service = {"clusterIP": "10.96.0.1", "selector": {"app": "a"}, "ports": ports}
    documents += [
        _document("networking.istio.io", "Gateway", "edge", gateway),
        _document("networking.istio.io", "VirtualService", "edge", routing),
        _document("", "Service", "a", service),
    ]
    return yaml.safe_dump_all(documents)


def _document(group: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    version = f"{group}/v1" if group else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _entry(host: str, at: Address) -> dict[str, Any]:
    ports = [{"number": at.port, "name": "http", "protocol": "HTTP"}]
    return {"hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": [{"address": at.ip}]}


def _written(rule: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rule.items() if not name.startswith("_")}


def _routes(rng: Random, hosts: Sequence[str]) -> Iterator[dict[str, Any]]:
    *others, by_header, by_query, default = hosts
    for claim, host in zip(rng.sample(_CLAIMS, len(_CLAIMS)), others, strict=True):
        name = f"@request.auth.claims[{claim}]" if "/" in claim else f"@request.auth.claims.{claim}"
        condition = rng.choice([{"exact": "admin"}, {"prefix": "ad"}, {"regex": "us.*"}, {}])
        yield _to(host, {rng.choice(["headers", "headers", "headers", "withoutHeaders"]): {name: condition}})
    yield _to(by_header, {"headers": {"x-user": {"exact": rng.choice(["alice", "admin", "7", "true"])}}})
    yield _to(by_query, {"queryParams": {"t": {}}})
    yield _to(default, None)


def _to(host: str, match: dict[str, Any] | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"route": [{"destination": {"host": host}}]}
    return rule if match is None else {"match": [match], **rule}


# Calls


def _call(rng: Random, rules: Sequence[dict[str, Any]], way: dict[str, Any]) -> Call:
    headers: list[tuple[str, str]] = []
    query: list[str] = rng.choice([[], [], ["a=1"], ["z=%2Bx&b"], ["t"]])
    for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 2, 3])):
        rule = rng.choice(rules)
        _show(rng, rule, _token(rng, rule), headers, query)
    if rng.random() < 0.2:
        headers.append(("x-user", rng.choice(["alice", "admin"])))
    if preflight := rng.random() < 0.05:
        headers += [("origin", "https://x.example.com"), ("access-control-request-method", "GET")]
    rng.shuffle(headers)
    return Call(
        authority="edge.example.com",
        path="/p" + ("?" + "&".join(query) if query else ""),
        headers=tuple(headers),
        method="OPTIONS" if preflight else "GET",
        speaks=rng.choice([Speaks.HTTP11, Speaks.HTTP11, Speaks.HTTP2]),
        at=NOW,
        **way,
    )


def _show(rng: Random, rule: dict[str, Any], token: str, headers: list[tuple[str, str]], query: list[str]) -> None:
    """Mostly where the rule looks."""
    usual = "fromHeaders" not in rule and "fromParams" not in rule and "fromCookies" not in rule
    places: list[tuple[str, str, str]] = [("h", one["name"], one["prefix"]) for one in rule.get("fromHeaders", ())]
    places += [("p", name, "") for name in rule.get("fromParams", ())]
    places += [("c", name, "") for name in rule.get("fromCookies", ())]
    places += [("h", "authorization", "Bearer "), ("p", "access_token", "")] if usual else []
    if rng.random() < 0.1:
        places = [("h", *rng.choice(_HEADERS)), ("p", rng.choice(_PARAMS), ""), ("c", rng.choice(_COOKIES), "")]
    kind, name, prefix = rng.choice(places)
    if kind == "h":
        headers.append((name, rng.choice([prefix] * 8 + [prefix.lower(), "", f"x {prefix}", f"{prefix}, "]) + token))
    elif kind == "p":
        query.append(f"{rng.choice([name] * 4 + [quote(name).replace('t', '%74')])}={token}")
    else:
        headers.append(("cookie", rng.choice([f"{name}={token}", f"a=b; {name}={token}; d=e", f'{name}="{token}"'])))


def _token(rng: Random, rule: dict[str, Any]) -> str:
    signer: Key = rng.choice(rule["_signers"])
    return rng.choices([_good, _other_claims, _other_signer, _other_header, _damaged, _forged], [8, 6, 2, 2, 2, 2])[0](
        rng, rule, signer
    )


def _said(rng: Random, rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "iss": rule["issuer"],
        "aud": rng.choice(rule.get("audiences", [None])),
        "group": rng.choice(_GROUPS),
        "scope": rng.choice(["users admin", "users", "admin", " ", None]),
        "name": rng.choice([{"given": "admin"}, {"given": "x"}, "admin", None]),
        "nested": rng.choice([{"list": ["users", "admin"]}, {"list": "admin"}, None]),
        "https://a.example.com/role": rng.choice(["admin", None]),
    }


def _good(rng: Random, rule: dict[str, Any], signer: Key) -> str:
    return tokens.token(signer, _said(rng, rule), kid=rng.choice([None, None, "k0", "k1"]))


def _other_claims(rng: Random, rule: dict[str, Any], signer: Key) -> str:
    changes: dict[str, Any] = rng.choice(
        [
            {"iss": rng.choice([*_ISSUERS, "d", None, 3, ""])},
            {"aud": rng.choice(["x", ["z", "x"], "http://x", "y", "https://y", "w", [], None, 3, [3], {"a": 1}])},
            {"exp": rng.choice([1, FAR, None, "soon", -5, 1.5, 0, True, 1e300])},
            {"nbf": rng.choice([1, FAR, None, "soon", -5])},
            {"iat": rng.choice([FAR, "x", -1])},
            {"sub": rng.choice([None, "", 3, "bob"])},
            {"jti": rng.choice([3, "x"])},
        ]
    )
    return tokens.token(signer, {**_said(rng, rule), **changes})


def _other_signer(rng: Random, rule: dict[str, Any], _: Key) -> str:
    return tokens.token(rng.choice(_KEYS), _said(rng, rule))


def _other_header(rng: Random, rule: dict[str, Any], signer: Key) -> str:
    lie: dict[str, Any] = {"alg": rng.choice([*tokens.ALGORITHMS, "none", "None", "", 3, None, "RS1"])}
    return tokens.token(
        signer, _said(rng, rule), **rng.choice([lie, {"kid": 3}, {"kid": ""}, {"typ": None}, {"crit": []}])
    )


def _damaged(rng: Random, rule: dict[str, Any], signer: Key) -> str:
    token = _good(rng, rule, signer)
    at = rng.randrange(len(token))
    head, payload, signature = token.split(".")
    return rng.choice(
        [
            token[:at] + rng.choice("AZz09_-") + token[at + 1 :],
            token[:at],
            token + "=",
            token + ".",
            f"{head}.{payload}.",
            f".{payload}.{signature}",
            f"{head}.{payload}",
            f"{head}.{base64url(b'[]')}.{signature}",
            f"{base64url(b'x')}.{payload}.{signature}",
            "junk",
            "",
        ]
    )


def _forged(rng: Random, rule: dict[str, Any], signer: Key) -> str:
    """Without the private key: no signature, or a secret made of what everybody knows."""
    claims = _said(rng, rule)
    if isinstance(signer.private, bytes) or rng.random() < 0.3:
        return tokens.unsigned(
            claims, rng.choice(["none", "HS256", "RS256", "ES256"]), rng.choice([b"", b"x", bytes(64)])
        )
    public = signer.private.public_key()
    known = rng.choice(
        [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            json.dumps(signer.jwk()).encode(),
            b"",
        ]
    )
    return tokens.token(Key("HS256", known), claims)
