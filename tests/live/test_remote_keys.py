"""Keys that a proxy asks for itself: of a host of the mesh, of any other host, and of hosts that are of no help.

Whatever the issuer does, requests without a token are answered, and no token is believed that no key vouches for.
"""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import pytest
import yaml
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2

from controlplane.explain import Address, Resources, decode
from tests.envoys import RunningEnvoy, Upstreams, start, static_bootstrap
from tests.envoys.keyserver import Answer, KeyServer, NameServer, dripping, endless, saying
from tests.envoys.upstreams import loopback_address
from tests.tokens import jwks, key, token
from tests.world import World

SIGNER = key("RS256")
KEYS = jwks(SIGNER.jwk(kid="1"))
GOOD = token(SIGNER, {"iss": "a"})
FORGED = token(key("RS256", "other"), {"iss": "a"})
MEBIBYTE = 1 << 20


def guarded(uri: str, at: Address, *more: dict[str, Any], timeout: str = "5s") -> Resources:
    """What a sidecar has whose workload believes tokens with keys from there. Explicit: nothing captures calls here."""
    ingress = {
        "port": {"number": at.port, "protocol": "HTTP", "name": "http"},
        "bind": loopback_address(),
        "captureMode": "NONE",
        "defaultEndpoint": f"{at.ip}:{at.port}",
    }
    rule = {
        "issuer": "a",
        "jwksUri": uri,
        "timeout": timeout,
        "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
    }
    documents = [
        document("networking.istio.io", "Sidecar", {"ingress": [ingress], "egress": [{"hosts": ["~/*"]}]}),
        document("security.istio.io", "RequestAuthentication", {"jwtRules": [rule]}),
        *more,
    ]
    world = World().apply(yaml.safe_dump_all(documents))
    proxy = world.sidecar(ips=(at.ip,))
    resources, _ = decode(proxy.resources())
    return msgspec.structs.replace(
        resources, listeners={n: one for n, one in resources.listeners.items() if str(at.port) in n}
    )


