"""`lateen install` and its kin on the command line: what is printed where, exit codes, and who is asked."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cli.main import run
from controlplane.install import manifests
from tests.install.clusters import Cluster
from tests.security.apiservers import api_server


@pytest.fixture(autouse=True)
def small_crds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schemas take most of the time."""
    small = tuple(
        {**crd, "spec": crd["spec"] | {"versions": [{"name": one["name"]} for one in crd["spec"]["versions"]]}}
        for crd in manifests.crds()
    )
    monkeypatch.setattr(manifests, "crds", lambda: small)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """One that `$KUBECONFIG` leads to."""
    found = Cluster()
    found.put(bundle())
    with served(found) as address:
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
        monkeypatch.chdir(tmp_path)
        yield found


def bundle() -> dict[str, Any]:
    meta = {"name": "istio-ca-root-cert", "namespace": "lateen-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"root-cert.pem": "BEGIN CERTIFICATE"}}


@contextmanager
def served(cluster: Cluster) -> Iterator[str]:
    """On a loop of its own: commands run theirs."""
    ready, done, address = threading.Event(), asyncio.Event(), list[str]()

    async def serve() -> None:
        async with api_server(cluster) as client:
            address.append(client.configuration.host)
            loops.append(asyncio.get_running_loop())
            ready.set()
            await done.wait()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield address[0]
    finally:
        loops[0].call_soon_threadsafe(done.set)
        thread.join()


def lateen(*words: str) -> int:
    return run([*words, "--kubeconfig", "kubeconfig"])


def test_install_then_look_then_away(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert lateen("install", "--profile", "demo", "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "created    Deployment lateen-system/lateend" in out.splitlines()
    assert "nothing was written" in err
    assert cluster.writes == []
    assert lateen("install", "--profile", "demo") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "up            Deployment lateen-system/lateend" in err
    assert "runs in lateen-system, revision default" in err
    assert lateen("verify-install", "-o", "json") == 0
    assert all(check["good"] for check in json.loads(capsys.readouterr().out))
    cluster.drop("/api/v1/namespaces/lateen-system/services/lateend")
    assert lateen("verify-install") == 1
    out, err = capsys.readouterr()
    assert "WRONG   Service lateen-system/lateend " in out
    assert "1 of 29 things are not as they should be" in err
    assert lateen("uninstall", "--purge", "--yes") == 0
    assert cluster.names() == set()


def test_upgrade_shows_what_changes_and_asks(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert lateen("install", "--profile", "demo", "--set", "meshConfig.trustDomain=example.org") == 0
    cluster.writes.clear()
    assert lateen("upgrade", "--set", "controlPlane.resources.requests.memory=1Gi") == 2
    out, err = capsys.readouterr()
    assert "memory: 1Gi" in out
    assert "--yes is needed to upgrade" in err
    assert cluster.writes == []
    assert lateen("upgrade", "--set", "controlPlane.resources.requests.memory=1Gi", "--yes") == 0
    data = cluster.objects["/api/v1/namespaces/lateen-system/configmaps/lateen"]["data"]
    assert json.loads(data["mesh"])["trustDomain"] == "example.org"  # as it was installed
    assert "Deployment istio-ingressgateway" in cluster.names()


def test_tags_and_grants(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert lateen("install", "--profile", "minimal") == 0
    assert lateen("tag", "set", "prod") == 0
    capsys.readouterr()
    assert lateen("tag", "list", "-o", "json") == 0
    assert [tag["name"] for tag in json.loads(capsys.readouterr().out)] == ["prod"]
    assert lateen("tag", "set", "prod", "--revision", "other") == 1
    assert "no revision other injects here; there are: default" in capsys.readouterr().err
    assert lateen("tag", "remove", "prod") == 0
    assert lateen("tag", "remove", "prod") == 1
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    assert lateen("gateway", "grant", "-n", "shop", "--print") == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert lateen("gateway", "grant", "-n", "shop") == 0
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/lateen-gateway-secrets"
    assert cluster.objects[path]["rules"] == printed[0]["rules"]


def test_who_is_in_the_way_is_said_line_by_line(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    template: dict[str, Any] = {"metadata": {"labels": {}}}
    meta = {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod"}}
    cluster.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"template": template}})
    cluster.version = {"major": "1", "minor": "20", "gitVersion": "v1.20.0"}
    assert lateen("install") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(":")[0] for line in err.splitlines()] == ["lateen", "lateen"]
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("install --kubeconfig /nowhere", "there is no kubeconfig /nowhere"),
        ("install --kubeconfig kubeconfig --context other", "has no context 'other'"),
        ("install --kubeconfig broken", "kubeconfig broken cannot be used: "),
        ("install --namespace A", "--namespace 'A': use lower-case letters"),
        ("install --revision a.b", "--revision 'a.b': use at most 40"),
        ("install --timeout soon", "--timeout soon: "),
        ("install --set a=1", "there is no field 'a'"),
        ("install -f /nowhere", "/nowhere: No such file or directory"),
        ("install --profile big", "there is no profile 'big'"),
        ("uninstall --delete-my-objects", "--delete-my-objects goes with --purge"),
        ("manifest generate --set image.tag=1", "image has no fields"),
        ("profile dump big", "there is no profile 'big'"),
        ("tag set Prod", "tag 'Prod': use at most 40"),
        ("gateway grant -n A", "-n A: use lower-case letters"),
        ("serve --kubernetes --webhooks 0.0.0.0:1", "--injection and --webhooks need --namespace"),
        ("serve --kubernetes --namespace x", "need --kubernetes and --identity"),
    ],
)
def test_misuse_is_a_line_and_exit_code_2(
    arguments: str, words: str, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").write_text("{a: [")
    assert run(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert words in line
    assert cluster.requests == []


def test_nothing_installed_is_not_well(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    del cluster
    assert lateen("verify-install") == 1
    assert "has no installation of revision default" in capsys.readouterr().err


def test_an_api_server_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with served(Cluster()) as address:
        pass
    text = {
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    contexts = {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}
    (tmp_path / "kubeconfig").write_text(json.dumps(text | contexts))
    assert lateen("install") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in line


def test_manifests_and_profiles_need_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["manifest", "generate", "--profile", "demo", "--revision", "canary"]) == 0
    made = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {"Deployment", "MutatingWebhookConfiguration"} <= {obj["kind"] for obj in made}
    assert run(["manifest", "generate", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "List"
    assert run(["profile", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "default", "minimal", "demo"]
    assert run(["profile", "diff", "default", "demo"]) == 1
    assert "+    enabled: false" in capsys.readouterr().out
    assert run(["profile", "diff", "demo", "demo"]) == 0


def test_what_has_no_effect_is_told_and_the_manifests_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["manifest", "generate", "--set", "meshConfig.enableTracing=true"]) == 0
    out, err = capsys.readouterr()
    assert "meshConfig.enableTracing" in err
    assert "kind: Deployment" in out
