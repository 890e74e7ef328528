"""Commands that look into a running mesh, the control plane alone, and the demo. Real processes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cli.main import run
from controlplane.local.statedir import running
from tests.cli.test_commands import completed
from tests.local.meshes import REPOSITORY, Up, command, lay_out, unprivileged

ENV = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = lay_out(tmp_path_factory.mktemp("mesh"), "bill-service")
    (directory / "rules.yaml").write_text((directory / "rules" / "1-ninety-ten.yaml").read_text())
    with Up(directory).settled() as up:
        up.synced()
        yield directory


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments]) == 0
    return capsys.readouterr().out


def test_proxy_status_says_who_is_connected(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = asked(capsys, "proxy-status", "-d", str(mesh)).splitlines()
    assert header.split()[:5] == ["NAME", "TYPE", "CDS", "LDS", "EDS"]
    assert len(rows) == 3
    assert all(row.split()[1:4] == ["sidecar", "SYNCED", "SYNCED"] for row in rows)
    only = json.loads(asked(capsys, "proxy-status", "front", "-d", str(mesh), "-o", "json"))
    assert [proxy["name"].rpartition("-")[0][:12] for proxy in only] == ["front-tomcat"]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("listeners", "route http_proxy"),
        ("routes", "outbound|9999|v1|bill-service.istio-demo.svc.cluster.local (90)"),
        ("clusters", "bill-service.istio-demo.svc.cluster.local"),
        ("endpoints", ":10080"),
        ("secrets", "spiffe://cluster.local/ns/istio-demo/sa/"),
        ("all", "http_proxy"),
        ("all", "spiffe://cluster.local/ns/istio-demo/sa/"),
    ],
)
def test_proxy_config_shows_each_part(section: str, words: str, mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in asked(capsys, "proxy-config", section, "front-tomcat", "-d", str(mesh))
    data = yaml.safe_load(asked(capsys, "proxy-config", section, "front-tomcat", "-d", str(mesh), "-o", "yaml"))
    assert data


def test_secrets_are_those_that_envoy_uses_and_a_rotation_shows_in_them(
    mesh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def secrets() -> dict[str, Any]:
        found = asked(capsys, "proxy-config", "secrets", "front-tomcat", "-d", str(mesh), "-o", "json")
        assert "PRIVATE KEY" not in found
        return {one["name"]: one for one in json.loads(found)}

    def roots() -> list[str]:
        found = secrets()["ROOTCA"]
        assert (found["type"], found["source"]) == ("roots", "agent, identity/root-cert.pem")
        return sorted(one["sha256"] for one in found["certificates"]) if found["status"] == "active" else []

    own = secrets()["default"]
    assert (own["status"], own["why"], own["type"]) == ("active", "", "certificate")
    assert "xds-grpc" in own["usedBy"]["clusters"]
    before = roots()
    assert len(before) == 1
    trusted = json.loads(asked(capsys, "ca", "rotate", "begin", "-d", str(mesh), "-o", "json"))
    assert trusted["step"] == "trusting"
    until(lambda: len(roots()) == 2, 60)
    shown = json.loads(asked(capsys, "ca", "show", "-d", str(mesh), "-o", "json"))
    assert roots() == sorted(one["sha256"] for one in shown["trusted"])
    lines = asked(capsys, "proxy-config", "secrets", "front-tomcat", "-d", str(mesh)).splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("ROOTCA")] == [["ROOTCA", "roots", "active"]] * 2
    asked(capsys, "ca", "rotate", "abandon", "-d", str(mesh))
    until(lambda: roots() == before, 60)


def test_a_proxy_nobody_knows_is_exit_code_1_and_an_unclear_name_too(
    mesh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["proxy-config", "all", "nobody", "-d", str(mesh)]) == 1
    assert "no proxy is called 'nobody'" in capsys.readouterr().err
    assert run(["proxy-config", "secrets", "nobody", "-d", str(mesh)]) == 1
    assert "no proxy is called 'nobody'" in capsys.readouterr().err
    assert run(["proxy-status", "nobody", "-d", str(mesh)]) == 1
    assert "no proxy is called 'nobody'; there are: bill" in capsys.readouterr().err
    assert run(["proxy-config", "all", "bill", "-d", str(mesh)]) == 1
    assert "may be any of" in capsys.readouterr().err


def test_proxies_of_the_mesh_are_completed(mesh: Path) -> None:
    found = {word: completed(f"lateen {word}", mesh) for word in ("proxy-config routes fr", "proxy-status bill")}
    assert "front-tomcat-" in found["proxy-config routes fr"]
    assert "bill" not in found["proxy-config routes fr"]
    assert "bill-service-v1-" in found["proxy-status bill"]
    assert "front-tomcat-" in completed(f"lateen proxy-config routes -d {mesh} fr", mesh.parent)


def test_authz_check_asks_the_mesh_that_runs(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = ("authz", "check", "-d", str(mesh), "-o", "json", "--from", "-", "--to", "istio-demo/bill-service")
    answer = json.loads(asked(capsys, *question))
    assert answer["why"] == "no policy denies it, and none has to allow it"
    assert answer["workload"]["namespace"] == "istio-demo"
    assert answer["workload"]["labels"]
    assert "istio-demo/bill-service" in completed("lateen authz check --to istio", mesh)


def test_what_acts_on_a_service_and_on_a_pod_of_the_mesh(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("-d", str(mesh), "-o", "json")
    service = json.loads(asked(capsys, "describe", "service", "istio-demo/bill-service", *where))
    assert [(port["number"], port["protocol"], port["mutual_tls"]) for port in service["ports"]] == [
        (9999, "http", "permissive")
    ]
    assert {(one["kind"], one["ready"], one["proxy"]) for one in service["workloads"]} == {("Pod", "yes", "sidecar")}
    (routing,) = (one for one in service["rules"] if one["object"].startswith("VirtualService"))
    assert routing["does"] == "routes calls of the mesh: 90% bill-service/v1, 10% bill-service/v2"
    pod = json.loads(asked(capsys, "describe", "pod", "front-tomcat", "-n", "istio-demo", *where))
    assert pod["facts"]["proxy"] == "sidecar"
    assert "front-tomcat-" in completed(f"lateen describe pod -d {mesh} istio-demo/front", mesh.parent)


def test_versions_of_all_that_runs(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(asked(capsys, "version", "-d", str(mesh), "-o", "json"))
    assert [one["lateen"] for one in found["controlPlane"]] == [found["lateen"]]
    assert {one["envoy"] for one in found["proxies"]} == {found["envoy"]}
    assert "3 proxies" in asked(capsys, "version", "-d", str(mesh))
    assert "proxies" not in asked(capsys, "version", "--client", "-d", str(mesh))


def test_analyze_says_what_manifests_would_make_of_the_mesh_that_runs(
    mesh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(asked(capsys, "analyze", "-d", str(mesh), "-o", "json")) == []
    good = tmp_path / "good.yaml"
    good.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: more, namespace: istio-demo}\n"
        "spec: {hosts: [more.example], http: [{route: [{destination: {host: bill-service, subset: v2}}]}]}\n"
    )

    def of(*more: str) -> list[str]:
        run(["analyze", "-f", str(good), "-d", str(mesh), "-o", "json", "--fail-on", "never", *more])
        return [one["code"] for one in json.loads(capsys.readouterr().out)]

    assert "ReferencedResourceNotFound" in of()
    assert "ReferencedResourceNotFound" not in of("--live")
    good.write_text(good.read_text().replace("v2", "v9"))
    assert "ReferencedResourceNotFound" in of("--live")


def test_wait_returns_when_what_was_written_is_on_the_proxies(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("wait", "vs/bill-service", "-n", "istio-demo", "-d", str(mesh), "--timeout", "60s")
    rules = (mesh / "rules.yaml").read_text()
    try:
        for weight in (70, 60, 50):
            (mesh / "rules.yaml").write_text(
                rules.replace("weight: 90", f"weight: {weight}").replace("weight: 10", f"weight: {100 - weight}")
            )
            assert "front-tomcat" in asked(capsys, *words)
            assert f"({weight})" in asked(capsys, "proxy-config", "routes", "front", "-d", str(mesh))
    finally:
        (mesh / "rules.yaml").write_text(rules)
    asked(capsys, *words)
    asked(capsys, "wait", "-d", str(mesh), "--timeout", "60s")


def test_wait_for_an_object_to_go_and_for_one_that_never_comes(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("-n", "istio-demo", "-d", str(mesh))
    extra = mesh / "extra.yaml"
    extra.write_text(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: extra, namespace: istio-demo}\n"
        "spec: {hosts: [extra.example], http: [{route: [{destination: {host: bill-service}}]}]}\n"
    )
    asked(capsys, "wait", "virtualservice/extra", *where, "--timeout", "60s")
    assert run(["wait", "virtualservice/extra", "--for", "delete", *where, "--timeout", "1s"]) == 1
    assert "not within 1s: it is still there" in capsys.readouterr().err
    extra.unlink()
    asked(capsys, "wait", "virtualservice/extra", "--for", "delete", *where, "--timeout", "60s")
    assert run(["wait", "virtualservice/extra", *where, "--timeout", "1s"]) == 1
    assert "the control plane knows of no such object" in capsys.readouterr().err


def test_problems_are_listed(mesh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(asked(capsys, "problems", "-d", str(mesh), "-o", "json")) == []


@contextmanager
def serve(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`lateen serve`, until left; what it says is in `serve.log` beside the directory."""
    with (directory.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command("serve", str(directory), *arguments), cwd=directory.parent, env=ENV, stderr=log, **unprivileged()
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_serve_is_the_control_plane_alone(tmp_path: Path) -> None:
    directory = lay_out(tmp_path, "bill-service")
    socket = tmp_path / "x.sock"
    with serve(directory, "--xds-socket", str(socket)) as process:
        until(lambda: socket.exists() and running(directory))
        assert socket.stat().st_mode & 0o777 == 0o600
        assert run(["proxy-status", "-d", str(directory)]) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not socket.exists()


def test_serve_says_what_is_wrong_with_object_field_and_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = lay_out(tmp_path, "bill-service")
    rules = (directory / "rules" / "1-ninety-ten.yaml").read_text()
    (directory / "rules.yaml").write_text(rules.replace("weight: 90", "wieght: 90"))
    (directory / "broken.yaml").write_text("kind: [\n")

    def told() -> list[dict[str, str]]:
        lines = [json.loads(line) for line in (tmp_path / "serve.log").read_text().splitlines()]
        return [line for line in lines if line["event"].startswith("problem")]

    with serve(directory) as process:
        until(lambda: len(told()) == 2)
        broken, misspelt = told()
        assert (broken["level"], "broken.yaml:2:1: " in broken["message"]) == ("error", True)
        assert (misspelt["object"], misspelt["field"]) == (
            "VirtualService istio-demo/bill-service",
            "spec.http[0].route[0].wieght",
        )
        assert "rules.yaml:" in misspelt["at"]
        assert "did you mean weight?" in misspelt["message"]
        assert [row["code"] for row in json.loads(asked(capsys, "problems", "-d", str(directory), "-o", "json"))] == [
            "UnreadableFile",
            "UnknownField",
        ]
        (directory / "rules.yaml").write_text(rules)
        until(lambda: len(told()) == 3)
        assert (told()[2]["event"], told()[2]["code"]) == ("problem solved", "UnknownField")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_demo_that_is_interrupted_says_so_by_its_exit_code_and_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("demo"), cwd=REPOSITORY, env={**ENV, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "front-tomcat" in process.stdout.readline()
        until(lambda: list(tmp_path.glob("lateen-demo-*/bill-service/.lateen/state.json")))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert "All went" not in process.stdout.read()
    assert list(tmp_path.iterdir()) == []


def test_the_demo_tells_its_story_and_all_is_as_it_should_be() -> None:
    done = subprocess.run(
        command("demo"),
        cwd=REPOSITORY,
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        **unprivileged(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "All went as it should: every weighted split within 4 sigma, no call failed."
    assert sum(line.endswith("as it should be") for line in lines) == 8
