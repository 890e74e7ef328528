"""Looking into a mesh from outside of the cluster: with a kubeconfig, without kubectl, without a port."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.kubectl import Kubectl, eventually
from e2e.manifests import container, deployment, pod_spec, service
from e2e.mesh import NAMESPACE, LateenError, lateen

_DOCUMENT = Path(__file__).parents[1] / "docs" / "kubernetes.md"

pytestmark = [pytest.mark.usefixtures("mesh"), pytest.mark.timeout(300)]  # with the installation


@pytest.fixture
def shop(kubectl: Kubectl) -> Kubectl:
    """A workload in the mesh, and a rule for calls to it."""
    kubectl("label", "namespace", kubectl.namespace, "istio-injection=enabled")
    server = container("cart", "python3", "-m", "http.server", "8080", ports=[{"containerPort": 8080}])
    port = {"name": "http", "port": 80, "targetPort": 8080}
    kubectl.apply(deployment("cart", 1, pod_spec(server)), service("cart", [port]), _routes("1s"))
    kubectl.rolled_out("deployment/cart")
    return kubectl


def _routes(timeout: str) -> dict[str, Any]:
    rule = {"route": [{"destination": {"host": "cart"}}], "timeout": timeout}
    meta = {"name": "cart"}
    api = "networking.istio.io/v1"
    return {"apiVersion": api, "kind": "VirtualService", "metadata": meta, "spec": {"hosts": ["cart"], "http": [rule]}}


def _proxies(kubectl: Kubectl) -> list[str]:
    found = json.loads(lateen("proxy-status", "--namespace", NAMESPACE, "-o", "json"))
    return [one["name"] for one in found if one["name"].endswith(f".{kubectl.namespace}")]


def test_a_change_is_waited_for_and_seen_in_the_proxy(shop: Kubectl) -> None:
    (name,) = eventually(lambda: _proxies(shop))
    for timeout in ("7s", "8s"):
        shop.apply(_routes(timeout))
        lateen("wait", "virtualservice/cart", "-n", shop.namespace, "--namespace", NAMESPACE)
        assert f'"{timeout}"' in lateen("proxy-config", "routes", name, "--namespace", NAMESPACE, "-o", "json")
    shop("delete", "virtualservice", "cart")
    lateen("wait", "vs/cart", "--for", "delete", "-n", shop.namespace, "--namespace", NAMESPACE)


def test_an_envoy_says_itself_which_certificates_it_uses(shop: Kubectl) -> None:
    (name,) = eventually(lambda: _proxies(shop))
    found = json.loads(lateen("proxy-config", "secrets", name, "--namespace", NAMESPACE, "-o", "json"))
    own = next(one for one in found if one["name"] == "default")
    assert own["status"] == "active"
    assert own["certificates"][0]["subject"] == [f"spiffe://cluster.local/ns/{shop.namespace}/sa/default"]


def test_what_acts_on_a_service_and_on_its_pod(shop: Kubectl) -> None:
    eventually(lambda: _proxies(shop))
    where = ("-n", shop.namespace, "--namespace", NAMESPACE, "-o", "json")
    found = json.loads(lateen("describe", "service", "cart", *where))
    assert [one["proxy"] for one in found["workloads"]] == ["sidecar"]
    assert [one["object"] for one in found["rules"]] == [f"VirtualService {shop.namespace}/cart"]
    assert json.loads(lateen("describe", "pod", "cart", *where))["facts"]["proxy"] == "sidecar"


def test_a_bug_report_is_whole_and_has_no_key_in_it(shop: Kubectl, tmp_path: Path) -> None:
    (name,) = eventually(lambda: _proxies(shop))
    lateen("bug-report", str(tmp_path / "report.tar.gz"), "--namespace", NAMESPACE)
    with tarfile.open(tmp_path / "report.tar.gz") as archive:
        files = {entry.name.partition("/")[2]: archive.extractfile(entry) for entry in archive}
        texts = {path: file.read().decode() for path, file in files.items() if file is not None}
    assert json.loads(texts["missing.json"]) == {}
    assert f"proxies/{name}/config.json" in texts
    assert any(path.startswith("logs/lateend-") for path in texts)
    assert "PRIVATE KEY" not in "".join(texts.values())


@pytest.fixture
def looker(kubectl: Kubectl, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of somebody who has the rights that docs/kubernetes.md names, and no others."""
    everywhere, here = yaml.safe_load_all(_DOCUMENT.read_text().partition("```yaml\n")[2].partition("```")[0])
    kubectl("create", "serviceaccount", "looker")
    who = f"--serviceaccount={kubectl.namespace}:looker"
    control = Kubectl(NAMESPACE)
    kubectl("apply", "--filename", "-", data=json.dumps(everywhere))
    control("apply", "--filename", "-", data=json.dumps(here))
    kubectl("create", "clusterrolebinding", kubectl.namespace, "--clusterrole=lateen-looking-in", who)
    control("create", "rolebinding", kubectl.namespace, "--role=lateen-looking-in", who)
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"][0]["user"] = {"token": kubectl("create", "token", "looker").strip()}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    yield path
    kubectl("delete", "clusterrolebinding", kubectl.namespace, "--ignore-not-found")
    kubectl("delete", "clusterrole", "lateen-looking-in")
    control("delete", "rolebinding", kubectl.namespace, "--ignore-not-found")
    control("delete", "role", "lateen-looking-in")


