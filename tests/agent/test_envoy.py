"""Beside a real Envoy: it serves with what the agent fetched, takes every new generation, and neither leaves alone."""

import http.server
import os
import signal
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from functools import partial

import pytest
from cryptography import x509

from controlplane.agent.http.client import Address
from controlplane.agent.leaving import main as leave
from tests.agent.agents import PROGRAM, is_alive, running, wait_for
from tests.agent.bootstraps import documents
from tests.agent.endpoint import CALLER, Endpoint, new_authority, signed
from tests.envoys.upstreams import loopback_address
from tests.ports import free_port


class Mesh:
    """An agent's surroundings: where its Envoy listens, and a client that the mesh knows."""

    def __init__(self, folder, upstream=None) -> None:
        self.address = loopback_address()
        self.port = free_port()
        self.endpoint = Endpoint(folder, files=documents(self.address, self.port, upstream))
        self._folder = folder

    def client(self) -> ssl.SSLContext:
        """Trusts what the endpoint trusts now, and shows a certificate of it."""
        pair = self._folder / "client.pem"
        pair.write_bytes(
            signed(self.endpoint.authority, x509.UniformResourceIdentifier("spiffe://cluster.local/ns/a/sa/b"))
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.endpoint.bundle)
        context.load_cert_chain(pair)
        return context

    def connected(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        connection = socket.create_connection((self.address, self.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each handshake waits for an ACK
        try:
            return context.wrap_socket(connection)
        except OSError:
            connection.close()
            raise

    def ask(self, tls: ssl.SSLSocket) -> bytes:
        """One request on a connection that is there."""
        tls.sendall(b"GET / HTTP/1.1\r\nHost: cart\r\n\r\n")
        answer = b""
        while not answer.endswith((b"hello", b"done")) and (chunk := tls.recv(4096)):
            answer += chunk
        return answer

    def call(self, context: ssl.SSLContext) -> tuple[bytes, int]:
        """One request on a connection of its own: what came back, and the certificate's serial number."""
        with self.connected(context) as tls:
            answer = self.ask(tls)
            shown = tls.getpeercert()
            assert shown is not None
            assert shown["subjectAltName"] == (("URI", CALLER.uri),)
            return answer, int(str(shown["serialNumber"]), 16)


@pytest.fixture
def mesh(tmp_path):
    mesh = Mesh(tmp_path)
    with mesh.endpoint:
        yield mesh


def test_it_serves_with_the_certificate_that_was_fetched(mesh, tmp_path):
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        answer, _ = mesh.call(mesh.client())
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"hello")
        admin = agent.directory / "admin.sock"
        assert admin.stat().st_mode & 0o777 == 0o600


@pytest.mark.point
def test_certificates_change_under_load_and_nobody_notices(mesh, tmp_path, size, proved):
    """Handshakes all the while: each meets one generation, whole."""
    rotations = size(3, 20)
    mesh.endpoint.life = 10.0  # with time enough for a machine that is busy with other tests
    seen, failed, done = set(), [], threading.Event()
    calls = [0]

    def load(context: ssl.SSLContext) -> None:
        while not done.is_set():
            try:
                answer, serial = mesh.call(context)
                assert answer.endswith(b"hello")
                seen.add(serial)
            except (OSError, AssertionError) as error:
                failed.append(repr(error))
            calls[0] += 1

    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        clients = [threading.Thread(target=load, args=(mesh.client(),)) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            wait_for(lambda: len(seen) > rotations, lambda: f"{rotations} rotations, {len(seen)} were seen", 240)
        finally:
            done.set()
            for client in clients:
                client.join()
        assert len(agent.events("Envoy started")) == 1
        memory = agent.memory()
    proved(
        "identity 3",
        "certificates rotated beside a real Envoy, a new connection for each request: none failed",
        bound="0",
        figure=" ".join([str(len(failed)), *failed[:1]]),
        holds=not failed and memory < 40 * 1024,
        cases=calls[0],
        asked=size(1000, 10_000),
    )


def test_a_new_bundle_is_what_envoy_verifies_with(mesh, tmp_path):
    """Trust both, issue from the new root, drop the old one: calls go on through all of it."""
    old = mesh.endpoint.authority
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        mesh.call(of_old := mesh.client())
        new = new_authority()
        mesh.endpoint.write_bundle(old, new)
        mesh.endpoint.wait_for_reports(2)
        mesh.endpoint.authority = new
        of_new = mesh.client()

        def taken() -> bool:
            try:
                return b"hello" in mesh.call(of_new)[0]
            except OSError:
                return False

        wait_for(taken, "Envoy to trust the new root, too")
        mesh.call(of_old)
        mesh.endpoint.write_bundle(new)
        mesh.endpoint.wait_for(
            lambda: len(mesh.endpoint.reports[-1].body["roots"]) == 1, "a report of the new root alone"
        )

        def refused() -> bool:
            try:
                return not mesh.call(of_old)[0]
            except OSError:
                return True

        wait_for(refused, "Envoy to trust the old root no more")
        assert mesh.call(mesh.client())[0].endswith(b"hello")
        assert len(agent.events("Envoy started")) == 1


@contextmanager
def slow_application(seconds: float):
    """Answers after a while."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            time.sleep(seconds)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"done")

        def log_message(self, *_: object) -> None:
            pass

    asked = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[:2], asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("flags", "lasting"),
    [({"drain_time": "4s"}, 2.0), ({"drain_until_idle": "true", "least_drain": "1s"}, 6.0)],
    ids=["a fixed time", "until nobody is connected"],
)
def test_a_request_under_way_is_finished_before_envoy_ends(tmp_path, flags, lasting):
    with slow_application(lasting) as (upstream, asked):
        mesh = Mesh(tmp_path, upstream)
        with mesh.endpoint, running(mesh.endpoint, tmp_path / "agent", address=mesh.address, **flags) as agent:
            agent.wait_until_ready()
            answers: list[bytes] = []
            client = threading.Thread(target=lambda: answers.append(mesh.call(mesh.client())[0]))
            client.start()
            assert asked.wait(10)
            agent.signal(signal.SIGTERM)
            wait_for(lambda: agent.readiness() == (503, "not ready: draining"), lambda: str(agent.readiness()))
            assert not agent.events("Envoy could not be asked to drain")
            envoy = agent.envoy_pid
            assert agent.ended() == 0
            client.join()
            assert answers[0].startswith(b"HTTP/1.1 200")
            assert answers[0].endswith(b"done")
            assert not is_alive(envoy)


def test_who_comes_while_it_drains_is_served_and_asked_to_come_back_elsewhere(mesh, tmp_path):
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address, drain_time="30s") as agent:
        agent.wait_until_ready()
        with mesh.connected(mesh.client()) as tls:
            assert b"connection: close" not in mesh.ask(tls)
            agent.signal(signal.SIGTERM)
            agent.said("draining")
            wait_for(lambda: b"connection: close" in mesh.call(mesh.client())[0], "new clients to be told")
            assert b"connection: close" in mesh.ask(tls)


def test_a_pod_that_is_going_asks_its_callers_to_leave_and_serves_on(mesh, tmp_path, capsys):
    """As a native sidecar's hook has it done: the application is still there, and the agent's own end comes later."""
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        where = Address(agent.address, agent.readiness_port)
        with mesh.connected(mesh.client()) as tls:
            assert b"connection: close" not in mesh.ask(tls)
            assert leave([], where) == 0
            assert b"connection: close" in mesh.ask(tls)
        assert agent.readiness() == (503, "not ready: draining")
        assert leave([], where) == 0  # a hook may run twice
        assert mesh.call(mesh.client())[0].endswith(b"hello")
        agent.signal(signal.SIGTERM)
        assert agent.ended() == 0
    assert leave([], where) == 1
    assert "lateen: agent drain: " in capsys.readouterr().err
    assert leave(["at once"]) == 2


def test_nobody_connected_and_it_ends_after_the_least_time(mesh, tmp_path):
    until_idle = partial(running, drain_until_idle="true", least_drain="1s")
    with until_idle(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        began = time.monotonic()
        agent.signal(signal.SIGTERM)
        assert agent.ended() == 0
        assert 1.0 <= time.monotonic() - began < 4.0
        assert agent.said("nobody is connected any more")


def test_somebody_stays_connected_and_it_ends_when_its_time_is_up(mesh, tmp_path):
    until_idle = partial(running, drain_until_idle="true", least_drain="1s", longest_drain="3s")
    with until_idle(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        with mesh.connected(mesh.client()) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\n")
            agent.signal(signal.SIGTERM)
            assert agent.ended() == 0
            assert agent.said("waiting for connections to end")[0]["active"] == 1
            assert agent.said("time is up, connections are cut")


def test_a_second_signal_cuts_the_drain_short(mesh, tmp_path):
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address, drain_time="60s") as agent:
        agent.wait_until_ready()
        agent.signal(signal.SIGTERM)
        agent.said("draining")
        agent.signal(signal.SIGTERM)
        assert agent.ended(10) == 0
        assert not is_alive(agent.envoy_pid)


def test_a_signal_to_the_whole_group_still_drains(mesh, tmp_path):
    """Ctrl-C on a terminal, a supervisor that ends groups: Envoy must not hear it before the agent does something."""
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address, program=("setsid", *PROGRAM)) as agent:
        agent.wait_until_ready()
        os.killpg(agent.process.pid, signal.SIGINT)
        assert agent.ended() == 0
        assert agent.said("draining")
        assert agent.said("Envoy ended")


def test_envoy_ends_and_so_does_the_agent(mesh, tmp_path):
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        os.kill(agent.envoy_pid, signal.SIGSEGV)
        assert agent.ended() == 1
        assert agent.said("Envoy ended by itself")[0]["status"] == "SIGSEGV"


def test_the_agent_is_killed_and_so_is_envoy(mesh, tmp_path):
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.wait_until_ready()
        envoy = agent.envoy_pid
        agent.signal(signal.SIGKILL)
        wait_for(lambda: not is_alive(envoy), "Envoy's end")


def test_after_a_kill_both_start_again_in_the_same_directory(mesh, tmp_path):
    """As in a Pod, whose volumes outlive its containers."""
    for _ in range(2):
        with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
            agent.wait_until_ready()
            assert mesh.call(mesh.client())[0].endswith(b"hello")
            agent.signal(signal.SIGKILL)
            wait_for(partial(lambda envoy: not is_alive(envoy), agent.envoy_pid), "Envoy's end")
            assert (agent.directory / "admin.sock").exists()


def test_a_bootstrap_that_envoy_refuses_ends_both(mesh, tmp_path):
    mesh.endpoint.files = {"bootstrap.json": '{"no_such_field": 1}'}
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        assert agent.ended() == 1
        assert "no_such_field" in agent.output


def test_an_envoy_that_is_not_there_is_said_in_one_line(mesh, tmp_path):
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address, envoy="/nowhere/envoy") as agent:
        assert agent.ended() == 2
        assert agent.lines[-1] == "lateen: agent: /nowhere/envoy cannot be started: there is no such program"


def test_asked_to_end_before_there_is_a_certificate(mesh, tmp_path):
    mesh.endpoint.down()
    with running(mesh.endpoint, tmp_path / "agent", address=mesh.address) as agent:
        agent.said("no new certificate, trying on")
        agent.signal(signal.SIGTERM)
        assert agent.ended() == 0
