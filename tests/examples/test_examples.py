"""Every example, run as its reader would run it, does what its README says. Real Envoys, no privileges."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Proved
from tests.examples.updates import counted, updates
from tests.local.meshes import EXAMPLES, REPOSITORY, Up, call, command, compiled_as_it_runs, lay_out

NAMES = sorted(str(path.parent.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("Lateenfile"))


def bodies(up: Up, calls: int, url: str, workload: str, **headers: str) -> Counter[tuple[int, str]]:
    proxy = up.proxy_of(workload)
    return Counter(call(proxy, url, **headers) for _ in range(calls))


@pytest.mark.parametrize("name", NAMES)
def test_the_program_in_the_config_map_is_the_one_that_runs_here(name: str) -> None:
    manifest = yaml.safe_load((EXAMPLES / name / "server.yaml").read_text())
    assert manifest["data"]["server.py"] == (EXAMPLES / "server.py").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_example_has_a_page_and_is_in_the_list(name: str) -> None:
    assert (EXAMPLES / name / "README.md").read_text().startswith("# ")
    assert f"({name}/README.md)" in (EXAMPLES / "README.md").read_text()


def assert_compile_agrees(up: Up) -> None:
    """`lateen compile` of the same objects is what every live proxy is sent."""
    up.synced()
    for proxy, (live, offline) in compiled_as_it_runs(up).items():
        assert live["listeners"], proxy
        assert live == offline, proxy


def prove_nothing_was_refused(up: Up, example: str, proved: Proved) -> None:
    """By the Envoys' own count. That a NACK would be counted is shown below."""
    assert not up.ask("/problems")
    assert "refused by proxy" not in up.text()
    found = updates(up)
    proved(
        "3", f"example {example} over ADS: NACKs", bound="0", figure=f"{found.refused} in {found.taken} updates",
        holds=not found.refused and found.taken >= 4 * found.envoys, cases=found.envoys, asked=2,
    )  # fmt: skip


def test_a_refused_update_is_counted() -> None:
    values = {"cluster.a.update_success": 2, "listener_manager.lds.update_rejected": 1, "x.update_attempt": 7}
    stats = [{"name": name, "value": value} for name, value in values.items()] + [{"histograms": {}}]
    assert counted(json.dumps({"stats": stats})) == (2, 1, 1)


@pytest.mark.point
def test_bill_service(tmp_path: Path, proved: Proved) -> None:
    directory = lay_out(tmp_path, "bill-service")
    v1, v2 = (200, "this is bill-service-v1\n"), (200, "hello, this is bill-service-v2\n")
    url = "http://bill-service:9999/"

    def use(up: Up, rules: str) -> None:
        (directory / "rules.new").write_text((directory / "rules" / rules).read_text())
        (directory / "rules.new").rename(directory / "rules.yaml")
        # Which rules are in force shows in how many answers each version gives; these calls are not counted.
        time.sleep(1)
        up.synced()

    with Up(directory).settled() as up:
        half = bodies(up, 200, url, "front-tomcat")
        assert set(half) == {v1, v2}
        assert 60 <= half[v1] <= 140
        use(up, "1-ninety-ten.yaml")
        assert 155 <= bodies(up, 200, url, "front-tomcat")[v1] <= 200
        use(up, "3-testers.yaml")
        assert bodies(up, 30, url, "front-tomcat") == {v1: 30}
        assert bodies(up, 30, url, "front-tomcat", x_tester="true") == {v2: 30}
        use(up, "4-mirror.yaml")
        assert bodies(up, 30, url, "front-tomcat") == {v1: 30}
        use(up, "5-all-v2.yaml")
        assert bodies(up, 30, url, "front-tomcat") == {v2: 30}
        prove_nothing_was_refused(up, "bill-service", proved)
        assert_compile_agrees(up)


@pytest.mark.point
def test_resilience(tmp_path: Path, proved: Proved) -> None:
    directory = lay_out(tmp_path, "resilience")
    with Up(directory).settled() as up:
        # One replica in four answers 503, and no caller notices.
        assert bodies(up, 60, "http://orders:8080/", "client") == {(200, "orders: all well\n"): 60}
        before = _answered_by(up, "orders-flaky")
        bodies(up, 60, "http://orders:8080/", "client")
        up.until(lambda: _total(up, "orders") >= 120)
        assert _answered_by(up, "orders-flaky") == before  # it was ejected: nobody asks it any more
        began = time.monotonic()
        assert up.call("client", "http://slow:8080/")[0] == 504
        assert 0.4 <= time.monotonic() - began <= 1.9
        assert up.call("client", "http://steady:8080/") == (200, "steady: all well\n")
        assert up.call("client", "http://steady:8080/", x_fault="abort")[0] == 418
        began = time.monotonic()
        assert up.call("client", "http://steady:8080/", x_fault="delay")[0] == 200
        assert time.monotonic() - began >= 0.95
        prove_nothing_was_refused(up, "resilience", proved)
        assert_compile_agrees(up)


