"""Mutual TLS between two real Envoys that run compiled configuration, with certificates the test makes."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from controlplane.model.settings import Settings
from tests.envoys import Upstreams
from tests.envoys.certificates import Pair, identity, leaf, private_file
from tests.envoys.identity import put_identity
from tests.envoys.upstreams import loopback_address
from tests.live.pair import Neighbours, neighbours
from tests.world import World

SECURED = Settings(workload_certificates=True, refuse_local_endpoints=False)
FRONT = "spiffe://cluster.local/ns/default/sa/front"
BACK = "spiffe://cluster.local/ns/default/sa/back"
OF_FRONT, OF_BACK = identity(FRONT), identity(BACK)
HTTP, TCP, SNIFFED, UNNAMED = 8080, 9090, 7070, 6060  # of the workload, and of its Service alike

MESH = """
apiVersion: v1
kind: Service
metadata: {name: back, namespace: default}
spec:
  clusterIP: 10.96.0.1
  selector: {app: back}
  ports: [{name: http, port: 8080}, {name: tcp, port: 9090}, {name: web, port: 7070}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: back-1, namespace: default, labels: {kubernetes.io/service-name: back}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: tcp, port: 9090}, {name: web, port: 7070}]
endpoints: [{addresses: [%(at)s], targetRef: {kind: Pod, name: back-1}}]
---
apiVersion: v1
kind: Pod
metadata: {name: back-1, namespace: default, labels: {app: back, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: back, containers: [{name: app}]}
status: {podIP: %(at)s, phase: Running}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: peers, namespace: default}
spec: {mtls: {mode: %(mode)s}}
"""


@contextmanager
def running(
    mode: str = "STRICT",
    *,
    front: Pair | None = OF_FRONT,
    back: Pair | None = OF_BACK,
    rules: str = "",
) -> Iterator[Neighbours]:
    at = loopback_address()
    world = World(SECURED).apply(MESH % {"at": at, "mode": mode})
    if rules:
        world.apply(rules)
    caller, server = world.sidecar(name="front"), world.sidecar(name="back-1", ips=(at,))
    with (
        Upstreams() as upstreams,
        neighbours(
            caller,
            server,
            upstreams,
            certificates=(front, back),
            calls=(HTTP, TCP, SNIFFED),
            ports=(HTTP, TCP, SNIFFED, UNNAMED),
        ) as both,
    ):
        yield both


ECHOED = b"application\n"


def test_strict_takes_the_mesh_alone():
    with running("STRICT") as both:
        assert [both.request(port).caller for port in (HTTP, SNIFFED)] == [FRONT, FRONT]
        assert [both.send(port).startswith(ECHOED) for port in (TCP, SNIFFED)] == [True, True]
        assert [both.request_past(port).status for port in (HTTP, SNIFFED, UNNAMED)] == [0, 0, 0]
        past = [both.send_past(port) for port in (HTTP, TCP, SNIFFED, UNNAMED)]
        assert not any(answer.startswith(ECHOED) for answer in past)


def test_permissive_takes_both_and_knows_the_mesh():
    with running("PERMISSIVE") as both:
        assert [both.request(port).caller for port in (HTTP, SNIFFED)] == [FRONT, FRONT]
        assert [both.send(port).startswith(ECHOED) for port in (TCP, SNIFFED)] == [True, True]
        plain = [both.request_past(port) for port in (HTTP, SNIFFED, UNNAMED)]
        assert [(heard.status, heard.caller) for heard in plain] == [(200, ""), (200, ""), (200, "")]
        assert [both.send_past(port).startswith(ECHOED) for port in (TCP, SNIFFED, UNNAMED)] == [True, True, True]


def test_disabled_is_plain_text_all_the_way():
    with running("DISABLE") as both:
        assert (both.request(HTTP).status, both.request(HTTP).caller) == (200, "")
        assert both.send(TCP).startswith(ECHOED)
        assert both.server.stats("listener.").get("ssl.handshake", 0) == 0


PORTS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ports, namespace: default}
spec:
  selector: {matchLabels: {app: back}}
  mtls: {mode: PERMISSIVE}
  portLevelMtls: {"8080": {mode: STRICT}, "9090": {mode: DISABLE}, "6060": {mode: STRICT}}
"""


def test_each_port_is_as_strict_as_it_is_told():
    with running("PERMISSIVE", rules=PORTS) as both:
        assert [both.request_past(port).status for port in (HTTP, SNIFFED, UNNAMED)] == [0, 200, 0]
        assert both.send_past(TCP).startswith(ECHOED)
        assert both.request(HTTP).caller == FRONT
        assert both.send(TCP).startswith(ECHOED)  # the caller knows, and speaks plain text


