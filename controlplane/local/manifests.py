"""The parts of manifests that the laptop runs: what a kubelet, not a mesh, would read.

The mesh's model reads a Deployment for its labels; here its commands, probes and environment matter.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec

from controlplane.local.words import in_words, joined
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.model.value import Read

PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Manifest = Mapping[str, Any]
Manifests = Mapping[ObjectRef, Manifest]

# Kinds with Pods that make no sense as long-running local commands, or not yet.
_NOT_RUN: Final = {("apps", "DaemonSet"), ("apps", "ReplicaSet"), ("batch", "Job"), ("batch", "CronJob")}
ENVOY_CONTAINERS: Final = frozenset({"istio-proxy"})  # a sidecar somebody injected by hand: we bring our own
GATEWAY_TEMPLATE: Final = "inject.istio.io/templates"


class Meta(Read):
    """metadata, as far as it is used here."""

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None


class ContainerPort(Read):
    """A port the container listens on."""

    container_port: PortNumber
    name: str = ""
    protocol: str = "TCP"


class KeyRef(Read):
    """One key of a ConfigMap or Secret."""

    key: str
    name: str = ""
    optional: bool = False


class FieldRef(Read):
    """A field of the Pod itself."""

    field_path: str


class EnvSource(Read):
    """Where the value of a variable comes from."""

    field_ref: FieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(Read):
    """One environment variable."""

    name: str
    value: str | None = None
    value_from: EnvSource | None = None


class NameRef(Read):
    """All keys of a ConfigMap or Secret."""

    name: str = ""
    optional: bool = False


class EnvFrom(Read):
    """Many environment variables at once."""

    prefix: str = ""
    config_map_ref: NameRef | None = None
    secret_ref: NameRef | None = None


class HttpHeader(Read):
    """A header a probe sends."""

    name: str
    value: str = ""


class HttpGet(Read):
    """Probe: an HTTP GET that answers 200 to 399."""

    port: int | str
    path: str = "/"
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocket(Read):
    """Probe: a connection that opens."""

    port: int | str


class Exec(Read):
    """Probe: a command that exits 0."""

    command: tuple[str, ...] = ()


class Grpc(Read):
    """Probe: a gRPC health check that answers SERVING."""

    port: int
    service: str = ""


class Probe(Read):
    """When a container counts as ready. Seconds; Kubernetes' defaults."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    exec: Exec | None = None
    grpc: Grpc | None = None
    initial_delay_seconds: float = 0
    period_seconds: float = 10
    timeout_seconds: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class Container(Read):
    """One container."""

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None


class PodSpec(Read):
    """spec of a Pod."""

    containers: tuple[Container, ...] = ()
    service_account_name: str = ""


class Template(Read):
    """What each replica is made from."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class _ReplicatedSpec(Read):
    replicas: int | None = None
    template: Template = msgspec.field(default_factory=Template)


class _Replicated(Read):
    metadata: Meta
    spec: _ReplicatedSpec = msgspec.field(default_factory=_ReplicatedSpec)


class _Pod(Read):
    metadata: Meta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class ServicePort(Read):
    """One port of a Service."""

    port: PortNumber
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: PortNumber | str | None = None


class ServiceSpec(Read):
    """spec of a Service."""

    selector: Mapping[str, str] | None = None
    ports: tuple[ServicePort, ...] = ()
    publish_not_ready_addresses: bool = False


class Service(Read):
    """A Service, as far as its endpoints need it."""

    metadata: Meta
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether a Pod with these labels is an endpoint. A Service without a selector selects nothing."""
        selector = self.spec.selector
        return bool(selector) and self.metadata.namespace == namespace and is_subset(selector or {}, labels)


class Workload(msgspec.Struct, frozen=True):
    """Something that has replicas: a Deployment, a StatefulSet, or a Pod of its own."""

    ref: ObjectRef
    replicas: int
    template: Template
    is_gateway: bool = False  # its Pods are Envoys of their own (Istio's gateway injection)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.template.metadata.labels or {}


class Contents(msgspec.Struct, frozen=True):
    """All that the laptop reads from the manifests, in order of name."""

    workloads: tuple[Workload, ...] = ()
    services: tuple[Service, ...] = ()
    problems: tuple[Problem, ...] = ()


def is_subset(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every label that is asked for is there."""
    return all(labels.get(key) == value for key, value in selector.items())


def read_manifests(manifests: Manifests) -> Contents:
    """Workloads and Services; what cannot be read is a problem and its neighbours are not touched."""
    workloads: list[Workload] = []
    services: list[Service] = []
    problems: list[Problem] = []
    for ref in sorted(manifests):
        try:
            match _read_one(ref, manifests[ref]):
                case Workload() as workload:
                    workloads.append(workload)
                case Service() as service:
                    services.append(service)
                case Problem() as problem:
                    problems.append(problem)
        except msgspec.ValidationError as wrong:
            said, keys = in_words(wrong)
            problems.append(Problem("InvalidField", Level.ERROR, Origin(ref, joined(keys)), f"is not run: {said}"))
    return Contents(tuple(workloads), tuple(services), tuple(problems))


def _read_one(ref: ObjectRef, manifest: Manifest) -> Workload | Service | Problem | None:
    match ref.group, ref.kind:
        case ("apps", "Deployment" | "StatefulSet"):
            replicated = msgspec.convert(manifest, _Replicated)
            replicas = 1 if replicated.spec.replicas is None else max(0, replicated.spec.replicas)
            return _workload(ref, replicas, replicated.spec.template)
        case ("", "Pod"):
            pod = msgspec.convert(manifest, _Pod)
            return _workload(ref, 1, Template(metadata=pod.metadata, spec=pod.spec))
        case ("", "Service"):
            return msgspec.convert(manifest, Service)
        case kind if kind in _NOT_RUN:
            return Problem("NotRunLocally", Level.WARNING, Origin(ref), f"{ref.kind}s are not run on this machine")
    return None


def _workload(ref: ObjectRef, replicas: int, template: Template) -> Workload:
    templates = (template.metadata.annotations or {}).get(GATEWAY_TEMPLATE, "")
    is_gateway = "gateway" in [name.strip() for name in templates.split(",")]
    return Workload(ref, min(replicas, 1) if is_gateway else replicas, template, is_gateway)


def tcp_ports(container: Container) -> Iterator[ContainerPort]:
    """The ports a mesh cares about."""
    return (port for port in container.ports if port.protocol == "TCP")
