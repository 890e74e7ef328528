"""The cluster itself: what tests of the mesh take for granted."""

import subprocess
from typing import Any
from urllib.request import urlopen

import pytest

from e2e.cluster import control, report, store
from e2e.cluster.addresses import LOAD_BALANCERS, NODE_LINK
from e2e.cluster.building import version
from e2e.kubectl import Kubectl, KubectlError, eventually
from e2e.manifests import container, deployment, job, pod, pod_spec, service
from e2e.outside import outside

# Answers with the Pod's name and the caller's address.
_SERVER = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{os.environ['HOSTNAME']} {self.client_address[0]}".encode()
        self.send_response(200 if self.path != "/ready" or os.path.exists("/tmp/ready") else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, form, *values):
        print("asked for", self.path, flush=True)
ThreadingHTTPServer(("", 8080), Answers).serve_forever()
"""
_PORTS = [{"name": "http", "port": 80, "targetPort": 8080}]


def _server(**more: Any) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    return container("server", "python3", "-c", _SERVER, **{"readinessProbe": probe, **more})


def _client() -> dict[str, Any]:
    return pod("client", container("client", "sleep", "infinity"))


def _asked(kubectl: Kubectl, url: str) -> str:
    return kubectl.ran("client", "curl", "--silent", "--fail", "--max-time", "2", url)


def _fetched(url: str) -> str:
    """As the node itself asks."""
    with urlopen(url, timeout=5) as response:
        return str(response.read().decode())


@pytest.mark.node
def test_the_node_runs_what_is_pinned_and_nothing_died_on_the_way(kubectl: Kubectl) -> None:
    (node,) = kubectl.json("get", "nodes")["items"]
    assert node["status"]["nodeInfo"]["kubeletVersion"] == f"v{version('kubernetes')}"
    assert {name: state.deaths for name, state in control.states().items() if state.deaths} == {}


def test_pods_call_each_other_by_the_names_of_services(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("server", 2, pod_spec(_server())), service("server", _PORTS), _client())
    kubectl.rolled_out("deployment/server")
    kubectl.waited("pod/client", "condition=Ready")
    names = {entry["metadata"]["name"] for entry in kubectl.json("get", "pods", "-l", "app=server")["items"]}
    own = kubectl.json("get", "pod", "client")["status"]["podIP"]

    for name in names:
        # The caller's address is kept.
        eventually(lambda: _asked(kubectl, "http://server"), f"{name} {own}".__eq__)
    assert _asked(kubectl, f"http://server.{kubectl.namespace}.svc.cluster.local")
    with pytest.raises(KubectlError):
        _asked(kubectl, "http://nobody")


def test_a_pod_that_is_not_ready_gets_no_calls_and_one_that_fails_is_started_again(kubectl: Kubectl) -> None:
    readiness = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
    liveness = {"exec": {"command": ["test", "!", "-e", "/tmp/dead"]}, "periodSeconds": 1, "failureThreshold": 1}
    server = pod("server", _server(readinessProbe=readiness, livenessProbe=liveness))
    kubectl.apply(server, service("server", _PORTS), _client())
    kubectl.waited("pod/client", "condition=Ready")
    kubectl.waited("pod/server", "condition=PodReadyToStartContainers")
    with pytest.raises(KubectlError):
        _asked(kubectl, "http://server")

    eventually(lambda: kubectl.ran("server", "touch", "/tmp/ready") == "")
    kubectl.waited("pod/server", "condition=Ready")
    eventually(lambda: _asked(kubectl, "http://server"))

    kubectl.ran("server", "touch", "/tmp/dead")
    eventually(lambda: kubectl.json("get", "pod", "server")["status"]["containerStatuses"][0]["restartCount"] == 1)


def test_people_look_inside(kubectl: Kubectl) -> None:
    """exec, logs, port-forward: the ways through the API server to kubelet that the command line takes, too."""
    kubectl.apply(pod("server", _server()))
    kubectl.waited("pod/server", "condition=Ready")

    assert kubectl.ran("server", "cat", "/proc/1/comm") == "python3\n"
    with _forwarded(kubectl, "pod/server", 8080) as port:
        assert _fetched(f"http://127.0.0.1:{port}/forwarded").split()[0] == "server"
    assert "asked for /forwarded" in kubectl("logs", "server")


class _forwarded:  # noqa: N801  (reads as a verb where it is used)
    """kubectl port-forward to a port it chooses."""

    def __init__(self, kubectl: Kubectl, what: str, port: int) -> None:
        command = ["kubectl", "--namespace", kubectl.namespace, "port-forward", what, f":{port}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 8080
        return int(line.split(" -> ")[0].rpartition(":")[2])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


def test_a_job_completes_by_itself_beside_a_native_sidecar(kubectl: Kubectl) -> None:
    sidecar = container(
        "sidecar",
        "python3",
        "-c",
        _SERVER,
        restartPolicy="Always",
        startupProbe={"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    )
    work = container("work", "curl", "--silent", "--fail", "http://127.0.0.1:8080/")
    kubectl.apply(job("once", pod_spec(work, initContainers=[sidecar])))
    kubectl.waited("job/once", "condition=Complete")
    assert kubectl("logs", "job/once", "--container=work").endswith(" 127.0.0.1")


def test_an_init_container_redirects_what_a_pod_sends(kubectl: Kubectl) -> None:
    """All of traffic capture stands on this: an init container's rights, iptables of both kinds, owners in rules."""
    rules = " && ".join(
        f"{tables} -t nat -A OUTPUT -p tcp --dport {port} -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 8080"
        for tables, port in (("iptables-nft", 8001), ("iptables-legacy", 8002))
    )
    rights = {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}, "allowPrivilegeEscalation": False}
    redirect = container("redirect", "sh", "-c", rules, securityContext=rights)
    client = container("client", "sleep", "infinity")
    proxy = container("proxy", "sleep", "infinity", securityContext={"runAsUser": 1337})
    kubectl.apply(pod("client", _server(), client, proxy, initContainers=[redirect]))
    kubectl.waited("pod/client", "condition=Ready")

    for port in (8001, 8002):
        call = ("curl", "--silent", "--max-time", "2", f"http://10.96.0.1:{port}/")
        assert kubectl.ran("client", *call, container="client").startswith("client ")
        with pytest.raises(KubectlError):
            kubectl.ran("client", *call, container="proxy")


