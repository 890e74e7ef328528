"""What injection is told once, for all Pods: where the control plane is, which image, what a proxy may use.

Names are those of Istio's Helm values where it has them (`global.proxy.*`, without the prefixes).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from controlplane.model.value import Value
from controlplane.webhooks.injection import values

DEFAULT_REVISION: Final = "default"
SYSTEM_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")

STATUS_PORT: Final = 15020
READINESS_PORT: Final = 15021
PROMETHEUS_PORT: Final = 15090
_LONGEST_LINGER: Final = 3600  # seconds
PROXY_ID: Final = 1337  # user and group of the proxy: what the capture rules know it by


class Amounts(Value):
    """Kubernetes' quantities."""

    cpu: str | None = None
    memory: str | None = None


class Resources(Value):
    """Of the proxy, and of the container that sets the rules."""

    requests: Amounts = Amounts(cpu="100m", memory="128Mi")
    limits: Amounts = Amounts(cpu="2000m", memory="1024Mi")


class Requirement(Value):
    """One of a selector's `matchExpressions`."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """An operator that Kubernetes does not have matches nothing."""
        there, value = self.key in labels, labels.get(self.key)
        return {
            "In": value in self.values,
            "NotIn": value not in self.values,
            "Exists": there,
            "DoesNotExist": not there,
        }.get(self.operator, False)


class Selector(Value):
    """Kubernetes' label selector. An empty one selects nothing here, as with Istio's."""

    match_labels: Mapping[str, str] = {}
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        equal = all(labels.get(key) == value for key, value in self.match_labels.items())
        said = bool(self.match_labels or self.match_expressions)
        return said and equal and all(one.matches(labels) for one in self.match_expressions)


class InjectionSettings(Value):
    """All of it."""

    image: str = "lateen"
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    revision: str = DEFAULT_REVISION
    tags: tuple[str, ...] = ()  # other names by which namespaces may ask for this revision
    namespace: str = "lateen-system"  # where the control plane is
    never_in: tuple[str, ...] = ()  # more namespaces that are left alone

    ca_address: str = "lateend.lateen-system.svc:15013"
    server_name: str = "lateend.lateen-system.svc"
    token_audience: str = "istio-ca"  # noqa: S105  (no secret: whom the token is for)
    root_config_map: str = "istio-ca-root-cert"

    cluster_name: str = "Kubernetes"
    cluster_domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    mesh_id: str = ""  # "": the trust domain
    network: str = ""

    native_sidecars: bool = True  # the cluster has them: Kubernetes 1.29 and later
    hold_application_until_proxy_starts: bool = False
    linger_seconds: int = 3  # that an application without a preStop serves on when it is asked to end; 0: none
    rewrite_app_http_probe: bool = True
    enable_prometheus_merge: bool = True
    resources: Resources = Resources()
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    readiness_initial_delay_seconds: int = 0
    readiness_period_seconds: int = 15
    readiness_failure_threshold: int = 4
    startup_failure_threshold: int = 600  # seconds, as it is asked once a second

    proxy_port: int = 15001
    inbound_port: int = 15006
    include_ip_ranges: str = "*"
    exclude_ip_ranges: str = ""
    include_inbound_ports: str = "*"
    exclude_inbound_ports: str = ""
    include_outbound_ports: str = ""
    exclude_outbound_ports: str = ""

    default_config: Mapping[str, Any] = {}  # ProxyConfig, below each Pod's own
    never_inject_selector: tuple[Selector, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """What `istio.io/rev` may say to mean this revision."""
        return frozenset((self.revision or DEFAULT_REVISION, *self.tags))

    @property
    def left_alone(self) -> frozenset[str]:
        """Namespaces in which nothing is ever injected: what has to work for injection to work."""
        return frozenset((*SYSTEM_NAMESPACES, self.namespace, *self.never_in))


def decode(said: Mapping[str, Any], mesh: Mapping[str, Any] | None = None) -> InjectionSettings:
    """From a mapping of these fields, and of MeshConfig's where Istio keeps there what is asked here.

    Raises ValueError, which names the field.
    """
    shared = {ours: mesh[theirs] for theirs, ours in _OF_MESH.items() if mesh and theirs in mesh}
    try:
        settings = msgspec.convert({**shared, **said}, InjectionSettings)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    names = dict(zip(settings.__struct_fields__, settings.__struct_encode_fields__, strict=True))
    if not 0 <= settings.linger_seconds <= _LONGEST_LINGER:
        raise ValueError(f"lingerSeconds {settings.linger_seconds}: at least 0 and at most {_LONGEST_LINGER}")
    return msgspec.structs.replace(
        settings, **{name: _checked(names[name], check, getattr(settings, name)) for name, check in _CHECKS.items()}
    )


def _checked(name: str, check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


_OF_MESH: Final = {
    "trustDomain": "trustDomain",
    "clusterDomain": "clusterDomain",
    "defaultConfig": "defaultConfig",
    "enablePrometheusMerge": "enablePrometheusMerge",
    "proxyListenPort": "proxyPort",
    "proxyInboundListenPort": "inboundPort",
}
_CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    "image": values.image,
    "log_level": values.level,
    "component_log_level": values.levels,
    "include_ip_ranges": values.ranges_or_all,
    "exclude_ip_ranges": values.ranges,
    "include_inbound_ports": values.ports_or_all,
    "exclude_inbound_ports": values.ports,
    "include_outbound_ports": values.ports,
    "exclude_outbound_ports": values.ports,
}
