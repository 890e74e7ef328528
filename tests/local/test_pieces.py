"""The small pure parts of the laptop mesh."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.local import sockets
from controlplane.local.calls import Caller, Tally
from controlplane.local.demo import STORY, Result, examples, within
from controlplane.local.envoys import HostCalls, envoy_binary, parse_calls
from controlplane.local.manifests import Exec, Grpc, HttpGet, Probe, TcpSocket
from controlplane.local.node import gateway_node, sidecar_node
from controlplane.local.plan import ReadyCheck
from controlplane.local.processes import last_line
from controlplane.local.readiness import Readiness, look
from controlplane.local.running import listens_elsewhere
from controlplane.local.statedir import Misuse, running, state_directory
from controlplane.local.traffic import TrafficMeter
from controlplane.local.up import judge_first, missing_addresses, program_exists
from controlplane.model.proxy import InterceptionMode, ProxyType, parse_node
from tests.local.meshes import REPOSITORY, give_away, unprivileged
from tests.local.worlds import deployment, gateway, only, planned

# --- readiness -----------------------------------------------------------------------------------------------------


def after(probe: Probe, results: str) -> list[bool]:
    readiness, found = Readiness(), []
    for result in results:
        readiness = readiness.after(probe, ok=result == "+")
        found.append(readiness.ready)
    return found


@pytest.mark.parametrize(
    ("probe", "results", "expected"),
    [
        (Probe(), "+", "+"),
        (Probe(), "+--+---", "++++++-"),
        (Probe(success_threshold=2), "+-++", "---+"),
        (Probe(failure_threshold=1), "+-+", "+-+"),
    ],
)
def test_thresholds_are_kubernetes(probe: Probe, results: str, expected: str) -> None:
    assert after(probe, results) == [each == "+" for each in expected]


def test_looks_are_eager_first_then_patient_then_as_the_probe_says() -> None:
    probe = Probe(period_seconds=10)
    assert Readiness(looks=0).wait(probe) == 0.1
    assert Readiness(looks=1000).wait(probe) == 1.0
    assert Readiness(ready=True).wait(probe) == 10
    assert Readiness(looks=1000).wait(Probe(period_seconds=0.5)) == 0.5


def no_command(_argv: tuple[str, ...]) -> Awaitable[int]:
    raise AssertionError("nothing is to be run")


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("probe", [Probe(tcp_socket=TcpSocket(port=1)), Probe()])
async def test_a_tcp_probe_is_a_connection_that_opens(probe: Probe, listening: int) -> None:
    assert await look(ReadyCheck(probe, listening), "127.0.0.1", no_command)
    assert not await look(ReadyCheck(probe, 1), "127.0.0.1", no_command)


async def test_without_probe_and_port_running_is_ready() -> None:
    assert await look(ReadyCheck(Probe(), 0), "127.0.0.1", no_command)


async def test_an_exec_probe_is_an_exit_status() -> None:
    async def run(argv: tuple[str, ...]) -> int:
        return int(argv[0])

    for status in (0, 3):
        check = ReadyCheck(Probe(exec=Exec(command=(str(status),))), 0)
        assert await look(check, "127.0.0.1", run) == (status == 0)


@pytest.mark.parametrize(("answer", "ok"), [(b"\x08\x01", True), (b"\x08\x02", False), (None, False)])
async def test_a_grpc_probe_is_an_answer_that_says_serving(answer: bytes | None, ok) -> None:
    async def check(request: bytes, context: Any) -> bytes:
        assert request == b"\x0a\x04bill"
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return answer or b""

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        probe = Probe(grpc=Grpc(port=1, service="bill"), timeout_seconds=10)
        assert await look(ReadyCheck(probe, port), "127.0.0.1", no_command) is ok
    finally:
        await server.stop(0)
    assert not await look(ReadyCheck(probe, port), "127.0.0.1", no_command)


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        (b"HTTP/1.1 204 x\r\n\r\n", True),
        (b"HTTP/1.1 302 x\r\n\r\n", True),
        (b"HTTP/1.1 503 x\r\n\r\n", False),
        (b"", False),
        (b"SSH-2.0\r\n", False),
        (b"HTTP/1.1 abc\r\n", False),
    ],
)
async def test_an_http_probe_is_a_status_below_400(answer: bytes, ok) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        check = ReadyCheck(Probe(http_get=HttpGet(port=80)), port)
        assert await look(check, "127.0.0.1", no_command) == ok


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((), "it does not listen on 127.1.1.1:5 yet"),
        ((("127.0.0.1", 5),), "it listens on 127.0.0.1:5 instead of 127.1.1.1:5: listen on $HOST and $PORT"),
        ((("0.0.0.0", 6), ("::", 7)), "it listens on 0.0.0.0:6, :::7 instead of"),
        ((("0.0.0.0", 5),), "its readiness probe fails"),
    ],
)
def test_where_a_command_listens_instead_is_said(found, words: str) -> None:
    assert words in listens_elsewhere(found, "127.1.1.1", 5)


# --- the machine ---------------------------------------------------------------------------------------------------


def test_the_kernel_tells_who_listens_where(listening: int) -> None:
    assert ("127.0.0.1", listening) in sockets.listening_of_session(os.getsid(0))
    assert f"(process {os.getpid()})" in sockets.holder_of(listening)
    assert listening not in sockets.ports_held_everywhere()
    assert not sockets.can_bind("127.0.0.1", listening)
    assert sockets.can_bind("127.9.8.7", 0)
    assert not sockets.can_bind("192.0.2.1", 0)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_held_on_every_address_is_known(family: int) -> None:
    with socket.socket(family) as server:
        server.bind(("", 0))
        server.listen()
        assert server.getsockname()[1] in sockets.ports_held_everywhere()


def test_programs_are_found_as_exec_would(tmp_path: Path) -> None:
    (tmp_path / "run").touch(mode=0o755)
    (tmp_path / "data").touch(mode=0o644)
    assert program_exists("sh", tmp_path)
    assert program_exists("./run", tmp_path)
    assert program_exists(str(tmp_path / "run"), Path("/"))
    for absent in ("no-such-program", "./data", "./", str(tmp_path)):
        assert not program_exists(absent, tmp_path)


def test_macos_is_told_which_aliases_it_needs() -> None:
    said = missing_addresses(["127.1.2.3", "127.4.5.6"], "darwin")
    assert "sudo ifconfig lo0 alias 127.1.2.3 up && sudo ifconfig lo0 alias 127.4.5.6 up" in said
    assert "127.0.0.0/8" in missing_addresses(["127.1.2.3"], "linux")


def test_a_gateway_port_in_use_refuses_the_start(listening: int) -> None:
    plan = planned(gateway(port=f"{{number: {listening}, name: x, protocol: HTTP}}"))
    with pytest.raises(Misuse, match=f"port {listening} .* is held by"):
        judge_first(plan)


def test_the_last_words_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_bytes(b"first\n" * 5000 + b"the \xff end\n\n  \n")
    assert last_line(log) == "the \ufffd end"


# --- state ---------------------------------------------------------------------------------------------------------


def test_a_directory_has_one_mesh_and_can_be_asked_from_below(tmp_path: Path) -> None:
    other, below = tmp_path / "other", tmp_path / "main" / "deep"
    other.mkdir()
    below.mkdir(parents=True)
    assert running(below) is None
    with state_directory([tmp_path / "main", other], "up") as state:
        facts = running(below)
        assert facts
        assert facts["debug"] == str(state.debug_socket)
        assert running(other) == facts
        with pytest.raises(Misuse, match="already runs"), state_directory([other], "up"):
            pass
    assert running(below) is None
    assert not state.run.exists()
    with state_directory([other], "up"):
        pass


def test_what_a_killed_mesh_left_in_the_temporary_directory_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with state_directory([deep], "up") as state:
        assert state.run.parent == temporary
        facts = (deep / ".lateen" / "state.json").read_text()
    assert list(temporary.iterdir()) == []
    state.run.mkdir()
    (deep / ".lateen" / "state.json").write_text(facts)  # as after kill -9
    with state_directory([deep], "up") as again:
        assert list(temporary.iterdir()) == [again.run]
    (deep / ".lateen" / "state.json").write_text('{"debug": "/etc/x/debug.sock"}')
    with state_directory([deep], "up"):
        assert Path("/etc").is_dir()


def test_who_may_only_read_sees_that_a_mesh_runs(tmp_path: Path) -> None:
    look_there = "import pathlib; from controlplane.local.statedir import running; print(running(pathlib.Path('.')))"
    with state_directory([tmp_path], "up"):
        give_away(tmp_path)
        (tmp_path / ".lateen" / "lock").chmod(0o444)
        looked = subprocess.run(
            [sys.executable, "-c", look_there],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
            **unprivileged(),
        )
    assert f"'pid': {os.getpid()}" in looked.stdout


def test_a_state_file_without_its_process_is_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lateen").mkdir()
    (tmp_path / ".lateen" / "state.json").write_text('{"pid": 1}')
    assert running(tmp_path) is None
    (tmp_path / ".lateen" / "state.json").write_text("half")
    assert running(tmp_path) is None


# --- Envoy ---------------------------------------------------------------------------------------------------------


def test_nodes_are_istios() -> None:
    replica = only(planned(deployment()))
    node = sidecar_node(replica)
    proxy = parse_node(node.id, node.metadata)
    assert (proxy.type, proxy.namespace, proxy.name) == (ProxyType.SIDECAR, "demo", replica.name)
    assert (proxy.ips, proxy.interception) == ((replica.address,), InterceptionMode.NONE)
    assert proxy.labels["app"] == "bill"
    (gateway_proxy,) = planned(gateway()).gateways
    node = gateway_node(gateway_proxy)
    proxy = parse_node(node.id, node.metadata)
    assert (proxy.type, proxy.labels) == (ProxyType.ROUTER, {"istio": "ingressgateway"})


def test_the_envoy_of_the_wheel_is_found() -> None:
    assert envoy_binary().is_file()


def clusters(name: str, **totals: int) -> bytes:
    hosts = [
        {
            "address": {"socket_address": {"address": address.replace("_", "."), "port_value": 80}},
            "stats": [{"name": "rq_total", "value": str(total)}, {"name": "cx_total"}],
        }
        for address, total in totals.items()
    ]
    return json.dumps({"cluster_statuses": [{"name": name, "host_statuses": hosts}, {"name": "xds-grpc"}]}).encode()


def test_calls_are_read_from_the_admin_interface() -> None:
    found = list(parse_calls(clusters("outbound|80||a.b", **{"127_0_0_2": 7})))
    assert found == [HostCalls("outbound|80||a.b", "127.0.0.2", 7, 0)]
    assert list(parse_calls(clusters("inbound|80||", **{"127_0_0_2": 7}))) == []


# --- traffic -------------------------------------------------------------------------------------------------------


def test_calls_are_added_up_over_envoys_subsets_and_restarts() -> None:
    meter = TrafficMeter()
    host = "bill.demo.svc.cluster.local"

    def report(first: int, second: int) -> None:
        meter.sample(
            {
                "one": [HostCalls(f"outbound|80|v1|{host}", "127.1.1.1", first, 0)],
                "two": [HostCalls(f"outbound|80||{host}", "127.1.1.2", second, second // 10)],
            }
        )

    report(10, 100)
    report(15, 3)  # the second Envoy has started anew
    shares = meter.shares({"127.1.1.1": "bill-v1"}.get)
    assert [(each.host, each.workload, each.total, each.errors) for each in shares] == [
        (f"{host}:80", "127.1.1.2", 103, 10),
        (f"{host}:80", "bill-v1", 15, 0),
    ]


def test_recent_calls_are_those_of_the_window() -> None:
    meter = TrafficMeter()
    for total in range(10, 310, 10):
        meter.sample({"e": [HostCalls("outbound|80||a", "127.1.1.1", total, 0)]})
    (share,) = meter.shares(lambda _: "w")
    assert (share.recent, share.total) == (100, 300)


# --- demo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "share", "measured", "right"),
    [
        (1000, 0.5, 563, True),
        (1000, 0.5, 564, False),
        (1000, 0.0, 0, True),
        (1000, 0.0, 1, False),
        (100, 1.0, 99, False),
    ],
)
def test_a_split_is_right_within_four_sigma(calls: int, share: float, measured: int, right) -> None:
    assert within(calls, share, measured) == right


def test_without_rules_calls_go_to_the_less_busy_which_is_no_draw() -> None:
    step = next(step for step in STORY if step.rules is None)
    assert Result(step, 900, 1100, 0, 0).is_right  # far more than four sigma, and as it should be
    assert not Result(step, 500, 1500, 0, 0).is_right


def test_a_failed_call_or_a_missing_copy_is_not_as_it_should_be() -> None:
    step = next(step for step in STORY if step.mirrored)
    assert Result(step, step.calls, 0, 0, step.calls).is_right
    assert not Result(step, step.calls, 0, 0, step.calls - 1).is_right
    assert not Result(step, step.calls - 1, 0, 1, step.calls).is_right


def test_every_rule_of_the_story_is_in_the_example() -> None:
    rules = examples() / "bill-service" / "rules"
    assert {step.rules for step in STORY if step.rules} == {path.name for path in rules.iterdir()}


async def test_failures_are_counted_never_raised(listening: int) -> None:
    tally = await Caller("127.0.0.1", 1, "http://a/").call(3)
    assert (tally.calls, tally.failures) == (3, {0: 3})
    both = Tally({b"a": 2}, {503: 1}) + Tally({b"a": 1, b"b": 1})
    assert (both.answers, both.failed, both.calls) == ({b"a": 3, b"b": 1}, 1, 5)
    assert both.minus(Tally({b"a": 1})).count(b"a") == 2
