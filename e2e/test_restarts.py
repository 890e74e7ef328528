"""Point 3: what callers notice when the application, or the control plane, is restarted. Nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self
from uuid import uuid4

import pytest

from e2e.cluster import report
from e2e.cluster.node import CHECKOUT
from e2e.kubectl import Kubectl, eventually
from e2e.load import Load
from e2e.manifests import container, deployment, pod, pod_spec, service
from e2e.mesh import CONTROL_PLANE, NAMESPACE, installed, lateen
from e2e.metrics import of_envoy
from tests.conftest import Proved, Size

pytestmark = [pytest.mark.point, pytest.mark.timeout(1800)]

SYSTEM = Kubectl(NAMESPACE)
HOST = "server.example.com"
# Ends in the moment in which it is asked to, whatever it is at.
AT_ONCE = "import os, signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n"
ANSWERS = (CHECKOUT / "examples/server.py").read_text()
# What Envoy counts when something of its configuration goes, or is made anew: callers would have to connect again.
DRAINED = (
    "listener_manager_listener_in_place_updated",
    "listener_manager_listener_modified",
    "listener_manager_listener_removed",
    "cluster_manager_cluster_modified",
    "cluster_manager_cluster_removed",
)


@pytest.fixture(scope="module")
def shop() -> Iterator[Kubectl]:
    """A server of two Pods, behind the gateway as well; a client in the mesh, and one that is not."""
    own = Kubectl(f"e2e-{uuid4().hex[:8]}")
    with installed("demo"):
        own("create", "namespace", own.namespace)
        own("label", "namespace", own.namespace, "istio-injection=enabled")
        eventually(lambda: own("get", "serviceaccount", "default"))
        own.apply(_server(), service("server", [{"name": "http", "port": 80, "targetPort": 8080}]), *_edge())
        own.apply(_client("inside"), _client("outside", inject="false"))
        own.rolled_out("deployment/server")
        for name in ("inside", "outside"):
            own.waited(f"pod/{name}", "condition=Ready")
        lateen("wait", "virtualservice/server", "-n", own.namespace, "--namespace", NAMESPACE)
        try:
            yield own
        finally:
            own("delete", "namespace", own.namespace, "--wait=false")


def _server() -> dict[str, Any]:
    probe = {"readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 10}}
    port = {"env": [{"name": "PORT", "value": "8080"}]}
    server = container("server", "python3", "-c", AT_ONCE + ANSWERS, "served", **probe, **port)
    found = deployment("server", 2, {**pod_spec(server), "terminationGracePeriodSeconds": 30})
    found["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return found


def _client(name: str, **labels: str) -> dict[str, Any]:
    found = pod(name, container(name, "sleep", "infinity"))
    found["metadata"]["labels"] |= {f"sidecar.istio.io/{key}": value for key, value in labels.items()}
    return found


def _edge() -> list[dict[str, Any]]:
    api, meta = "networking.istio.io/v1", {"name": "server"}
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    gateway = {"selector": {"istio": "ingressgateway"}, "servers": [{"port": port, "hosts": [HOST]}]}
    route = {"hosts": [HOST], "gateways": ["server"], "http": [{"route": [{"destination": {"host": "server"}}]}]}
    return [
        {"apiVersion": api, "kind": "Gateway", "metadata": meta, "spec": gateway},
        {"apiVersion": api, "kind": "VirtualService", "metadata": meta, "spec": route},
    ]


def loads(kubectl: Kubectl) -> dict[str, Load]:
    """By the way that calls take."""
    gateway = SYSTEM.json("get", "service", "istio-ingressgateway")["spec"]["clusterIP"]
    return {
        "a client's sidecar": Load(kubectl, "pod/inside", "http://server/", connections=4),
        "the ingress gateway": Load(kubectl, "pod/outside", f"http://{HOST}/", to=f"{gateway}:80", connections=4),
        "kube-proxy, from a Pod that is in no mesh": Load(kubectl, "pod/outside", "http://server/", connections=2),
    }


class Under:
    """Load in all ways while something is done again and again, until enough was called."""

    def __init__(self, kubectl: Kubectl, rounds: int, calls: int) -> None:
        """`calls`: in each way, at least."""
        self.loads = loads(kubectl)
        self._rounds = rounds
        self._calls = calls

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        for load in self.loads.values():
            self._stack.enter_context(load)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rounds(self) -> Iterator[int]:
        for number in range(self._rounds):
            yield number
            for load in self.loads.values():
                load.wait_for(self._calls // self._rounds)

    def record(self, proved: Proved, what: str) -> None:
        for way, load in self.loads.items():
            account = load.account
            print(what, way, account)
            proved(
                "kubernetes 3", f"calls that failed while {what}, through {way}",
                bound="0", figure=f"{account.failed.total()} of {account.total:,}, slowest {account.slowest:.2f} s",
                holds=not account.failed and account.answers.keys() == {b"served\n"},
                cases=account.total, asked=self._calls,
            )  # fmt: skip


def test_the_application_is_restarted(shop: Kubectl, size: Size, proved: Proved) -> None:
    """Its process ends at once when it is asked to: whoever calls it a moment later must be somewhere else already."""
    with Under(shop, size(2, 10), size(2000, 20_000)) as under:
        for _ in under.rounds():
            shop("rollout", "restart", "deployment/server")
            shop.rolled_out("deployment/server")
    under.record(proved, "the application is restarted Pod by Pod")


def test_the_control_plane_is_restarted(shop: Kubectl, size: Size, proved: Proved) -> None:
    before = drained(shop)
    with Under(shop, size(1, 10), size(2000, 20_000)) as under:
        for _ in under.rounds():
            SYSTEM("rollout", "restart", f"deployment/{CONTROL_PLANE}")
            SYSTEM.rolled_out(f"deployment/{CONTROL_PLANE}")
            is_back(shop)
    under.record(proved, "the control plane is restarted")
    record_drained(proved, before, drained(shop), "is restarted")


@pytest.mark.node
def test_the_control_plane_is_killed(shop: Kubectl, size: Size, proved: Proved) -> None:
    before = drained(shop)
    with Under(shop, size(1, 10), size(2000, 20_000)) as under:
        for _ in under.rounds():
            starts = restarts()
            kill()
            eventually(lambda starts=starts: restarts() > starts)  # type: ignore[misc]
            SYSTEM.rolled_out(f"deployment/{CONTROL_PLANE}")
            is_back(shop)
    under.record(proved, "the control plane is killed")
    record_drained(proved, before, drained(shop), "is killed")


def is_back(kubectl: Kubectl) -> None:
    """It leads proxies again: a rule reaches all of them."""
    changed = {"metadata": {"annotations": {"round": uuid4().hex}}, "spec": {"http": [_timed()]}}
    kubectl("patch", "virtualservice", "server", "--type=merge", "--patch", str(changed).replace("'", '"'))
    eventually(lambda: bool(lateen("wait", "virtualservice/server", "-n", kubectl.namespace, "--namespace", NAMESPACE)))


def _timed() -> dict[str, Any]:
    return {"route": [{"destination": {"host": "server"}}], "timeout": f"{10 + uuid4().int % 50}s"}


def _control_plane() -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = SYSTEM.json("get", "pods", "--selector", f"app={CONTROL_PLANE}")["items"]
    return items


def restarts() -> int:
    return sum(one["restartCount"] for item in _control_plane() for one in item["status"]["containerStatuses"])


def kill() -> None:
    """SIGKILL: it cannot say goodbye to anybody."""
    for item in _control_plane():
        for pid, command in report.processes_of_pod(item["metadata"]["uid"]).items():
            if "lateen" in command:
                os.kill(pid, signal.SIGKILL)


def drained(kubectl: Kubectl) -> dict[str, int]:
    """Of all Envoys that stay, by Pod and name."""
    pods = [
        *kubectl.json("get", "pods", "--selector", "app in (inside, server)")["items"],
        *SYSTEM.json("get", "pods", "--selector", "istio=ingressgateway")["items"],
    ]
    return {
        f"{one['metadata']['name']}: {name}": count
        for one in pods
        if not one["metadata"].get("deletionTimestamp")
        for name, count in of_envoy(kubectl, "pod/outside", one["status"]["podIP"]).items()
        if name in DRAINED
    }


def record_drained(proved: Proved, before: dict[str, int], after: dict[str, int], what: str) -> None:
    changed = {name: (before.get(name), count) for name, count in after.items() if before.get(name) != count}
    proved(
        "kubernetes 3", f"listeners and clusters that any Envoy drained or made anew while the control plane {what}",
        bound="0", figure=f"{len(changed)} {changed}" if changed else "0", holds=not changed and bool(after),
        cases=len(after), asked=4 * len(DRAINED),
    )  # fmt: skip
