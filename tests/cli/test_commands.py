"""The command line: what it prints, and how it says no. Commands that need a running mesh are in `test_mesh`."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controlplane.cli.main import app, run
from controlplane.cli.output import Format, print_document, print_table
from controlplane.cli.reference import reference
from tests.local.meshes import REPOSITORY
from tests.local.test_bad_input import FILES
from tests.local.test_up import BILL
from tests.local.worlds import deployment, service

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bill, namespace: demo}
spec:
  hosts: [bill]
  http: [{route: [{destination: {host: bill}}], timeout: 3s}]
---
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: demo}
spec:
  selector: {istio: edge}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}]
---
apiVersion: v1
kind: Secret
metadata: {name: c, namespace: demo}
stringData: {tls.crt: CERTIFICATE, tls.key: SECRETKEY}
---
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "bill.yaml").write_text(service() + RULES + deployment())
    return tmp_path


def compiled(capsys: pytest.CaptureFixture[str], *arguments: str):
    code = run(["compile", "--type", "sidecar", "--namespace", "demo", *arguments])
    return code, json.loads(capsys.readouterr().out)


# --- misuse --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("bogus", "No such command"),
        ("up", "Missing argument 'DIR'"),
        ("up /nowhere", "/nowhere: no such directory or file"),
        ("up . --bogus", "No such option"),
        ("serve /nowhere", "/nowhere: no such directory or file"),
        ("serve . --listen 1.2.3.4:5", "--listen needs --certificates or --identity"),
        ("serve . --listen nonsense --certificates .", "HOST:PORT was expected"),
        ("compile --type sidecar", "Missing option '--filename'"),
        ("compile -f . --type waypoint", "--type waypoint: there are sidecar and gateway"),
        ("compile -f /nowhere --type sidecar", "/nowhere: no such file or directory"),
        ("compile -f binary.json --type sidecar --mesh-config binary.json", "binary.json: not UTF-8 text (byte 0)"),
        ("compile -f . --type sidecar --namespace A", "--namespace 'A': use lower-case letters"),
        ("compile -f . --type sidecar --name a/b", "--name 'a/b': use lower-case letters"),
        ("compile -f /dev/zero --type sidecar", "/dev/zero: larger than 16 MiB"),
        ("compile --filename= --type sidecar", "-f: no such file or directory"),
        ("compile -f . --type sidecar --ip 1.2.3", "--ip 1.2.3"),
        ("compile -f . --type sidecar --labels app", "'app' is not key=value"),
        ("compile -f . --type sidecar --metadata nonsense", "--metadata is not JSON"),
        ("compile -f . --type sidecar --metadata []", "--metadata is not a JSON object"),
        ("compile -f . --type sidecar --mesh-config /nowhere", "/nowhere: No such file or directory"),
        ("compile -f . --type sidecar --mesh-config list.json", "one mapping of MeshConfig fields was expected"),
        ("compile -f . --type sidecar --mesh-config broken.json", "broken.json:2:1: "),
        ("proxy-status", "no mesh runs in"),
        ("proxy-status -o xml", "'xml' is not one of 'table', 'json', 'yaml'"),
        ("proxy-config routes x", "no mesh runs in"),
        ("problems", "no mesh runs in"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    arguments: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "broken.json").write_text("{a: [")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    assert run(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("lateen: ")
    assert words in line


def test_our_own_bugs_are_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("controlplane.cli.version.version", lambda _whom, _output: 1 / 0)
    assert run(["version"]) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert "a bug in lateen" in line
    assert "ZeroDivisionError" in line


# --- help and versions ---------------------------------------------------------------------------------------------


def test_help_is_shown_without_loading_the_control_plane() -> None:
    code = "import sys; from controlplane.cli.main import run; run(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 5
    assert "compile" in done.stdout
    loaded = set(done.stderr.split())
    assert not loaded.intersection(
        {"grpc", "google.protobuf", "envoy_data_plane", "msgspec", "yaml", "rich", "asyncio"}
    )


@pytest.mark.parametrize("how", ["json", "yaml"])
def test_versions_are_data(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version", "-o", how]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["envoy"].startswith("1.")


def completed(words: str, cwd: Path) -> str:
    """What the program answers when zsh asks it."""
    asked = {"_LATEEN_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words, "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli.main"],
        env={**asked, "PYTHONPATH": str(REPOSITORY)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_zsh_is_told_the_commands_with_what_they_do(tmp_path: Path) -> None:
    answer = completed("lateen proxy-", tmp_path)
    assert "proxy-status" in answer
    assert "What a connected proxy is sent." in answer


def test_without_a_mesh_there_is_no_proxy_to_complete(tmp_path: Path) -> None:
    assert "proxy" not in completed("lateen proxy-config routes ", tmp_path)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["lateen", "proxy-"], {"proxy-status", "proxy-config"}),
        (["lateen", "up", "--"], {"--recursive", "--mesh-config", "--plain", "--help"}),
        (["lateen", "compile", "--type", ""], {"sidecar", "gateway"}),
        (["lateen", "problems", "-o", ""], {"table", "json", "yaml"}),
    ],
)
def test_bash_completes(words: list[str], offered: set[str], tmp_path: Path) -> None:
    """The script that `lateen --show-completion bash` prints, in a real bash."""
    program = tmp_path / "lateen"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m controlplane.cli.main "$@"\n')
    program.chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""eval "$(_LATEEN_COMPLETE=source_bash lateen)"
        complete -p lateen || exit 1
        COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
        _lateen_completion lateen; printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert offered <= set(done.stdout.split("\n")), done.stderr


# --- output --------------------------------------------------------------------------------------------------------


def test_json_is_indented_as_pythons_own(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"a": ["é\n", 1.5, 10**15, -0.0, None, True], "b": {}, "c": [], "d": {"e": [{"f": "\u2028"}]}}
    print_document(data, Format.JSON)
    assert capsys.readouterr().out == json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def test_a_cell_of_a_table_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "message"), [("a", "two\nlines "), ("longer", 1)])
    assert capsys.readouterr().out.splitlines() == ["NAME     MESSAGE", "a        two lines", "longer   1"]


# --- the reference -------------------------------------------------------------------------------------------------


def test_the_page_about_the_command_line_is_what_the_parser_says() -> None:
    assert (REPOSITORY / "docs" / "cli.md").read_text() == reference(), "`make reference` writes it anew"


def commands_below(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands_below(command, (*path, name))


COMMANDS = dict(commands_below(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does_in_a_line_and_gives_an_example_that_parses(path: tuple[str, ...]) -> None:
    text = COMMANDS[path].help
    first, *_ = text.splitlines()
    assert first.endswith(".")
    assert len(first) < 60  # or the list of commands cuts it
    examples = [line.strip() for line in text.splitlines() if line.startswith("  ") and " ".join(path) in line]
    assert examples
    for example in examples:
        parts = example.partition("      ")[0].split(" | ")
        words = shlex.split(next(part for part in parts if part.startswith("lateen ")))
        command = COMMANDS[tuple(words[1 : len(path) + 1])]
        if not hasattr(command, "commands"):  # raises on an option or argument that is not there
            command.make_context(words[0], words[len(path) + 1 :], resilient_parsing=False).close()


# --- compile -------------------------------------------------------------------------------------------------------


def test_compile_prints_one_document_with_whole_routes(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = compiled(capsys, "-f", str(files))
    assert code == 0
    assert list(document) == ["listeners", "clusters", "routes", "endpoints", "secrets", "problems"]
    (table,) = [route for route in document["routes"] if route["name"] == "80"]
    host = next(host for host in table["virtualHosts"] if "bill" in host["domains"])
    assert host["routes"][0]["route"]["timeout"] == "3s"
    for section in ("listeners", "clusters", "routes"):
        names = [resource["name"] for resource in document[section]]
        assert names == sorted(names)


def test_yaml_says_the_same_as_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, as_json = compiled(capsys, "-f", str(files))
    assert run(["compile", "--type", "sidecar", "--namespace", "demo", "-f", str(files), "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == as_json


def test_standard_input_and_files_are_one_mesh(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, expected = compiled(capsys, "-f", str(files))
    (files / "rules").mkdir()
    (files / "rules" / "only.yaml").write_text(RULES)
    (files / "bill.yaml").write_text(service() + deployment())
    arguments = ["compile", "--type", "sidecar", "--namespace", "demo", "-f", "-", "-f", str(files)]
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli.main", *arguments],
        input=RULES,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(done.stdout) == expected
    _, recursive = compiled(capsys, "-f", str(files), "-R")
    assert recursive == expected


def lateen(line: str, directory: Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """A shell's line in which `lateen` is this one."""
    return subprocess.run(
        ["bash", "-c", f'lateen() {{ {sys.executable} -m controlplane.cli.main "$@"; }}; {line}'],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        **how,
    )


