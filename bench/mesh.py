"""The mesh that benchmarks measure: N services of 5 endpoints, every fifth with rules, as values in memory.

Decoding is measured apart, so objects are made as values. Every fifth service has a DestinationRule with two subsets
and a VirtualService (90/10, a header match, timeout, retries); services are spread over 20 namespaces. Every Pod has a
sidecar, proxies have certificates and call one another under mutual TLS, as wherever Lateen is installed.
"""

from collections.abc import Iterator
from typing import Any

from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from controlplane.model.proxy import Proxy, ProxyType
from controlplane.model.settings import Settings

SETTINGS = Settings(workload_certificates=True)
NAMESPACES = 20
ENDPOINTS = 5
PORT = 80


def service_name(index: int) -> tuple[str, str]:
    """(namespace, name)."""
    return f"ns-{index % NAMESPACES}", f"svc-{index}"


def documents(index: int) -> Iterator[dict]:
    """The objects of one service, as their authors write them."""
    namespace, name = service_name(index)
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": f"10.{64 + index // 65536}.{index // 256 % 256}.{index % 256}",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": PORT, "targetPort": 8080}],
        },
    }
    for number in range(ENDPOINTS):
        yield pod(index, number)
    yield endpoint_slice(index, range(ENDPOINTS))
    if index % 5 == 0:
        yield destination_rule(index)
        yield virtual_service(index, 90)


def pod_address(index: int, number: int) -> str:
    place = index * ENDPOINTS + number
    return f"10.{128 + place // 65536}.{place // 256 % 256}.{place % 256}"


def pod(index: int, number: int) -> dict:
    namespace, name = service_name(index)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-{number}",
            "namespace": namespace,
            "labels": {"app": name, "version": "v1" if number % 2 else "v2", "security.istio.io/tlsMode": "istio"},
        },
        "spec": {"serviceAccountName": name},
        "status": {"podIP": pod_address(index, number), "phase": "Running"},
    }


def endpoint_slice(index: int, numbers) -> dict:
    namespace, name = service_name(index)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {
                "addresses": [pod_address(index, number)],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": f"{name}-{number}", "namespace": namespace},
            }
            for number in numbers
        ],
    }


def destination_rule(index: int, connect_timeout: str = "5s") -> dict:
    namespace, name = service_name(index)
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "host": name,
            "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": connect_timeout}}},
            "subsets": [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")],
        },
    }


def virtual_service(index: int, weight: int) -> dict:
    namespace, name = service_name(index)

    def to(subset: str, share: int) -> dict:
        return {"destination": {"host": name, "subset": subset}, "weight": share}

    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "hosts": [name],
            "http": [
                {
                    "match": [{"headers": {"x-canary": {"exact": "1"}}}],
                    "route": [to("v2", 100)],
                    "timeout": "5s",
                    "retries": {"attempts": 3, "perTryTimeout": "2s"},
                },
                {
                    "route": [to("v1", weight), to("v2", 100 - weight)],
                    "timeout": "5s",
                    "retries": {"attempts": 3, "perTryTimeout": "2s"},
                },
            ],
        },
    }


def peer_authentication(mode: str, port: int, number: int = 0) -> dict:
    """For one client (see `sidecar`): its mode, and another one for a port."""
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": f"client-{number}", "namespace": "ns-0"},
        "spec": {
            "selector": {"matchLabels": {"app": f"client-{number}"}},
            "mtls": {"mode": mode},
            "portLevelMtls": {str(port): {"mode": "PERMISSIVE"}},
        },
    }


def authorization_policy(account: str, number: int = 0) -> dict:
    """For one client: who may call it."""
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": f"client-{number}", "namespace": "ns-0"},
        "spec": {
            "selector": {"matchLabels": {"app": f"client-{number}"}},
            "action": "ALLOW",
            "rules": [
                {
                    "from": [{"source": {"principals": [f"cluster.local/ns/ns-0/sa/{account}"]}}],
                    "to": [{"operation": {"methods": ["GET"], "paths": ["/api/*"]}}],
                }
            ],
        },
    }


def value_of(document: dict) -> Any:
    """One object; a benchmark's own objects have no problems."""
    decoded = decode(document)
    assert decoded.value is not None, decoded.problems
    assert not decoded.problems, decoded.problems
    return decoded.value


def objects(services: int) -> dict[ObjectRef, Any]:
    """The whole mesh."""
    values = (value_of(document) for index in range(services) for document in documents(index))
    return {ref_of(value): value for value in values}


def sidecar(number: int = 0, namespace: str = "ns-0", labels: dict[str, str] | None = None) -> Proxy:
    """A sidecar of a workload of its own, which no service selects."""
    name = f"client-{number}"
    return Proxy(
        id=f"sidecar~10.200.{number // 256}.{number % 256}~{name}.{namespace}~{namespace}.svc.cluster.local",
        type=ProxyType.SIDECAR,
        namespace=namespace,
        name=name,
        labels=labels or {"app": name},
        ips=(f"10.200.{number // 256}.{number % 256}",),
    )
