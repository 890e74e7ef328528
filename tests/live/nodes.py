"""The proxies of the fleet: one of each kind, on addresses that a run has for itself."""

from pathlib import Path
from typing import Any

from controlplane.model.proxy import InterceptionMode, Proxy, ProxyType
from tests.envoys.certificates import leaf
from tests.envoys.upstreams import loopback_address
from tests.meshes import MESH_CONFIG, Ground
from tests.meshes.words import HOME, INGRESS
from tests.ports import free_port


def ground(folder: Path) -> Ground:
    """Addresses nobody else binds, and certificates in files."""
    pair = leaf("shop.example.com")
    (folder / "tls.crt").write_text(pair.certificate)
    (folder / "tls.key").touch(mode=0o600)
    (folder / "tls.key").write_text(pair.key)
    return Ground(bind=loopback_address().rpartition(".")[0], files=str(folder))


def settings() -> dict[str, Any]:
    """Captured sidecars bind wildcard ports; nothing is redirected to them here."""
    return {**MESH_CONFIG, "proxyListenPort": free_port(), "proxyInboundListenPort": free_port()}


def nodes(where: Ground) -> list[tuple[Proxy, bool]]:
    """(proxy, whether it speaks delta)."""
    none = {"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": "15081"}
    return [
        (
            _sidecar(
                "caller", HOME, f"{where.bind}.1", {"app": "caller", "tier": "gold"}, {"HTTP_PROXY_PORT": "15080"}
            ),
            True,
        ),
        (_sidecar("plain", "beta", f"{where.bind}.4", {"app": "reviews", "version": "v1"}, {}), False),
        (_sidecar("alone", HOME, f"{where.bind}.2", {"app": "alone", "alone": "one"}, none), True),
        (_gateway("gateway", f"{where.bind}.3"), True),
        (_gateway("door", f"{where.bind}.5"), False),
    ]


def _sidecar(name: str, namespace: str, ip: str, labels: dict[str, str], metadata: dict[str, Any]) -> Proxy:
    captured = metadata.get("INTERCEPTION_MODE") != "NONE"
    mode = InterceptionMode.REDIRECT if captured else InterceptionMode.NONE
    return _proxy(ProxyType.SIDECAR, name, namespace, ip, labels=labels, metadata=metadata, interception=mode)


def _gateway(name: str, ip: str) -> Proxy:
    metadata = {"LATEEN_BIND_ADDRESS": ip, "LATEEN_PORT_OFFSET": "10000"}
    return _proxy(ProxyType.ROUTER, name, INGRESS, ip, labels={"istio": "ingressgateway"}, metadata=metadata)


def _proxy(kind: ProxyType, name: str, namespace: str, ip: str, **fields: Any) -> Proxy:
    domain = f"{namespace}.svc.cluster.local"
    node_id = f"{kind.value}~{ip}~{name}.{namespace}~{domain}"
    return Proxy(id=node_id, type=kind, name=name, namespace=namespace, ips=(ip,), dns_domain=domain, **fields)
