"""Who gets a sidecar, as whom it calls, and what is said where it cannot be. `test_workloads` has all kinds of Pods."""

from typing import Any

import pytest

from e2e.kubectl import Kubectl, KubectlError, eventually
from e2e.manifests import container, deployment, pod, pod_spec, service

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
