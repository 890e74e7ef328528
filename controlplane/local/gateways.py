"""Which gateway Envoys there are.

A Gateway says by labels which proxies it means. In a cluster these run because somebody installed an ingress gateway;
on the laptop nobody did. So: a Deployment made for gateway injection is one Envoy; selectors that match no Deployment
get an Envoy with just these labels; Gateways with the same selector share it, as they would in a cluster. Ingresses of
ours ask for the gateway that MeshConfig names, as a Gateway for ports 80 and 443 would.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from controlplane.gatewayapi.ingress import HTTP_PORT, HTTPS_PORT, controller, gateway_labels
from controlplane.local.addresses import LAST_PORT, AddressBook, bound_port
from controlplane.local.lateenfile import LateenFile
from controlplane.local.manifests import Manifests, Workload, is_subset
from controlplane.local.plan import GatewayPort, GatewayProxy
from controlplane.local.ports import PORT_IN_USE
from controlplane.model.decode import decode
from controlplane.model.ingress import Ingress, IngressClass
from controlplane.model.meshconfig import decode_settings
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.value import Read

FIRST_ADDRESS = "127.0.0.1"  # the first gateway answers where people look first
_DEFAULT_SELECTOR = {"istio": "ingressgateway"}


class _Port(Read):
    number: int
    protocol: str = ""


class _Server(Read):
    port: _Port | None = None


class _Spec(Read):
    selector: Mapping[str, str] = {}
    servers: tuple[_Server, ...] = ()


class _Gateway(Read):
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Wanted(msgspec.Struct, frozen=True, order=True):
    """One gateway Envoy before it has an address."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...]
    service_account: str = "default"


class _Ask(msgspec.Struct, frozen=True):
    """An object that asks for ports on gateways with these labels."""

    ref: ObjectRef
    selector: Mapping[str, str]
    ports: tuple[_Port, ...]


_HTTP = _Port(number=HTTP_PORT, protocol="HTTP")
_HTTPS = _Port(number=HTTPS_PORT, protocol="HTTPS")


def gateway_proxies(
    manifests: Manifests, workloads: Sequence[Workload], file: LateenFile, addresses: AddressBook
) -> tuple[GatewayProxy, ...]:
    """The gateway Envoys, in order of name; those that no Deployment brings along live in `file.gateway_namespace`."""
    asks = (*_gateways(manifests), *_ingresses(manifests, decode_settings(file.mesh_config)[0]))
    own = [_of_workload(workload) for workload in workloads if workload.is_gateway and workload.replicas]
    others = [dict(workload.labels) for workload in workloads if not workload.is_gateway]
    wanted = set(own)
    for ask in asks:
        selector = ask.selector
        if not any(is_subset(selector, labels) for labels in [*map(dict, (one.labels for one in wanted)), *others]):
            wanted.add(_of_selector(selector or _DEFAULT_SELECTOR, file.gateway_namespace))
    return tuple(_proxy(one, index, asks, addresses) for index, one in enumerate(sorted(wanted)))


def port_clashes(proxy: GatewayProxy) -> Iterator[Problem]:
    """Two server ports that are bound at the same one: 80 and 10080."""
    by_bound: dict[int, GatewayPort] = {}
    for port in proxy.ports:
        other = by_bound.setdefault(port.bound, port)
        if other.number != port.number:
            message = f"ports {other.number} and {port.number} would both be bound at {port.bound} on this machine"
            yield Problem(PORT_IN_USE, Level.ERROR, Origin(port.gateway, "spec.servers"), message)


def _gateways(manifests: Manifests) -> Iterator[_Ask]:
    for ref in sorted(manifests):
        if (ref.group, ref.kind) == ("networking.istio.io", "Gateway"):
            try:
                spec = msgspec.convert(manifests[ref], _Gateway).spec
            except msgspec.ValidationError:
                continue  # the model's decoder has told its author already
            yield _Ask(ref, spec.selector, tuple(server.port for server in spec.servers if server.port is not None))


def _ingresses(manifests: Manifests, settings: Settings) -> Iterator[_Ask]:
    refs = [ref for ref in sorted(manifests) if ref.group == Ingress.GROUP]
    found = {ref: decode(manifests[ref], namespace=ref.namespace).value for ref in refs}
    classes = {one.meta.name: one for one in found.values() if isinstance(one, IngressClass)}
    defaults = [one for one in classes.values() if one.is_default]
    for ref, one in found.items():
        if (
            isinstance(one, Ingress)
            and controller(one, classes.get(one.spec.ingress_class_name or ""), defaults, settings)[0]
        ):
            yield _Ask(ref, gateway_labels(settings), (_HTTP, _HTTPS) if one.spec.tls else (_HTTP,))


def _of_workload(workload: Workload) -> _Wanted:
    account = workload.template.spec.service_account_name or "default"
    return _Wanted(workload.ref.namespace, workload.ref.name, tuple(sorted(workload.labels.items())), account)


def _of_selector(selector: Mapping[str, str], namespace: str) -> _Wanted:
    labels = tuple(sorted(selector.items()))
    name = "-".join(f"istio-{value}" if key == "istio" else value for key, value in labels)
    return _Wanted(namespace, name, labels, f"{name}-service-account")


def _proxy(wanted: _Wanted, index: int, asks: Sequence[_Ask], addresses: AddressBook) -> GatewayProxy:
    labels = dict(wanted.labels)
    own = addresses.address(f"gateway {wanted.namespace}/{wanted.name}")
    address = FIRST_ADDRESS if index == 0 else own
    ports = {
        port.number: GatewayPort(port.number, bound_port(port.number), port.protocol, ask.ref)
        for ask in asks
        if is_subset(ask.selector, labels)
        for port in ask.ports
        if 0 < port.number <= LAST_PORT
    }
    return GatewayProxy(
        namespace=wanted.namespace,
        name=wanted.name,
        labels=labels,
        service_account=wanted.service_account,
        address=address,
        status_address=own,
        ports=tuple(ports[number] for number in sorted(ports)),
    )
