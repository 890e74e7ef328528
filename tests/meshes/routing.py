"""VirtualServices: every kind of match, action and policy, in random order; tcp and tls routes; delegates."""

from random import Random  # noqa: TID251 — takes its seed as an argument

from tests.meshes.making import Host, Making
from tests.meshes.words import (
    HEADERS,
    LITERALS,
    METHODS,
    ORIGINS,
    PARAMETERS,
    PATH_REGEXES,
    PATHS,
    PREFIXES,
    PUBLIC,
    ROOT,
    TIERS,
    VALUE_REGEXES,
    VALUES,
    VERSIONS,
    Json,
    maybe,
    one_of,
    some,
)

_RETRY_ON = ("5xx", "gateway-error,connect-failure", "503,retriable-status-codes", "reset,unavailable")


def add_routing(making: Making, most: int) -> None:
    for _ in range(making.rng.randint(1, most)):
        add_virtual_service(making)


def add_virtual_service(making: Making) -> None:
    """One VirtualService for hosts of the mesh, of a gateway, or both."""
    rng = making.rng
    kind = one_of(
        rng, {"mesh": 5.0, "gateway": 3.0 if making.gateways else 0.0, "both": 1.0 if making.gateways else 0.0}
    )
    target = rng.choice(making.hosts)
    namespace = one_of(rng, {target.namespace: 7.0, making.namespace(): 2.0, ROOT: 1.0})
    hosts = _hosts(making, target, namespace, kind)
    spec: Json = {
        "hosts": hosts,
        **({} if kind == "mesh" else {"gateways": [*_gateway_names(making), *(["mesh"] if kind == "both" else [])]}),
        **maybe(rng, 0.15, exportTo=[rng.choice((".", "*", "alpha"))]),
        **_routes(making, target, namespace, hosts),
    }
    making.add("VirtualService", namespace, f"vs-{making.number()}", spec=spec)


def _hosts(making: Making, target: Host, namespace: str, kind: str) -> list[str]:
    rng = making.rng
    if kind == "gateway":
        return some(rng, PUBLIC, 2)
    own = target.short if target.namespace == namespace and rng.random() < 0.5 else target.name
    wild = f"*.{target.name.partition('.')[2] or 'example.com'}"
    choices = {own: 7.0, wild: 1.0, rng.choice(LITERALS): 1.0}
    hosts = [one_of(rng, choices)]
    if kind == "both":
        hosts += [host for host in some(rng, PUBLIC, 1) if host != "*"]
    return list(dict.fromkeys(hosts))


def _gateway_names(making: Making) -> list[str]:
    names = [gateway_name(one) for one in making.gateways]
    return [*some(making.rng, names, 2), *(["beta/missing"] if making.rng.random() < 0.05 else [])]


def gateway_name(gateway: Json) -> str:
    """As VirtualServices call it."""
    return f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"


def _routes(making: Making, target: Host, namespace: str, hosts: list[str]) -> Json:
    rng = making.rng
    kinds = {"http": 8.0, "tcp": 1.5, "tls": 1.5, "all": 0.5}
    kind = one_of(rng, kinds)
    made: Json = {}
    if kind in {"http", "all"}:
        made["http"] = [http_route(making, target, namespace) for _ in range(rng.choice((1, 1, 2, 3, 5)))]
    if kind in {"tcp", "all"}:
        made["tcp"] = [_tcp_route(making, target) for _ in range(rng.choice((1, 1, 2)))]
    if kind in {"tls", "all"}:
        made["tls"] = [_tls_route(making, target, hosts) for _ in range(rng.choice((1, 1, 2)))]
    return made


# HTTP


def http_route(making: Making, target: Host, namespace: str) -> Json:
    rng = making.rng
    matches = [_match(making) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))]
    action = one_of(rng, {"route": 10.0, "redirect": 1.5, "directResponse": 1.5, "delegate": 1.0})
    made: Json = {**maybe(rng, 0.6, name=f"r{making.number()}"), **({"match": matches} if matches else {})}
    if action == "redirect":
        return {**made, "redirect": _redirect(rng)}
    if action == "directResponse":
        body = maybe(rng, 0.7, body=rng.choice(({"string": "hello"}, {"bytes": "aGVsbG8="})))
        return {**made, "directResponse": {"status": rng.choice((200, 204, 404, 503)), **body}}
    if action == "delegate":
        return {**made, "delegate": _delegate(making, target, namespace)}
    return {**made, "route": destinations(making, target), **_policies(making)}