def test_a_pipe_under_a_name_is_read_like_standard_input(files: Path) -> None:
    done = lateen("lateen compile --type sidecar --namespace demo -f <(cat bill.yaml)", files)
    piped = lateen("lateen compile --type sidecar --namespace demo -f - < bill.yaml", files)
    assert done.returncode == 0, done.stderr
    assert "bill.demo.svc.cluster.local" in done.stdout
    assert done.stdout == piped.stdout


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("lateen compile --type sidecar -f - <&-", 2, "<stdin>: Bad file descriptor"),
        ("lateen compile --type sidecar -f bill.yaml > /dev/full", 1, "No space left on device"),
        ("lateen version -o json > /dev/full", 1, "No space left on device"),
        ("lateen version >&-", 0, ""),
        ("lateen compile --type sidecar -f bill.yaml | true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_streams_that_fail_are_no_bug_of_ours(line: str, code: int, words: str, files: Path) -> None:
    done = lateen(line, files)
    assert done.returncode == code, done.stderr
    assert "bug" not in done.stderr
    assert len(done.stderr.splitlines()) == (1 if words else 0)
    assert words in done.stderr


def test_a_directory_without_manifests_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "bill.yaml").write_text(service())
    assert run(["compile", "--type", "sidecar", "-f", str(tmp_path)]) == 0
    assert "no manifests here (subdirectories are read with -R)" in capsys.readouterr().err


