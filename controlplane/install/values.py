"""What an installation can be told: typed, so that a misspelled key or a number that is none is an answer, not a Pod
that behaves oddly.

What holds for the mesh is not here but in `mesh_config`, which is Istio's MeshConfig (`model/meshconfig.py`), and what
is put into Pods in `injection`.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Annotated, Any, Final

from msgspec import Meta as Bounds

from controlplane.model.value import Int32, Value, WireEnum


def _version() -> str:
    try:
        return version_of("lateen")
    except PackageNotFoundError:
        return "0"


VERSION: Final = _version()

_Port = Annotated[int, Bounds(ge=1, le=65535)]
_Count = Annotated[int, Bounds(ge=1, le=1000)]
_Percent = Annotated[int, Bounds(ge=1, le=100)]


class PullPolicy(WireEnum):
    """When a node asks a registry for the image."""

    ALWAYS = "Always", 0
    IF_NOT_PRESENT = "IfNotPresent", 1
    NEVER = "Never", 2


class ServiceType(WireEnum):
    """How a gateway is reached from outside."""

    LOAD_BALANCER = "LoadBalancer", 0
    NODE_PORT = "NodePort", 1
    CLUSTER_IP = "ClusterIP", 2


class TrafficPolicy(WireEnum):
    """Whether a node passes a gateway's traffic on to other nodes (and hides the client's address from it)."""

    CLUSTER = "Cluster", 0
    LOCAL = "Local", 1


class Protocol(WireEnum):
    """Of a port."""

    TCP = "TCP", 0
    UDP = "UDP", 1


class Resources(Value):
    """What a container may count on, and use at most."""

    requests: Mapping[str, str] = {}
    limits: Mapping[str, str] = {}


class Autoscaling(Value):
    """A HorizontalPodAutoscaler."""

    enabled: bool = True
    min_replicas: _Count = 2
    max_replicas: _Count = 5
    target_cpu: _Percent = 80  # of what it requests


class Toleration(Value):
    """Of a node's taint."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: Int32 | None = None


class Pods(Value):
    """What every Deployment of ours can be told."""

    replicas: _Count = 2  # where nothing scales it
    autoscaling: Autoscaling = Autoscaling()
    disruption_budget: bool = True  # of several replicas one stays while nodes are drained
    resources: Resources = Resources()
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}

    @property
    def fewest(self) -> int:
        """Replicas there always are."""
        return self.autoscaling.min_replicas if self.autoscaling.enabled else self.replicas


class ControlPlane(Pods):
    """The Deployment `lateend`."""

    resources: Resources = Resources(requests={"cpu": "250m", "memory": "256Mi"}, limits={"memory": "2Gi"})
    certificate_lifetime: str = "24h"  # of workloads


class ServicePort(Value):
    """A port of a gateway's Service. A gateway listens on its server's port, so `targetPort` is rarely another."""

    name: str
    port: _Port
    target_port: _Port | None = None
    node_port: _Port | None = None
    protocol: Protocol = Protocol.TCP


class Service(Value):
    """How a gateway is reached."""

    type: ServiceType = ServiceType.LOAD_BALANCER
    annotations: Mapping[str, str] = {}
    external_traffic_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    load_balancer_class: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = (
        ServicePort(name="http2", port=80),
        ServicePort(name="https", port=443),
    )


class IngressGateway(Pods):
    """The Deployment `istio-ingressgateway`."""

    enabled: bool = True
    resources: Resources = Resources(requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "1Gi"})
    service: Service = Service()


class Values(Value):
    """All of it."""

    image: str = f"localhost/lateen:{VERSION}"
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: tuple[str, ...] = ()
    control_plane: ControlPlane = ControlPlane()
    ingress_gateway: IngressGateway = IngressGateway()
    mesh_config: Mapping[str, Any] = {}  # checked as MeshConfig, kept as it was written
    injection: Mapping[str, Any] = {}  # likewise: `webhooks.injection.settings`, docs/injection.md
