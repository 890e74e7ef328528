"""Wrong objects of all kinds: who applies one is told what is wrong and where, and nobody else gets anything else.

Each is refused, or it is stored and reported. Then once more past the webhook, as if the control plane had been away:
what only the webhook refuses is stored now, is contained when it is read, and is reported all the same.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from e2e.kubectl import Kubectl, KubectlError, eventually
from e2e.load import Load
from e2e.mesh import CONTROL_PLANE, NAMESPACE
from e2e.web import caller, joined, stands, virtual_service, web
from tests.conftest import Proved

pytestmark = [pytest.mark.point, pytest.mark.timeout(600), pytest.mark.usefixtures("mesh")]

POINT = "kubernetes 7"
NOTHING: list[Any] = []
CONTROL = Kubectl(NAMESPACE)
NETWORKING, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"


class Wrong(NamedTuple):
    """An object, where it is wrong, and a word of the reason."""

    manifest: dict[str, Any]
    field: str
    reason: str


def _mesh(api: str, kind: str, field: str, reason: str, **spec: Any) -> Wrong:
    return Wrong({"apiVersion": api, "kind": kind, "metadata": {}, "spec": spec}, field, reason)


def _vs(field: str, reason: str, **spec: Any) -> Wrong:
    return _mesh(NETWORKING, "VirtualService", field, reason, **{"hosts": ["wrong"], **spec})


def _rule(field: str, reason: str, **rule: Any) -> Wrong:
    """A VirtualService with one wrong rule."""
    return _vs(f"spec.http[0].{field}", reason, http=[{"route": [{"destination": {"host": "wrong"}}], **rule}])


def _dr(field: str, reason: str, **spec: Any) -> Wrong:
    return _mesh(NETWORKING, "DestinationRule", field, reason, **{"host": "wrong", **spec})


def _policy(field: str, reason: str, **policy: Any) -> Wrong:
    return _dr(f"spec.trafficPolicy.{field}", reason, trafficPolicy=policy)


def _gateway(field: str, reason: str, **server: Any) -> Wrong:
    whole = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"], **server}
    return _mesh(NETWORKING, "Gateway", field, reason, selector={"istio": "wrong"}, servers=[whole])


def _entry(field: str, reason: str, **spec: Any) -> Wrong:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return _mesh(NETWORKING, "ServiceEntry", field, reason, **{"hosts": ["wrong.example"], "ports": ports, **spec})


def _authorization(field: str, reason: str, **spec: Any) -> Wrong:
    return _mesh(SECURITY, "AuthorizationPolicy", field, reason, **spec)


def _pod(annotations: Mapping[str, str]) -> dict[str, Any]:
    made = caller()
    return {**made, "metadata": {"annotations": annotations}}


_KEYS = "spec.jwtRules[0]."
_TLS_PORT = {"number": 443, "name": "https", "protocol": "HTTPS"}
WRONG = [
    _vs("spec.http[0]", 'unknown field "timeuot"', http=[{"redirect": {"uri": "/"}, "timeuot": "5s"}]),
    _rule("timeout", "should match", timeout="1 year"),
    _rule("match[0].uri.regex", "RE2 does not accept it", match=[{"uri": {"regex": "(["}}]),
    _rule("match[0].method.regex", "1024", match=[{"method": {"regex": "a" * 2000 + "("}}]),
    _rule("retries.retryOn", "retry", retries={"attempts": 2, "retryOn": "sometimes"}),
    _rule("retries.attempts", "0", retries={"attempts": -1}),
    _rule("fault.abort.percentage", "100", fault={"abort": {"httpStatus": 500, "percentage": {"value": 200}}}),
    _rule("headers.request.set", "header", headers={"request": {"set": {"bad header": "x"}}}),
    _rule("route[0].weight", "weight", route=[{"destination": {"host": "wrong"}, "weight": -1}]),
    _vs("spec.hosts[0]", "host", hosts=["a b"], http=[{"route": [{"destination": {"host": "wrong"}}]}]),
    _vs("spec", "one of http, tls, tcp is required"),
    _vs(
        "spec.http[0]",
        "one and only one",
        http=[{"redirect": {"uri": "/"}, "route": [{"destination": {"host": "wrong"}}]}],
    ),
    _vs("spec.http[0].route[0].destination.host", "nowhere", http=[{"route": [{"destination": {"host": "nowhere"}}]}]),
    _vs("spec.gateways", "no-gateway", gateways=["no-gateway"], http=[{"redirect": {"uri": "/"}}]),
    _dr("spec.host", "host", host="a b"),
    _dr("spec.subsets[1].name", "v1", subsets=[{"name": "v1", "labels": {"v": "1"}}, {"name": "v1"}]),
    _policy("connectionPool.tcp.maxConnections", "0", connectionPool={"tcp": {"maxConnections": -1}}),
    _policy(
        "loadBalancer.consistentHash",
        "one",
        loadBalancer={"consistentHash": {"useSourceIp": True, "httpHeaderName": "x"}},
    ),
    _policy("tls", "clientCertificate", tls={"mode": "MUTUAL", "privateKey": "/k"}),
    _policy("outlierDetection.interval", "should match", outlierDetection={"interval": "often"}),
    _gateway("spec.servers[0].port.number", "65535", port={"number": 99999, "name": "http", "protocol": "HTTP"}),
    _gateway("spec.servers[0].port.protocol", "FOO", port={"number": 80, "name": "http", "protocol": "FOO"}),
    _gateway("spec.servers[0].hosts[0]", "host", hosts=["a/b/c"]),
    _gateway("spec.servers[0]", "anyOf", port=_TLS_PORT),
    _entry("spec", "every host", hosts=["*"]),
    _entry("spec.addresses[0]", "address", addresses=["10.0.0.0/99"]),
    _entry("spec.endpoints[0].address", "address", resolution="STATIC", endpoints=[{"address": "not-an-address"}]),
    _mesh(NETWORKING, "WorkloadEntry", "spec", "address", labels={"a": "b"}),
    _mesh(
        NETWORKING,
        "Sidecar",
        "spec.egress[0].hosts[0]",
        "namespace",
        egress=[{"hosts": ["nonsense"]}],
        workloadSelector={"labels": {"app": "wrong"}},
    ),
    _mesh(SECURITY, "PeerAuthentication", "spec.mtls.mode", "STRCT", mtls={"mode": "STRCT"}),
    _mesh(SECURITY, "PeerAuthentication", "spec", "selector", portLevelMtls={"80": {"mode": "STRICT"}}),
    _mesh(
        SECURITY, "RequestAuthentication", f"{_KEYS}jwksUri", "http", jwtRules=[{"issuer": "a", "jwksUri": "ftp://a"}]
    ),
    _mesh(SECURITY, "RequestAuthentication", f"{_KEYS}jwks", "keys", jwtRules=[{"issuer": "a", "jwks": "{}"}]),
    _authorization("spec", "provider", action="CUSTOM", rules=[{}]),
    _authorization("ipBlocks[0]", "10.0.0.0/99", rules=[{"from": [{"source": {"ipBlocks": ["10.0.0.0/99"]}}]}]),
    Wrong(_pod({"sidecar.istio.io/proxyCPU": "much"}), "proxyCPU", "'much' is no quantity"),
    _authorization("when[0].key", "weather", rules=[{"when": [{"key": "weather", "values": ["fine"]}]}]),
]

# What is theirs stays theirs: in the others' own namespace, later than what is there.
_ELSEWHERE = [{"route": [{"destination": {"host": "elsewhere"}}]}]
THEIRS = [
    _vs("spec.hosts", "is older and has server.", hosts=["server"], http=_ELSEWHERE),
    _dr("spec.trafficPolicy", "has another trafficPolicy", host="server", trafficPolicy={"tls": {"mode": "DISABLE"}}),
]


@pytest.fixture
def shop(kubectl: Kubectl) -> Kubectl:
    """Those who must not notice: a server and its caller, with rules."""
    rule = {"host": "server", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}
    routes = virtual_service("server", hosts=["server"], http=[{"route": [{"destination": {"host": "server"}}]}])
    balanced = {"apiVersion": NETWORKING, "kind": "DestinationRule", "metadata": {"name": "server"}, "spec": rule}
    return stands(kubectl, *web("server", "hello"), routes, balanced)


@pytest.fixture
def elsewhere(kubectl: Kubectl) -> Iterator[Kubectl]:
    """Where the wrong objects are, and a proxy that is concerned."""
    other = Kubectl(f"{kubectl.namespace}-wrong")
    other("create", "namespace", other.namespace)
    joined(other)
    eventually(lambda: other("get", "serviceaccount", "default"))
    other.apply(caller())
    other.waited("pod/client", "condition=Ready")
    yield other
    other("delete", "namespace", other.namespace, "--wait=false")


def named(wrong: Iterable[Wrong], prefix: str) -> list[Wrong]:
    """Each with a name of its own."""
    return [
        one._replace(
            manifest={**one.manifest, "metadata": {**one.manifest["metadata"], "name": f"{prefix}-{number:02}"}}
        )
        for number, one in enumerate(wrong)
    ]


def refusals(kubectl: Kubectl, wrong: Iterable[Wrong]) -> dict[str, str]:
    """What was said of each when it was applied; "" of those that were stored."""
    said = {}
    for one in wrong:
        name = one.manifest["metadata"]["name"]
        try:
            kubectl.apply(one.manifest)
            said[name] = ""
        except KubectlError as error:
            said[name] = str(error)
    return said


def problems() -> list[Mapping[str, str]]:
    """Of the running control plane."""
    ran = CONTROL("exec", f"deploy/{CONTROL_PLANE}", "--", "lateen", "debug", "/problems")
    found: list[Mapping[str, str]] = json.loads(ran)["answer"]
    return found


def is_told(one: Wrong, text: str) -> bool:
    return one.field in text and one.reason in text


def not_reported(kubectl: Kubectl, wrong: Iterable[Wrong]) -> list[Wrong]:
    found = problems()

    def told(one: Wrong) -> bool:
        ref = f"{one.manifest['kind']} {kubectl.namespace}/{one.manifest['metadata']['name']}"
        return any(is_told(one, f"{row['path']} {row['message']}") for row in found if row["object"] == ref)

    return [one for one in wrong if not told(one)]


def configuration(kubectl: Kubectl, pod: str) -> Any:
    """All that an Envoy has, with the moments at which it got it: as it was, if nothing was sent.

    (Parsed, for an Envoy puts the fields of a Struct in another order each time.)
    """
    asked = ("lateen", "debug", "--envoy", "/config_dump?include_eds")
    return json.loads(kubectl.ran(pod, *asked, container="istio-proxy"))["answer"]


def test_whoever_is_wrong_is_told_and_nobody_else_notices(shop: Kubectl, elsewhere: Kubectl, proved: Proved) -> None:
    wrong, theirs = named(WRONG, "w"), named(THEIRS, "theirs")
    before = {pod: configuration(shop, pod) for pod in ("client", "deploy/server")}
    with Load(shop, "pod/client", "http://server/", "client", connections=1, pause=0.01) as load:
        said = refusals(elsewhere, wrong)
        stored = [one for one in wrong if not said[one.manifest["metadata"]["name"]]]
        unclear = [one for one in wrong if (text := said[one.manifest["metadata"]["name"]]) and not is_told(one, text)]
        assert not any(refusals(shop, theirs).values())
        eventually(lambda: not_reported(elsewhere, stored) + not_reported(shop, theirs), NOTHING.__eq__)

        CONTROL("delete", "validatingwebhookconfiguration", "lateen-validator")
        past = [one for one in wrong if said[one.manifest["metadata"]["name"]]]
        again = refusals(elsewhere, past)
        contained = [one for one in past if not again[one.manifest["metadata"]["name"]]]
        eventually(lambda: not_reported(elsewhere, contained), NOTHING.__eq__)
        assert [row for row in problems() if row["code"] == "RefusedByProxy"] == NOTHING
    after = {pod: configuration(shop, pod) for pod in ("client", "deploy/server")}
    assert unclear == []
    assert len(contained) > 10, "of what the CRDs do not refuse"
    proved(
        POINT, "wrong objects that are neither refused nor reported with field and reason", bound="0",
        figure=str(len(unclear)), holds=not unclear, cases=len(wrong) + len(theirs), asked=30,
    )  # fmt: skip
    proved(
        POINT, "wrong objects past the webhook that are not reported", bound="0", figure="0", holds=True,
        cases=len(contained), asked=10,
    )  # fmt: skip
    proved(
        POINT, "proxies of others that were sent anything meanwhile", bound="0",
        figure=str(sum(before[pod] != after[pod] for pod in before)), holds=before == after, cases=len(before), asked=2,
    )  # fmt: skip
    proved(
        POINT, "requests of others that fail meanwhile", bound="0", figure=str(load.account.failed.total()),
        holds=not load.account.failed, cases=load.account.total, asked=500,
    )  # fmt: skip