def client_tls(pair: Pair | None, *alpn: str) -> ssl.SSLContext:
    """A client without a sidecar that makes up its own TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    if pair is not None:
        context.load_cert_chain(private_file(pair))
    return context


@pytest.mark.parametrize(
    ("pair", "status"),
    [
        (identity(FRONT), 200),
        (None, 0),
        (leaf("front"), 0),
        (identity("spiffe://stranger/ns/default/sa/front"), 0),
        (identity("spiffe://cluster.local.stranger/ns/default/sa/front"), 0),
        (identity(FRONT, valid=timedelta(minutes=-1)), 0),
    ],
)
def test_whoever_shows_no_identity_of_the_mesh_is_refused(pair, status):
    with running("STRICT") as both:
        for port in (HTTP, SNIFFED, UNNAMED):
            assert both.request_past(port, client_tls(pair, "istio-http/1.1", "istio")).status == status


def test_permissive_passes_the_applications_own_tls_on():
    """It is not the sidecar's to end: the upstream does, with a certificate of its own."""
    with running("PERMISSIVE") as both:
        for port in (TCP, SNIFFED, UNNAMED):
            assert both.send_past(port, client_tls(None, "h2")).startswith(ECHOED)


@pytest.mark.parametrize(
    "front",
    [identity("spiffe://stranger/ns/default/sa/front"), identity(FRONT, valid=timedelta(minutes=-1))],
    ids=["of another trust domain", "expired"],
)
def test_a_sidecar_with_no_good_certificate_is_refused(front):
    with running("STRICT", front=front) as both:
        assert both.request(HTTP).status == 503
        assert both.send(TCP) == b""


STRANGERS = {
    "of another account": identity("spiffe://cluster.local/ns/default/sa/other"),
    "of one that begins alike": identity(f"{BACK}er"),
    "of one below": identity(f"{BACK}/x"),
    "with a slash": identity(f"{BACK}/"),
    "in capitals": identity("spiffe://cluster.local/ns/default/sa/BACK"),
    "behind an escape": identity(f"{BACK}%00.stranger"),
    "of another namespace": identity("spiffe://cluster.local/ns/default2/sa/back"),
    "of another trust domain": identity("spiffe://stranger/ns/default/sa/back"),
    "of a host": identity("spiffe://cluster.local@stranger/ns/default/sa/back"),
    "with a DNS name": leaf("back.default.svc.cluster.local"),
    "over": identity(BACK, valid=timedelta(minutes=-1)),
}


@pytest.mark.point
def test_a_server_that_is_not_who_it_should_be_is_not_called(proved):
    called = []
    for what, back in STRANGERS.items():
        with running("STRICT", back=back) as both:
            answers = [both.request(port).status for port in (HTTP, SNIFFED)]
            called += [what] if answers != [503, 503] or both.send(TCP) or both.send(SNIFFED) else []
    proved(
        "identity 7.19", "servers with names like the one expected: called",
        bound="0", figure=f"{len(called)} {called}", holds=not called, cases=len(STRANGERS), asked=11,
    )  # fmt: skip


RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: back, namespace: default}
spec: {host: back, trafficPolicy: {tls: %s}}
"""


@pytest.mark.parametrize(
    ("tls", "status"),
    [
        ("{mode: ISTIO_MUTUAL}", 200),
        ("{mode: ISTIO_MUTUAL, sni: any.name}", 200),
        (f"{{mode: ISTIO_MUTUAL, subjectAltNames: ['{BACK}']}}", 200),
        ("{mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/default/sa/other']}", 503),
        ("{mode: DISABLE}", 503),
    ],
)
def test_a_destination_rule_has_its_way(tls, status):
    with running("STRICT", rules=RULE % tls) as both:
        assert [both.request(port).status for port in (HTTP, SNIFFED)] == [status, status]
        assert [both.send(port).startswith(ECHOED) for port in (TCP, SNIFFED)] == [status == 200] * 2


# One missing certificate


def eventually(true: Callable[[], bool], both: Neighbours, what: str) -> None:
    both.caller.wait_for(true, lambda: what)


@pytest.mark.point
@pytest.mark.parametrize("back", [None, identity(BACK, valid=timedelta(minutes=-1))], ids=["missing", "over"])
def test_without_a_certificate_only_what_needs_one_waits(back, proved):
    """It comes late: nothing is restarted, and what needs none worked all the while."""
    with running("PERMISSIVE", back=back) as both:
        others = [both.request_past(port).status == 200 for port in (HTTP, SNIFFED, UNNAMED)]
        others += [both.send_past(port).startswith(ECHOED) for port in (TCP, SNIFFED, UNNAMED)]
        assert both.request(HTTP).status == 503
        put_identity(both.server.folder, OF_BACK)
        eventually(lambda: both.request(HTTP).caller == FRONT, both, "the server to have its certificate")
    proved(
        "identity 6", "a sidecar's own certificate missing or over, until it has one: calls that need none that failed",
        bound="0", figure=str(others.count(False)), holds=all(others), cases=1, asked=1,
    )  # fmt: skip


def test_a_renewed_certificate_is_used_at_once():
    with running("STRICT", front=identity("spiffe://stranger/ns/default/sa/front")) as both:
        assert both.request(HTTP).status == 503
        put_identity(both.caller.folder, identity(FRONT))
        eventually(lambda: both.request(HTTP).caller == FRONT, both, "the caller to use its new certificate")
