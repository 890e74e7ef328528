"""`lateen install` and what goes with it, as people type it, on a real cluster."""

import json
import re  # noqa: TID251  (fixed patterns of ours, in output of ours)
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

import pytest

from controlplane.install.names import OURS
from controlplane.install.objects import KINDS
from e2e.cluster.images import LATEEN
from e2e.kubectl import Kubectl, eventually
from e2e.manifests import container, deployment, pod_spec, service
from tests.conftest import Proved

pytestmark = pytest.mark.timeout(600)  # seconds, on a machine that is busy with other things: several installations

_CLUSTER_WIDE = "namespaces,crd,clusterroles,clusterrolebindings,ingressclasses"
IMAGE = ("--set", f"image={LATEEN}")
_SERVER = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["HOSTNAME"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, form, *values):
        pass
ThreadingHTTPServer(("", 8080), Answers).serve_forever()
"""


def lateen(*words: str, code: int = 0, data: str = "") -> str:
    """What it printed, data and words for people together."""
    command = [sys.executable, "-c", "from controlplane.cli.entrance import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, input=data)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def is_well() -> bool:
    """Whether `lateen verify-install` says so."""
    command = [sys.executable, "-c", "from controlplane.cli.entrance import main; main()", "verify-install"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Whatever a test did, the next one has a cluster without us."""
    yield
    lateen("uninstall", "--purge", "--delete-my-objects", "--yes")


def ours(kubectl: Kubectl) -> list[str]:
    """Everything that carries our label, of all kinds we make."""
    kinds = ",".join(f"{kind.plural}.{kind.group}" if kind.group else kind.plural for kind in KINDS)
    return kubectl("get", kinds, "--all-namespaces", "--selector", OURS, "--output", "name").split()


@pytest.mark.point
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("profile", ["demo", "default"])
def test_from_an_empty_cluster_to_ready_and_back(kubectl: Kubectl, profile: str, proved: Proved) -> None:
    assert ours(kubectl) == []
    started = monotonic()
    said = lateen("install", "--profile", profile, *IMAGE)
    seconds = monotonic() - started
    assert "runs in lateen-system, revision default" in said
    assert "there is nothing to do" in lateen("install", "--profile", profile, *IMAGE, "--dry-run")
    checks = json.loads(lateen("verify-install", "--output", "json"))
    assert [check for check in checks if not check["good"]] == []
    assert "there is nothing to do" in lateen("upgrade", "--dry-run")
    lateen("uninstall", "--purge", "--yes")
    left = [
        *ours(kubectl),
        *(name for name in kubectl("get", _CLUSTER_WIDE, "--output", "name").split() if "lateen" in name),
    ]
    proved(
        "kubernetes 8",
        f"objects of ours that `uninstall --purge` leaves ({profile})",
        bound="0",
        figure=str(len(left)),
        holds=not left,
        cases=len(checks),
        asked=25,
    )
    proved(
        "kubernetes 1",
        f"seconds from an empty cluster to ready, with `lateen install` ({profile})",
        bound="< 30",
        figure=f"{seconds:.1f}",
        holds=seconds < 30,
        cases=1,
        asked=1,
    )


@pytest.mark.usefixtures("nothing_left")
def test_manifests_apply_in_one_go_and_are_what_install_makes() -> None:
    kubectl = Kubectl("lateen-system")
    text = lateen("manifest", "generate", "--profile", "minimal", *IMAGE)
    kubectl("apply", "--server-side", "--filename", "-", data=text)
    kubectl("rollout", "status", "deployment/lateend", "--timeout=120s")
    eventually(is_well)  # the autoscaler's second replica, the webhooks' caBundle
    assert "there is nothing to do" in lateen("install", "--profile", "minimal", *IMAGE, "--dry-run")


