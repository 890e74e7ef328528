"""A control plane that gives out identities, and a real Envoy that is started with nothing but what it gives.

The agent here is the shortest that keeps the contract: a token, a key, two requests, and files where Envoy is started.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from controlplane.app.bootstraps import Bootstraps, XdsPlace
from controlplane.app.control import ControlPlane, open_control_plane
from controlplane.app.identity import IdentitySettings, LocalIdentity, open_local_identity
from controlplane.local.ports import BIND_ADDRESS
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.security.endpoint import Node
from controlplane.security.refusal import Refusal, Why
from tests.envoys.binary import envoy_binary
from tests.ports import free_port
from tests.security.requests import CALLER, csr
from tests.tls import load_pair

NODE: dict[str, Any] = {
    "id": "sidecar~127.0.0.1~web-7.shop~shop.svc.cluster.local",
    "cluster": "web.shop",
    "metadata": {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web", "INTERCEPTION_MODE": "NONE", BIND_ADDRESS: "127.0.0.1"},
    "locality": "region/zone/subzone",
}
PATIENCE = 30.0  # seconds


class Agent:
    """One workload's, in a folder of its own."""

    def __init__(self, local: LocalIdentity, folder: Path, token: str) -> None:
        self.local, self.folder, self._token = local, folder, token
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._generations = 0
        self.chain = b""

    @property
    def key(self) -> bytes:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    async def fetch(self) -> None:
        """By token first, then by the certificate it holds."""
        body = {"csr": csr(self._key).decode(), "node": NODE}
        found = await self._post("/v1/certificates", body)
        self.chain = found["chain"].encode()
        for name, text in found["files"].items():
            (self.folder / name).write_text(text)
        await self.use_roots()

    async def use_roots(self) -> None:
        """A new generation with the bundle as it stands now, and the report of it."""
        roots = self.local.bundle.read_bytes()
        self._write({"key.pem": self.key, "cert-chain.pem": self.chain, "root-cert.pem": roots})
        leaf = x509.load_pem_x509_certificates(self.chain)[0]
        signer = next(one for one in x509.load_pem_x509_certificates(roots) if _signed_by(leaf, one))
        report = {
            "node": NODE["id"],
            "roots": [
                sha256(one.public_bytes(Encoding.DER)).hexdigest() for one in x509.load_pem_x509_certificates(roots)
            ],
            "issuedBy": sha256(
                signer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ).hexdigest(),
            "notAfter": leaf.not_valid_after_utc.isoformat(),
        }
        assert await self._post("/v1/reports", report) == {}

    async def _post(self, path: str, body: Any) -> Any:
        context = ssl.create_default_context(cadata=self.local.bundle.read_text())
        headers = {"Authorization": f"Bearer {self._token}"} if not self.chain else {}
        if self.chain:
            load_pair(context, self.chain, self.key)
        url = f"https://127.0.0.1:{self.local.service.port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                url, json=body, headers=headers, ssl=context, server_hostname=self.local.service.server_name
            ) as answer,
        ):
            found = await answer.json()
            assert answer.status == 200, found
            return found

    def _write(self, files: dict[str, bytes]) -> None:
        identity = self.folder / "identity"
        self._generations += 1
        generation = identity / f"..{self._generations}"
        generation.mkdir(parents=True, mode=0o700)
        for name, content in files.items():
            (generation / name).write_bytes(content)
            if not (identity / name).is_symlink():
                (identity / name).symlink_to(f"..data/{name}")
        (identity / "..next").symlink_to(generation.name)
        (identity / "..next").rename(identity / "..data")


def _signed_by(leaf: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(root)
    except Exception:  # noqa: BLE001  of several kinds, all meaning no
        return False
    return True


@asynccontextmanager
async def identities(folder: Path, **settings: Any) -> AsyncIterator[tuple[ControlPlane, LocalIdentity]]:
    (folder / "run").mkdir(exist_ok=True)
    async with (
        open_control_plane({}, folder / "run" / "xds.sock") as control,
        Supervisor(SystemClock()) as tasks,
        open_local_identity(
            control, Settings(), IdentitySettings(settled=0.0, **settings), tasks, folder / "ca"
        ) as local,
    ):
        control.apply({})
        control.start_serving()
        yield control, local


@asynccontextmanager
async def envoy(folder: Path) -> AsyncIterator[None]:
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(envoy_binary()), "-c", "bootstrap.json", "--concurrency", "1", "--use-dynamic-base-id",
            cwd=folder, stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  another process has no event for us
            await asyncio.sleep(0.05)


async def status_of(port: int, method: str, path: str) -> int:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1]) if line else 0