def test_problems_are_data_and_exit_code_1_only_when_asked(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "bad.yaml").write_text(RULES.replace("name: bill,", "name: other,").replace("timeout: 3s", "timeot: 3s"))
    (files / "broken.yaml").write_text("kind: [")
    code, document = compiled(capsys, "-f", str(files))
    assert code == 0
    problems = {problem["code"]: problem for problem in document["problems"]}
    assert "broken.yaml:2:1: " in problems["UnreadableFile"]["message"]
    assert any(problem["object"]["name"] == "other" for problem in document["problems"])
    assert compiled(capsys, "-f", str(files), "--strict")[0] == 1


def test_kinds_without_traffic_are_no_problem(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "role.yaml").write_text("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r}\n")
    assert compiled(capsys, "-f", str(files), "--strict") == (0, compiled(capsys, "-f", str(files))[1])


@pytest.mark.parametrize(
    "config",
    [
        "accessLogFile: /dev/stdout",
        "kind: ConfigMap\ndata: {mesh: 'accessLogFile: /dev/stdout'}",
        "kind: IstioOperator\nspec: {meshConfig: {accessLogFile: /dev/stdout}}",
    ],
)
def test_mesh_config_is_read_in_every_form_it_is_kept_in(
    files: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "mesh.conf").write_text(config)
    _, document = compiled(capsys, "-f", str(files), "--mesh-config", str(files / "mesh.conf"))
    assert "/dev/stdout" in json.dumps(document["listeners"])


