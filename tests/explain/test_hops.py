"""A call from one workload to another, through both their sidecars: what the first sends is what the second judges."""

from typing import Any

import pytest

from controlplane.explain import Address, Call, Outcome, Secured, Speaks, Stage, Verdict, next_hop, simulate
from controlplane.explain import decode as decode_resources
from controlplane.model.settings import Settings
from tests.world import VIRTUAL_INBOUND, VIRTUAL_OUTBOUND, Client, World

SECURED = Settings(workload_certificates=True, trust_domain_aliases=("old.example",))
CALLER = "spiffe://cluster.local/ns/default/sa/front"
SERVER = "spiffe://cluster.local/ns/default/sa/back"
SERVERS = (SERVER, SERVER.replace("cluster.local", "old.example"))

WORKLOAD = """
apiVersion: v1
kind: Service
metadata: {name: back, namespace: default}
spec:
  clusterIP: 10.96.0.1
  selector: {app: back}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 90, targetPort: 9090}, {name: web, port: 70, targetPort: 7070}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: back-1, namespace: default, labels: {kubernetes.io/service-name: back}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: tcp, port: 9090}, {name: web, port: 7070}]
endpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: back-1}}]
---
apiVersion: v1
kind: Pod
metadata: {name: back-1, namespace: default, labels: {app: back%(mode)s}}
spec: {serviceAccountName: back, containers: [{name: app}]}
status: {podIP: 10.1.0.1, phase: Running}
"""
ABLE = ", security.istio.io/tlsMode: istio"
PEERS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: peers, namespace: default}
spec: {mtls: {mode: %s}}
"""
HTTP: dict[str, Any] = {"address": Address("10.96.0.1", 80), "authority": "back"}
BYTES: dict[str, Any] = {"address": Address("10.96.0.1", 90), "speaks": Speaks.BYTES}
SNIFFED: dict[str, Any] = {"address": Address("10.96.0.1", 70), "authority": "back:70"}
SNIFFED_BYTES: dict[str, Any] = {"address": Address("10.96.0.1", 70), "speaks": Speaks.BYTES}


class Pair:
    """A caller and a server, each with a sidecar."""

    def __init__(self, mode: str = "PERMISSIVE", able: str = ABLE, settings: Settings = SECURED) -> None:
        self.world = World(settings).apply(WORKLOAD % {"mode": able}).apply(PEERS % mode)
        self.caller = self.world.sidecar(name="front")
        self.server = self.world.sidecar(name="back-1", ips=("10.1.0.1",))

    def sent(self, **fields: Any) -> tuple[Call, Outcome]:
        call = Call(captured_at=VIRTUAL_OUTBOUND, **fields)
        return call, self.caller.simulate(call)

    def called(self, **fields: Any) -> Secured:
        """How the endpoint is called."""
        ((endpoint,),) = (one.endpoints for one in self.sent(**fields)[1].destinations)
        return endpoint.secured

    def received(self, identity: str = CALLER, **fields: Any) -> Outcome:
        """What becomes of the call at the server."""
        call, outcome = self.sent(**fields)
        (destination,) = outcome.destinations
        return arrived(self.server, next_hop(call, outcome, destination, destination.endpoints[0], identity=identity))


def arrived(server: Client, call: Call) -> Outcome:
    resources, origins = decode_resources(server.resources())
    captured = Call(
        **{field: getattr(call, field) for field in call.__struct_fields__} | {"captured_at": VIRTUAL_INBOUND}
    )
    return simulate(resources, captured, origins)


@pytest.mark.parametrize(
    ("call", "alpn"),
    [
        (HTTP, ("istio-http/1.1", "istio")),
        (BYTES, ("istio",)),
        (SNIFFED, ("istio-http/1.1", "istio")),
        ({**SNIFFED, "speaks": Speaks.HTTP2}, ("istio-http/1.1", "istio")),
        (SNIFFED_BYTES, ("istio",)),
    ],
)
def test_an_able_endpoint_is_told_what_comes(call, alpn):
    port = call["address"].port
    sni = f"outbound_.{port}_._.back.default.svc.cluster.local"
    assert Pair().called(**call) == Secured(tls=True, sni=sni, alpn=alpn, names=SERVERS, certificate="default")


@pytest.mark.parametrize(
    ("call", "filter_"),
    [
        (HTTP, "http_connection_manager"),
        (BYTES, "tcp_proxy"),
        (SNIFFED, "http_connection_manager"),
        ({**SNIFFED, "speaks": Speaks.HTTP2}, "http_connection_manager"),
        (SNIFFED_BYTES, "tcp_proxy"),
    ],
)
@pytest.mark.parametrize("mode", ["PERMISSIVE", "STRICT"])
def test_http_arrives_as_http_and_bytes_as_bytes(mode, call, filter_):
    """A policy about HTTP would not be asked about a request that came as bytes."""
    outcome = Pair(mode).received(**call)
    assert outcome.verdict is Verdict.FORWARDED
    assert outcome.name(Stage.TLS) == "terminated"
    assert outcome.name(Stage.NETWORK_FILTER) == filter_


@pytest.mark.parametrize(
    ("able", "settings"), [("", SECURED), (ABLE, Settings(workload_certificates=True, enable_auto_mtls=False))]
)
@pytest.mark.parametrize(("mode", "verdict"), [("PERMISSIVE", Verdict.FORWARDED), ("STRICT", Verdict.CLOSED)])
@pytest.mark.parametrize("call", [HTTP, BYTES, SNIFFED, SNIFFED_BYTES])
def test_plain_text_ends_at_a_strict_port(call, mode, verdict, able, settings):
    pair = Pair(mode, able, settings)
    assert not pair.called(**call).tls
    assert pair.received(**call).verdict is verdict


@pytest.mark.parametrize("call", [HTTP, BYTES, SNIFFED, SNIFFED_BYTES])
def test_what_refuses_mutual_tls_is_called_in_plain_text(call):
    pair = Pair("DISABLE")
    assert not pair.called(**call).tls
    assert pair.received(**call).verdict is Verdict.FORWARDED


@pytest.mark.parametrize(
    ("identity", "verdict"),
    [
        (CALLER, Verdict.FORWARDED),
        ("spiffe://old.example/ns/other/sa/front", Verdict.FORWARDED),
        ("spiffe://stranger/ns/default/sa/front", Verdict.CLOSED),
        ("spiffe://cluster.local.stranger/ns/default/sa/front", Verdict.CLOSED),
        ("", Verdict.CLOSED),
    ],
)
def test_callers_of_other_trust_domains_end_at_the_handshake(identity, verdict):
    outcome = Pair("STRICT").received(identity=identity, **HTTP)
    assert outcome.verdict is verdict
    assert (outcome.ended_at.stage is Stage.TLS) is (verdict is Verdict.CLOSED)


@pytest.mark.parametrize("speaks", [Speaks.HTTP11, Speaks.BYTES])
@pytest.mark.parametrize(("mode", "verdict"), [("PERMISSIVE", Verdict.FORWARDED), ("STRICT", Verdict.CLOSED)])
def test_ports_no_service_names_are_as_strict(speaks, mode, verdict):
    server = Pair(mode).server
    plain = Call(address=Address("10.1.0.1", 4321), authority="x", speaks=speaks)
    assert arrived(server, plain).verdict is verdict
