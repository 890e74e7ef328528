"""What reading a cluster costs: lists over HTTP from an API server in another process, decoded, to the first batch.

Objects are as large as real ones, with what kubelets, controllers and kubectl put on them; answers are made before.

python -m bench.cluster [--services 5000] [--json]
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from multiprocessing.connection import Connection
from random import Random  # noqa: TID251  a benchmark is the same each time
from typing import Any

import msgspec
from aiohttp import web

from bench import report
from bench.machine import apart
from bench.mesh import NAMESPACES, PORT, service_name
from controlplane.model.kinds import BY_NAME, Kind
from controlplane.runtime.clock import SystemClock
from controlplane.sources.kubernetes.access import Access
from controlplane.sources.kubernetes.source import KubernetesSource

RUNS = 3
PAGE = 500
PODS = 2  # of each service
KINDS: Sequence[Kind] = tuple(
    BY_NAME[name]
    for name in (("", "Service"), ("", "Pod"), ("", "Namespace"), ("", "Node"), ("discovery.k8s.io", "EndpointSlice"))
)


# The cluster


def metadata(name: str, namespace: str, version: int, /, **labels: str) -> dict[str, Any]:
    """With the half of an object that nobody wrote."""
    fields: dict[str, Any] = {
        f"f:{field}-{number}": {} for number in range(12) for field in ("metadata", "spec", "status")
    }
    managed = [
        {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-08-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": fields},
        }
        for manager in ("kubectl-client-side-apply", "kube-controller-manager")
    ]
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"0a1b2c3d-0000-4000-8000-{version:012}",
        "resourceVersion": str(version),
        "creationTimestamp": "2026-08-01T00:00:00Z",
        "labels": {"app": name, **labels},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": fields})},
        "managedFields": managed,
    }


def container(number: int) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10}
    return {
        "name": f"container-{number}",
        "image": f"registry.example.com/team/image-{number}:v1.2.3",
        "args": ["--listen=:8080", "--log-level=info"],
        "env": [{"name": f"VARIABLE_{index}", "value": f"value of variable {index}"} for index in range(12)],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": probe,
        "livenessProbe": probe,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": f"volume-{index}", "mountPath": f"/var/lib/{index}"} for index in range(4)],
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }


def pod(index: int, number: int) -> dict[str, Any]:
    namespace, name = service_name(index)
    conditions = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    times = {"lastProbeTime": None, "lastTransitionTime": "2026-08-01T00:00:00Z"}
    return {
        "metadata": metadata(f"{name}-{number}", namespace, 1000 + index * PODS + number, version="v1"),
        "spec": {
            "containers": [container(0), container(1)],
            "initContainers": [container(2)],
            "volumes": [{"name": f"volume-{index}", "configMap": {"name": f"config-{index}"}} for index in range(4)],
            "serviceAccountName": name,
            "nodeName": f"node-{index % 50}",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}] * 2,
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.{128 + index // 128}.{index % 128}.{number + 1}",
            "podIPs": [{"ip": f"10.{128 + index // 128}.{index % 128}.{number + 1}"}],
            "conditions": [{"type": kind, "status": "True", **times} for kind in conditions],
            "containerStatuses": [{"name": f"container-{one}", "ready": True, "restartCount": 0} for one in range(2)],
        },
    }


def service(index: int) -> dict[str, Any]:
    namespace, name = service_name(index)
    address = f"10.{64 + index // 65536}.{index // 256 % 256}.{index % 256}"
    ports = [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}]
    spec = {"clusterIP": address, "clusterIPs": [address], "selector": {"app": name}, "ports": ports}
    return {"metadata": metadata(name, namespace, 50 + index), "spec": spec, "status": {"loadBalancer": {}}}


def endpoint_slice(index: int) -> dict[str, Any]:
    namespace, name = service_name(index)
    endpoints = [
        {
            "addresses": [f"10.{128 + index // 128}.{index % 128}.{number + 1}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{index % 50}",
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{name}-{number}"},
        }
        for number in range(PODS)
    ]
    labels = {"kubernetes.io/service-name": name}
    return {
        "metadata": metadata(f"{name}-x", namespace, 90 + index, **labels),
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def lists(services: int) -> Mapping[str, list[bytes]]:
    """The pages of each list, by path."""
    found: dict[str, list[dict[str, Any]]] = {
        "/api/v1/namespaces": [{"metadata": metadata(f"ns-{number}", "", 10 + number)} for number in range(NAMESPACES)],
        "/api/v1/nodes": [{"metadata": metadata(f"node-{number}", "", 40 + number)} for number in range(50)],
        "/api/v1/services": [service(index) for index in range(services)],
        "/apis/discovery.k8s.io/v1/endpointslices": [endpoint_slice(index) for index in range(services)],
        "/api/v1/pods": [pod(index, number) for index in range(services) for number in range(PODS)],
    }
    return {path: list(pages(items)) for path, items in found.items()}


def pages(items: list[dict[str, Any]]) -> Iterator[bytes]:
    for begin in range(0, len(items), PAGE):
        more = {"continue": str(begin // PAGE + 1)} if begin + PAGE < len(items) else {}
        head = {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1000000", **more}}
        yield msgspec.json.encode({**head, "items": items[begin : begin + PAGE]})


# The API server


def serve(services: int, told: Connection) -> None:
    asyncio.run(_serve(lists(services), told))


async def _serve(answers: Mapping[str, list[bytes]], told: Connection) -> None:
    resource = {
        "resource": "endpointslices",
        "responseKind": {"group": "discovery.k8s.io", "version": "v1", "kind": "EndpointSlice"},
        "verbs": ["list", "watch"],
    }
    group = {"metadata": {"name": "discovery.k8s.io"}, "versions": [{"version": "v1", "resources": [resource]}]}
    catalogue = {"kind": "APIGroupDiscoveryList", "items": [group]}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/apis":
            return web.json_response(catalogue)
        if request.path == "/readyz":
            return web.Response(text="ok")
        if "watch" in request.query:
            await asyncio.sleep(60)
        page = int(request.query.get("continue", "0"))
        return web.Response(body=answers[request.path][page], content_type="application/json")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told.send((runner.addresses[0][1], sum(len(page) for found in answers.values() for page in found)))
    await asyncio.sleep(3600)


@contextmanager
def serving(services: int) -> Iterator[tuple[int, int]]:
    """Its port, and how many bytes all lists have."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(services, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its end is the end of waiting
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