def _policies(making: Making) -> Json:
    rng = making.rng
    certain = making.ground.real
    share = {"value": rng.choice((0, 100) if certain else (0, 0.5, 50, 100))}
    abort = rng.choice(({"httpStatus": 555}, {"grpcStatus": "UNAVAILABLE"}, {"httpStatus": 404}))
    fault = rng.choice(
        (
            {"abort": {**abort, "percentage": share}},
            {"delay": {"fixedDelay": "0.001s", "percentage": share}},
            {"delay": {"fixedDelay": "0.002s", "percentage": {"value": 100}}, "abort": {**abort, "percentage": share}},
        )
    )
    mirror = {"destination": _destination(making, rng.choice(making.hosts)), **maybe(rng, 0.6, percentage=share)}
    retries = {
        "attempts": rng.randint(0, 3),
        **maybe(rng, 0.5, backoff="0.03s"),
        **maybe(rng, 0.3, retryRemoteLocalities=True),
        **maybe(rng, 0.3, retryIgnorePreviousHosts=rng.random() < 0.5),
    }
    if retries["attempts"]:
        retries |= {**maybe(rng, 0.5, retryOn=rng.choice(_RETRY_ON)), **maybe(rng, 0.3, perTryTimeout="2s")}
    return {
        **maybe(rng, 0.2, rewrite=_rewrite(rng)),
        **maybe(rng, 0.15, fault=fault),
        **maybe(rng, 0.1, mirrors=[mirror]),
        **maybe(rng, 0.15, corsPolicy=_cors(rng)),
        **maybe(rng, 0.2, timeout=rng.choice(("0s", "5s", "30s"))),
        **maybe(rng, 0.2, retries=retries),
        **maybe(rng, 0.2, headers=_header_changes(rng)),
    }


def _match(making: Making) -> Json:
    """At least one condition of any kind, seldom several."""
    rng = making.rng
    made: Json = {
        **maybe(rng, 0.7, uri=_uri(rng)),
        **maybe(rng, 0.1, scheme={"exact": rng.choice(("http", "https"))}),
        **maybe(rng, 0.15, method=string_match(rng, METHODS, ("GET|POST",))),
        **maybe(
            rng, 0.1, authority=string_match(rng, ("reviews", "shop.example.com"), (".*\\.example\\.com(:\\d+)?",))
        ),
        **maybe(rng, 0.3, headers={name: _header(rng) for name in some(rng, HEADERS, 2)}),
        **maybe(rng, 0.15, withoutHeaders={name: _header(rng) for name in some(rng, HEADERS, 1)}),
        **maybe(rng, 0.15, queryParams={name: _parameter(rng) for name in some(rng, PARAMETERS, 1)}),
        **maybe(rng, 0.1, port=rng.choice((80, 8080, 443))),
        **_caller(making),
        **maybe(rng, 0.2, name=f"m{making.number()}"),
        **maybe(rng, 0.1, statPrefix=rng.choice(("fast", "slow"))),
    }
    if "regex" not in made.get("uri", {"regex"}) and rng.random() < 0.25:
        made["ignoreUriCase"] = True
    return made or {"uri": {"prefix": rng.choice(PREFIXES[:-1])}}


def _caller(making: Making) -> Json:
    rng = making.rng
    gateways = ["mesh", *map(gateway_name, making.gateways)]
    return {
        **maybe(rng, 0.08, sourceLabels={"tier": rng.choice(TIERS)}),
        **maybe(rng, 0.08, sourceNamespace=making.namespace()),
        **maybe(rng, 0.08, gateways=some(rng, gateways, 2)),
    }


def _uri(rng: Random) -> Json:
    kind = rng.choice(("exact", "prefix", "prefix", "regex"))
    return {kind: rng.choice({"exact": PATHS, "prefix": PREFIXES, "regex": PATH_REGEXES}[kind])}


def string_match(rng: Random, values: tuple[str, ...], regexes: tuple[str, ...]) -> Json:
    kind = rng.choice(("exact", "exact", "prefix", "regex"))
    value = rng.choice(values)
    return {kind: {"exact": value, "prefix": value[: rng.randint(1, 4)], "regex": rng.choice(regexes)}[kind]}


def _header(rng: Random) -> Json:
    return {} if rng.random() < 0.2 else string_match(rng, VALUES, VALUE_REGEXES)


def _parameter(rng: Random) -> Json:
    return {} if rng.random() < 0.2 else string_match(rng, ("1", "2", "abc"), ("[0-9]+",))


def _redirect(rng: Random) -> Json:
    made = {
        **maybe(rng, 0.4, **rng.choice(({"uri": "/moved"}, {"prefixRewrite": "/there"}, {"uri": "/q?z=1"}))),
        **maybe(rng, 0.5, authority=rng.choice(("moved.test", "moved.test:99"))),
        **maybe(rng, 0.3, scheme=rng.choice(("http", "https"))),
        **maybe(
            rng,
            0.3,
            **rng.choice(
                (
                    {"port": 8443},
                    {"port": 80},
                    {"derivePort": "FROM_REQUEST_PORT"},
                    {"derivePort": "FROM_PROTOCOL_DEFAULT"},
                )
            ),
        ),
        **maybe(rng, 0.5, redirectCode=rng.choice((301, 302, 303, 307, 308))),
    }
    return made or {"authority": "moved.test"}


