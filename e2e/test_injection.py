"""Pods of all kinds with the sidecar in the way: they start, work, and end as without it."""

import ast
from typing import Any

import pytest

from e2e.kubectl import Kubectl, KubectlError, eventually
from e2e.manifests import container, deployment, job, pod, pod_spec, service

pytestmark = pytest.mark.usefixtures("mesh")

# HTTP that says who called and as whom; TCP that speaks first; UDP that says it again.
_SERVER = """
import socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        certificate = self.headers.get("x-forwarded-client-cert", "URI=nobody")
        body = f"{self.client_address[0]} {certificate.rpartition('URI=')[2]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
def greets():
    listener = socket.create_server(("", 9000))
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"welcome")
        connection.close()
def echoes():
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind(("", 9001))
    while True:
        data, caller = port.recvfrom(1000)
        port.sendto(data, caller)
for work in (greets, echoes):
    threading.Thread(target=work, daemon=True).start()
ThreadingHTTPServer(("", 8080), Answers).serve_forever()
"""
_GREETED = "import socket; print(socket.create_connection(('server', 9000), 5).recv(100).decode())"
_ECHOED = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5);"
    " s.sendto(b'again', ('server', 9001)); print(s.recv(100).decode())"
)
_PORTS = [
    {"name": "http", "port": 80, "targetPort": "web"},
    {"name": "tcp-greets", "port": 9000, "targetPort": 9000},
    {"name": "udp-echoes", "port": 9001, "targetPort": 9001, "protocol": "UDP"},
]
_CURL = ("curl", "--silent", "--fail", "--max-time", "5", "--retry", "20", "--retry-all-errors", "--retry-delay", "1")
PAST = "127.0.0.6"


@pytest.fixture
def shop(kubectl: Kubectl) -> Kubectl:
    """A namespace that is in the mesh."""
    kubectl("label", "namespace", kubectl.namespace, "istio-injection=enabled")
    return kubectl


def _server(**more: Any) -> dict[str, Any]:
    probes = {
        "startupProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1},
        "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5},
    }
    ports = [{"containerPort": 8080, "name": "web"}]
    return container("server", "python3", "-c", _SERVER, ports=ports, **{**probes, **more})


def _client() -> dict[str, Any]:
    return pod("client", container("client", "sleep", "infinity"))


def _names(kubectl: Kubectl, selector: str, field: str) -> list[list[str]]:
    items = kubectl.json("get", "pods", "--selector", selector)["items"]
    return [[one["name"] for one in item["spec"].get(field) or []] for item in items]