def _answered_by(up: Up, workload: str) -> int:
    time.sleep(1.5)  # the counters are sampled once a second
    return sum(row["total"] for row in up.mesh()["traffic"] if row["workload"] == workload)


def _total(up: Up, host: str) -> int:
    return sum(row["total"] for row in up.mesh()["traffic"] if row["host"].startswith(f"{host}."))


@pytest.mark.point
def test_tokens(tmp_path: Path, proved: Proved) -> None:
    directory = lay_out(tmp_path, "security/jwt")
    page = (directory / "README.md").read_text()
    shown = {name: token for name, _, token in (line.strip().partition("=") for line in page.splitlines())}
    bearer = {who: {"authorization": f"Bearer {shown[who]}"} for who in ("ALICE", "BOB", "OLD")}
    url, edge = "http://shop.example.com", ("127.0.0.1", 10080)
    with Up(directory).settled() as up:
        up.synced()
        assert call(edge, f"{url}/") == (200, "shop v1, x-user: -\n")
        assert call(edge, f"{url}/", **bearer["BOB"]) == (200, "shop v1, x-user: bob\n")
        assert call(edge, f"{url}/", **bearer["ALICE"]) == (200, "shop v2, x-user: alice\n")
        assert call(edge, f"{url}/?access_token={shown['ALICE']}") == (200, "shop v2, x-user: alice\n")
        assert call(edge, f"{url}/", **bearer["OLD"]) == (401, "Jwt is expired")
        mixed = f"{shown['ALICE'].rpartition('.')[0]}.{shown['BOB'].rpartition('.')[2]}"
        assert call(edge, f"{url}/", authorization=f"Bearer {mixed}") == (401, "Jwt verification fails")
        assert call(edge, f"{url}/", x_user="alice") == (200, "shop v1, x-user: -\n")
        assert call(edge, f"{url}/account") == (403, "RBAC: access denied")
        assert call(edge, f"{url}/account", **bearer["BOB"]) == (200, "shop v1, x-user: bob\n")
        prove_nothing_was_refused(up, "security/jwt", proved)
        assert_compile_agrees(up)


@pytest.mark.point
def test_gateway(tmp_path: Path, proved: Proved) -> None:
    directory = lay_out(tmp_path, "gateway")
    made = subprocess.run([sys.executable, directory / "certificate.py"], capture_output=True, check=True, text=True)
    (directory / "certificate.yaml").write_text(made.stdout)
    with Up(directory).settled() as up:
        up.synced()
        plain, secure = ("127.0.0.1", 10080), ("127.0.0.1", 10443)
        assert call(plain, "http://blog.example.com/x") == (200, "blog: GET blog.example.com /x\n")
        assert call(plain, "http://blog.example.com/old")[0] == 308
        assert call(plain, "http://shop.example.com/")[0] == 301
        assert call(plain, "http://nobody.example.com/")[0] == 404
        roots = yaml.safe_load(made.stdout)["stringData"]["tls.crt"]
        assert _over_tls(secure, "shop.example.com", "/catalogue/7", roots) == "shop: GET shop.example.com /items/7"
        assert _over_tls(secure, "shop.example.com", "/", roots) == "shop: GET shop.example.com /"
        prove_nothing_was_refused(up, "gateway", proved)
        assert_compile_agrees(up)


def _over_tls(address: tuple[str, int], host: str, path: str, roots: str) -> str:
    context = ssl.create_default_context(cadata=roots)
    with socket.create_connection(address, 10) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
        secure.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := secure.recv(65536):
            answer += chunk
    return answer.rpartition(b"\r\n\r\n")[2].decode().strip()


@pytest.mark.point
def test_ingress(tmp_path: Path, proved: Proved) -> None:
    directory = lay_out(tmp_path, "ingress")
    made = subprocess.run([sys.executable, directory / "certificate.py"], capture_output=True, check=True, text=True)
    (directory / "certificate.yaml").write_text(made.stdout)
    with Up(directory).settled() as up:
        up.synced()
        plain, shop = ("127.0.0.1", 10080), "http://shop.example.com"
        assert call(plain, f"{shop}/hello") == (200, "shop: GET shop.example.com /hello\n")
        assert call(plain, f"{shop}/basket/3")[1].startswith("basket:")
        assert call(plain, f"{shop}/baskets")[1].startswith("shop:")
        assert call(plain, f"{shop}/basket/help")[1].startswith("pages:")
        assert call(plain, "http://a.pages.example.com/pages/x")[1].startswith("pages:")
        assert call(plain, "http://nobody.example.com/") == (200, "pages: GET nobody.example.com /\n")
        roots = yaml.safe_load(made.stdout)["stringData"]["tls.crt"]
        secure = ("127.0.0.1", 10443)
        assert _over_tls(secure, "shop.example.com", "/basket", roots) == "basket: GET shop.example.com /basket"
        prove_nothing_was_refused(up, "ingress", proved)
        assert_compile_agrees(up)


