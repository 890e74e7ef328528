"""The Sidecar object of one replica: traffic without interception, in the ordinary API.

Nothing is captured on a laptop, so every listener is explicit. The API has words for that (`captureMode: NONE`,
`bind`, `defaultEndpoint`), and using them means that the mesh's own code does all of it. A Sidecar that the user wrote
for the replica still holds: what it says about hosts, policies and pools is taken over.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from controlplane.ir.service import Protocol
from controlplane.local.manifests import Manifest, Manifests, is_subset
from controlplane.local.plan import Replica, ReplicaPort, TcpListener
from controlplane.model.problem import ObjectRef

GROUP: Final = "networking.istio.io"
POD_LABEL: Final = "local.lateen.dev/pod"  # what the Sidecar of exactly one replica selects by
_ROOT_NAMESPACES: Final = ("istio-system", "lateen-system")
_TAKEN_OVER: Final = ("outboundTrafficPolicy", "inboundConnectionPool")
_EVERYTHING: Final = {"hosts": ["*/*"]}


def sidecar(replica: Replica, users: Mapping[str, Any]) -> Manifest:
    """The Sidecar of a replica. `users` is the spec the user's own Sidecar gives it, or empty."""
    spec: dict[str, Any] = {
        "workloadSelector": {"labels": {POD_LABEL: replica.name}},
        "egress": [
            *(_egress(listener, replica.address) for listener in replica.listeners),
            *_users_egress(users.get("egress"), replica.address),
        ],
    }
    ingress = [_ingress(port, replica.address) for port in replica.ports]
    if ingress:
        spec["ingress"] = ingress
    spec |= {key: users[key] for key in _TAKEN_OVER if key in users}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Sidecar",
        "metadata": {"name": replica.name, "namespace": replica.namespace},
        "spec": spec,
    }


def users_spec(manifests: Manifests, namespace: str, labels: Mapping[str, str]) -> Mapping[str, Any]:
    """What the user's Sidecars say to a workload: by selector, else of its namespace, else of the root namespace."""
    candidates = [(ref, _spec(manifests[ref])) for ref in users_sidecars(manifests)]
    for ref, spec in candidates:
        if ref.namespace == namespace and _selector(spec) and is_subset(_selector(spec), labels):
            return spec
    for home in (namespace, *_ROOT_NAMESPACES):
        for ref, spec in candidates:
            if ref.namespace == home and not _selector(spec):
                return spec
    return {}


def withheld(manifests: Manifests) -> Iterator[ObjectRef]:
    """The user's Sidecars with a selector: all Pods are ours here, and ours speak for them."""
    return (ref for ref in users_sidecars(manifests) if _selector(_spec(manifests[ref])))


def users_sidecars(manifests: Manifests) -> list[ObjectRef]:
    """All Sidecars the user wrote, in order of name."""
    return sorted(ref for ref in manifests if (ref.group, ref.kind) == (GROUP, "Sidecar"))


def declared_ingress(users: Mapping[str, Any]) -> dict[int, int]:
    """Port -> port of the application behind it, of the user's ingress listeners."""
    declared: dict[int, int] = {}
    for listener in _list(users.get("ingress")):
        number = listener.get("port", {}).get("number") if isinstance(listener.get("port"), Mapping) else None
        endpoint = listener.get("defaultEndpoint")
        target = endpoint.rpartition(":")[2] if isinstance(endpoint, str) else ""
        if isinstance(number, int):
            declared[number] = int(target) if target.isascii() and target.isdigit() and len(target) < 6 else number
    return declared


def _egress(listener: TcpListener, address: str) -> dict[str, Any]:
    """A listener with another number than its Service's port means the only port, or the one of the same name."""
    namespace, service = listener.host.split("/")
    name = listener.name or f"tcp-{service}-{listener.port}"
    return {
        "port": {"number": listener.number, "protocol": "TCP", "name": name},
        "bind": address,
        "captureMode": "NONE",
        "hosts": [f"{namespace}/{service}.{namespace}.svc.cluster.local"],
    }


def _ingress(port: ReplicaPort, address: str) -> dict[str, Any]:
    declared = {} if port.protocol is Protocol.AUTO else {"protocol": port.protocol.upper()}  # else it is sniffed
    return {
        "port": {"number": port.inbound, "name": f"{port.protocol}-{port.container}", **declared},
        "bind": address,
        "captureMode": "NONE",
        "defaultEndpoint": f"0.0.0.0:{port.command}",
    }


def _users_egress(egress: object, address: str) -> Iterator[dict[str, Any]]:
    """Their explicit listeners on the replica's address; their captured ones only as the hosts they allow."""
    hosts: list[Any] = []
    for entry in _list(egress):
        if "port" in entry and (entry.get("bind") or entry.get("captureMode") == "NONE"):
            bind = entry.get("bind")
            own = bind if isinstance(bind, str) and bind not in ("", "0.0.0.0", "127.0.0.1") else address  # noqa: S104  (compared, not bound)
            yield {**entry, "bind": own, "captureMode": "NONE"}
        elif isinstance(entry.get("hosts"), list):
            hosts += [host for host in entry["hosts"] if host not in hosts]
    if hosts or not _list(egress):
        yield {"hosts": hosts} if hosts else dict(_EVERYTHING)


def _list(value: object) -> Iterable[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _spec(manifest: Manifest) -> Mapping[str, Any]:
    spec = manifest.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _selector(spec: Mapping[str, Any]) -> Mapping[str, str]:
    selector = spec.get("workloadSelector")
    labels = selector.get("labels") if isinstance(selector, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}
