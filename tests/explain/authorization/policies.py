"""Random policies: every field and every style, empty lists, words meant to do harm, and now and then a mistake."""

from collections.abc import Callable, Sequence
from random import Random  # noqa: TID251  seeded by the test
from typing import Any

from tests.explain.authorization import words

Json = dict[str, Any]
_Value = Callable[[Random], str]
OWN_PORT = 8080  # of every listener that speaks HTTP
TCP_PORT = 9090


def any_policies(random: Random) -> list[Json]:
    """What is for one workload in namespace `shop`: a few policies, documents as users write them."""
    return [_policy(random, f"p{number}") for number in range(random.choice((1, 1, 2, 2, 3, 4)))]


def _policy(random: Random, name: str) -> Json:
    action = random.choices(("ALLOW", "DENY", "AUDIT", "CUSTOM", None), (45, 35, 5, 5, 10))[0]
    spec: Json = {"rules": [_rule(random) for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3)))]}
    if action:
        spec["action"] = action
    if action == "CUSTOM":
        spec["provider"] = {"name": "nobody"}
    metadata: Json = {"name": name, "namespace": random.choice(("shop", "shop", "istio-system"))}
    if random.random() < 0.12:
        metadata["annotations"] = {"istio.io/dry-run": random.choice(("true", "True", "1", "false", "maybe"))}
    if random.random() < 0.02:
        spec |= random.choice(({"action": "DENNY"}, {"rules": 5}, {"rulse": []}, {"rules": [5]}))
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def _rule(random: Random) -> Json:
    rule: Json = {}
    if random.random() < 0.6:
        rule["from"] = [{"source": _fields(random, _SOURCE)} for _ in range(random.choice((1, 1, 2)))]
    if random.random() < 0.7:
        rule["to"] = [{"operation": _fields(random, _OPERATION)} for _ in range(random.choice((1, 1, 2)))]
    if random.random() < 0.35:
        rule["when"] = [_condition(random) for _ in range(random.choice((1, 1, 2)))]
    if random.random() < 0.02:
        rule |= random.choice(_MISTAKES)
    return rule


_MISTAKES: Sequence[Json] = (
    {"from": []},
    {"to": []},
    {"from": [{}]},
    {"when": [{"key": "nothing", "values": ["a"]}]},
    {"when": [{"key": "source.ip", "values": ["nowhere"]}]},
    {"whne": []},
    {"to": [{"operation": {"ports": ["http"]}}]},
    {"to": [{"operation": {"paths": ["/{id}"]}}]},
    {"from": [{"source": {"namespaces": ["a"], "namspaces": ["b"]}}]},
)


def _fields(random: Random, makers: dict[str, _Value]) -> Json:
    names = random.sample(sorted(makers), random.choice((1, 1, 2)))
    found: Json = {}
    for name in names:
        values = [makers[name](random) for _ in range(random.choice((1, 1, 2, 3)))]
        unwanted = random.random() < 0.3
        found[f"not{name[0].upper()}{name[1:]}" if unwanted else name] = values
        if random.random() < 0.1:
            found[name if unwanted else f"not{name[0].upper()}{name[1:]}"] = [makers[name](random)]
    if random.random() < 0.02:
        found[random.choice(sorted(makers))] = []
    return found


def _condition(random: Random) -> Json:
    key = random.choice(sorted(_KEYS))
    maker = _KEYS[key]
    values = [maker(random) for _ in range(random.choice((1, 2)))]
    name = random.choice(("values", "values", "notValues"))
    found: Json = {"key": key, name: values}
    if random.random() < 0.1:
        found["notValues" if name == "values" else "values"] = [maker(random)]
    return found


def styled(random: Random, word: str) -> str:
    """A word in one of the styles in which values are written."""
    match random.randint(0, 9):
        case 0:
            return "*"
        case 1 | 2:
            return word[: random.randint(1, max(1, len(word)))] + "*"
        case 3 | 4:
            return "*" + word[random.randint(0, max(0, len(word) - 1)) :]
        case 5 if random.random() < 0.4:
            return random.choice(words.HOSTILE)
        case _:
            return word


def of(choices: Sequence[str]) -> _Value:
    """One of these, in some style."""
    return lambda random: styled(random, random.choice([word for word in choices if word] or ["a"]))


def any_path(random: Random) -> str:
    """A path without a query."""
    return "/" + "/".join(random.choice(words.SEGMENTS) for _ in range(random.randint(0, 3)))


def _path(random: Random) -> str:
    if random.random() < 0.3:
        segments = [random.choice(words.SEGMENTS) for _ in range(random.randint(1, 3))]
        segments[random.randrange(len(segments))] = random.choice(("{*}", "{**}"))
        return "/" + "/".join(segments) + random.choice(("", "", "/"))
    return styled(random, any_path(random))


def _request_principal(random: Random) -> str:
    return styled(random, f"{random.choice(words.ISSUERS)}/{random.choice(words.SUBJECTS)}")


def _account(random: Random) -> str:
    account = random.choice(words.ACCOUNTS)
    return account if random.random() < 0.3 else f"{random.choice(words.NAMESPACES)}/{account}"


def _port(random: Random) -> str:
    return random.choice((str(OWN_PORT), str(OWN_PORT), str(TCP_PORT), "80", "0", "65535"))


def _exactly(choices: Sequence[str]) -> _Value:
    return lambda random: random.choice(choices)


_SOURCE: dict[str, _Value] = {
    "principals": of(words.IDENTITIES),
    "requestPrincipals": _request_principal,
    "namespaces": of(words.NAMESPACES),
    "serviceAccounts": _account,
    "trustDomains": of(words.DOMAINS),
    "ipBlocks": _exactly(words.BLOCKS),
    "remoteIpBlocks": _exactly(words.BLOCKS),
}
_OPERATION: dict[str, _Value] = {
    "hosts": of(words.HOSTS),
    "ports": _port,
    "methods": of(words.METHODS),
    "paths": _path,
}
_KEYS: dict[str, _Value] = {
    "source.ip": _exactly(words.BLOCKS),
    "remote.ip": _exactly(words.BLOCKS),
    "source.principal": of(words.IDENTITIES),
    "source.namespace": of(words.NAMESPACES),
    "source.serviceAccount": _account,
    "source.trustDomain": of(words.DOMAINS),
    "request.auth.principal": _request_principal,
    "request.auth.audiences": of(words.AUDIENCES),
    "request.auth.presenter": of(words.AUDIENCES),
    "request.auth.claims[groups]": of(words.VALUES),
    "request.auth.claims[realm][roles]": of(words.VALUES),
    "request.auth.claims[realm][admin]": of(("true", "false")),
    "request.auth.claims[scope]": of(("read", "write", "read write")),
    "request.auth.claims[sub]": of(words.SUBJECTS),
    "destination.ip": _exactly(words.BLOCKS),
    "destination.port": _port,
    "connection.sni": of(words.SNIS),
    "experimental.envoy.filters.network.mysql_proxy[db.table]": of(words.VALUES),
    **{f"request.headers[{name}]": of(words.VALUES) for name in words.HEADERS},
    "request.headers[:path]": _path,
    "request.headers[:authority]": of(words.HOSTS),
    "request.headers[Host]": of(words.HOSTS),
    "request.headers[:method]": of(words.METHODS),
}