def test_the_rights_that_are_documented_are_enough(shop: Kubectl, looker: Path, tmp_path: Path) -> None:
    (name,) = eventually(lambda: _proxies(shop))
    as_looker = ("--kubeconfig", str(looker))
    assert name in lateen("proxy-status", *as_looker)
    assert f"cart.{shop.namespace}.svc.cluster.local" in lateen("proxy-config", "clusters", name, *as_looker)
    assert "reported" in lateen("proxy-config", "secrets", name, *as_looker)  # its Envoy's Pod is nobody's business
    assert "VirtualService" in lateen("describe", "service", "cart", "-n", shop.namespace, *as_looker)
    lateen("wait", "vs/cart", "-n", shop.namespace, *as_looker)
    lateen("bug-report", str(tmp_path / "report.tar.gz"), *as_looker)
    with tarfile.open(tmp_path / "report.tar.gz") as archive:
        missing = archive.extractfile("lateen-bug-report/missing.json")
        assert missing is not None
        assert json.load(missing) == {}


def test_a_right_that_is_missing_is_named(shop: Kubectl, looker: Path) -> None:
    control, as_looker = Kubectl(NAMESPACE), ("--kubeconfig", str(looker))
    control("patch", "role", "lateen-looking-in", "--type=json", '--patch=[{"op": "remove", "path": "/rules/1"}]')
    wanted = f"`create` and `get` on pods/exec in {NAMESPACE} are needed"
    eventually(
        lambda: _refusal("proxy-status", *as_looker), lambda said: wanted in said
    )  # rights are taken in a moment
    control("delete", "rolebinding", shop.namespace)
    control("delete", "clusterrolebinding", shop.namespace)
    eventually(lambda: _refusal("proxy-status", *as_looker), lambda said: "pods is forbidden: User" in said)
    config = json.loads(looker.read_text())
    config["users"][0]["user"] = {"token": "nobodys"}
    looker.write_text(json.dumps(config))
    assert "does not know you" in _refusal("proxy-status", *as_looker)


def _refusal(*words: str) -> str:
    """What a command says as it fails; "": it does not."""
    try:
        lateen(*words)
    except LateenError as error:
        return str(error)
    return ""


def _metrics() -> dict[str, float]:
    control = Kubectl(NAMESPACE)
    (pod,) = control.json("get", "pods", "--selector=app=lateend")["items"]
    place = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:15014/proxy/metrics"
    lines = (line.rpartition(" ") for line in control("get", "--raw", place).splitlines() if line[:1] != "#")
    return {name: float(value) for name, _, value in lines}


def test_metrics_tell_of_injection_and_of_repairs(shop: Kubectl) -> None:
    eventually(lambda: _proxies(shop))
    found = _metrics()
    assert found["sidecar_injection_success_total"] >= 1
    assert sum(value for name, value in found.items() if name.startswith("pilot_xds{")) >= 1
    repairs = 'webhook_patch_attempts_total{name="lateen-sidecar-injector"}'
    shop(
        *("patch", "mutatingwebhookconfiguration", "lateen-sidecar-injector", "--type=json"),
        '--patch=[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "bm90aGluZw=="}]',
    )
    eventually(lambda: _metrics()[repairs] == found[repairs] + 1)


def test_who_looks_elsewhere_is_told_where_it_looked() -> None:
    with pytest.raises(LateenError, match="no control plane runs in namespace default"):
        lateen("problems", "--namespace", "default")
