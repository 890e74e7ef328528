"""A Pod, or a template of Pods, as far as injection looks at it.

The Pod itself stays the JSON it came as, so that nothing its author wrote can be lost; this is a reading of it. Where
it can be read so, every field below has the type it says, in the JSON as well.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from controlplane.model.value import Read

PROXY: Final = "istio-proxy"
INIT: Final = "istio-init"
_TEMPLATE_HASH: Final = "pod-template-hash"
_CRON_SUFFIX: Final = 8  # digits, at least: minutes since 1970


class HttpGet(Read):
    """A question over HTTP; `port` may be the name of one of the container's ports."""

    port: int | str
    path: str | None = None
    scheme: str | None = None
    host: str | None = None


class TcpSocket(Read):
    """A connection."""

    port: int | str
    host: str | None = None


class Grpc(Read):
    """gRPC's health service."""

    port: int
    service: str | None = None


class Probe(Read):
    """What the kubelet asks a container; commands that run in it are not read."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None
    timeout_seconds: int | None = None


class Lifecycle(Read):
    """What the kubelet does when a container has started, and before it ends."""

    post_start: Probe | None = None
    pre_stop: Probe | None = None


class Port(Read):
    """A port a container listens on."""

    container_port: int
    name: str | None = None


class SecurityContext(Read):
    """As whom something runs."""

    run_as_user: int | None = None


class Named(Read):
    """Something that has a name: a volume, a variable."""

    name: str


class Mount(Read):
    """Where a volume is seen."""

    mount_path: str


class Device(Read):
    """Where a raw volume is seen."""

    device_path: str


class Container(Read):
    """One container."""

    name: str
    image: str | None = None
    ports: tuple[Port, ...] | None = None
    env: tuple[Named, ...] | None = None
    volume_mounts: tuple[Mount, ...] | None = None
    volume_devices: tuple[Device, ...] | None = None
    security_context: SecurityContext | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None

    def port(self, said: int | str) -> int | None:
        """The number of a port that is said by number or name, as the kubelet finds it; None: there is none."""
        if isinstance(said, int):
            return said
        named = next((port.container_port for port in self.ports or () if port.name == said), None)
        return int(said) if named is None and said.isascii() and said.isdigit() and len(said) < 6 else named


class System(Read):
    """Of the node."""

    name: str = ""


class Spec(Read):
    """What the Pod is to be."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Named, ...] | None = None
    image_pull_secrets: tuple[Mapping[str, Any], ...] | None = None
    host_network: bool | None = None
    os: System | None = None
    security_context: SecurityContext | None = None
    restart_policy: str | None = None
    termination_grace_period_seconds: int | None = None

    @property
    def everything(self) -> Iterator[Container]:
        yield from self.init_containers or ()
        yield from self.containers

    @property
    def applications(self) -> tuple[Container, ...]:
        """The containers that are not the mesh's."""
        return tuple(container for container in self.containers if container.name != PROXY)

    @property
    def proxy(self) -> Container | None:
        return next((container for container in self.everything if container.name == PROXY), None)


class Owner(Read):
    """Who made the Pod."""

    kind: str
    name: str
    api_version: str = ""
    controller: bool | None = None


class Meta(Read):
    """Who the Pod is. The API server gives it a name later when it is made from a template."""

    name: str | None = None
    generate_name: str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    owner_references: tuple[Owner, ...] | None = None


class Pod(Read):
    """One Pod."""

    spec: Spec
    metadata: Meta = Meta()

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.labels or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.annotations or {}

    @property
    def name(self) -> str:
        """Its own, or what it will begin with."""
        return self.metadata.name or self.metadata.generate_name or ""


class Workload(msgspec.Struct, frozen=True):
    """What a Pod is one of: the object its author wrote."""

    name: str
    kind: str = ""
    api_version: str = ""


def read_pod(manifest: Any) -> Pod:
    """Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(manifest, Pod)


def workload_of(pod: Pod) -> Workload:
    """Through what Kubernetes puts between: a ReplicaSet is a Deployment's, and some Jobs are a CronJob's."""
    owners = pod.metadata.owner_references or ()
    owner = next((owner for owner in owners if owner.controller), None)
    if owner is None:
        return Workload(pod.name.rstrip("-"), "Pod", "v1")
    version = pod.labels.get(_TEMPLATE_HASH, "")
    if owner.kind == "ReplicaSet" and version and owner.name.endswith(f"-{version}"):
        return Workload(owner.name.removesuffix(f"-{version}"), "Deployment", owner.api_version)
    before, _, minute = owner.name.rpartition("-")
    if owner.kind == "Job" and before and minute.isascii() and minute.isdigit() and len(minute) >= _CRON_SUFFIX:
        return Workload(before, "CronJob", owner.api_version)
    return Workload(owner.name, owner.kind, owner.api_version)
