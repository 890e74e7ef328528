"""Random Ingresses: the specification, the simulator and the real Envoy say the same of every request."""

from random import Random  # noqa: TID251 — takes its seed as an argument
from typing import Any

import msgspec
import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from controlplane.explain import Address, Call, Outcome, Resources, decode
from controlplane.explain.call import Tls
from controlplane.explain.network import secret_names, tls_context
from controlplane.explain.simulate import simulate
from controlplane.model import decode as model
from controlplane.model.meta import ref_of
from tests.compile.meshes import as_bytes, compiled, problems, put, seen
from tests.conftest import Size
from tests.envoys import validate
from tests.envoys.upstreams import loopback_address
from tests.explain.observe import envoy_of, observe
from tests.gatewayapi import generate, oracle
from tests.gatewayapi.ingresses import GATEWAYS, Gate
from tests.world import Client, World

AT = loopback_address()
HTTP, HTTPS = 10080, 10443
IN_ENVOY = {"LATEEN_BIND_ADDRESS": AT, "LATEEN_PORT_OFFSET": "10000"}
CALLS = 150  # of one world


def gateway_of(world: World) -> Client:
    return world.gateway(GATEWAYS, metadata=IN_ENVOY)


def without_endpoints(client: Client) -> Resources:
    """Nobody is behind the gateway: where a request was sent shows all the same. Certificates are the harness's own."""
    found, _ = decode(client.resources())
    nobody = {name: endpoint_pb2.ClusterLoadAssignment(cluster_name=name) for name in found.endpoints}
    chains = [chain for listener in found.listeners.values() for chain in listener.filter_chains]
    names = [name for chain in chains if (context := tls_context(chain)) for name in secret_names(context)]
    return msgspec.structs.replace(found, endpoints=nobody, secrets={n: secret_pb2.Secret(name=n) for n in names})


def calls_of(rng: Random) -> list[tuple[Call, str, str]]:
    found = []
    for _ in range(CALLS):
        host, path = rng.choice(generate.ASKED), rng.choice(generate.ASKED_PATHS)
        if rng.random() < 0.4:
            name = host.lower()
            call = Call(address=Address(AT, HTTPS), authority=name, path=path, tls=Tls(sni=name))
            found.append((call, name, path))
        else:
            authority = rng.choice((host, f"{host}:8080"))
            found.append((Call(address=Address(AT, HTTP), authority=authority, path=path), host, path))
    return found


def expected(written: list[generate.Json], call: Call, host: str, path: str) -> str | None:
    return oracle.answer(written, host, path) if call.tls is None else oracle.answer_tls(written, host, path)


def said_by(status: int, clusters: list[str]) -> str:
    if clusters:
        return ".".join(clusters[0].rpartition("|")[2].split(".")[:2])
    return oracle.NOBODY if status in {404, 421} else str(status) if status else oracle.CLOSED


def simulated(outcome: Outcome) -> str:
    return said_by(outcome.status, [name for name in outcome.clusters if name.startswith("outbound|")])


@pytest.mark.timeout(600)
def test_requests_go_where_the_specification_says(size: Size) -> None:
    asked, wrong = 0, []
    for seed in range(size(5, 100)):
        rng = Random(f"{seed}, ingresses")
        written = generate.ingresses(rng)
        gate = Gate(*written)
        resources = without_endpoints(gateway_of(gate.world))
        known = [(each, said) for each in calls_of(rng) if (said := expected(written, *each)) is not None]
        if not resources.listeners:
            assert all(said in {oracle.NOBODY, oracle.CLOSED} for _, said in known)
            continue
        with envoy_of(resources, AT) as envoy:
            observed = observe(envoy, [call for (call, *_), _ in known])
        for ((call, host, path), said), did in zip(known, observed, strict=True):
            clusters = [did.cluster] if did.cluster.startswith("outbound|") else []
            answers = {"Envoy": said_by(did.status, clusters), "simulator": simulated(simulate(resources, call))}
            wrong += [f"seed {seed}: {host}{path} {'TLS' if call.tls else ''}: {said}, {who} says {what}"
                      for who, what in answers.items() if what != said]  # fmt: skip
            asked += 1
    print(*wrong[:20], sep="\n")
    assert not wrong
    assert asked > size(5, 100) * 100


@pytest.mark.timeout(600)
def test_envoy_takes_what_any_ingress_becomes(size: Size) -> None:
    """Anything may stand in a file: what is bad is reported, and the rest is no configuration that Envoy refuses."""
    refused, said = [], 0
    for seed in range(size(6, 200)):
        world = World()
        for written in generate.wild(Random(f"{seed}, wild")):
            decoded = model.decode(written)
            said += len(decoded.problems)
            made: Any = decoded.value
            if made is not None:
                world.change({ref_of(made): made})
        resources = without_endpoints(gateway_of(world))
        said += len(world.problems())
        refused += [f"seed {seed}: {each}" for each in validate(resources, validate_clusters=False)]
    assert refused == []
    assert said > 20


@pytest.mark.timeout(600)
def test_after_any_change_all_is_as_if_compiled_from_scratch(size: Size) -> None:
    for seed in range(size(6, 60)):
        rng = Random(f"{seed}, changes")
        gate = Gate(*generate.ingresses(rng))
        proxy, inputs = gateway_of(gate.world).proxy, gate.world.graph.inputs
        every: list[Any] = [inputs.services, inputs.ingresses]
        kept = {ref_of(one): one for some in every for _, one in gate.world.graph.store.items(some)}
        graph = compiled(kept, [proxy])
        for number in range(12):
            made: Any = model.decode(generate.one(rng, f"i{rng.randrange(6)}", rng.randrange(100))).value
            assert made is not None
            ref = ref_of(made)
            change: dict[Any, Any] = {ref: None if ref in kept and rng.random() < 0.3 else made}
            kept = {name: one for name, one in {**kept, **change}.items() if one is not None}
            put(graph, change)
            scratch = compiled(kept, [proxy])
            assert as_bytes(seen(graph, [proxy])) == as_bytes(seen(scratch, [proxy])), (seed, number)
            assert problems(graph) == problems(scratch), (seed, number)