def test_calls_arrive_with_the_callers_identity(shop: Kubectl) -> None:
    shop.apply(deployment("server", 2, pod_spec(_server())), service("server", _PORTS), _client())
    shop.rolled_out("deployment/server")
    shop.waited("pod/client", "condition=Ready")
    assert _names(shop, "app=server", "initContainers") == [["istio-init", "istio-proxy"]] * 2

    caller = f"spiffe://cluster.local/ns/{shop.namespace}/sa/default"
    eventually(lambda: shop.ran("client", *_CURL, "http://server/", container="client"), f"{PAST} {caller}".__eq__)
    assert shop.ran("client", "python3", "-c", _GREETED, container="client") == "welcome\n"
    assert shop.ran("client", "python3", "-c", _ECHOED, container="client") == "again\n"

    shop("apply", "--filename", "-", data=_strict(shop.namespace))
    plain = pod("plain", container("plain", "sleep", "infinity"))
    plain["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    shop.apply(plain)
    shop.waited("pod/plain", "condition=Ready")
    assert _names(shop, "app=plain", "initContainers") == [[]]
    once = ("curl", "--silent", "--fail", "--max-time", "2", "http://server/")
    eventually(lambda: _fails(shop, "plain", *once))
    assert shop.ran("client", *_CURL, "http://server/", container="client") == f"{PAST} {caller}"
    shop.rolled_out("deployment/server")  # probes go on under STRICT


def _fails(kubectl: Kubectl, name: str, *command: str) -> bool:
    try:
        kubectl.ran(name, *command)
    except KubectlError:
        return True
    return False


def _strict(namespace: str) -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: {namespace}}}
spec: {{mtls: {{mode: STRICT}}}}
"""


def test_init_containers_and_jobs_have_the_mesh_and_jobs_end_by_themselves(shop: Kubectl) -> None:
    shop.apply(deployment("server", 1, pod_spec(_server())), service("server", _PORTS))
    shop.rolled_out("deployment/server")
    asks = container("asks", *_CURL, "http://server/")
    work = container("work", *_CURL, "http://server/")
    shop.apply(job("once", pod_spec(work, initContainers=[asks])))
    shop.waited("job/once", "condition=Complete")
    for name in ("asks", "work"):
        assert "spiffe://cluster.local/ns/" in shop("logs", "job/once", f"--container={name}")


def test_a_stateful_set_is_called_by_the_names_of_its_pods(shop: Kubectl) -> None:
    spec = {
        "serviceName": "server",
        "replicas": 2,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "server"}},
        "template": {"metadata": {"labels": {"app": "server"}}, "spec": pod_spec(_server())},
    }
    stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "server"}, "spec": spec}
    headless = service("server", [{"name": "http", "port": 8080}], clusterIP="None")
    shop.apply(stateful, headless, _client())
    shop.rolled_out("statefulset/server")
    shop.waited("pod/client", "condition=Ready")
    for name in ("server-0", "server-1"):
        assert shop.ran("client", *_CURL, f"http://{name}.server:8080/", container="client").startswith(PAST)


def test_what_is_wrong_is_said_to_whoever_applies_it(shop: Kubectl) -> None:
    wrong = _client()
    wrong["metadata"]["annotations"] = {"sidecar.istio.io/proxyCPU": "much", "sidecar.istio.io/logLevel": "loud"}
    with pytest.raises(KubectlError, match="the sidecar cannot be injected") as refused:
        shop.apply(wrong)
    assert "proxyCPU 'much' is no quantity" in str(refused.value)
    assert "logLevel 'loud' is none of" in str(refused.value)
    shop.apply(pod("node", container("node", "sleep", "infinity"), hostNetwork=True))
    shop.waited("pod/node", "condition=Ready")
    assert _names(shop, "app=node", "initContainers") == [[]]


# Calls until it is told to stop, on four connections; prints what came of how many calls.
_LOAD = """
import collections, http.client, os, threading
outcomes = collections.Counter()
def calls():
    connection = http.client.HTTPConnection("server", timeout=10)
    while not os.path.exists("/tmp/stop"):
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
            outcomes[str(answer.status) if answer.status == 200 else f"{answer.status} {body[:200]}"] += 1
        except (OSError, http.client.HTTPException) as error:
            outcomes[repr(error)] += 1
            connection.close()
threads = [threading.Thread(target=calls) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(dict(outcomes), flush=True)
"""
# Serves for two seconds more when it is asked to end: callers hear of it a moment later.
_LINGERS = """
import os, signal, threading, time
def ends(*_):
    threading.Thread(target=lambda: (time.sleep(2), os._exit(0))).start()
signal.signal(signal.SIGTERM, ends)
"""


def test_a_rolling_restart_under_load(shop: Kubectl) -> None:
    server = container(
        "server", "python3", "-c", _LINGERS + _SERVER, ports=[{"containerPort": 8080, "name": "web"}],
        readinessProbe={"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
    )  # fmt: skip
    restarted = deployment("server", 2, {**pod_spec(server), "terminationGracePeriodSeconds": 30})
    restarted["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    shop.apply(restarted, service("server", _PORTS))
    shop.rolled_out("deployment/server")
    load = container("load", "sh", "-c", 'python3 -c "$0"; sleep infinity', _LOAD)
    shop.apply(pod("load", load))
    shop.waited("pod/load", "condition=Ready")
    for _ in range(2):
        shop("rollout", "restart", "deployment/server")
        shop.rolled_out("deployment/server")
    shop.ran("load", "touch", "/tmp/stop", container="load")
    outcomes = ast.literal_eval(eventually(lambda: shop("logs", "load", "--container=load")))
    print(outcomes)
    assert outcomes.pop("200") > 500
    assert outcomes == {}