def test_gateway_without_its_certificate_serves_the_rest_and_says_what_is_missing(tmp_path: Path) -> None:
    with Up(lay_out(tmp_path, "gateway")).settled() as up:
        up.until(lambda: call(("127.0.0.1", 10080), "http://blog.example.com/")[0] == 200)
        assert any("shop-certificate" in problem["message"] for problem in up.ask("/problems"))


@pytest.mark.point
def test_egress(tmp_path: Path, proved: Proved) -> None:
    with Up(lay_out(tmp_path, "egress")).settled() as up:
        url = "http://api.partner.example.com"
        assert up.call("client", f"{url}/x") == (200, "partner: GET api.partner.example.com /x\n")
        assert up.call("client", f"{url}/admin/users") == (403, "not from here\n")
        assert up.call("client", "http://elsewhere.example.com/")[0] == 502
        prove_nothing_was_refused(up, "egress", proved)
        assert_compile_agrees(up)


def test_the_authorizer_in_the_config_map_is_the_one_that_runs_here() -> None:
    directory = EXAMPLES / "security" / "external-authorizer"
    manifests = yaml.safe_load_all((directory / "authorizers.yaml").read_text())
    (program,) = (one["data"]["authorizer.py"] for one in manifests if one["kind"] == "ConfigMap")
    assert program == (directory / "authorizer.py").read_text()


REFUSED = (403, "RBAC: access denied")


@pytest.mark.point
def test_authorization(tmp_path: Path, proved: Proved) -> None:
    directory = lay_out(tmp_path, "security/authorization")
    url = "http://catalogue:8080"
    with Up(directory).settled() as up:
        up.synced()
        assert up.call("front", f"{url}/items/7") == (200, "catalogue: GET catalogue:8080 /items/7\n")
        assert up.call("front", f"{url}/items/13")[0] == 200
        assert up.call("guest", f"{url}/health") == (200, "catalogue: GET catalogue:8080 /health\n")
        for path in ("draft-8", "../items/draft-8", "%64raft-8", "7/reviews", "7/../draft-8?x=1"):
            assert up.call("front", f"{url}/items/{path}") == REFUSED, path
        assert up.call("guest", f"{url}/items/7") == REFUSED
        assert checked(up, "--from", "shop/front", "--path", "/items/7")["allowed"]
        assert not checked(up, "--from", "shop/guest", "--path", "/items/7")["allowed"]
        unlucky = checked(up, "--from", "shop/front", "--path", "/items/13")
        assert [one["allowed"] for one in unlucky["dryRuns"]] == [False]
        prove_nothing_was_refused(up, "security/authorization", proved)
        assert_compile_agrees(up)


def checked(up: Up, *arguments: str) -> dict[str, Any]:
    """What `lateen authz check` says of a call to the catalogue."""
    question = ("authz", "check", "-d", str(up.directory), "-o", "json", "--to", "shop/catalogue", *arguments)
    done = subprocess.run(command(*question), capture_output=True, text=True, cwd=REPOSITORY, check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if answer["allowed"] else 1)
    return answer


@pytest.mark.point
def test_external_authorizer(tmp_path: Path, proved: Proved) -> None:
    directory = lay_out(tmp_path, "security/external-authorizer")
    url, opens = "http://vault:8080", {"x_pass": "open sesame"}
    with Up(directory).settled() as up:
        up.synced()
        assert up.call("client", f"{url}/") == (200, "gold: GET vault:8080 /\n")
        for path in ("/door", "/ramp"):
            assert up.call("client", f"{url}{path}") == (403, "show your pass\n"), path
            assert up.call("client", f"{url}{path}/x?y", **opens) == (200, f"gold: GET vault:8080 {path}/x?y\n")
        prove_nothing_was_refused(up, "security/external-authorizer", proved)
        assert_compile_agrees(up)
        manifest = directory / "authorizers.yaml"
        manifest.write_text(manifest.read_text().replace("replicas: 1", "replicas: 0", 1))
        up.until(lambda: up.call("client", f"{url}/door", **opens)[0] == 403)
        assert up.call("client", f"{url}/ramp", **opens)[0] == 200
