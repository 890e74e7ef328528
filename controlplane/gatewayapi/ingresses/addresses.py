"""Which addresses an Ingress shows in its status: those under which its gateway's Service is reached.

A load balancer's, as the cloud reports them; and `externalIPs`. A Service without a load balancer is reached at the
nodes (NodePort), or within the cluster only. Pure; writing it down is the status writer's.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

import msgspec

from controlplane.model import core
from controlplane.model.settings import Settings

_LOAD_BALANCER: Final = "LoadBalancer"
_NODE_PORT: Final = "NodePort"
_EXTERNAL_NAME: Final = "ExternalName"


class GatewayAddress(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """One entry of `status.loadBalancer.ingress`: a name or an address, never both. Encodes as it is written there."""

    hostname: str = ""
    ip: str = ""


def gateway_service(settings: Settings) -> tuple[str, str]:
    """(namespace, name) of the Service whose addresses count: MeshConfig's `ingressService`."""
    namespace, _, name = settings.ingress_service.rpartition("/")
    return namespace or settings.root_namespace, name


def addresses(service: core.Service | None, nodes: Iterable[str] = ()) -> tuple[GatewayAddress, ...]:
    """Sorted; none while there is no Service, or a load balancer has no address yet.

    `nodes`: addresses of the nodes the gateway's Pods run on, for a Service that is reached there.
    """
    if service is None:
        return ()
    return tuple(sorted({_entry(one) for one in _reached(service, nodes) if one}))


def _reached(service: core.Service, nodes: Iterable[str]) -> Iterable[str]:
    if service.spec.type == _EXTERNAL_NAME:
        return (service.spec.external_name,)
    balanced = [one.ip or one.hostname for one in service.status.load_balancer.ingress]
    reported = [*balanced, *service.spec.external_ips]
    if reported or service.spec.type == _LOAD_BALANCER:
        return reported
    return nodes if service.spec.type == _NODE_PORT else service.vips


def _entry(text: str) -> GatewayAddress:
    try:
        ip_address(text)
    except ValueError:
        return GatewayAddress(hostname=text)
    return GatewayAddress(ip=text)
