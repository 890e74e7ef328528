"""`lateen up` as its user meets it: real Envoys, real commands, no privileges."""

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.local.meshes import REPOSITORY, Up, call, command, give_away, lay_out, processes_below, unprivileged
from tests.local.worlds import deployment, gateway, service

CLIENT = deployment("client", container="{name: c, command: [sleep, infinity]}", labels="{app: client}")
SERVER = "{name: app, ports: [{containerPort: 80}]}"
BILL = deployment(container=SERVER) + service() + CLIENT
COMMANDS = "commands: {{bill: [{python!r}, ../server.py, {text}]}}"


def commands(text: str = "one") -> str:
    return COMMANDS.format(python="{python}", text=text)


def replace(path: Path, text: str) -> None:
    """As an editor saves."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def refused(*arguments: str, cwd: Path) -> str:
    """The one line with which a command says no."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **unprivileged(),
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("lateen: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = lines
    return str(line)


@contextmanager
def load(up: Up, url: str):
    """Calls, one after the other, until left; yields the answers so far."""
    answers: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()
    proxy = up.proxy_of("client")

    def run() -> None:
        while not stop.is_set():
            try:
                answers[call(proxy, url)] += 1
            except OSError as error:
                answers[0, repr(error)] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def failed(answers: Counter[tuple[int, str]]) -> dict[tuple[int, str], int]:
    return {answer: count for answer, count in answers.items() if answer[0] != 200}


def pid_of(directory: Path, part: str) -> int:
    """The process of a command line that has `part`."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode()
                inside = (entry / "cwd").resolve()
            except OSError:
                continue
            if part in line and inside.is_relative_to(directory):
                return int(entry.name)
    raise AssertionError(part)


class Terminal:
    """`lateen up` at a terminal of its own."""

    def __init__(self, directory: Path, columns: int) -> None:
        self.end, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        options = unprivileged()
        less = options.pop("preexec_fn", lambda: None)

        def control() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            less()

        self.process = subprocess.Popen(
            command("up", str(directory)),
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=control,  # noqa: PLW1509  (this process has no other thread here)
            **options,
        )
        os.close(other)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def read_until(self, words: str) -> str:
        found = ""
        while words not in found:
            readable, _, _ = select.select([self.end], [], [], 60)
            assert readable, found
            found += os.read(self.end, 65536).decode()
        return found


# --- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_it_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Up(directory).settled() as up:
        run = up.run_directory()
        envoys = processes_below(run)
        servers = [pid_of(directory, "server.py"), pid_of(directory, "infinity")]
        assert len(envoys) >= 2
        code = up.stop(number)
    assert code == (-number if number is signal.SIGKILL else 0)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in (*envoys, *servers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if number is not signal.SIGKILL:
        assert not run.exists()
        assert not (directory / ".lateen" / "state.json").exists()


@pytest.mark.parametrize("how", ["Ctrl-C", "closed"])
def test_at_a_terminal_there_is_a_table_until_ctrl_c_or_until_the_terminal_is_gone(tmp_path: Path, how: str) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Terminal(directory, columns=60) as terminal:
        assert "call as a replica" in terminal.read_until("ready")
        assert processes_below(directory)
        if how == "Ctrl-C":
            os.write(terminal.end, b"\x03")
            assert "all ended" in terminal.read_until(".lateen/logs")
        else:
            os.close(terminal.end)
        assert terminal.process.wait(20) == 0
    assert processes_below(directory) == []
    assert [path.name for path in (directory / ".lateen").iterdir() if path.name in ("run", "state.json")] == []


def test_log_lines_that_nobody_reads_any_more_end_it(tmp_path: Path) -> None:
    """`lateen up --plain 2>&1 | head -1`."""
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with subprocess.Popen(
        command("up", "--plain", str(directory)),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        **unprivileged(),
    ) as process:
        assert process.stderr is not None
        while b"starting" not in process.stderr.readline():
            pass
        process.stderr.close()
        assert process.wait(20) == 0
    assert processes_below(directory) == []


def test_after_a_kill_the_next_start_is_as_the_first(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    Up(directory).settled().stop(signal.SIGKILL)
    with Up(directory).settled() as up:
        assert up.call("client", "http://bill/") == (200, "one\n")


def test_a_second_one_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Up(directory).settled() as up:
        said = refused("up", str(directory), cwd=tmp_path)
        assert "already runs" in said
        assert str(up.process.pid) in said


# --- wrong questions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "nothing to run"),
        ({"x": "kind: [", "lateen": ""}, "x.yaml:2:1: did not find"),
        ({"bill": BILL, "lateen": "commands: ["}, "Lateenfile:2:1: "),
        ({"bill": BILL, "lateen": "comands: {}"}, "comands"),
    ],
)
def test_what_cannot_be_started_is_refused_with_one_line(tmp_path: Path, files: dict[str, str], words: str) -> None:
    directory = lay_out(tmp_path, **files)
    assert words in refused("up", str(directory), cwd=tmp_path)
    assert not (directory / ".lateen").exists()


def test_a_gateway_port_in_use_is_refused_with_its_holder(tmp_path: Path) -> None:
    port = "{number: 18081, name: http, protocol: HTTP}"
    directory = lay_out(tmp_path, gateway=gateway(port=port))
    with socket.create_server(("127.0.0.1", 18081)):
        said = refused("up", str(directory), cwd=tmp_path)
    assert "port 18081 (port 18081 of Gateway demo/front) is held by" in said


def test_a_directory_that_cannot_keep_state_is_refused(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL)
    (directory / ".lateen").touch()
    assert "cannot keep state in .lateen" in refused("up", str(directory), cwd=tmp_path)


# --- a mesh that changes -------------------------------------------------------------------------------------------


def test_scaling_and_rolling_changes_fail_no_call(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Up(directory).settled() as up, load(up, "http://bill/") as answers:
        up.until(lambda: sum(answers.values()) > 20)
        replace(directory / "bill.yaml", deployment(container=SERVER, replicas=3) + service() + CLIENT)
        up.until(lambda: len(up.replicas("bill")) == 3 and up.mesh()["settled"])
        replace(directory / "bill.yaml", BILL)
        up.until(lambda: len(up.replicas("bill")) == 1 and up.mesh()["settled"])
        old = up.replicas("bill")[0]["name"]
        replace(directory / "Lateenfile", commands("two"))
        up.until(lambda: up.replicas("bill")[0]["name"] != old and up.mesh()["settled"])
        up.until(lambda: answers[200, "two\n"] > 20)
    assert answers[200, "one\n"]
    assert failed(answers) == {}


def test_what_dies_is_started_again_and_gets_no_calls_meanwhile(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Up(directory).settled() as up:
        os.kill(pid_of(directory, "server.py"), signal.SIGKILL)
        up.until(lambda: up.replicas("bill")[0]["restarts"] == 1 and up.mesh()["settled"])
        assert up.call("client", "http://bill/") == (200, "one\n")
        os.kill(processes_below(up.run_directory())[0], signal.SIGKILL)
        up.until(lambda: sum(row["restarts"] for row in up.mesh()["replicas"]) == 2 and up.mesh()["settled"])
        up.synced()
        assert up.call("client", "http://bill/") == (200, "one\n")


def test_a_new_deployment_joins_and_a_removed_one_leaves(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Up(directory).settled() as up:
        other = deployment("other", container="{name: o, command: [sleep, infinity]}", labels="{app: other}")
        (directory / "other.yaml").write_text(other)
        up.until(lambda: up.replicas("other") and up.mesh()["settled"])
        (directory / "other.yaml").unlink()
        up.until(lambda: not up.replicas("other") and up.mesh()["settled"])


def test_a_broken_file_changes_nothing_and_says_where_it_is_broken(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Up(directory).settled() as up:
        replace(directory / "bill.yaml", BILL + "---\nkind: [\n")
        lines = BILL.count("\n") + 3
        up.until(lambda: any(f"bill.yaml:{lines}:" in problem["message"] for problem in up.ask("/problems")))
        assert up.call("client", "http://bill/") == (200, "one\n")
        replace(directory / "bill.yaml", BILL)
        up.until(lambda: not up.ask("/problems"))


def test_a_broken_lateenfile_changes_nothing_and_says_where_and_settings_in_it_hold_at_once(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, bill=BILL, lateen=commands())
    with Up(directory).settled() as up:
        name = up.replicas("bill")[0]["name"]
        replace(directory / "Lateenfile", commands() + "\ncomands: {}\n")
        (problem,) = up.until(lambda: up.ask("/problems"))
        assert "Lateenfile:2: there is an unknown field `comands`; what it said before still holds" in problem["line"]
        (directory / "Lateenfile").unlink()  # as some editors save: gone for a moment
        replace(directory / "Lateenfile", commands() + "\nmeshConfig: {accessLogFile: /dev/stdout}\n")
        up.until(lambda: not up.ask("/problems"))
        up.until(lambda: "/dev/stdout" in str(up.ask("/config?proxy=client")["listeners"]))
        assert up.call("client", "http://bill/") == (200, "one\n")
        assert up.replicas("bill")[0]["name"] == name


def test_a_gateway_port_taken_by_another_program_is_named_and_had_once_it_is_free(tmp_path: Path) -> None:
    bill = BILL + gateway(port="{number: 18080, name: http, protocol: HTTP}")
    directory = lay_out(tmp_path, bill=bill, lateen=commands())
    with socket.create_server(("127.0.0.1", 0)) as other, Up(directory).settled() as up:
        port = other.getsockname()[1]
        replace(directory / "bill.yaml", bill.replace("18080", str(port)))
        (problem,) = up.until(lambda: up.ask("/problems"))
        assert (problem["code"], problem["object"], problem["path"]) == (
            "PortInUse",
            "Gateway demo/front",
            "spec.servers[0]",
        )
        assert f"port {port} of 127.0.0.1 is held by " in problem["message"]
        other.close()
        up.until(lambda: not up.ask("/problems"))
        assert call(("127.0.0.1", port), f"http://127.0.0.1:{port}/")[0] == 404
        (router,) = (proxy for proxy in up.ask("/proxies") if proxy["type"] == "router")
        assert {each["state"] for each in router["types"].values() if each["resources"]} == {"SYNCED"}


# --- commands ------------------------------------------------------------------------------------------------------


def test_a_command_that_listens_elsewhere_is_named(tmp_path: Path) -> None:
    elsewhere = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); time.sleep(600)"
    container = f"{{name: app, command: ['{sys.executable}', -c, \"{elsewhere}\"], ports: [{{containerPort: 80}}]}}"
    directory = lay_out(tmp_path, bill=deployment(container=container) + service())
    with Up(directory) as up:
        note = up.until(lambda: up.replicas("bill")[0]["note"])
        replica = up.replicas("bill")[0]
        assert note.startswith("it listens on 127.0.0.1:")
        assert f"instead of {replica['address']}:" in note
        assert "$HOST and $PORT" in note


def test_a_missing_command_is_an_error_and_the_others_run(tmp_path: Path) -> None:
    absent = deployment("absent", container="{name: a, image: 'absent:1'}", labels="{app: absent}")
    directory = lay_out(tmp_path, bill=BILL + absent, lateen=commands())
    with Up(directory).settled() as up:
        (problem,) = up.ask("/problems")
        assert (problem["code"], problem["object"]) == ("NoLocalCommand", "Deployment demo/absent")
        assert up.replicas("absent")[0]["state"] == "no command"
        assert up.call("client", "http://bill/") == (200, "one\n")


def test_a_command_that_fails_says_its_last_words(tmp_path: Path) -> None:
    container = "{name: app, command: [sh, -c, 'echo no licence; exit 3'], ports: [{containerPort: 80}]}"
    directory = lay_out(tmp_path, bill=deployment(container=container))
    with Up(directory) as up:
        note = up.until(lambda: up.replicas("bill")[0]["note"])
        assert note == "sh ended (exit status 3): no licence"
        up.until(lambda: up.replicas("bill")[0]["restarts"] >= 2)


TCP_ECHO = """
import os, socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"echo " + self.request.recv(100))
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((os.environ["HOST"], int(os.environ["PORT"])), Echo).serve_forever()
"""
TCP_CLIENT = """
import os, socket, time
while True:
    try:
        with socket.create_connection((os.environ["ECHO_SERVICE_HOST"], int(os.environ["ECHO_SERVICE_PORT"])), 5) as s:
            s.sendall(b"hello")
            answer = s.recv(100)
            if answer:
                print("got", answer.decode(), "through", os.environ["http_proxy"].startswith("http://127."), flush=True)
                time.sleep(600)
    except OSError:
        pass
    time.sleep(0.1)