@pytest.mark.node
def test_clients_outside_reach_a_load_balancer_and_keep_their_address(kubectl: Kubectl) -> None:
    balanced = service("server", _PORTS, type="LoadBalancer", externalTrafficPolicy="Local")
    kubectl.apply(deployment("server", 1, pod_spec(_server())), balanced)
    kubectl.rolled_out("deployment/server")

    def addresses() -> list[str]:
        status = kubectl.json("get", "service", "server")["status"]
        return [entry["ip"] for entry in status["loadBalancer"].get("ingress", ())]

    (address,) = eventually(addresses)
    assert address.rpartition(".")[0] == LOAD_BALANCERS[0].rpartition(".")[0]
    with outside() as client:
        answer = eventually(lambda: client.fetched(f"http://{address}/"))
        assert answer.split()[1] == client.address

    kubectl("delete", "service", "server")
    links = ["ip", "-o", "addr", "show", "dev", NODE_LINK]
    eventually(lambda: address not in subprocess.run(links, capture_output=True, text=True, check=True).stdout)


@pytest.mark.node
def test_the_api_server_goes_away_and_comes_back(kubectl: Kubectl) -> None:
    kubectl.apply(pod("server", _server()))
    kubectl.waited("pod/server", "condition=Ready")
    address = kubectl.json("get", "pod", "server")["status"]["podIP"]
    with control.stopped("kube-apiserver"):
        with pytest.raises(KubectlError, match="refused"):
            kubectl("get", "pods")
        assert _fetched(f"http://{address}:8080/"), "Pods run on"
    eventually(lambda: kubectl("get", "pod", "server"))


@pytest.mark.node
def test_history_is_forgotten_when_it_is_compacted(kubectl: Kubectl) -> None:
    """What a control plane meets that was cut off for long: its place in the history is no more."""
    before = kubectl.json("get", "serviceaccount", "default")["metadata"]["resourceVersion"]
    kubectl("create", "configmap", "later")
    with control.stopped("kube-apiserver"):
        assert store.compact() > int(before)
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps?watch=1&timeoutSeconds=1&resourceVersion={before}"

    def refusal() -> str:
        try:
            return kubectl("get", "--raw", path)
        except KubectlError as error:
            return str(error)

    eventually(refusal, lambda answer: "too old resource version" in answer)


@pytest.mark.node
def test_what_a_pod_uses_is_measured(kubectl: Kubectl) -> None:
    holds = "import time; held = bytearray(80 << 20); time.process_time() < 0.5 and sum(range(10**7)); time.sleep(600)"
    kubectl.apply(pod("holds", container("holds", "python3", "-c", holds)))
    kubectl.waited("pod/holds", "condition=Ready")
    uid = kubectl.json("get", "pod", "holds")["metadata"]["uid"]
    used = eventually(lambda: report.of_pod(uid), lambda used: used.memory > 80)
    assert used.memory < 160
    assert 0.05 < used.cpu < 60