# The measurement


class _Here(msgspec.Struct, frozen=True):
    """See `access.Credentials`."""

    port: int

    async def load(self, configuration: Any) -> None:
        configuration.host = f"http://127.0.0.1:{self.port}"


async def read(port: int) -> dict[str, float]:
    """One source, from nothing to its first batch."""
    access = Access(_Here(port), SystemClock(), Random(7).random)
    async with access.get("/apis", {}, {}):
        pass  # the client is loaded, which happens once
    source = KubernetesSource(access, KINDS, SystemClock(), Random(7).random)
    start, cpu = time.monotonic(), time.process_time()
    async with aclosing(source.batches()) as batches:
        first = await anext(batches)
        found = {"CPU s": time.process_time() - cpu, "wall s": time.monotonic() - start, "objects": len(first.changes)}
    await access.close()
    return found


def measure(services: int) -> dict[str, Any]:
    with serving(services) as (port, size):
        runs = [asyncio.run(read(port)) for _ in range(RUNS)]
    return {
        "services": services,
        "MB": size / 1e6,
        **{name: statistics.median(run[name] for run in runs) for name in runs[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", type=int, default=5000)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    size = ["--services", str(arguments.services)]
    found = measure(arguments.services) if arguments.one else apart("cluster", "--one", *size)
    print(json.dumps(found) if arguments.json else report.of_cluster(found))


if __name__ == "__main__":
    main()
