"""Objects for tests, written the way their authors write them: only the part a test is about."""

from textwrap import dedent
from typing import Any

import yaml

from controlplane.model import core
from controlplane.model.decode import decode
from controlplane.model.destinationrule import DestinationRule
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.serviceentry import ServiceEntry, WorkloadEntry
from controlplane.model.settings import Settings

SETTINGS = Settings()
SECURED = Settings(workload_certificates=True, trust_domain_aliases=("old.example",))


def manifest(api_version: str, kind: str, body: str, *, name: str, namespace: str = "default", **meta: Any) -> Any:
    """An object from its YAML without the head. What the model refuses is not what these tests are about."""
    document = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **meta},
        **(yaml.safe_load(dedent(body)) or {}),
    }
    decoded = decode(document)
    assert decoded.value is not None, decoded.problems
    return decoded.value


def _spec(body: str) -> str:
    return "spec: {}" if not body.strip() else "spec:\n" + "\n".join("  " + line for line in dedent(body).splitlines())


def service(body: str = "", name: str = "reviews", **meta: Any) -> core.Service:
    found: core.Service = manifest("v1", "Service", _spec(body), name=name, **meta)
    return found


def endpoint_slice(body: str, name: str = "reviews-1", service: str = "reviews", **meta: Any) -> core.EndpointSlice:
    labels = {"kubernetes.io/service-name": service}
    found: core.EndpointSlice = manifest("discovery.k8s.io/v1", "EndpointSlice", body, name=name, labels=labels, **meta)
    return found


def pod(body: str = "", name: str = "reviews-v1-a", **meta: Any) -> core.Pod:
    found: core.Pod = manifest("v1", "Pod", body or "status: {podIP: 10.1.0.1}", name=name, **meta)
    return found


def service_entry(body: str, name: str = "external", **meta: Any) -> ServiceEntry:
    found: ServiceEntry = manifest("networking.istio.io/v1", "ServiceEntry", _spec(body), name=name, **meta)
    return found


def workload_entry(body: str, name: str = "vm", **meta: Any) -> WorkloadEntry:
    found: WorkloadEntry = manifest("networking.istio.io/v1", "WorkloadEntry", _spec(body), name=name, **meta)
    return found


def destination_rule(body: str, name: str = "reviews", **meta: Any) -> DestinationRule:
    found: DestinationRule = manifest("networking.istio.io/v1", "DestinationRule", _spec(body), name=name, **meta)
    return found


def peer_authentication(body: str, name: str = "peers", **meta: Any) -> PeerAuthentication:
    found: PeerAuthentication = manifest("security.istio.io/v1", "PeerAuthentication", _spec(body), name=name, **meta)
    return found
