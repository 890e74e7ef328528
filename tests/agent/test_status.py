"""Who may ask what: the ports of a real agent, and the rules behind them."""

import socket

import pytest

from controlplane.agent.http.server import Request, text
from controlplane.agent.probers import Prober, TcpSocket
from controlplane.agent.status import DRAIN, QUIT, Status, is_loopback, readiness_routes, routed, status_routes
from tests.agent.agents import running
from tests.agent.endpoint import Endpoint

ANYBODYS = "10.1.2.3"


def status_of(*asked: str) -> Status:
    async def answer(request: Request):
        return text(200, request.path)

    async def probe(_: Prober, request: Request):
        return text(200, request.path)

    return Status(answer, answer, probe, {path: Prober(tcp=TcpSocket(1)) for path in asked}, answer, answer)


async def asked(routes, method: str, path: str, peer: str = "127.0.0.1", **headers: str) -> int:
    return (await routed(routes)(Request(method, path, headers, peer))).status


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"])
async def test_each_port_answers_what_is_listed_and_nothing_else(method):
    status = status_of("/app-health/a/livez")
    for routes in (list(readiness_routes(status)), list(status_routes(status))):
        listed = {(route.method, route.path) for route in routes}
        for path in (
            "/healthz/ready",
            "/metrics",
            "/stats/prometheus",
            QUIT,
            DRAIN,
            "/app-health/a/livez",
            "/",
            "/debug",
            "",
        ):
            found = await asked(routes, method, path)
            paths = {path for _, path in listed}
            assert found == (200 if (method, path) in listed else 405 if path in paths else 404), path


@pytest.mark.parametrize(("port", "order"), [(status_routes, QUIT), (readiness_routes, DRAIN)])
async def test_orders_to_end_are_the_pods_own_to_give(port, order):
    routes = list(port(status_of()))
    for peer in ("127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"):
        assert await asked(routes, "POST", order, peer) == 200
    for peer in (ANYBODYS, "::ffff:10.1.2.3", "fe80::1%eth0", "", "localhost", "127.0.0.1.evil.test"):
        assert await asked(routes, "POST", order, peer) == 403
    for peer in ("127.0.0.6", "::ffff:127.0.0.6", "::6"):  # Envoy, for a caller from outside
        assert await asked(routes, "POST", order, peer) == 403
    for name in ("origin", "via", "x-forwarded-for", "x-forwarded-proto", "x-request-id"):
        assert await asked(routes, "POST", order, **{name: "x"}) == 403


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"])
def test_loopback(peer):
    assert is_loopback(peer)


@pytest.mark.parametrize("peer", ["10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "fe80::1%lo", "", "x"])
def test_not_loopback(peer):
    assert not is_loopback(peer)


def test_a_job_ends_its_proxy(tmp_path, idle_envoy):
    with Endpoint(tmp_path) as endpoint, running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        assert agent.envoy_pid
        assert agent.get(QUIT)[0] == 405
        assert agent.get(QUIT, method="POST", headers={"Origin": "http://localhost"})[0] == 403
        assert agent.get(QUIT, method="POST", port=agent.readiness_port)[0] == 404
        assert agent.process.poll() is None
        assert agent.get(QUIT, method="POST")[0] == 200
        assert agent.ended() == 0


def test_somebody_elses_machine_may_not(tmp_path, idle_envoy):
    """Over an address of this machine that is not loopback, if it has one: what a neighbour's packets look like."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        address = probe.getsockname()[0]
    if is_loopback(address):
        pytest.skip("this machine has no other address")
    with (
        Endpoint(tmp_path) as endpoint,
        running(endpoint, tmp_path / "agent", envoy=idle_envoy, address=address) as agent,
    ):
        assert agent.envoy_pid
        assert agent.get(QUIT, method="POST")[0] == 403
        assert agent.get("/metrics")[0] == 200
        assert agent.process.poll() is None


def test_ports_that_are_taken_are_said_in_one_line(tmp_path, idle_envoy):
    with Endpoint(tmp_path) as endpoint, running(endpoint, tmp_path / "agent", envoy=idle_envoy) as agent:
        assert agent.envoy_pid
        taken = str(agent.status_port)
        with running(endpoint, tmp_path / "other", envoy=idle_envoy, address=agent.address, status_port=taken) as other:
            assert other.ended() == 2
            assert other.lines[-1].startswith("lateen: agent: ")
            assert "address already in use" in other.lines[-1]
            assert taken in other.lines[-1]