def document(group: str, kind: str, spec: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def declared(server: tuple[str, int], host: str = "issuer.example.com", protocol: str = "HTTP") -> dict[str, Any]:
    """The issuer as a host of the mesh."""
    port = {"number": server[1], "name": "keys", "protocol": protocol}
    entry = {"hosts": [host], "ports": [port], "resolution": "STATIC", "endpoints": [{"address": server[0]}]}
    return document("networking.istio.io", "ServiceEntry", entry)


class Workload:
    """An application behind a real Envoy."""

    def __init__(self, envoy: RunningEnvoy, listener: str) -> None:
        self.envoy = envoy
        self._at = envoy.address(listener)

    def call(self, shown: str = "") -> tuple[int, dict[str, str]]:
        """The status, and the headers the application saw."""
        connection = http.client.HTTPConnection(*self._at, timeout=20)
        connection.request("GET", "/", headers={"authorization": f"Bearer {shown}"} if shown else {})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, dict(json.loads(body)["headers"]) if response.status == 200 else {}

    def statuses(self) -> tuple[int, int, int]:
        """Without a token, with a good one, with a forged one."""
        return self.call()[0], self.call(GOOD)[0], self.call(FORGED)[0]


@contextmanager
def running(resources: Resources, names: NameServer | None = None) -> Iterator[Workload]:
    bootstrap = static_bootstrap(resources)
    if names is not None:
        resolver = cares_dns_resolver_pb2.CaresDnsResolverConfig()
        address = resolver.resolvers.add().socket_address
        address.address, address.port_value = names.address
        resolver.dns_resolver_options.no_default_search_domain = True
        bootstrap.typed_dns_resolver_config.name = "envoy.network.dns_resolver.cares"
        bootstrap.typed_dns_resolver_config.typed_config.Pack(resolver)
    with start(bootstrap) as envoy:
        yield Workload(envoy, next(iter(resources.listeners)))


@pytest.fixture
def application() -> Iterator[Address]:
    with Upstreams() as upstreams:
        yield Address(*upstreams.add("application"))


def test_keys_of_a_host_of_the_mesh(application: Address) -> None:
    """By its own cluster, though the Sidecar admits no host at all."""
    with KeyServer(saying(KEYS)) as issuer:
        port = issuer.address[1]
        uri = f"http://issuer.example.com:{port}/keys?a=b"
        with running(guarded(uri, application, declared(issuer.address))) as workload:
            assert workload.statuses() == (200, 200, 401)
            assert workload.call(GOOD)[1]["x-user"] == "alice"
            assert set(issuer.paths) == {"/keys?a=b"}
            assert f"outbound|{port}||issuer.example.com" in workload.envoy.admin("/clusters")


def test_keys_of_any_other_host(application: Address) -> None:
    """By a cluster made for them: its name is resolved, its certificate must be good and for that name."""
    with (
        NameServer({"issuer.example.com": "127.0.0.1"}) as names,
        KeyServer(saying(KEYS), names=("issuer.example.com",)) as issuer,
    ):
        uri = f"https://issuer.example.com:{issuer.address[1]}/keys"
        with running(guarded(uri, application), names) as workload:
            assert workload.statuses() == (200, 200, 401)
            assert set(issuer.server_names) == {"issuer.example.com"}


def test_https_is_https_though_the_mesh_calls_that_host_in_the_clear(application: Address) -> None:
    with (
        NameServer({"issuer.example.com": "127.0.0.1"}) as names,
        KeyServer(saying(KEYS), names=("issuer.example.com",)) as issuer,
    ):
        uri = f"https://issuer.example.com:{issuer.address[1]}/keys"
        with running(guarded(uri, application, declared(issuer.address)), names) as workload:
            assert workload.statuses() == (200, 200, 401)


def test_a_server_that_cannot_prove_its_name_has_no_keys(application: Address) -> None:
    with (
        NameServer({"issuer.example.com": "127.0.0.1"}) as names,
        KeyServer(saying(KEYS), names=("elsewhere.example.com",)) as issuer,
    ):
        uri = f"https://issuer.example.com:{issuer.address[1]}/keys"
        with running(guarded(uri, application), names) as workload:
            assert workload.statuses() == (200, 401, 401)
            assert issuer.paths == []


def test_a_name_that_does_not_exist_holds_up_nobody(application: Address) -> None:
    with NameServer({}) as names, running(guarded("https://issuer.example.com/keys", application), names) as workload:
        assert workload.statuses() == (200, 401, 401)


@pytest.mark.parametrize(
    "answer",
    [
        saying("no", status=500),
        saying("", status=404),
        saying("{}"),
        saying('{"keys": []}'),
        saying("[" * 100_000),
        saying(KEYS[:-5]),
        saying("", status=301, location="http://127.0.0.1:1/keys"),
        saying(jwks(key("RS256", "other"))),
        endless(64 * MEBIBYTE, declared=True),
        endless(64 * MEBIBYTE, declared=False),
    ],
    ids=["500", "404", "no set", "empty", "deep", "cut", "elsewhere", "other keys", "huge", "huge, undeclared"],
)
def test_an_issuer_of_no_help(application: Address, answer: Answer) -> None:
    with KeyServer(answer) as issuer:
        uri = f"http://issuer.example.com:{issuer.address[1]}/keys"
        with running(guarded(uri, application, declared(issuer.address), timeout="1s")) as workload:
            assert workload.call()[0] == 200
            assert workload.call(GOOD)[0] == 401


def test_an_issuer_that_never_ends_costs_requests_with_tokens_their_patience_and_others_nothing(
    application: Address,
) -> None:
    end = threading.Event()
    with KeyServer(dripping(end)) as issuer:
        uri = f"http://issuer.example.com:{issuer.address[1]}/keys"
        with running(guarded(uri, application, declared(issuer.address), timeout="0.2s")) as workload:
            assert workload.statuses() == (200, 401, 401)
        end.set()


def test_an_issuer_that_is_down_at_the_start_and_comes_back(application: Address) -> None:
    with KeyServer(saying(KEYS)) as issuer:
        port = issuer.address[1]
    uri = f"http://issuer.example.com:{port}/keys"
    with running(guarded(uri, application, declared(("127.0.0.1", port)))) as workload:
        assert workload.statuses() == (200, 401, 401)
        with KeyServer(saying(KEYS), port=port):
            assert workload.statuses() == (200, 200, 401)


def test_an_issuer_that_goes_down_leaves_its_keys_behind_until_the_proxy_starts_anew(application: Address) -> None:
    with ExitStack() as stack:
        issuer = KeyServer(saying(KEYS))
        resources = guarded(
            f"http://issuer.example.com:{issuer.address[1]}/keys", application, declared(issuer.address)
        )
        workload = stack.enter_context(running(resources))
        with issuer:
            assert workload.statuses() == (200, 200, 401)
        assert workload.statuses() == (200, 200, 401)
    with running(resources) as workload:
        assert workload.statuses() == (200, 401, 401)