async def test_an_envoy_comes_with_what_its_agent_was_given_and_follows_a_rotation(tmp_path: Path) -> None:
    folder, port = tmp_path / "proxy", free_port()
    folder.mkdir()
    async with identities(tmp_path, prometheus_port=port) as (control, local):
        agent = Agent(local, folder, local.tokens.mint(CALLER))
        await agent.fetch()
        assert {path.name for path in folder.iterdir()} == {
            "bootstrap.json", "sds-certificate.json", "sds-roots.json", "identity",
        }  # fmt: skip
        assert all(str(tmp_path) not in path.read_text() for path in folder.glob("*.json")), "paths are relative"
        async with envoy(folder):
            await until(lambda: [each.name for each in control.proxies()] == ["web-7.shop"])
            await statistics_and_nothing_else(port)
            await rotated(control, local, agent)


async def statistics_and_nothing_else(port: int) -> None:
    """Threat row 22: the port that shows statistics is no way to the admin interface."""
    async with asyncio.timeout(PATIENCE):
        while await status_of(port, "GET", "/stats/prometheus") != 200:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.05)
    for path in (
        "/", "/stats", "/stats/prometheus/", "/stats/prometheus?filter=.*", "/stats/prometheus/../../quitquitquit",
        "/stats/prometheus/..%2f..%2fquitquitquit", "//stats/prometheus", "/%73tats/prometheus", "/config_dump", "/certs",
        "/quitquitquit", "/stats/prometheus%00", "/stats/prometheus;x", "/STATS/PROMETHEUS",
    ):  # fmt: skip
        assert await status_of(port, "GET", path) in (400, 404), path
    for method in ("POST", "HEAD", "PUT", "OPTIONS"):
        assert await status_of(port, method, "/stats/prometheus") == 404


async def rotated(control: ControlPlane, local: LocalIdentity, agent: Agent) -> None:
    """One root for another, with the proxy connected all the time, over mTLS of either."""
    authorities, (old,) = local.service.authorities, local.service.authorities.roots.trusted

    def reconnects() -> Callable[[], bool]:
        (number,) = [status.number for status in control.server.statuses()]
        control.server.call_back(number, "a test wants a new handshake")
        return partial(lambda: [status.number for status in control.server.statuses()] not in ([], [number]))

    assert not isinstance(await authorities.begin(), Refusal)
    refused = await authorities.switch()
    assert isinstance(refused, Refusal)
    assert "web-7.shop" in refused.message
    await agent.use_roots()
    assert not isinstance(await authorities.switch(), Refusal)
    await until(reconnects())
    refused = await authorities.finish()
    assert isinstance(refused, Refusal)
    assert "web-7.shop" in refused.message
    await agent.fetch()
    done = await authorities.finish()
    assert not isinstance(done, Refusal)
    assert old not in done.trusted
    await agent.use_roots()
    await until(reconnects())


async def test_what_was_begun_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with identities(tmp_path) as (_, local):
        begun = await local.service.authorities.begin()
        assert not isinstance(begun, Refusal)
        bundle = local.service.authorities.bundle
    async with identities(tmp_path) as (_, local):
        assert local.service.authorities.bundle == bundle
        assert local.bundle.read_bytes() == bundle


BOOTSTRAPS = Bootstraps(XdsPlace("lateend.lateen-system.svc", 15010, "lateend.lateen-system.svc"))


@pytest.mark.parametrize(
    "metadata",
    [{BIND_ADDRESS: "localhost"}, {BIND_ADDRESS: 7}, {BIND_ADDRESS: ""}, {"X": 10**400}, {"X": [{"Y": 2**60}]}],
)
async def test_metadata_that_no_envoy_could_be_started_with_is_refused(metadata: Any) -> None:
    found = await BOOTSTRAPS(CALLER, Node(NODE["id"], metadata=metadata))
    assert isinstance(found, Refusal)
    assert found.why is Why.MALFORMED


async def test_proxies_that_start_together_are_rendered_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once may meet in a half-made check of envoy_data_plane's, and one of them is answered with 500."""
    inside, most, rendered = 0, 0, Bootstraps._rendered

    def counting(*asked: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        files = rendered(*asked)
        inside -= 1
        return files

    monkeypatch.setattr(Bootstraps, "_rendered", counting)
    files = await asyncio.gather(*(BOOTSTRAPS(CALLER, Node(NODE["id"])) for _ in range(20)))
    assert most == 1
    assert all(each == files[0] for each in files)


async def test_whatever_a_node_says_of_itself_stays_in_its_own_corner() -> None:
    """Texts that look like configuration, and every shape JSON has."""
    odd = {"A": '"}],"admin":{', "B": None, "C": [1, -2.5, True, {}, []], "D": {"E": {"F": "\0\n\u2028"}}, "": ""}
    files = await BOOTSTRAPS(CALLER, Node(NODE["id"], 'x"}', odd, 'a"/b'))
    assert not isinstance(files, Refusal)
    plain = await BOOTSTRAPS(CALLER, Node(NODE["id"]))
    assert not isinstance(plain, Refusal)
    written, without = json.loads(files["bootstrap.json"]), json.loads(plain["bootstrap.json"])
    node, _ = written.pop("node"), without.pop("node")
    assert written == without
    assert node["metadata"] == odd
    assert node["cluster"] == 'x"}'