def _rewrite(rng: Random) -> Json:
    regex = {"match": "^/([a-z]+)(.*)$", "rewrite": "/\\2/\\1"}
    path = rng.choice(({"uri": "/new"}, {"uri": "/"}, {"uri": "/new/"}, {"uriRegexRewrite": regex}, {}))
    return {**path, **maybe(rng, 0.3 if path else 1, authority="rewritten.test")}


def _cors(rng: Random) -> Json:
    return {
        "allowOrigins": [
            rng.choice(({"exact": ORIGINS[0]}, {"regex": "https://.*\\.good\\.test"}, {"prefix": "http://"}))
        ],
        **maybe(rng, 0.6, allowMethods=["GET", "POST"]),
        **maybe(rng, 0.3, allowHeaders=["x-user"]),
        **maybe(rng, 0.3, exposeHeaders=["x-more"]),
        **maybe(rng, 0.3, maxAge="24h"),
        **maybe(rng, 0.3, allowCredentials=rng.random() < 0.5),
        **maybe(rng, 0.4, unmatchedPreflights=rng.choice(("FORWARD", "IGNORE"))),
    }


def _header_changes(rng: Random) -> Json:
    changes = {
        **maybe(rng, 0.6, set={"x-set": rng.choice(("one", "%PROTOCOL%", "100%%"))}),
        **maybe(rng, 0.4, add={"x-added": "two"}),
        **maybe(rng, 0.4, remove=["x-gone"]),
    }
    return dict.fromkeys(some(rng, ("request", "response"), 2), changes)


def _delegate(making: Making, target: Host, namespace: str) -> Json:
    """Mostly one that is there."""
    rng = making.rng
    name = f"part-{making.number()}"
    where = making.namespace() if rng.random() < 0.3 else namespace
    if rng.random() < 0.9:
        rules = [_plain_route(making, target) for _ in range(rng.randint(1, 3))]
        making.add("VirtualService", where, name, spec={"http": rules})
    return {"name": name, **({"namespace": where} if where != namespace or rng.random() < 0.5 else {})}


def _plain_route(making: Making, target: Host) -> Json:
    rng = making.rng
    matches = maybe(rng, 0.7, match=[{"uri": _uri(rng)}])
    return {**matches, "route": destinations(making, target)}


# Where it goes


def destinations(making: Making, target: Host) -> list[Json]:
    """One, or several with weights that need not make a hundred."""
    rng = making.rng
    hosts = [target if rng.random() < 0.8 else rng.choice(making.hosts) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    if len(hosts) == 1:
        changes = maybe(rng, 0.1, headers=_header_changes(rng))
        return [{"destination": _destination(making, hosts[0]), **maybe(rng, 0.2, weight=100), **changes}]
    weights = [rng.choice((0, 1, 10, 50, 99)) for _ in hosts]
    weights[0] = weights[0] or 1
    return [
        {"destination": _destination(making, host), "weight": weight, **maybe(rng, 0.15, headers=_header_changes(rng))}
        for host, weight in zip(hosts, weights, strict=True)
    ]


def _destination(making: Making, host: Host) -> Json:
    """Mostly something that exists, written in full: short names mean the rule's namespace."""
    rng = making.rng
    name = host.name if rng.random() < 0.97 else f"missing.{host.namespace}.svc.cluster.local"
    name = rng.choice(("one.wild.example.com", "other.wild.example.com")) if name.startswith("*") else name
    port = rng.choice(host.ports).number if host.ports else 80
    chance = 0.9 if len(host.ports) != 1 else 0.4
    subset = rng.choice(VERSIONS) if host.has_subsets else "missing"
    return {
        "host": name,
        **maybe(rng, chance, port={"number": port if rng.random() < 0.98 else 4444}),
        **maybe(rng, 0.6 if host.has_subsets else 0.01, subset=subset),
    }


# TCP and TLS


def _l4_destinations(making: Making, target: Host) -> list[Json]:
    return [{key: value for key, value in one.items() if key != "headers"} for one in destinations(making, target)]


def _tcp_route(making: Making, target: Host) -> Json:
    rng = making.rng
    subnets = maybe(rng, 0.3, destinationSubnets=[f"{making.ground.virtual}.0.0/16"])
    match = {**maybe(rng, 0.5, port=rng.choice((7000, 9000, 443, 80))), **subnets, **_caller(making)}
    return {**maybe(rng, 0.6, match=[match] if match else [{"port": 9000}]), "route": _l4_destinations(making, target)}


def _tls_route(making: Making, target: Host, hosts: list[str]) -> Json:
    rng = making.rng
    matches = [
        {
            "sniHosts": [
                host.replace("*", "x") if rng.random() < 0.3 and host != "*" else host for host in some(rng, hosts, 2)
            ],
            **maybe(rng, 0.4, port=rng.choice((443, 8443, 15443))),
            **maybe(rng, 0.1, destinationSubnets=[f"{making.ground.virtual}.0.0/16"]),
            **_caller(making),
        }
        for _ in range(rng.choice((1, 1, 2)))
    ]
    return {"match": matches, "route": _l4_destinations(making, target)}