"""


def test_tcp_services_are_reached_through_the_variables_kubernetes_sets(tmp_path: Path) -> None:
    manifests = (
        deployment("echo", container="{name: e, ports: [{containerPort: 7}]}", labels="{app: echo}")
        + service("echo", ports="[{name: tcp, port: 7}]", selector="{app: echo}")
        + deployment("asking", container="{name: a}", labels="{app: asking}")
    )
    file = "commands: {echo: ['{python}', echo.py], asking: ['{python}', asking.py]}"
    directory = lay_out(tmp_path, manifests=manifests, lateen=file)
    (directory / "echo.py").write_text(TCP_ECHO)
    (directory / "asking.py").write_text(TCP_CLIENT)
    give_away(tmp_path)
    with Up(directory).settled() as up:
        log = next((directory / ".lateen" / "logs").glob("*asking*.a.log"))
        up.until(lambda: log.read_text() == "got echo hello through True\n")


def test_a_readiness_probe_decides_who_gets_calls(tmp_path: Path) -> None:
    probe = "readinessProbe: {exec: {command: [test, -e, ready]}, periodSeconds: 0.2, failureThreshold: 1}"
    container = f"{{name: app, ports: [{{containerPort: 80}}], {probe}}}"
    directory = lay_out(tmp_path, bill=deployment(container=container) + service() + CLIENT, lateen=commands())
    with Up(directory) as up:
        up.until(lambda: up.replicas("client")[0]["state"] == "ready")
        assert up.replicas("bill")[0]["state"] == "starting"
        assert up.call("client", "http://bill/")[0] == 503
        (directory / "ready").touch()
        give_away(tmp_path)
        up.until(lambda: up.call("client", "http://bill/") == (200, "one\n"))
        (directory / "ready").unlink()
        up.until(lambda: up.replicas("bill")[0]["state"] != "ready")
        up.synced()
        up.until(lambda: up.call("client", "http://bill/")[0] == 503)


def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    directory = lay_out(deep, bill=BILL, lateen=commands())
    give_away(tmp_path)
    with Up(directory).settled() as up:
        assert up.call("client", "http://bill/") == (200, "one\n")


# --- identity ------------------------------------------------------------------------------------------------------

ONLY_OK = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-ok, namespace: demo}
spec:
  selector: {matchLabels: {app: bill}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/demo/sa/default]}}]
    to: [{operation: {methods: [GET], paths: [/ok]}}]
---
"""


def test_what_a_port_speaks_need_not_be_said_for_policies_to_judge_its_requests(tmp_path: Path) -> None:
    unnamed = deployment(container=SERVER) + service(ports="[{port: 80}]") + CLIENT + ONLY_OK
    with Up(lay_out(tmp_path, bill=unnamed, lateen=commands())).settled() as up:
        up.synced()
        assert up.call("client", "http://bill/ok") == (200, "one\n")
        assert up.call("client", "http://bill/other") == (403, "RBAC: access denied")
