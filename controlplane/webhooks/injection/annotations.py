"""Istio's annotations and labels on Pods: what each holds, and which have no meaning here.

A value that cannot be meant so is an error, and the Pod is refused: it would run otherwise than its author wrote, and
the first to notice would be whoever calls it. What is not known, or known and without effect, is a warning.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from controlplane.model.text import printable
from controlplane.model.validate.findings import Findings
from controlplane.webhooks.injection import values
from controlplane.webhooks.injection.decision import INJECT, REVISION, STATUS

_SIDECAR: Final = "sidecar.istio.io/"
_TRAFFIC: Final = "traffic.sidecar.istio.io/"
_READINESS: Final = "readiness.status.sidecar.istio.io/"

TEMPLATES: Final = "inject.istio.io/templates"
CONFIG: Final = "proxy.istio.io/config"
STATUS_PORT: Final = "status.sidecar.istio.io/port"
MERGE_METRICS: Final = "prometheus.istio.io/merge-metrics"
INTERCEPTION: Final = f"{_SIDECAR}interceptionMode"
NATIVE: Final = f"{_SIDECAR}nativeSidecar"
REWRITE: Final = f"{_SIDECAR}rewriteAppHTTPProbers"
IMAGE: Final = f"{_SIDECAR}proxyImage"
CPU: Final = f"{_SIDECAR}proxyCPU"
MEMORY: Final = f"{_SIDECAR}proxyMemory"
CPU_LIMIT: Final = f"{_SIDECAR}proxyCPULimit"
MEMORY_LIMIT: Final = f"{_SIDECAR}proxyMemoryLimit"
LOG_LEVEL: Final = f"{_SIDECAR}logLevel"
COMPONENT_LOG_LEVEL: Final = f"{_SIDECAR}componentLogLevel"
USER_VOLUME: Final = f"{_SIDECAR}userVolume"
USER_VOLUME_MOUNT: Final = f"{_SIDECAR}userVolumeMount"
INITIAL_DELAY: Final = f"{_READINESS}initialDelaySeconds"
PERIOD: Final = f"{_READINESS}periodSeconds"
FAILURE_THRESHOLD: Final = f"{_READINESS}failureThreshold"
INCLUDE_INBOUND_PORTS: Final = f"{_TRAFFIC}includeInboundPorts"
EXCLUDE_INBOUND_PORTS: Final = f"{_TRAFFIC}excludeInboundPorts"
INCLUDE_OUTBOUND_PORTS: Final = f"{_TRAFFIC}includeOutboundPorts"
EXCLUDE_OUTBOUND_PORTS: Final = f"{_TRAFFIC}excludeOutboundPorts"
INCLUDE_OUTBOUND_RANGES: Final = f"{_TRAFFIC}includeOutboundIPRanges"
EXCLUDE_OUTBOUND_RANGES: Final = f"{_TRAFFIC}excludeOutboundIPRanges"
EXCLUDE_INTERFACES: Final = f"{_TRAFFIC}excludeInterfaces"
KUBEVIRT_INTERFACES: Final = f"{_TRAFFIC}kubevirtInterfaces"
REROUTE_INTERFACES: Final = "istio.io/reroute-virtual-interfaces"  # the same, as newer manifests write it

NETWORK_LABEL: Final = "topology.istio.io/network"
CANONICAL_NAME: Final = "service.istio.io/canonical-name"
CANONICAL_REVISION: Final = "service.istio.io/canonical-revision"
TLS_MODE: Final = "security.istio.io/tlsMode"

Said = Mapping[str, Any]  # by annotation: what it holds

READ: Final[Mapping[str, Callable[[str], Any]]] = {
    TEMPLATES: lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
    CONFIG: str,  # `proxyconfig` reads it
    STATUS_PORT: values.status_port,
    MERGE_METRICS: values.boolean,
    INTERCEPTION: values.mode,
    NATIVE: values.boolean,
    REWRITE: values.boolean,
    IMAGE: values.image,
    CPU: values.quantity,
    MEMORY: values.quantity,
    CPU_LIMIT: values.quantity,
    MEMORY_LIMIT: values.quantity,
    LOG_LEVEL: values.level,
    COMPONENT_LOG_LEVEL: values.levels,
    USER_VOLUME: values.named_items,
    USER_VOLUME_MOUNT: values.named_items,
    INITIAL_DELAY: values.number,
    PERIOD: values.positive,
    FAILURE_THRESHOLD: values.positive,
    INCLUDE_INBOUND_PORTS: values.ports_or_all,
    EXCLUDE_INBOUND_PORTS: values.ports,
    INCLUDE_OUTBOUND_PORTS: values.ports,
    EXCLUDE_OUTBOUND_PORTS: values.ports,
    INCLUDE_OUTBOUND_RANGES: values.ranges_or_all,
    EXCLUDE_OUTBOUND_RANGES: values.ranges,
    EXCLUDE_INTERFACES: values.interfaces,
    KUBEVIRT_INTERFACES: values.interfaces,
    REROUTE_INTERFACES: values.interfaces,
}
WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    f"{_SIDECAR}agentLogLevel": "the agent has one level",
    f"{_SIDECAR}bootstrapOverride": "the control plane gives the bootstrap",
    f"{_SIDECAR}capNetBindService": "the proxy has no capabilities: let it listen above 1024, or set"
    " net.ipv4.ip_unprivileged_port_start",
    f"{_SIDECAR}controlPlaneAuthPolicy": "the control plane is always called with mutual TLS",
    f"{_SIDECAR}discoveryAddress": "the control plane says where it is called",
    f"{_SIDECAR}enableCoreDump": "it would take a privileged container",
    f"{_SIDECAR}extraStatTags": "these statistics are Istio's own filter's",
    f"{_SIDECAR}proxyImageType": f"there is one image; {IMAGE} names another",
    f"{_SIDECAR}statsCompression": "the control plane gives the bootstrap",
    f"{_SIDECAR}statsEvictionInterval": "the control plane gives the bootstrap",
    f"{_SIDECAR}statsHistogramBuckets": "the control plane gives the bootstrap",
    f"{_SIDECAR}statsInclusionPrefixes": "the control plane gives the bootstrap",
    f"{_SIDECAR}statsInclusionRegexps": "the control plane gives the bootstrap",
    f"{_SIDECAR}statsInclusionSuffixes": "the control plane gives the bootstrap",
    f"{_READINESS}applicationPorts": "Istio does not look at it any more",
}
_OTHERS: Final = frozenset({INJECT, STATUS, "proxy.istio.io/overrides"})  # read elsewhere, or Istio's note to itself
_PREFIXES: Final = (
    _SIDECAR,
    _TRAFFIC,
    _READINESS,
    "status.sidecar.istio.io/",
    "proxy.istio.io/",
    "inject.istio.io/",
    "prometheus.istio.io/",
)
_KNOWN: Final = (*READ, *WITHOUT_EFFECT, *_OTHERS)
_ON_LABELS: Final = frozenset({INJECT, REVISION, CANONICAL_NAME, CANONICAL_REVISION, TLS_MODE})


def read_annotations(found: Findings, annotations: Mapping[str, str]) -> Said:
    """What they hold, by name, without those that are wrong."""
    said: dict[str, Any] = {}
    for name, text in annotations.items():
        path = path_of(name)
        if name in READ:
            try:
                said[name] = READ[name](text)
            except ValueError as error:
                found.error("InvalidAnnotation", path, f"{name} {error}")
        elif name in WITHOUT_EFFECT:
            found.warn("AnnotationWithoutEffect", path, f"{name} has no effect here: {WITHOUT_EFFECT[name]}")
        elif name.startswith(_PREFIXES) and name not in _OTHERS:
            found.warn("UnknownAnnotation", path, f"{printable(name, 120)} is not known{_hint(name)}")
    return said


def check_labels(found: Findings, labels: Mapping[str, str]) -> None:
    """Annotations that stand among the labels do nothing there."""
    for name in labels:
        if name.startswith(_PREFIXES) and name not in _ON_LABELS:
            path = f'metadata.labels["{name}"]'
            said = "is an annotation: as a label it has no effect" if name in _KNOWN else f"is not known{_hint(name)}"
            found.warn("MisplacedAnnotation" if name in _KNOWN else "UnknownAnnotation", path, f"{name} {said}")


def belongs_to_pods(name: str) -> bool:
    """Whether somebody who writes this annotation means a Pod."""
    return name in READ or name in WITHOUT_EFFECT or name == INJECT


def path_of(name: str) -> str:
    """The field path of an annotation."""
    return f'metadata.annotations["{name}"]'


def _hint(name: str) -> str:
    prefix, _, last = name[:128].rpartition("/")
    likely = {known.rpartition("/")[2]: known for known in _KNOWN if known.startswith(f"{prefix}/")}
    close = get_close_matches(last, likely, n=1) or get_close_matches(name[:128], _KNOWN, n=1, cutoff=0.9)
    return f": did you mean {likely.get(close[0], close[0])}?" if close else ""
