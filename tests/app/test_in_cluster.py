"""A cluster's own control plane, against a model of a cluster: what `lateen install` made is what it needs, no more."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.app.cluster import Cluster as Which
from controlplane.app.control import open_control_plane
from controlplane.app.identity import IdentityService, IdentitySettings
from controlplane.app.incluster import Seat, open_in_cluster
from controlplane.app.metrics import Metrics
from controlplane.install.manifests import Facts, manifests
from controlplane.install.names import Place
from controlplane.install.reading import read_values
from controlplane.model.meshconfig import decode_settings
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.tasks import Supervisor
from controlplane.security.keeping import StoreError
from controlplane.webhooks.injection.settings import decode
from tests.app.test_metrics import told
from tests.install.clusters import Cluster, status
from tests.security.apiservers import api_server
from tests.security.requests import csr
from tests.security.serving import new_key

PLACE = Place()
INJECTOR = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/lateen-sidecar-injector"
VALIDATOR = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/lateen-validator"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/lateen-system/leases/lateen-leader"
BUNDLE = "/api/v1/namespaces/lateen-system/configmaps/istio-ca-root-cert"
TOKEN = "system:serviceaccount:shop:cart"


def installed() -> Cluster:
    """As `lateen install` leaves it, just before its control plane starts."""
    cluster = Cluster()
    cluster.takes_up = False
    cluster.tokens = {"projected": TOKEN}
    for obj in manifests(read_values("minimal").values, PLACE, Facts()):
        if obj["kind"] != "CustomResourceDefinition":
            cluster.put(obj)
    return cluster


@asynccontextmanager
async def running(
    cluster: Cluster, tmp_path: Path, authority: Path | None = None, metrics: Metrics | None = None
) -> AsyncIterator[IdentityService]:
    """With exactly the settings that the manifests carry."""
    config = cluster.objects["/api/v1/namespaces/lateen-system/configmaps/lateen"]["data"]
    mesh, problems = decode_settings(json.loads(config["mesh"]))
    assert problems == ()
    async with api_server(cluster) as client:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(_kubeconfig(client.configuration.host)))
        identity = IdentitySettings(settled=0.0, names=(PLACE.server_name,))
        injection = decode(json.loads(config["injection"]), json.loads(config["mesh"]))
        seat = Seat(Which(str(kubeconfig)), PLACE, identity, authority, injection, ("127.0.0.1", 0))
        async with (
            open_control_plane({}, tmp_path / "xds.sock") as control,
            Supervisor(SystemClock()) as tasks,
            open_in_cluster(seat, control, mesh, tasks, control.problems, metrics or Metrics()) as service,
        ):
            yield service


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  (what a server's handler did: nothing to wait for)
            await asyncio.sleep(0.05)


def bundles(webhooks: dict[str, Any]) -> set[bytes]:
    return {base64.b64decode(hook["clientConfig"].get("caBundle", "")) for hook in webhooks["webhooks"]}


def signed(webhooks: dict[str, Any]) -> bool:
    return all(hook["clientConfig"].get("caBundle") for hook in webhooks["webhooks"])


async def post(url: str, body: Any, roots: bytes, **headers: str) -> tuple[int, Any]:
    context = ssl.create_default_context(cadata=roots.decode())
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers=headers, ssl=context, server_hostname=PLACE.server_name) as answer,
    ):
        return answer.status, await answer.json()


async def test_what_an_installation_made_is_all_it_needs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cluster = installed()
    async with running(cluster, tmp_path) as service:
        roots = service.authorities.bundle
        assert cluster.objects[BUNDLE]["data"]["root-cert.pem"] == roots.decode()
        assert (
            cluster.objects["/api/v1/namespaces/lateen-system/secrets/lateen-ca-secret"]["type"] == "lateen.io/ca-root"
        )
        found, answer = await post(
            f"https://127.0.0.1:{service.port}/v1/certificates",
            {"csr": csr(new_key()).decode()},
            roots,
            Authorization="Bearer projected",
        )
        assert found == 200, answer
        await until(lambda: signed(cluster.objects[INJECTOR]) and signed(cluster.objects[VALIDATOR]))
        for path, prefix in ((INJECTOR, "/inject/"), (VALIDATOR, "/validate/")):
            for hook in cluster.objects[path]["webhooks"]:
                config = hook["clientConfig"]
                assert base64.b64decode(config["caBundle"]) == roots
                assert config["service"]["path"].startswith(prefix)
                assert (config["service"]["namespace"], config["service"]["name"]) == ("lateen-system", "lateend")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_webhooks_did_is_counted(tmp_path: Path) -> None:
    cluster, metrics = installed(), Metrics()
    async with running(cluster, tmp_path, metrics=metrics) as service:
        await until(lambda: signed(cluster.objects[INJECTOR]) and signed(cluster.objects[VALIDATOR]))
        await until(lambda: told(metrics)["webhook_patch_attempts_total", VALIDATOR.rpartition("/")[2]] == 1)
        name = INJECTOR.rpartition("/")[2]
        assert told(metrics)["webhook_patch_attempts_total", name] == 1
        assert told(metrics)["webhook_patch_failures_total", name] == 0
        assert told(metrics)["lateen_webhook_configuration_trouble", name] == 0
        for hook in cluster.objects[INJECTOR]["webhooks"]:
            hook["clientConfig"]["caBundle"] = base64.b64encode(b"another").decode()
        await until(lambda: told(metrics)["webhook_patch_attempts_total", name] == 2)
        await until(lambda: bundles(cluster.objects[INJECTOR]) == {service.authorities.bundle})
    assert told(metrics)["sidecar_injection_requests_total", ""] == 0
    assert told(metrics)["lateen_validation_warned_total", ""] == 0


async def test_it_writes_what_its_rights_allow_and_nothing_else(tmp_path: Path) -> None:
    cluster = installed()
    async with running(cluster, tmp_path):
        await until(lambda: signed(cluster.objects[INJECTOR]) and signed(cluster.objects[VALIDATOR]))
        await until(lambda: "spec" in cluster.objects[LEASE])
    assert set(cluster.writes) == {
        ("PATCH", LEASE),
        ("POST", "/api/v1/namespaces/lateen-system/secrets"),
        ("POST", "/api/v1/namespaces/lateen-system/configmaps"),
        ("PATCH", INJECTOR),
        ("PATCH", VALIDATOR),
    }
    asked = {path for method, path in cluster.requests if method == "GET" and "/secrets" in path}
    assert asked == {"/api/v1/namespaces/lateen-system/secrets/lateen-ca-secret"}


async def test_a_second_replica_takes_the_same_root_and_the_same_path(tmp_path: Path) -> None:
    cluster = installed()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running(cluster, tmp_path / "a") as one:
        await until(lambda: signed(cluster.objects[INJECTOR]))
        before = json.dumps(cluster.objects[INJECTOR])
        async with running(cluster, tmp_path / "b") as other:
            assert other.authorities.bundle == one.authorities.bundle
            await asyncio.sleep(0.5)
            assert json.dumps(cluster.objects[INJECTOR]) == before


async def test_somebody_elses_change_of_our_webhook_is_put_right(tmp_path: Path) -> None:
    """Threat 20: within five seconds."""
    cluster = installed()
    async with running(cluster, tmp_path):
        await until(lambda: signed(cluster.objects[INJECTOR]))
        before = json.dumps(cluster.objects[INJECTOR]["webhooks"])
        cluster.objects[INJECTOR]["webhooks"][0]["clientConfig"] = {"url": "https://attacker.example/"}
        async with asyncio.timeout(5):
            await until(lambda: json.dumps(cluster.objects[INJECTOR]["webhooks"]) == before)


async def test_without_an_api_server_there_is_no_root_and_no_start(tmp_path: Path) -> None:
    cluster = installed()
    cluster.before = lambda _method, _path: status(500, "InternalError", "etcd")
    with pytest.raises(StoreError, match="status 500"):
        async with running(cluster, tmp_path):
            pytest.fail("it started")


async def test_a_root_that_was_lost_is_never_made_anew(tmp_path: Path) -> None:
    cluster = installed()
    async with running(cluster, tmp_path):
        pass
    cluster.drop("/api/v1/namespaces/lateen-system/secrets/lateen-ca-secret")
    with pytest.raises(Exception, match="bring it back from a backup"):
        async with running(cluster, tmp_path):
            pytest.fail("it started")
    assert "Secret lateen-ca-secret" not in cluster.names()


def test_a_mesh_has_its_root_namespace_where_it_is_installed() -> None:
    data = installed().objects["/api/v1/namespaces/lateen-system/configmaps/lateen"]["data"]
    mesh, _ = decode_settings(json.loads(data["mesh"]))
    assert mesh.root_namespace == "lateen-system"
    assert mesh == Settings()


async def test_what_is_no_token_gets_no_certificate(tmp_path: Path) -> None:
    cluster = installed()
    async with running(cluster, tmp_path) as service:
        url = f"https://127.0.0.1:{service.port}/v1/certificates"
        found, _ = await post(
            url, {"csr": csr(new_key()).decode()}, service.authorities.bundle, Authorization="Bearer x"
        )
        assert found == 401
