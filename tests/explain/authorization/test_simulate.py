"""The simulator reads rules out of Envoy's configuration; on the same random policies and calls it says what Envoy does."""

from collections import Counter
from random import Random  # noqa: TID251  seeded by the test

import msgspec
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from controlplane.explain import Address, Call, Outcome, Resources, Speaks, Stage, Tls, simulate
from controlplane.model.problem import ObjectRef
from tests.envoys import Upstreams
from tests.explain.authorization import words
from tests.explain.authorization.calls import Caller, Sent
from tests.explain.authorization.client import Verdict
from tests.explain.authorization.differential import any_set, make_calls
from tests.explain.authorization.policies import OWN_PORT, TCP_PORT
from tests.explain.authorization.stage import Set, envoy_of, resources_of
from tests.explain.case import Addresses
from tests.world import World, service

_SEEDS = range(7_000, 7_015)


def call_of(of: Set, caller: Caller, sent: Sent | None) -> Call:
    """The same call, as the simulator is asked about it."""
    protocol = "h2" if caller.http2 else "http/1.1"
    tls = (
        Tls(caller.server_name.lower(), (protocol,), bool(caller.certificate), caller.certificate)
        if caller.tls
        else None
    )
    call = Call(
        address=Address(of.addresses[caller.second_address], TCP_PORT),
        source=Address(caller.source, 40000),
        tls=tls,
        speaks=Speaks.BYTES,
    )
    if sent is None:
        return call
    message = sent.message
    headers = [*message.headers]
    if sent.forwarded:
        headers.append(("x-forwarded-for", sent.forwarded))
    if sent.token >= 0:
        headers.append(("authorization", f"Bearer {words.signed()[sent.token]}"))
    return msgspec.structs.replace(
        call,
        address=call.address._replace(port=OWN_PORT),
        speaks=Speaks.HTTP2 if caller.http2 else Speaks.HTTP11,
        authority=message.host,
        path=message.path,
        method=message.method,
        scheme="http" if sent.absolute else "",
        headers=tuple(headers),
    )


def said(resources: Resources, call: Call) -> Verdict:
    """In the words of the client."""
    outcome = simulate(resources, call)
    if outcome.status == 200 or outcome.destinations:
        return Verdict.ALLOWED
    refused = outcome.failure is not None and outcome.failure.details.startswith("rbac_access_denied")
    return Verdict.DENIED if refused else Verdict.REFUSED


def test_random_policies_and_calls() -> None:
    addresses, seen, wrong = Addresses(), Counter[Verdict](), list[tuple[Call, Verdict, Verdict]]()
    with Upstreams() as upstreams:
        upstream = Address(*upstreams.add("echo"))
        sets = [any_set(Random(seed), f"s{seed}", addresses) for seed in _SEEDS]
        secrets = {name: secret_pb2.Secret(name=name) for name in ("own", "roots")}
        resources = msgspec.structs.replace(resources_of(sets, upstream), secrets=secrets)
        with envoy_of(sets, upstream):
            for seed, of in zip(_SEEDS, sets, strict=True):
                for caller, sent, did in make_calls(seed, of):
                    call = call_of(of, caller, sent)
                    seen[did.verdict] += 1
                    if did.verdict is not Verdict.REFUSED and said(resources, call) is not did.verdict:
                        wrong.append((call, said(resources, call), did.verdict))
    assert wrong == []
    assert seen[Verdict.ALLOWED] > 300
    assert seen[Verdict.DENIED] > 300


POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: default}
spec: {selector: {matchLabels: {app: a}}, action: %s, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
"""
INBOUND = Address("0.0.0.0", 15006)


def inbound(action: str, method: str = "DELETE", **fields: object) -> Outcome:
    client = World().apply(service("a")).apply(POLICY % action).sidecar(labels={"app": "a"}, ips=("10.0.0.9",))
    base = {"address": Address("10.0.0.9", 8080), "captured_at": INBOUND, "authority": "a", "method": method}
    return client.simulate(msgspec.convert({**base, **fields}, Call))


def test_a_denial_names_the_rule_that_denies() -> None:
    outcome = inbound("DENY")
    step = outcome.step(Stage.HTTP_FILTER)
    assert outcome.status == 403
    assert step is not None
    assert step.why == "ns[default]-policy[readers]-rule[0] denies it"
    assert [(one.ref, one.path) for one in step.origins] == [
        (ObjectRef("security.istio.io", "AuthorizationPolicy", "default", "readers"), "spec.rules[0]")
    ]


def test_a_denial_for_want_of_a_rule_says_so() -> None:
    step = inbound("ALLOW", "GET").step(Stage.HTTP_FILTER)
    assert step is not None
    assert step.why == "no rule allows it"


def test_what_rules_let_through_goes_on() -> None:
    assert inbound("ALLOW").cluster == "inbound|8080||"
