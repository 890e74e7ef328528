"""A connected proxy is an input like any other: who it is decides what it gets."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class ProxyType(StrEnum):
    """What a proxy is for; the first word of its node id."""

    SIDECAR = "sidecar"
    ROUTER = "router"


class InterceptionMode(StrEnum):
    """How traffic gets into a sidecar."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"  # nothing is intercepted: applications talk to explicit listeners


class Locality(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where something stands. Istio writes it "region/zone/subzone"."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> "Locality":
        """From "region/zone/subzone", each part optional from the right."""
        region, zone, subzone = [*text.split("/", 2), "", ""][:3]
        return cls(region, zone, subzone)

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.subzone}".rstrip("/")


class Proxy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One Envoy, as the platform and its own node message describe it."""

    id: str  # "sidecar~10.0.0.7~reviews-v1-abc.default~default.svc.cluster.local"
    type: ProxyType
    namespace: str
    name: str  # the Pod's, or WorkloadEntry's
    labels: Mapping[str, str] = {}
    ips: tuple[str, ...] = ()
    service_account: str = ""
    identity: str = ""  # what its certificate says: "spiffe://…"; "": nothing does, and it is believed
    cluster_id: str = ""
    network: str = ""
    locality: Locality = Locality()
    node_name: str = ""
    version: str = ""  # ISTIO_VERSION, of the agent
    envoy_version: str = ""
    dns_domain: str = ""  # "default.svc.cluster.local"
    interception: InterceptionMode = InterceptionMode.REDIRECT
    metadata: Mapping[str, object] = {}  # the node's, as it came

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name), as of the Pod it stands beside."""
        return (self.namespace, self.name)

    @property
    def domain(self) -> str:
        """The cluster's domain, out of "<namespace>.svc.<domain>"; "" when the node id has none."""
        return self.dns_domain.partition(".svc.")[2]


class BadNodeError(ValueError):
    """The client's fault: its node message does not say who it is."""


def parse_node(node_id: str, metadata: Mapping[str, object], locality: Locality | None = None) -> Proxy:
    """A Proxy from an Envoy node: `<type>~<ip>~<pod>.<ns>~<ns>.svc.<domain>` and its metadata (Istio's keys).

    What the node says is a claim: namespace and account must come from the verified identity, labels and locality
    from the platform; a caller replaces them (`msgspec.structs.replace`) before the Proxy enters the store.
    Raises BadNodeError.
    """
    parts = node_id.split("~")
    if len(parts) != 4:
        raise BadNodeError(f'node id "{node_id}" is not <type>~<ip>~<name>.<namespace>~<domain>')
    kind, ip, full_name, domain = parts
    if kind not in set(ProxyType):
        raise BadNodeError(f'node id "{node_id}" is of type "{kind}"; known are sidecar and router')
    name, _, namespace = full_name.rpartition(".")
    texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
    return Proxy(
        id=node_id,
        type=ProxyType(kind),
        namespace=texts.get("NAMESPACE") or namespace,
        name=texts.get("NAME") or name,
        labels=_labels(metadata.get("LABELS")),
        ips=_ips(ip, texts.get("INSTANCE_IPS", "")),
        service_account=texts.get("SERVICE_ACCOUNT", ""),
        cluster_id=texts.get("CLUSTER_ID", ""),
        network=texts.get("NETWORK", ""),
        locality=locality or Locality(),
        node_name=texts.get("NODE_NAME", ""),
        version=texts.get("ISTIO_VERSION", ""),
        dns_domain=domain,
        interception=_interception(texts.get("INTERCEPTION_MODE", "")),
        metadata=metadata,
    )


def _labels(claimed: object) -> dict[str, str]:
    if not isinstance(claimed, Mapping):
        return {}
    return {key: value for key, value in claimed.items() if isinstance(key, str) and isinstance(value, str)}


def _ips(first: str, rest: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ip.strip() for ip in (first, *rest.split(",")) if ip.strip()))


def _interception(mode: str) -> InterceptionMode:
    return InterceptionMode(mode) if mode in set(InterceptionMode) else InterceptionMode.REDIRECT
