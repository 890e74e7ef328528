"""Pods and WorkloadEntries -> what callers need to know of a workload.

A Pod is written many times a minute while it merely runs; none of that may reach here, or every status write would
recompile endpoints. So a Workload holds only what changes an answer.
"""

from collections.abc import Mapping
from typing import Final

from controlplane.ir.service import Workload
from controlplane.mesh.problems import NO_PROBLEMS, invalid
from controlplane.model import core
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.serviceentry import WorkloadEntry

TLS_MODE_LABEL: Final = "security.istio.io/tlsMode"  # set by injection: a sidecar terminates mutual TLS here
NETWORK_LABEL: Final = "topology.istio.io/network"
LOCALITY_LABEL: Final = "istio-locality"  # overrides the node's; "." stands for "/", which labels cannot hold
_TEMPLATES: Final = "inject.istio.io/templates"
_GATEWAY: Final = "gateway"  # the template
_GATEWAY_LABELS: Final = frozenset({"gateway.networking.k8s.io/gateway-name", "istio.io/gateway-name"})
_PROXY: Final = "istio-proxy"  # the container
_NO_PORTS: Final[Mapping[str, int]] = {}
_OLD_REGION_LABEL: Final = "failure-domain.beta.kubernetes.io/region"
_OLD_ZONE_LABEL: Final = "failure-domain.beta.kubernetes.io/zone"


def from_pod(pod: core.Pod, locality: str) -> Workload | None:
    """The workload of a Pod on a node of `locality`; None while it has no address, or when it ran to its end."""
    addresses = pod.ips
    if not addresses or pod.finished:
        return None
    meta, labels = pod.meta, pod.meta.labels
    own = labels.get(LOCALITY_LABEL)
    return Workload(
        namespace=meta.namespace,
        name=meta.name,
        origin=origin_of(pod),
        addresses=addresses,
        labels=labels,
        ports=_container_ports(pod),
        service_account=f"{meta.namespace}/{pod.service_account}",
        node=pod.spec.node_name,
        locality=own.replace(".", "/") if own else locality,
        network=labels.get(NETWORK_LABEL, ""),
        mutual_tls=labels.get(TLS_MODE_LABEL) == "istio",
        gateway=_is_gateway(pod),
        ready=pod.ready and meta.deleted is None,
    )


def _is_gateway(pod: core.Pod) -> bool:
    """By the injection it was made with, as a Gateway API controller marks its own, or by what it runs."""
    templates = pod.meta.annotations.get(_TEMPLATES)
    if templates and _GATEWAY in map(str.strip, templates.split(",")):
        return True
    if not _GATEWAY_LABELS.isdisjoint(pod.meta.labels):
        return True
    return _PROXY in [one.name for one in pod.spec.containers if one.args[:2] == ("proxy", "router")]


def _container_ports(pod: core.Pod) -> Mapping[str, int]:
    """Named TCP ports of all containers; native sidecars are init containers."""
    found: dict[str, int] = {}
    for containers in (pod.spec.containers, pod.spec.init_containers):
        for container in containers:
            for port in container.ports:
                if port.name and port.protocol == "TCP":
                    found[port.name] = port.container_port
    return found or _NO_PORTS  # thousands share it


def from_workload_entry(we: WorkloadEntry) -> Workload:
    """The workload a WorkloadEntry stands for. One without an address is no endpoint of anything."""
    meta, spec = we.meta, we.spec
    labels = {**meta.labels, **spec.labels} if meta.labels and spec.labels else spec.labels or meta.labels
    return Workload(
        namespace=meta.namespace,
        name=meta.name,
        origin=origin_of(we),
        addresses=(spec.address,) if spec.address else (),
        labels=labels,
        ports=spec.ports,
        service_account=f"{meta.namespace}/{spec.service_account}" if spec.service_account else "",
        locality=spec.locality or labels.get(LOCALITY_LABEL, "").replace(".", "/"),
        network=spec.network or labels.get(NETWORK_LABEL, ""),
        weight=spec.weight or 1,
        mutual_tls=labels.get(TLS_MODE_LABEL) == "istio",
        ready=not we.invalid,
    )


def problems_of_workload_entry(we: WorkloadEntry) -> tuple[Problem, ...]:
    """What the author of a WorkloadEntry should know."""
    origin = origin_of(we, "spec")
    found = network_problems(we.spec.network or "", origin)
    if we.spec.address:
        return found
    return (*found, invalid(origin.at("address"), "without an address this workload is an endpoint of nothing"))


def network_problems(network: str, origin: Origin) -> tuple[Problem, ...]:
    """What who names an endpoint's network should know; `origin` is the endpoint."""
    if not network:
        return NO_PROBLEMS
    text = "gateways between networks are not supported yet: this endpoint is called at its own address"
    return (Problem("FieldNotSupportedYet", Level.WARNING, origin.at("network"), text),)


def locality_of_node(node: core.Node) -> str:
    """Where a node stands, as "region/zone/subzone" without empty parts at the end."""
    labels = node.meta.labels
    region = labels.get(core.REGION_LABEL) or labels.get(_OLD_REGION_LABEL, "")
    zone = labels.get(core.ZONE_LABEL) or labels.get(_OLD_ZONE_LABEL, "")
    return "/".join((region, zone, labels.get(core.SUBZONE_LABEL, ""))).rstrip("/")
