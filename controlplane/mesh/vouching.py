"""Which workload a proxy stands beside, and whether it may say so.

A certificate says of which namespace and account a proxy is. Which Pod of these it stands beside, and that it is a
gateway, is its own claim; the Pods themselves say what is true. So a proxy with a certificate is refused when the Pod
it claims to be is of another account, and a gateway (which is given the keys that Gateways name) needs a Pod that is
one. A proxy without a certificate came over a socket that only its owner opens, and is believed.
"""

import msgspec

from controlplane.ir.service import Workload
from controlplane.mesh.workload import LOCALITY_LABEL
from controlplane.model.proxy import Locality, Proxy, ProxyType
from controlplane.model.text import printable


class Impostor(msgspec.Struct, frozen=True):
    """A proxy that is not served."""

    why: str  # for the one who runs it


def vouched(proxy: Proxy, workload: Workload | None) -> Proxy | Impostor:
    """A proxy as its workload describes it; what its own node message claims counts without one only."""
    refused = _refused(proxy, workload) if proxy.identity else ""
    if refused:
        return Impostor(refused)
    if workload is None:
        return msgspec.structs.replace(proxy, locality=_claimed_locality(proxy))
    return msgspec.structs.replace(
        proxy,
        labels=workload.labels if workload.name == proxy.name else {**proxy.labels, **workload.labels},
        locality=Locality.parse(workload.locality) if workload.locality else _claimed_locality(proxy),
        node_name=workload.node or proxy.node_name,
        ips=_addresses(proxy, workload) if proxy.identity else proxy.ips,
    )


def _refused(proxy: Proxy, workload: Workload | None) -> str:
    name = printable(f"{proxy.namespace}/{proxy.name}", 100)
    proven = f"{proxy.namespace}/{proxy.service_account}"
    if workload is not None and workload.service_account not in {"", proven}:
        return f"{name} stands beside {workload.origin.ref}, which is of another account than {proven}"
    if proxy.type is ProxyType.ROUTER and (workload is None or not workload.gateway):
        return f"there is no Pod {name} that is a gateway's: it needs the annotation inject.istio.io/templates: gateway"
    return ""


def _addresses(proxy: Proxy, workload: Workload) -> tuple[str, ...]:
    """A Pod's own. What stands for a machine outside has the address it is called at, which it need not know."""
    if workload.origin.ref.kind != "Pod":
        return proxy.ips
    return tuple(ip for ip in proxy.ips if ip in workload.addresses) or workload.addresses


def _claimed_locality(proxy: Proxy) -> Locality:
    """A label of the Pod says where it stands, and wins over its node, for want of the Pod as well."""
    own = proxy.labels.get(LOCALITY_LABEL, "")
    return Locality.parse(own.replace(".", "/")) if own else proxy.locality
