"""A service in the mesh that answers with one text, and a Pod to call it from."""

from typing import Any

from e2e.cluster.node import CHECKOUT
from e2e.kubectl import Kubectl, eventually
from e2e.manifests import container, deployment, pod, pod_spec, service

_SERVER = (CHECKOUT / "examples/server.py").read_text()
_ENVIRONMENT = [{"name": "HOST", "value": "0.0.0.0"}, {"name": "PORT", "value": "8080"}]
# Callers hear a moment later that a Pod is to end: until then it serves on (docs/injection.md).
_LINGERS = {"preStop": {"sleep": {"seconds": 2}}}


def web(name: str, text: str, replicas: int = 1) -> list[dict[str, Any]]:
    """A Deployment and its Service, on port 80."""
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    server = container(
        "server", "python3", "-c", _SERVER, text, env=_ENVIRONMENT, readinessProbe=probe, lifecycle=_LINGERS
    )
    made = deployment(name, replicas, {**pod_spec(server), "terminationGracePeriodSeconds": 30})
    made["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return [made, service(name, [{"name": "http", "port": 80, "targetPort": 8080}])]


def caller(name: str = "client", **labels: str) -> dict[str, Any]:
    """A Pod that does nothing by itself."""
    made = pod(name, container("client", "sleep", "infinity"))
    made["metadata"]["labels"] |= labels
    return made


def joined(kubectl: Kubectl, label: str = "istio-injection=enabled") -> None:
    """Pods that are made in this namespace from now on are in the mesh."""
    kubectl("label", "namespace", kubectl.namespace, label, "--overwrite")


def stands(kubectl: Kubectl, *manifests: dict[str, Any]) -> Kubectl:
    """A server and its caller in the mesh, and whatever else is said; returns when calls arrive."""
    joined(kubectl)
    kubectl.apply(*manifests, caller())
    kubectl.rolled_out("deployment/server")
    kubectl.waited("pod/client", "condition=Ready")
    ask = ("curl", "--silent", "--fail", "--max-time", "5", "http://server/")
    eventually(lambda: kubectl.ran("client", *ask, container="client"))
    return kubectl


def answering(text: str, host: str = "server") -> dict[str, Any]:
    """A VirtualService by which the proxies of callers answer with another text."""
    rule = {"directResponse": {"status": 200, "body": {"string": f"{text}\n"}}}
    return virtual_service(host, hosts=[host], http=[rule])


def virtual_service(name: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": name}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec}