@pytest.mark.usefixtures("nothing_left")
def test_a_pod_is_injected_and_called_through_the_mesh(kubectl: Kubectl) -> None:
    lateen("install", "--profile", "demo", *IMAGE)
    kubectl("label", "namespace", kubectl.namespace, "istio-injection=enabled")
    server = container("server", "python3", "-c", _SERVER)
    kubectl.apply(
        deployment("server", 1, pod_spec(server)),
        service("server", [{"name": "http", "port": 80, "targetPort": 8080}]),
        deployment("client", 1, pod_spec(container("client", "sleep", "infinity"))),
    )
    kubectl.rolled_out("deployment/server")
    kubectl.rolled_out("deployment/client")
    for one in kubectl.json("get", "pods")["items"]:
        every = [*one["spec"].get("initContainers", []), *one["spec"]["containers"]]
        assert "istio-proxy" in {each["name"] for each in every}
    ask = ("deploy/client", "curl", "--silent", "--fail", "--max-time", "2", "--include", "http://server/")
    answer = eventually(lambda: kubectl.ran(*ask, container="client"))
    assert "server: envoy" in answer.lower()


@pytest.mark.usefixtures("nothing_left")
def test_a_revision_beside_it_takes_over_and_objects_of_users_stay(kubectl: Kubectl) -> None:
    small = ("--set", "controlPlane.autoscaling.enabled=false", "--set", "controlPlane.replicas=1", *IMAGE)
    lateen("install", "--profile", "demo", *IMAGE)
    kubectl.apply(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "mine"},
            "spec": {"hosts": ["mine"], "http": [{"route": [{"destination": {"host": "mine"}}]}]},
        }
    )
    said = lateen("install", "--profile", "demo", "--revision", "canary", *small)
    assert "the ingress gateway stays with revision default" in said
    lateen("tag", "set", "prod", "--revision", "canary")
    assert re.search(r"prod +canary", lateen("tag", "list"))
    lateen("upgrade", "--revision", "canary", "--yes")
    lateen("uninstall", "--yes")
    checks = json.loads(lateen("verify-install", "--revision", "canary", "--output", "json"))
    assert [check for check in checks if not check["good"]] == []
    lateen("tag", "remove", "prod")
    said = lateen("uninstall", "--purge", "--yes")
    assert "virtualservices.networking.istio.io: it holds VirtualService" in said
    assert ours(kubectl) == ["customresourcedefinition.apiextensions.k8s.io/virtualservices.networking.istio.io"]
    assert kubectl("get", "virtualservice", "mine", "--output", "name").strip().endswith("/mine")


@pytest.mark.usefixtures("nothing_left")
def test_an_image_that_no_node_has_is_named_with_what_to_do(kubectl: Kubectl) -> None:
    del kubectl
    said = lateen("install", "--profile", "demo", "--set", "image=localhost/nothing:1", code=1)
    assert re.search(r"ErrImagePull|ImagePullBackOff", said)
    assert "make image" in said


@pytest.mark.usefixtures("nothing_left")
def test_the_api_servers_own_word_on_secrets_and_webhooks(kubectl: Kubectl) -> None:
    """Threats 20 and 21."""
    lateen("install", "--profile", "demo", *IMAGE)
    lateen("gateway", "grant", "-n", kubectl.namespace)
    we = ("--as", "system:serviceaccount:lateen-system:lateend")

    def may(*words: str) -> bool:
        command = ["kubectl", "auth", "can-i", *words, *we]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"

    for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
        assert not may(verb, "secrets", "--all-namespaces"), verb
        assert not may(verb, "secrets", "--namespace", "default"), verb
    assert may("list", "secrets", "--namespace", kubectl.namespace)
    assert not may("create", "secrets", "--namespace", kubectl.namespace)
    assert may("patch", "mutatingwebhookconfigurations/lateen-sidecar-injector")
    for name in ("mutatingwebhookconfigurations", "mutatingwebhookconfigurations/other", "clusterroles", "pods/exec"):
        assert not may("patch", name), name
        assert not may("create", name), name
