"""Two injected Pods on one node, as processes in networks of their own. Run below `unshare --net --pid --mount-proc`.

    captured_world.py DIRECTORY

Containers are started from what injection puts into a Pod: `istio-init` sets its rules, `istio-proxy` runs the agent and
Envoy as user 1337. Each Pod has a network, the node a bridge between them, and a control plane runs on the node. Prints
as JSON who answered which call.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from controlplane.webhooks.injection.decision import Namespace
from controlplane.webhooks.injection.render import Injected, inject
from controlplane.webhooks.injection.settings import InjectionSettings
from tests.envoys.binary import envoy_binary

NODE, VIP = "10.1.1.254", "10.96.0.10"
CLIENT, CART = "10.1.1.1", "10.1.1.2"
HTTP, RAW, EXCLUDED = 8080, 9000, 7070
PROBE = {"httpGet": {"port": HTTP, "path": "/ready"}}
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""
LATEEN = [sys.executable, "-m", "controlplane.cli.main"]
AGENT = [sys.executable, "-m", "controlplane.agent"]
PATIENCE = 60.0


def pod(app: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-1", "namespace": "shop", "labels": {"app": app},
            "annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": str(EXCLUDED)},
        },
        "spec": {
            "serviceAccountName": app,
            "containers": [{"name": app, "ports": [{"containerPort": HTTP}], "readinessProbe": PROBE}],
        },
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }  # fmt: skip


def manifests(pods: Sequence[Any]) -> list[dict[str, Any]]:
    ports = [{"name": "http", "port": 80, "targetPort": HTTP}, {"name": "tcp-raw", "port": RAW, "targetPort": RAW}]
    service = {"clusterIP": VIP, "selector": {"app": "cart"}, "ports": ports}
    backend = {"addresses": [CART], "targetRef": {"kind": "Pod", "name": "cart-1", "namespace": "shop"}}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"}, "spec": service},
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "cart-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
            "ports": [{"name": "http", "port": HTTP}, {"name": "tcp-raw", "port": RAW}],
            "endpoints": [{**backend, "conditions": {"ready": True}}],
        },
        *pods,
    ]  # fmt: skip


class Node:
    """Where everything runs; leaving it is the caller's: it ends the namespace."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mesh = directory / "mesh"
        self.networks: dict[str, int] = {}

    def prepare(self) -> None:
        self.mesh.mkdir()
        ip("link", "set", "lo", "up")
        ip("link", "add", "node0", "type", "bridge")
        ip("addr", "add", f"{NODE}/24", "dev", "node0")
        ip("link", "set", "node0", "up")

    def network(self, app: str, address: str) -> None:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        self.networks[app] = holder.pid
        ip("link", "add", f"to-{app}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        ip("link", "set", f"to-{app}", "master", "node0", "up")
        for words in (
            ["link", "set", "lo", "up"],
            ["link", "set", "eth0", "up"],
            ["addr", "add", f"{address}/24", "dev", "eth0"],
        ):
            subprocess.run([*self.inside(app), "ip", *words], check=True)
        subprocess.run([*self.inside(app), "ip", "route", "add", "default", "via", NODE], check=True)

    def inside(self, app: str) -> list[str]:
        return ["nsenter", "-t", str(self.networks[app]), "--net"] if app else []

    def control_plane(self, objects: Sequence[Any]) -> None:
        (self.mesh / "objects.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        serve = [*LATEEN, "serve", ".", "--listen", f"{NODE}:15012", "--identity", f"{NODE}:15013"]
        with (self.directory / "serve.log").open("w") as log:
            subprocess.Popen(serve, cwd=self.mesh, stdout=log, stderr=log)
        self.until(lambda: next(iter((self.mesh / ".lateen").rglob("trusted.pem")), None))

    def until(self, found: Any) -> Any:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if answer := found():
                return answer
            time.sleep(0.05)
        logs = "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in self.directory.glob("*.log"))
        raise AssertionError(f"not within {PATIENCE:.0f} s\n{logs}")

    def start(self, app: str, manifest: dict[str, Any], address: str) -> None:
        """The containers of injection, in their order."""
        rules, proxy = manifest["spec"]["initContainers"]
        subprocess.run([*self.inside(app), *AGENT, "capture", *rules["args"]], check=True, capture_output=True)
        token, roots = self.directory / f"{app}.token", self.directory / "roots.pem"
        asked = [*LATEEN, "ca", "token", f"shop/{app}"]
        token.write_text(
            self.until(lambda: subprocess.run(asked, check=False, cwd=self.mesh, capture_output=True, text=True).stdout)
        )
        roots.write_bytes(next((self.mesh / ".lateen").rglob("trusted.pem")).read_bytes())
        home = self.directory / app
        home.mkdir()
        os.chown(home, 1337, 1337)
        fields = {
            "metadata.name": f"{app}-1", "metadata.namespace": "shop", "status.podIP": address,
            "spec.serviceAccountName": app, "spec.nodeName": "node",
        }  # fmt: skip
        said = {
            one["name"]: one.get("value") or fields[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in proxy["env"]
        }
        role, *flags = [word.replace("$(POD_NAMESPACE)", "shop") for word in proxy["args"]]
        here = [f"--directory={home}/proxy", f"--token-file={token}", f"--roots={roots}", f"--envoy={envoy_binary()}"]
        # Of root's rights only that to read what stands in somebody's home: this checkout.
        rights = [
            "--inh-caps=-all,+dac_read_search",
            "--ambient-caps=-all,+dac_read_search",
            "--bounding-set=-all,+dac_read_search",
        ]
        as_proxy = ["setpriv", "--reuid=1337", "--regid=1337", "--clear-groups", *rights]
        with (self.directory / f"{app}.log").open("w") as log:
            environment = {**os.environ, **said, "CA_ADDR": f"{NODE}:15013"}
            command = [*self.inside(app), *as_proxy, *AGENT, role, *flags, *here, "--concurrency=1"]
            subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def ready(self, app: str) -> None:
        self.until(lambda: self.call(app, "http://127.0.0.1:15021/healthz/ready").startswith("200"))

    def call(self, app: str, url: str, host: str = "") -> str:
        named = ["-H", f"Host: {host}"] if host else []
        curl = [*self.inside(app), "curl", "-s", "-m", "5", "-w", "\n%{http_code}", *named, url]
        body, _, status = subprocess.run(curl, capture_output=True, text=True, check=False).stdout.rpartition("\n")
        return f"{status} {body}".strip()

    def connect(self, app: str, address: str, port: int) -> str:
        greet = [*self.inside(app), sys.executable, __file__, "connect", address, str(port)]
        return subprocess.run(greet, capture_output=True, text=True, check=False).stdout


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def application() -> None:
    """HTTP that says who called, a server that speaks first, and a port that is not captured."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            client = self.headers.get("x-forwarded-client-cert", "URI=nobody").rpartition("URI=")[2]
            body = f"{self.client_address[0]} {client}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    threading.Thread(target=ThreadingHTTPServer(("", HTTP), Answers).serve_forever, daemon=True).start()
    for port in (RAW, EXCLUDED):
        threading.Thread(target=_greets, args=(port,), daemon=True).start()
    print("listening", flush=True)
    threading.Event().wait()


def _greets(port: int) -> None:
    listener = socket.create_server(("", port))
    while True:
        connection, caller = listener.accept()
        connection.sendall(f"welcome, {caller[0]}".encode())
        connection.close()


def greeted(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(100).decode() or "closed"
    except OSError:
        return "refused"


def calls(node: Node) -> Iterator[tuple[str, str]]:
    yield "the service", node.call("client", f"http://{VIP}/", "cart.shop")
    yield "the service, raw", node.connect("client", VIP, RAW)
    yield "the Pod itself", node.call("client", f"http://{CART}:{HTTP}/")
    yield "itself, by its service", node.call("cart", f"http://{VIP}/", "cart.shop")
    yield "itself, by its address", node.call("cart", f"http://{CART}:{HTTP}/")
    yield "somebody outside", node.connect("client", NODE, RAW)
    yield "the node calls in plain text", node.call("", f"http://{CART}:{HTTP}/")
    yield "the node probes", node.call("", f"http://{CART}:15020/app-health/cart/readyz")
    yield "the node calls a port that is left out", node.connect("", CART, EXCLUDED)


def main(directory: Path) -> None:
    node = Node(directory)
    node.prepare()
    threading.Thread(target=_greets, args=(RAW,), daemon=True).start()
    pods = {"client": CLIENT, "cart": CART}
    injected = {}
    for app, address in pods.items():
        node.network(app, address)
        outcome = inject(InjectionSettings(), Namespace("shop"), pod(app, address))
        assert isinstance(outcome, Injected)
        injected[app] = dict(outcome.pod)
    node.control_plane(manifests(list(injected.values())))
    served = subprocess.Popen(
        [*node.inside("cart"), sys.executable, __file__, "application"], stdout=subprocess.PIPE, text=True
    )
    assert served.stdout is not None
    assert served.stdout.readline() == "listening\n"
    for app, address in pods.items():
        node.start(app, injected[app], address)
    for app in pods:
        node.ready(app)
    permissive = dict(calls(node))
    (node.mesh / "strict.yaml").write_text(STRICT)
    node.until(lambda: not node.call("", f"http://{CART}:{HTTP}/").startswith("200"))
    print(json.dumps({"permissive": permissive, "strict": dict(calls(node))}))


if __name__ == "__main__":
    if sys.argv[1] == "application":
        application()
    elif sys.argv[1] == "connect":
        print(greeted(sys.argv[2], int(sys.argv[3])), end="")
    else:
        main(Path(sys.argv[1]))
