"""Which gateway Envoys there are.

A Gateway says by labels which proxies it means. In a cluster these run because somebody installed an ingress gateway;
on the laptop nobody did. So: a Deployment made for gateway injection is one Envoy; selectors that match no Deployment
get an Envoy with just these labels; Gateways with the same selector share it, as they would in a cluster.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from controlplane.local.addresses import LAST_PORT, AddressBook, bound_port
from controlplane.local.manifests import Manifests, Workload, is_subset
from controlplane.local.plan import GatewayPort, GatewayProxy
from controlplane.local.ports import PORT_IN_USE
from controlplane.model.problem import Level, ObjectRef, Origin, Problem
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


def gateway_proxies(
    manifests: Manifests, workloads: Sequence[Workload], namespace: str, addresses: AddressBook
) -> tuple[GatewayProxy, ...]:
    """The gateway Envoys, in order of name. `namespace` is where those live that no Deployment brings along."""
    gateways = dict(_gateways(manifests))
    own = [_of_workload(workload) for workload in workloads if workload.is_gateway and workload.replicas]
    others = [dict(workload.labels) for workload in workloads if not workload.is_gateway]
    wanted = set(own)
    for gateway in gateways.values():
        selector = gateway.spec.selector
        if not any(is_subset(selector, labels) for labels in [*map(dict, (one.labels for one in wanted)), *others]):
            wanted.add(_of_selector(selector or _DEFAULT_SELECTOR, namespace))
    return tuple(_proxy(one, index, gateways, addresses) for index, one in enumerate(sorted(wanted)))


def port_clashes(proxy: GatewayProxy) -> Iterator[Problem]:
    """Two server ports that are bound at the same one: 80 and 10080."""
    by_bound: dict[int, GatewayPort] = {}
    for port in proxy.ports:
        other = by_bound.setdefault(port.bound, port)
        if other.number != port.number:
            message = f"ports {other.number} and {port.number} would both be bound at {port.bound} on this machine"
            yield Problem(PORT_IN_USE, Level.ERROR, Origin(port.gateway, "spec.servers"), message)


def _gateways(manifests: Manifests) -> Iterator[tuple[ObjectRef, _Gateway]]:
    for ref in sorted(manifests):
        if (ref.group, ref.kind) == ("networking.istio.io", "Gateway"):
            try:
                yield ref, msgspec.convert(manifests[ref], _Gateway)
            except msgspec.ValidationError:
                continue  # the model's decoder has told its author already


def _of_workload(workload: Workload) -> _Wanted:
    account = workload.template.spec.service_account_name or "default"
    return _Wanted(workload.ref.namespace, workload.ref.name, tuple(sorted(workload.labels.items())), account)


def _of_selector(selector: Mapping[str, str], namespace: str) -> _Wanted:
    labels = tuple(sorted(selector.items()))
    name = "-".join(f"istio-{value}" if key == "istio" else value for key, value in labels)
    return _Wanted(namespace, name, labels, f"{name}-service-account")


def _proxy(wanted: _Wanted, index: int, gateways: Mapping[ObjectRef, _Gateway], addresses: AddressBook) -> GatewayProxy:
    labels = dict(wanted.labels)
    own = addresses.address(f"gateway {wanted.namespace}/{wanted.name}")
    address = FIRST_ADDRESS if index == 0 else own
    ports = {
        server.port.number: GatewayPort(server.port.number, bound_port(server.port.number), server.port.protocol, ref)
        for ref, gateway in gateways.items()
        if is_subset(gateway.spec.selector, labels)
        for server in gateway.spec.servers
        if server.port is not None and 0 < server.port.number <= LAST_PORT
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
