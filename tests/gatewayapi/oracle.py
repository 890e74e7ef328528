"""What the specification says, in as few words as possible and with nothing of the product: the judge of random cases.

Two rules are this product's own: a host is of the namespace that had it first, and a certificate is for the rules of
its namespace.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]
NOBODY = "404"  # or 421, over TLS
CLOSED = "closed"


class Rule(NamedTuple):
    namespace: str
    host: str  # "" for every host
    path: str
    kind: str
    service: str


def answer(ingresses: Sequence[Json], host: str, path: str) -> str:
    """`<service>.<namespace>` of a request over plain HTTP."""
    owners = sorted(ingresses, key=_age)
    for wanted in _hosts(host.lower()):
        having = [one for one in owners if wanted in _hosts_of(one)]
        if having:
            first = having[0]["metadata"]["namespace"]
            return _path([one for one in having if one["metadata"]["namespace"] == first], wanted, path)
    return NOBODY


def answer_tls(ingresses: Sequence[Json], name: str, path: str) -> str | None:
    """The same for a client that asks for `name` in its hello; None: not for this judge to say."""
    certificates: dict[str, str] = {}
    for one in sorted(ingresses, key=_age):
        for host in _certified(one):
            certificates.setdefault(host, one["metadata"]["namespace"])
    nearest = next((host for host in _hosts(name) if host in certificates), None)
    if any(host.startswith("*.") and name.endswith(host[1:]) for host in certificates) and nearest in {None, ""}:
        return None  # Envoy's wildcards have any number of labels: it opens, and what then is nobody's promise
    if nearest is None:
        return CLOSED
    own = [one for one in sorted(ingresses, key=_age) if one["metadata"]["namespace"] == certificates[nearest]]
    for wanted in _hosts(name):
        having = [one for one in own if wanted in _hosts_of(one)]
        if having:
            return _path(having, wanted, path)
    return NOBODY


def _path(having: Sequence[Json], host: str, path: str) -> str:
    """Of Ingresses that have rules for a host, oldest first."""
    path = path.partition("?")[0]
    rules = [rule for one in having for rule in _rules(one) if rule.host == host]
    matching = [rule for rule in rules if _matches(rule, path)]
    if matching:
        best = max(matching, key=lambda rule: (len(_elements(rule.path)), rule.kind == "Exact"))
        exact = next((rule for rule in matching if rule.kind == "Exact"), best)
        return f"{exact.service}.{exact.namespace}"
    for one in having:
        if "defaultBackend" in one["spec"]:
            return f"{one['spec']['defaultBackend']['service']['name']}.{one['metadata']['namespace']}"
    return NOBODY


def _matches(rule: Rule, path: str) -> bool:
    if rule.kind == "Exact":
        return rule.path == path
    wanted, asked = _elements(rule.path), _elements(path)
    return asked[: len(wanted)] == wanted


def _elements(path: str) -> list[str]:
    return [element for element in path.split("/") if element]


def _hosts(host: str) -> tuple[str, ...]:
    """What a rule may call a request's host, the nearest first."""
    return (host, "*." + host.partition(".")[2], "")


def _hosts_of(one: Json) -> set[str]:
    spec = one["spec"]
    return {rule.get("host", "") for rule in spec["rules"]} | ({""} if "defaultBackend" in spec else set())


def _certified(one: Json) -> list[str]:
    return [host for tls in one["spec"].get("tls", ()) for host in tls.get("hosts") or sorted(_hosts_of(one))]


def _rules(one: Json) -> list[Rule]:
    namespace = one["metadata"]["namespace"]
    return [
        Rule(namespace, rule.get("host", ""), path["path"], path["pathType"], path["backend"]["service"]["name"])
        for rule in one["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]


def _age(one: Json) -> tuple[str, str, str]:
    meta = one["metadata"]
    return meta["creationTimestamp"], meta["namespace"], meta["name"]
