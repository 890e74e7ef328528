"""The application's health through the agent: asked as the kubelet would have, and answered as it would have been."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import grpc
import pytest

from tests.agent.agents import RunningAgent, running
from tests.agent.applications import Application, Asked, answer
from tests.agent.endpoint import Endpoint
from tests.envoys.upstreams import loopback_address
from tests.ports import free_port

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class HealthServer:
    """grpcio's own server, with the health service by hand: bytes in, bytes out."""

    def __init__(self, host: str) -> None:
        self.health: dict[bytes, bytes] = {}
        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._check)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
        )
        self.port = self._server.add_insecure_port(f"{host}:0")
        self._server.start()

    def _check(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if request not in self.health:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self.health[request]

    def stop(self) -> None:
        self._server.stop(0).wait()


def _said(words: bytes, _: Asked) -> bytes:
    return words


def probers(**actions: dict) -> str:
    return json.dumps({f"/app-health/cart/{name}": action for name, action in actions.items()})


class Probed(NamedTuple):
    """Where the application is to be, and how the agent that probes it is started."""

    address: str
    start: Callable[..., RunningAgent]


@pytest.fixture
def probed(tmp_path, idle_envoy):
    """An agent whose Envoy is of no interest."""
    address = loopback_address()
    open_ones = []

    def start(text: str, **more):
        endpoint = Endpoint(tmp_path)
        endpoint.__enter__()
        environment = {"ISTIO_KUBE_APP_PROBERS": text, **more.pop("environment", {})}
        manager = running(
            endpoint, tmp_path / "agent", address=address, envoy=idle_envoy, environment=environment, **more
        )
        agent = manager.__enter__()
        open_ones.append((endpoint, manager))
        agent.said("certificate")
        return agent

    yield Probed(address, start)
    for endpoint, manager in open_ones:
        manager.__exit__(None, None, None)
        endpoint.__exit__()


def test_the_applications_own_words_come_back(probed):
    with Application(probed.address) as application:
        agent = probed.start(probers(readyz={"httpGet": {"port": application.port, "path": "/ready?deep=1"}}))
        for status in (200, 204, 400, 404, 503):
            application.reply = partial(_said, answer(b"" if status == 204 else b"so it is", status=f"{status} -"))
            found, body, _ = agent.get(
                "/app-health/cart/readyz", headers={"User-Agent": "kube-probe/1.36", "X-Own": "a"}
            )
            assert (found, body) == (status, "" if status == 204 else "so it is")
        asked = application.asked[-1]
        assert (asked.method, asked.path) == ("GET", "/ready?deep=1")
        assert asked.headers["user-agent"] == "kube-probe/1.36"
        assert asked.headers["x-own"] == "a"
        assert asked.headers["host"] == f"{agent.address}:{application.port}"


@pytest.mark.parametrize(("sent", "seen"), [("cart.test", "cart.test"), ("cart.test:{status}", "cart.test:{app}")])
def test_the_host_that_a_probe_asks_for_is_kept(probed, sent, seen):
    with Application(probed.address) as application:
        agent = probed.start(probers(livez={"httpGet": {"port": application.port}}))
        agent.get("/app-health/cart/livez", headers={"Host": sent.format(status=agent.status_port)})
        assert application.asked[-1].headers["host"] == seen.format(app=application.port)


def test_over_https_any_certificate_will_do(probed):
    with Application(probed.address, tls=True) as application:
        agent = probed.start(probers(livez={"httpGet": {"port": application.port, "scheme": "HTTPS", "path": "live"}}))
        assert agent.get("/app-health/cart/livez")[:2] == (200, "fine")
        assert application.asked[-1].path == "/live"


def test_a_redirect_is_followed_on_the_same_host_only(probed):
    with Application(probed.address) as application, Application() as elsewhere:
        agent = probed.start(probers(livez={"httpGet": {"port": application.port, "path": "/a"}}))
        where = {
            "/a": "/b", "/b": f"http://{agent.address}:{application.port}/c",
            "/away": f"http://127.0.0.1:{elsewhere.port}/", "/round": "/round", "/bad": "/has a\tblank",
        }  # fmt: skip

        def moved(asked):
            if asked.path not in where:
                return answer(b"here")
            return answer(b"", f"Location: {where[asked.path]}", status="302 Found")

        application.reply = moved
        assert agent.get("/app-health/cart/livez")[:2] == (200, "here")
        for first, status in (("/away", 200), ("/round", 500), ("/bad", 500)):
            where["/a"] = first
            assert agent.get("/app-health/cart/livez")[0] == status
        assert elsewhere.connections == 0


@pytest.mark.parametrize("content", [b"", b"no HTTP", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000])
def test_an_application_that_speaks_no_http_is_not_well(probed, content):
    with Application(probed.address) as application:
        application.reply = lambda _: content
        agent = probed.start(probers(livez={"httpGet": {"port": application.port}}))
        assert agent.get("/app-health/cart/livez")[0] == 500


def test_of_a_long_answer_the_beginning_comes_back(probed):
    with Application(probed.address) as application:
        application.reply = lambda _: answer(b"x" * 1_000_000)
        agent = probed.start(probers(livez={"httpGet": {"port": application.port}}))
        assert agent.get("/app-health/cart/livez")[:2] == (200, "x" * 10_240)


def test_an_application_that_is_too_slow_is_not_well(probed):
    with Application(probed.address) as application:
        agent = probed.start(probers(livez={"httpGet": {"port": application.port}, "timeoutSeconds": 1}))
        application.held.clear()
        assert agent.get("/app-health/cart/livez")[:2] == (500, "no answer within 1 s\n")


def test_a_port_that_is_open_is_enough_for_tcp(probed):
    with Application(probed.address) as application:
        closed = free_port()
        agent = probed.start(
            probers(livez={"tcpSocket": {"port": application.port}}, readyz={"tcpSocket": {"port": closed}})
        )
        assert agent.get("/app-health/cart/livez")[0] == 200
        assert agent.get("/app-health/cart/readyz")[0] == 500


def test_grpc_health(probed):
    """Against Google's own server."""
    server = HealthServer(probed.address)
    try:
        plain, named = {"grpc": {"port": server.port}}, {"grpc": {"port": server.port, "service": "cart.Cart"}}
        agent = probed.start(probers(livez=plain, readyz=named))
        server.health = {b"": SERVING, b"\x0a\x09cart.Cart": NOT_SERVING}
        assert agent.get("/app-health/cart/livez")[0] == 200
        assert agent.get("/app-health/cart/readyz")[:2] == (500, "not serving\n")
        server.health = {b"\x0a\x09cart.Cart": SERVING}
        assert agent.get("/app-health/cart/readyz")[0] == 200
        status, words, _ = agent.get("/app-health/cart/livez")
        assert (status, words) == (500, "the application answers with grpc-status 5\n")
        assert agent.memory() < 40 * 1024
    finally:
        server.stop()


def test_grpc_of_somebody_who_speaks_http_1(probed):
    with Application(probed.address) as application:
        agent = probed.start(probers(livez={"grpc": {"port": application.port}}))
        assert agent.get("/app-health/cart/livez")[0] == 500


def test_grpc_without_health_checks(probed):
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port(f"{probed.address}:0")
    server.start()
    try:
        agent = probed.start(probers(livez={"grpc": {"port": port}}))
        assert agent.get("/app-health/cart/livez")[:2] == (500, "the application has no health checks\n")
    finally:
        server.stop(0).wait()


def test_what_was_not_configured_is_not_asked(probed):
    with Application(probed.address) as application:
        agent = probed.start(probers(livez={"httpGet": {"port": application.port}}))
        for path in ("/app-health/cart/readyz", "/app-health/other/livez", "/app-health/cart/livez/", "/app-health/"):
            assert agent.get(path)[0] == 404
        assert agent.get("/app-health/cart/livez", port=agent.readiness_port)[0] == 404
        assert agent.get("/app-health/cart/livez", method="POST")[0] == 405
        assert application.connections == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is captured, and 127.0.0.6 is nobody's")
def test_where_traffic_is_captured_a_probe_comes_past_it(probed):
    with Application(probed.address) as application:
        text = probers(livez={"httpGet": {"port": application.port}}, readyz={"tcpSocket": {"port": application.port}})
        agent = probed.start(text, environment={"ISTIO_META_INTERCEPTION_MODE": "REDIRECT"})
        assert agent.get("/app-health/cart/livez")[0] == 200
        assert application.asked[-1].peer == "127.0.0.6"
