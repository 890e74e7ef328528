"""Core Kubernetes kinds, as far as Lateen reads them, in the shape Kubernetes gives them.

Not here, because nothing asks for it: node ports, volumes, probes.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.value import Read

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
REGION_LABEL = "topology.kubernetes.io/region"
ZONE_LABEL = "topology.kubernetes.io/zone"
SUBZONE_LABEL = "topology.istio.io/subzone"


class ServicePort(Read):
    """spec.ports[]: `target_port` is a number, the name of a container port, or None for the same number."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None


class ClientIPConfig(Read):
    """How long kube-proxy pins a client; Kubernetes' default is 10800 seconds."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Read):
    """Settings of `sessionAffinity: ClientIP`."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Read):
    """What a Service says about the traffic it takes."""

    type: str = "ClusterIP"  # ClusterIP, NodePort, LoadBalancer, ExternalName
    selector: Mapping[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")  # "None" = headless
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    external_name: str = ""
    external_ips: tuple[str, ...] = msgspec.field(default=(), name="externalIPs")
    session_affinity: str = "None"  # None, ClientIP
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None  # Cluster, Local
    traffic_distribution: str | None = None  # PreferClose, PreferSameZone, PreferSameNode
    publish_not_ready_addresses: bool = False


class LoadBalancerIngress(Read):
    """An address of a load balancer, or a name for it."""

    ip: str = ""
    hostname: str = ""


class LoadBalancerStatus(Read):
    """Where a load balancer takes traffic; none while there is none."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Read):
    """What became of a Service: read for the status of Ingresses."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Read):
    """A name, a virtual address and ports."""

    GROUP: ClassVar[str] = ""
    KIND: ClassVar[str] = "Service"

    meta: Meta = msgspec.field(name="metadata")
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)
    status: ServiceStatus = ServiceStatus()

    @property
    def headless(self) -> bool:
        return self.spec.cluster_ip == "None"

    @property
    def vips(self) -> tuple[str, ...]:
        """The virtual addresses, without the "None" of a headless Service."""
        ips = self.spec.cluster_ips or (self.spec.cluster_ip,)
        return tuple(ip for ip in ips if ip and ip != "None")


class EndpointConditions(Read):
    """Absent means unknown, which Kubernetes wants read as ready and serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Read):
    """A zone that should use an endpoint."""

    name: str = ""


class EndpointHints(Read):
    """Who should use an endpoint, when the Service asks for topology aware routing; `forNodes` repeats `nodeName`."""

    for_zones: tuple[ForZone, ...] = ()


class TargetRef(Read):
    """The Pod behind an endpoint."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Endpoint(Read):
    """One backend; Kubernetes asks readers to use the first address only."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: TargetRef | None = None
    hints: EndpointHints | None = None


class EndpointPort(Read):
    """A port all endpoints of the slice serve; `name` is the Service port's."""

    name: str = ""
    port: int | None = None  # None = all ports
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSlice(Read):
    """Part of the backends of a Service."""

    GROUP: ClassVar[str] = "discovery.k8s.io"
    KIND: ClassVar[str] = "EndpointSlice"

    meta: Meta = msgspec.field(name="metadata")
    address_type: str = "IPv4"  # IPv4, IPv6, FQDN
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

    @property
    def service(self) -> str:
        """The name of the Service these belong to, in the slice's namespace; "" when none."""
        return self.meta.labels.get(SERVICE_NAME_LABEL, "")


class ContainerPort(Read):
    """A port a container says it listens on."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"


class EnvVar(Read):
    """One environment variable with a plain value; `valueFrom` is not read."""

    name: str
    value: str = ""


class PodContainer(Read):
    """A container of a Pod, of which a mesh has ten thousand: its ports say what named target ports mean."""

    name: str = ""
    args: tuple[str, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str = ""  # "Always" on an init container: a native sidecar


class Container(PodContainer):
    """A container of a template: what `lateen up` may run."""

    image: str = ""
    command: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()


class PodSpec(Read):
    """What a Pod was asked to be."""

    containers: tuple[PodContainer, ...] = ()
    init_containers: tuple[PodContainer, ...] = ()
    node_name: str = ""
    service_account_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = False


class PodIP(Read):
    """One of a Pod's addresses."""

    ip: str = ""


class PodCondition(Read):
    """A condition such as type `Ready`, status `True`."""

    type: str = ""
    status: str = ""


class PodStatus(Read):
    """What a Pod is."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")
    conditions: tuple[PodCondition, ...] = ()


class Pod(Read):
    """A running workload: labels for subsets, account for identity, node for locality."""

    GROUP: ClassVar[str] = ""
    KIND: ClassVar[str] = "Pod"

    meta: Meta = msgspec.field(name="metadata")
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def ips(self) -> tuple[str, ...]:
        """Its addresses, the primary one first."""
        status = self.status
        ips = tuple([entry.ip for entry in status.pod_ips if entry.ip]) if status.pod_ips else ()
        return ips or ((status.pod_ip,) if status.pod_ip else ())

    @property
    def service_account(self) -> str:
        return self.spec.service_account_name or "default"

    @property
    def finished(self) -> bool:
        """It ran to its end: its address may already belong to another Pod."""
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def ready(self) -> bool:
        return "True" in [condition.status for condition in self.status.conditions if condition.type == "Ready"]


class LabelSelector(Read):
    """The equality half of a Kubernetes label selector."""

    match_labels: Mapping[str, str] = {}


class TemplateSpec(PodSpec):
    """What Pods are asked to be."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodTemplate(Read):
    """The Pods a Deployment makes."""

    meta: Meta = msgspec.field(default_factory=Meta, name="metadata")
    spec: TemplateSpec = msgspec.field(default_factory=TemplateSpec)


class DeploymentSpec(Read):
    """How many Pods, and which."""

    replicas: int | None = None  # None = 1
    selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    template: PodTemplate = msgspec.field(default_factory=PodTemplate)


class Deployment(Read):
    """Read by `lateen up`, which stands in for the kubelet."""

    GROUP: ClassVar[str] = "apps"
    KIND: ClassVar[str] = "Deployment"

    meta: Meta = msgspec.field(name="metadata")
    spec: DeploymentSpec = msgspec.field(default_factory=DeploymentSpec)


class Namespace(Read):
    """Its labels say whether it is in the mesh."""

    GROUP: ClassVar[str] = ""
    KIND: ClassVar[str] = "Namespace"

    meta: Meta = msgspec.field(name="metadata")


class Node(Read):
    """Its labels say where it stands."""

    GROUP: ClassVar[str] = ""
    KIND: ClassVar[str] = "Node"

    meta: Meta = msgspec.field(name="metadata")


class Secret(Read):
    """Key material; values are base64, as Kubernetes sends them. Prints without its content."""

    GROUP: ClassVar[str] = ""
    KIND: ClassVar[str] = "Secret"

    meta: Meta = msgspec.field(name="metadata")
    type: str = "Opaque"
    data: Mapping[str, bytes] = {}
    string_data: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Secret({self.meta.namespace}/{self.meta.name}, keys={sorted(self.data)}, [redacted])"


class ConfigMap(Read):
    """Plain settings: a trust bundle, a mesh configuration."""

    GROUP: ClassVar[str] = ""
    KIND: ClassVar[str] = "ConfigMap"

    meta: Meta = msgspec.field(name="metadata")
    data: Mapping[str, str] = {}


class ServiceAccount(Read):
    """An identity in a namespace."""

    GROUP: ClassVar[str] = ""
    KIND: ClassVar[str] = "ServiceAccount"

    meta: Meta = msgspec.field(name="metadata")