def test_private_keys_are_hidden_unless_asked_for(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "gateway.yaml").write_text(GATEWAY)
    arguments = ["compile", "--type", "gateway", "--namespace", "demo", "--labels", "istio=edge", "-f", str(files)]
    assert run(arguments) == 0
    hidden = capsys.readouterr().out
    assert "SECRETKEY" not in hidden
    assert run([*arguments, "--show-secrets"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["secrets"]) == len(json.loads(hidden)["secrets"])


def test_inbound_follows_from_the_address(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: demo, labels: {app: bill}}\n"
    slices = """---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: bill-1, namespace: demo, labels: {kubernetes.io/service-name: bill}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.7], targetRef: {kind: Pod, name: p, namespace: demo}}]
"""
    (files / "pod.yaml").write_text(f"{pod}status: {{phase: Running, podIP: 10.0.0.7}}\n{slices}")
    _, document = compiled(capsys, "-f", str(files), "--ip", "10.0.0.7", "--name", "p", "--labels", "app=bill")
    assert "inbound|8080||" in [cluster["name"] for cluster in document["clusters"]]
    _, elsewhere = compiled(capsys, "-f", str(files), "--ip", "10.0.0.8")
    assert "inbound|8080||" not in [cluster["name"] for cluster in elsewhere["clusters"]]


_OF_PROCESSES = {"a Deployment of the wrong shape", "an environment no process can have"}  # compile starts none


@pytest.mark.parametrize("name", sorted(FILES.keys() - _OF_PROCESSES))
def test_bad_input_is_data_too(name: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = FILES[name]
    (files / "bill.yaml").write_text(BILL)
    (files / "extra.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    code, document = compiled(capsys, "-f", str(files))
    assert code == 0
    assert any(words in problem["message"] for problem in document["problems"])
    assert any(cluster["name"].endswith("||bill.demo.svc.cluster.local") for cluster in document["clusters"])


# --- serve: what can be known to be wrong before -------------------------------------------------------------------


def signed(common_name: str, days: int) -> tuple[bytes, bytes]:
    """A self-signed certificate that ends in `days`, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(9), now + timedelta(days))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM), private


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    directory = tmp_path / "certs"
    directory.mkdir()
    certificate, key = signed("lateen", 1)
    for name, content in (("cert-chain.pem", certificate), ("key.pem", key), ("root-cert.pem", certificate)):
        (directory / name).write_bytes(content)
    return directory


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("key.pem", None, "certs/key.pem: No such file or directory"),
        ("cert-chain.pem", signed("other", 1)[0], "key.pem is not the key of cert-chain.pem"),
        ("root-cert.pem", b"garbage", "the certificates cannot be used"),
        ("root-cert.pem", b"\xff\xfe", "--certificates certs: "),
        ("key.pem", b"-----BEGIN PRIVATE KEY-----\n!\n", "the certificates cannot be used"),
    ],
)
def test_certificates_that_cannot_be_used_are_named(
    name: str, content: bytes | None, words: str, certificates: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(certificates.parent)
    if content is None:
        (certificates / name).unlink()
    else:
        (certificates / name).write_bytes(content)
    assert run(["serve", ".", "--listen", "127.0.0.1:0", "--certificates", "certs"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_certificate_that_has_ended_is_named(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(certificates.parent)
    certificate, key = signed("lateen", -1)
    (certificates / "cert-chain.pem").write_bytes(certificate)
    (certificates / "key.pem").write_bytes(key)
    assert run(["serve", ".", "--listen", "127.0.0.1:0", "--certificates", "certs"]) == 2
    assert "certs/cert-chain.pem: the certificate ended on 20" in capsys.readouterr().err


def test_where_it_cannot_be_served_is_one_line(
    certificates: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(certificates.parent)
    Path("file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as served:
        served.bind("served.sock")
        served.listen()
        port = taken.getsockname()[1]
        for option, value, words in (
            ("--listen", f"127.0.0.1:{port}", f"127.0.0.1:{port}: Address already in use, by "),
            ("--listen", "192.0.2.1:0", "Cannot assign requested address"),
            ("--listen", "no.such.host.invalid:1", "no.such.host.invalid:1: "),
            ("--xds-socket", "file", "this file is no socket, and is not overwritten"),
            ("--xds-socket", "no/x.sock", "there is no directory no"),
            ("--xds-socket", "s" * 120, "at most 107 bytes"),
            ("--xds-socket", "served.sock", "another process serves it"),
        ):
            more = ["--certificates", "certs"] if option == "--listen" else []
            assert run(["serve", ".", option, value, *more]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert words in line, line
    assert Path("file").read_bytes() == b""
    assert not Path(".lateen").exists()
