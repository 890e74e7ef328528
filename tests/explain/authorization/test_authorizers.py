"""External authorizers, asked by real Envoys: about which calls, what they get to see, and what comes of their answers."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from google.rpc import code_pb2

from controlplane.explain import Address
from controlplane.explain.authorization import Message
from controlplane.ir import names
from controlplane.ir.cluster import Upstream
from controlplane.ir.service import Protocol, Resolution, Service, ServicePort
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import ObjectRef, Origin
from controlplane.snapshot.resource import Resource
from tests.envoys import Upstreams
from tests.explain.authorization.calls import Caller, Sent
from tests.explain.authorization.client import Verdict, status_of
from tests.explain.authorization.differential import bytes_to
from tests.explain.authorization.policies import OWN_PORT, TCP_PORT
from tests.explain.authorization.stage import Set, cluster_of, envoy_of
from tests.explain.case import Addresses
from tests.ports import free_port

NO = ("x-pass", "no")  # a request with this is refused by whoever sees it
JUDGES = ("first", "second", "porter", "away")  # porter is asked over gRPC; nobody is at `away`
WHO = Caller(tls=True, certificate=("spiffe://mesh.example/ns/a/sa/x",))


class Judges:
    """Authorizers of this process, and what they were asked since the last look."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, Any]] = []

    def asked(self) -> list[tuple[str, Any]]:
        """Who was asked, with the question."""
        found, self._seen = self._seen, []
        return found

    def serve_http(self, name: str) -> ThreadingHTTPServer:
        seen = self._seen_by(name)

        class Doorman(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                seen((self.path, dict(self.headers)))
                refuses = self.headers.get(NO[0]) == NO[1]
                self.send_response(401 if refuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Doorman)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def serve_grpc(self, name: str) -> tuple[Any, int]:
        seen = self._seen_by(name)

        class Porter(external_auth_pb2_grpc.AuthorizationServicer):  # type: ignore[misc]
            def Check(self, request: Any, _context: Any) -> Any:  # noqa: N802  the service's own name
                seen(request.attributes)
                answer = external_auth_pb2.CheckResponse()
                if "ns/b/" in request.attributes.source.principal:
                    answer.status.code = code_pb2.PERMISSION_DENIED
                return answer

        server = grpc.server(ThreadPoolExecutor(2))
        external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Porter(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return server, port

    def _seen_by(self, name: str) -> Any:
        return lambda question: self._seen.append((name, question))


def lookup(host: str, _namespace: str) -> Service | None:
    """A service for each of them, http at port 80, grpc at 90."""
    name = host.partition(".")[0]
    ports = (ServicePort(80, "http", Protocol.HTTP, 80), ServicePort(90, "grpc", Protocol.GRPC, 90))
    origin = Origin(ObjectRef("", "Service", "auth", name))
    return Service(host, "auth", name, ports, (), Resolution.STATIC, origin) if name in JUDGES else None


def over_http(name: str, **fields: Any) -> Mapping[str, Any]:
    return {
        "name": name,
        "envoyExtAuthzHttp": {"service": f"{name}.auth.svc.cluster.local", "port": 80, "timeout": "5s", **fields},
    }


def over_grpc(name: str, **fields: Any) -> Mapping[str, Any]:
    return {
        "name": name,
        "envoyExtAuthzGrpc": {"service": f"{name}.auth.svc.cluster.local", "port": 90, "timeout": "5s", **fields},
    }


def asks(provider: str, path: str = "/door", **more: Any) -> Any:
    operation = {"paths": [path]} if path else {"ports": [str(TCP_PORT)]}
    spec = {"action": "CUSTOM", "provider": {"name": provider}, "rules": [{"to": [{"operation": operation}]}], **more}
    return policy(f"asks-{provider}", spec)


def policy(name: str, spec: Any) -> Any:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


SEES = over_http(
    "first",
    pathPrefix="/check",
    includeRequestHeadersInCheck=["x-pass", "x-user*"],
    includeAdditionalHeadersInCheck={"x-mesh": "lateen"},
)
STAGES: dict[str, tuple[Any, ...]] = {
    "one": (SEES, asks("first")),
    "two": (over_http("first"), over_http("second"), asks("first", "/a*"), asks("second", "/ab*")),
    "away": (over_http("away"), asks("away")),
    "away, and says so": (over_http("away", statusOnError="503"), asks("away")),
    "away, and nobody minds": (over_http("away", failOpen=True), asks("away")),
    "never was": (over_http("never", failOpen=True), asks("never")),
    "denied as well": (
        over_http("first"), asks("first"), policy("no-door", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/door"]}}]}]}),
    ),
    "over gRPC": (over_grpc("porter"), asks("porter"), asks("porter", "")),
    "over gRPC, away": (over_grpc("away"), asks("away", "")),
    "over HTTP, of bytes": (over_http("first"), asks("first", "")),
}  # fmt: skip


def stage_of(name: str, number: int, addresses: Addresses) -> Set:
    providers = [one for one in STAGES[name] if "kind" not in one]
    settings, problems = decode_settings({"trustDomain": "mesh.example", "extensionProviders": providers})
    assert problems == ()
    documents = [one for one in STAGES[name] if "kind" in one]
    return Set.of(f"a{number}", documents, settings, (addresses.take(), addresses.take()))._replace(lookup=lookup)


@pytest.fixture(scope="module")
def judges() -> Judges:
    return Judges()


@pytest.fixture(scope="module")
def stages(judges: Judges) -> Iterator[dict[str, Set]]:
    addresses = Addresses()
    sets = {name: stage_of(name, number, addresses) for number, name in enumerate(STAGES)}
    doormen = {name: judges.serve_http(name) for name in ("first", "second")}
    porter, port = judges.serve_grpc("porter")
    clusters = [_cluster(name, 80, server.server_address[1]) for name, server in doormen.items()]
    clusters += [_cluster("porter", 90, port), *(_cluster("away", number, free_port()) for number in (80, 90))]
    with Upstreams() as upstreams, envoy_of(list(sets.values()), Address(*upstreams.add("echo")), clusters):
        yield sets
    porter.stop(None).wait()
    for server in doormen.values():
        server.shutdown()
        server.server_close()


def _cluster(name: str, number: int, port: int) -> Resource:
    spoken = Upstream.HTTP2 if number == 90 else Upstream.HTTP1
    return cluster_of(
        names.outbound_cluster(f"{name}.auth.svc.cluster.local", number), Address("127.0.0.1", port), spoken
    )


def status(stage: Set, path: str, *headers: tuple[str, str], caller: Caller = WHO) -> int:
    message = Message(method="GET", host="shop.example:80", path=path, headers=headers, http2=False)
    return status_of(caller, (stage.addresses[0], OWN_PORT), Sent(message))


def test_only_calls_that_a_rule_holds_for_are_asked_about(stages, judges):
    assert status(stages["one"], "/window", NO) == 200
    assert judges.asked() == []
    assert status(stages["one"], "/door", NO) == 401
    assert status(stages["one"], "/door") == 200
    assert [name for name, _ in judges.asked()] == ["first", "first"]


def test_what_an_authorizer_gets_to_see(stages, judges):
    status(stages["one"], "/door?a=b", ("x-user-name", "alice"), ("x-secret", "hidden"))
    ((_, (path, headers)),) = judges.asked()
    assert path == "/check/door?a=b"
    assert headers["host"] == "shop.example:80"
    assert (headers["x-user-name"], headers["x-mesh"]) == ("alice", "lateen")
    assert "x-secret" not in headers


def test_each_provider_is_asked_for_its_own_rules(stages, judges):
    for path, asked in (("/", []), ("/a", ["first"]), ("/ab", ["first", "second"])):
        assert status(stages["two"], path) == 200
        assert [name for name, _ in judges.asked()] == asked


@pytest.mark.parametrize(
    ("name", "expected"),
    [("away", 403), ("away, and says so", 503), ("away, and nobody minds", 200), ("never was", 403)],
)
def test_when_nobody_answers(name, expected, stages):
    assert status(stages[name], "/door") == expected
    assert status(stages[name], "/window") == 200


def test_what_is_agreed_to_may_still_be_denied(stages, judges):
    assert status(stages["denied as well"], "/door") == 403
    assert [name for name, _ in judges.asked()] == ["first"]


def test_over_grpc_it_learns_who_asks(stages, judges):
    other = Caller(tls=True, certificate=("spiffe://mesh.example/ns/b/sa/x",))
    assert status(stages["over gRPC"], "/door") == 200
    assert status(stages["over gRPC"], "/door", caller=other) == 403
    (_, first), (_, second) = judges.asked()
    assert (first.source.principal, first.request.http.path) == ("spiffe://mesh.example/ns/a/sa/x", "/door")
    assert second.source.principal == "spiffe://mesh.example/ns/b/sa/x"


def test_connections_are_asked_about_over_grpc_alone(stages, judges):
    other = Caller(tls=True, certificate=("spiffe://mesh.example/ns/b/sa/x",))
    assert bytes_to(stages["over gRPC"], WHO).verdict is Verdict.ALLOWED
    assert bytes_to(stages["over gRPC"], other).verdict is Verdict.DENIED
    assert {name for name, _ in judges.asked()} == {"porter"}
    assert bytes_to(stages["over gRPC, away"], WHO).verdict is Verdict.DENIED
    assert bytes_to(stages["over HTTP, of bytes"], WHO).verdict is Verdict.DENIED
    assert judges.asked() == []
