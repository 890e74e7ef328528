"""`lateen bug-report`: everything that helps is in it, and no key, token or password, wherever one was planted."""

import asyncio
import base64
import json
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.cli.main import run
from controlplane.cli.redaction import HIDDEN, redact, redact_text
from controlplane.local.statedir import state_directory
from controlplane.runtime.unixhttp import NotFound, serving
from tests.cli.pods import Pods
from tests.cli.pods import serving as api_server
from tests.cli.test_cluster import Replica

PKCS8 = (
    ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
SEC1 = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)
RSA = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtYXJrZXItand0In0.bWFya2VyLXNpZ25hdHVyZQ"


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def body(pem: str) -> str:
    """Without the lines around it."""
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


# What is planted -> what of it must not be anywhere.
PLANTED: Mapping[str, str] = {
    PKCS8: body(PKCS8)[20:60],
    json.dumps({"log": RSA}): body(RSA)[70:120],  # with \n in words
    RSA[: len(RSA) // 2]: body(RSA)[70:120],  # cut off
    f"a key in base64 {in_base64(SEC1)} in a line": in_base64(SEC1)[40:90],
    f"only its body: {body(SEC1)}": body(SEC1)[20:60],
    f"only its body: {body(RSA)}": body(RSA)[20:60],
    f"Got token {JWT} from front": "bWFya2VyLXNpZ25hdHVyZQ",
    "Authorization: Bearer marker-bearer-1": "marker-bearer-1",
    'header "authorization": "Basic bWFya2VyOm1hcmtlcg=="': "bWFya2VyOm1hcmtlcg",
    "connect https://user:marker-in-url@db.shop/": "marker-in-url",
    "PGPASSWORD=marker-variable psql": "marker-variable",
    '{\\"password\\": \\"marker-escaped\\"}': "marker-escaped",
    "cookie: session=marker-cookie": "marker-cookie",
    "client_secret=marker-client&grant=x": "marker-client",
    "api-key: marker-api": "marker-api",
}
DOCUMENT: Mapping[str, Any] = {
    "routes": [
        {"requestHeadersToAdd": [{"header": {"key": "x-upstream-auth", "value": "marker-header"}}]},
        {"headers": {"request": {"set": {"x-api-key": "marker-set", "authorization": "marker-own"}}}},
        {"env": [{"name": "DB_PASSWORD", "value": "marker-env"}]},
        {"tls": {"private_key": {"inline_string": PKCS8}, "password": "marker-password"}},
        {"data": {"tls.key": in_base64(PKCS8)}},
    ]
}
MARKERS = (
    *PLANTED.values(),
    *("marker-header", "marker-set", "marker-own", "marker-env", "marker-password"),
    body(PKCS8)[20:60],
    in_base64(PKCS8)[60:120],
)
HARMLESS = (
    "outbound|9080|v1|reviews.default.svc.cluster.local",
    "spiffe://cluster.local/ns/shop/sa/cart",
    "2026-01-01T00:00:00Z info xds listening on 0.0.0.0:15012",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    body(PKCS8)[:24],  # too little of a key to be one
)


@pytest.mark.parametrize(("planted", "marker"), PLANTED.items(), ids=range(len(PLANTED)))
def test_a_secret_is_taken_out_of_a_text(planted: str, marker: str) -> None:
    assert marker in planted
    hidden = redact_text(f"before {planted}")
    assert marker not in hidden
    assert HIDDEN in hidden
    assert hidden.startswith("before ")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text
    assert redact({"name": text}) == {"name": text}


def test_a_secret_is_taken_out_of_a_document_by_the_name_of_its_field_too() -> None:
    hidden = json.dumps(redact(DOCUMENT))
    assert not [marker for marker in MARKERS if marker in hidden]
    assert "x-upstream-auth" in hidden


def contents(file: Path) -> dict[str, str]:
    with tarfile.open(file) as archive:
        return {
            entry.name.removeprefix("lateen-bug-report/"): found.read().decode()
            for entry in archive
            if (found := archive.extractfile(entry)) is not None
        }


def answering(value: Any) -> Callable[[Mapping[str, str]], Awaitable[Any]]:
    async def answer(_query: Mapping[str, str]) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return answer


async def report(folder: Path, *words: str) -> tuple[int, dict[str, str]]:
    file = folder / "report.tar.gz"
    file.unlink(missing_ok=True)
    code = await asyncio.to_thread(run, ["bug-report", str(file), *words])
    assert file.stat().st_mode & 0o777 == 0o600
    return code, contents(file)


async def test_a_report_of_a_directory_has_all_of_it_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = tmp_path / "mesh"
    mesh.mkdir()
    proxies = [{"name": name, "id": name, "envoy_version": "1.40.0"} for name in ("cart-1.shop", "../../x.shop")]
    objects = [{"kind": "Secret", "metadata": {"name": "key", "namespace": "shop"}, "data": DOCUMENT}]
    answers = {
        "/proxies": proxies,
        "/problems": [{"message": planted} for planted in PLANTED],
        "/settings": DOCUMENT,
        "/ca": NotFound("no authority here"),
        "/version": {"lateen": "0.1.0"},
        "/config": DOCUMENT,
        "/secrets": [{"pem": PKCS8}],
        "/objects": {"items": objects},
    }
    with state_directory((mesh,), "up") as state:
        (state.root / "logs" / "cart.log").write_text("began\n" + "\n".join(PLANTED))
        async with serving(state.debug_socket, {path: answering(value) for path, value in answers.items()}):
            code, found = await report(tmp_path, "-d", str(mesh), "--proxies", "1")
    assert code == 0
    assert {name for name in found if name != "logs/lateen.log"} == {
        *("about.json", "control-planes.json", "missing.json", "objects.json", "problems.json", "proxies.json"),
        *("settings.json", "logs/cart.log", "proxies/cart-1.shop/config.json", "proxies/cart-1.shop/secrets.json"),
    }
    assert json.loads(found["objects.json"]) == ["Secret shop/key"]
    assert json.loads(found["missing.json"]) == {
        "authority": "no authority here",
        "proxies": "1 of 2 are left out (--proxies)",
    }
    assert "began" in found["logs/cart.log"]
    whole = "\n".join(found.values())
    assert not [marker for marker in MARKERS if marker in whole]
    assert "look into it before you give it away" in capsys.readouterr().err


async def test_a_report_of_a_cluster_has_the_logs_of_all_replicas_and_no_secret(tmp_path: Path) -> None:
    pods = Pods()
    pods.replicas = {"lateend-a": Replica("cart-1.shop"), "lateend-b": Replica()}
    pods.broken["lateend-b"] = f"cannot: {JWT}"
    pods.logs = {"lateend-a": "\n".join(PLANTED), "lateend-b": "it went wrong here"}
    meta = {"name": "cart", "namespace": "shop"}
    pods.objects = {"/api/v1/services": [{"metadata": meta}], "/api/v1/secrets": [{"metadata": meta, "data": DOCUMENT}]}
    async with api_server(pods, tmp_path) as kubeconfig:
        code, found = await report(tmp_path, "--kubeconfig", str(kubeconfig))
    assert code == 0
    assert {"logs/lateend-a.log", "logs/lateend-b.log", "pods.json"} <= found.keys()
    assert json.loads(found["objects.json"]) == ["Service shop/cart"]
    whole = "\n".join(found.values())
    assert not [marker for marker in (*MARKERS, "secret-token-of-a-user") if marker in whole]


async def test_what_may_not_be_read_is_named_in_the_report(tmp_path: Path) -> None:
    pods = Pods()
    pods.replicas = {"lateend-a": Replica("cart-1.shop")}
    pods.forbidden = {"/log", "/services"}
    async with api_server(pods, tmp_path) as kubeconfig:
        code, found = await report(tmp_path, "--kubeconfig", str(kubeconfig))
    missing = json.loads(found["missing.json"])
    assert code == 0
    assert missing["objects: services"] == "you may not read them"
    assert "forbidden" in missing["logs/lateend-a"]


def test_a_file_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.tar.gz"
    file.write_text("mine")
    assert run(["bug-report", str(file), "-d", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "mine"


async def test_where_nothing_runs_the_report_says_so_and_has_the_logs_of_what_ran(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh"
    (mesh / ".lateen" / "logs").mkdir(parents=True)
    (mesh / ".lateen" / "logs" / "lateen.log").write_text("it ended here")
    code, found = await report(tmp_path, "-d", str(mesh))
    assert code == 0
    assert "no mesh runs" in json.loads(found["missing.json"])["proxies"]
    assert found["logs/lateen.log"] == "it ended here"
