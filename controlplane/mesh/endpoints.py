"""EndpointSlices and workloads -> the endpoints behind one port of a service.

An endpoint is the business of everyone who calls, so its order never depends on how slices are cut or arrive: sorted
by address, then port.

Not ready endpoints are left out rather than sent as unhealthy. Envoy would use an unhealthy host only when it panics
(which Istio turns off, and so do we) and would count it when it decides to spill into the next locality: a Pod that
starts would push traffic out of its zone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from controlplane.ir.service import Endpoint, Health, Resolution, Service, ServicePort, Workload
from controlplane.mesh.hosts import UNIX, is_ip, is_local, is_local_ip, is_ours
from controlplane.mesh.problems import ignored, invalid
from controlplane.model import core
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Problem

WorkloadLookup = Callable[[str, str], Workload | None]  # (namespace, Pod name)
NodeLookup = Callable[[str], str]  # name of a Node -> its locality, "" for one nobody knows
_NO_LABELS: Final[Mapping[str, str]] = {}
_Found = dict[tuple[str, int], Endpoint]


def from_slices(  # noqa: PLR0913  slices, and where to look what stands behind them
    service: Service,
    port: ServicePort,
    slices: Iterable[core.EndpointSlice],
    workload: WorkloadLookup,
    locality_of: NodeLookup,
    *,
    refuse_local: bool = False,
    all_good: bool = False,
) -> tuple[Endpoint, ...]:
    """Endpoints of the slices of a service. A slice's port is found by name: its number is already resolved.

    While an endpoint moves it may stand in two slices; the healthier entry counts. `all_good`: `problems_of_slice`
    found nothing, so addresses need no second look.
    """
    found: _Found = {}
    families: set[str] = set()
    for part in slices:
        number = _slice_port(part, port)
        if number is None or part.address_type == "FQDN":
            continue
        families.add(part.address_type)
        for entry in part.endpoints:
            health = Health.HEALTHY if service.publish_not_ready else health_of(entry.conditions)
            if health is None or not entry.addresses:
                continue
            if not (all_good or _is_good(entry.addresses[0], refuse_local=refuse_local)):
                continue
            key = (entry.addresses[0], number)
            known = found.get(key)
            if known is None or (health is Health.HEALTHY and known.health is not health):
                found[key] = _endpoint(part, entry, key, health, workload, locality_of)
    if len(families) > 1:
        return _one_per_workload(found, service)
    return tuple([found[key] for key in sorted(found)])


def _is_good(address: str, *, refuse_local: bool) -> bool:
    return is_ip(address) and not (refuse_local and is_local_ip(address))


def _slice_port(part: core.EndpointSlice, port: ServicePort) -> int | None:
    for candidate in part.ports:
        if candidate.name == port.name and candidate.protocol == "TCP":
            number = port.target if candidate.port is None else candidate.port  # None: "all ports"
            return number if isinstance(number, int) and 0 < number < 65536 else None
    return None


def health_of(conditions: core.EndpointConditions) -> Health | None:
    """What callers may do with an endpoint; None: nothing. Absent means ready, and serving, as Kubernetes says."""
    if conditions.ready is not False:
        return Health.HEALTHY
    if conditions.terminating and conditions.serving is not False:
        return Health.DRAINING
    return None


def _endpoint(  # noqa: PLR0913, PLR0917  an entry, and where to look what stands behind it
    part: core.EndpointSlice,
    entry: core.Endpoint,
    key: tuple[str, int],
    health: Health,
    workload: WorkloadLookup,
    locality_of: NodeLookup,
) -> Endpoint:
    ref = entry.target_ref
    pod = _pod_behind(part, entry, ref, workload) if ref is not None else None
    zone = entry.zone or ""
    hints = tuple([hint.name for hint in entry.hints.for_zones]) if entry.hints is not None else ()
    if pod is None:
        known = locality_of(entry.node_name) if entry.node_name else ""  # a slice knows no region
        return Endpoint(
            key[0],
            key[1],
            _NO_LABELS,
            locality=known or (f"/{zone}" if zone else ""),
            health=health,
            node=entry.node_name or "",
            zones=hints,
        )
    return Endpoint(
        key[0],
        key[1],
        pod.labels,
        locality=pod.locality or (f"/{zone}" if zone else ""),
        weight=pod.weight,
        health=health,
        node=entry.node_name or pod.node,
        network=pod.network,
        service_account=pod.service_account,
        mutual_tls=pod.mutual_tls,
        workload=f"{pod.namespace}/{pod.name}",
        zones=hints,
    )


def _pod_behind(
    part: core.EndpointSlice, entry: core.Endpoint, ref: core.TargetRef, workload: WorkloadLookup
) -> Workload | None:
    """The Pod an endpoint says it is, if it may say so.

    Labels and identity of another namespace's Pod are not for this slice to claim, and a Pod of the same name that
    lives at another address by now (a StatefulSet's) is not the one meant.
    """
    namespace = part.meta.namespace
    if ref.kind != "Pod" or (ref.namespace and ref.namespace != namespace):
        return None
    pod = workload(namespace, ref.name)
    if pod is None or (pod.addresses and entry.addresses[0] not in pod.addresses):
        return None
    return pod


def _one_per_workload(found: _Found, service: Service) -> tuple[Endpoint, ...]:
    """Dual stack: a workload with an address in both families is one endpoint, not two with double weight.

    The family of the Service's first address leads; the other address is tried when the first does not answer.
    """
    ipv6_leads = bool(service.addresses) and ":" in service.addresses[0]
    leaders: dict[tuple[str, int], tuple[str, int]] = {}  # (workload, port) -> key of its endpoint
    merged: _Found = {}
    for key in sorted(found, key=lambda key: ((":" in key[0]) != ipv6_leads, key)):
        endpoint = found[key]
        leader = leaders.get((endpoint.workload, key[1])) if endpoint.workload else None
        if leader is None:
            merged[key] = endpoint
            leaders[endpoint.workload, key[1]] = key
        else:
            first = merged[leader]
            merged[leader] = msgspec.structs.replace(first, more_addresses=(*first.more_addresses, key[0]))
    return tuple([merged[key] for key in sorted(merged)])


def from_workloads(
    service: Service, port: ServicePort, workloads: Sequence[Workload], *, refuse_local: bool = False
) -> tuple[Endpoint, ...]:
    """Endpoints of the workloads a selector found. Names are endpoints only where the proxy resolves names."""
    found: _Found = {}
    names_resolve = service.resolution in {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}
    for workload in workloads:
        if not workload.addresses or not (workload.ready or service.publish_not_ready):
            continue
        number = workload_port(service, port, workload)
        address, *more = workload.addresses
        if number is None or not (names_resolve or is_ip(address) or address.startswith(UNIX)):
            continue
        if _is_refused(address, refuse_local=refuse_local):
            continue
        number = 0 if address.startswith(UNIX) else number
        found.setdefault((address, number), _of_workload(workload, address, number, tuple(more)))
    return tuple([found[key] for key in sorted(found)])


def workload_port(service: Service, port: ServicePort, workload: Workload) -> int | None:
    """Where a workload serves a port: by the port's name for a ServiceEntry or a WorkloadEntry, else by its target."""
    if not service.kubernetes or workload.origin.ref.kind == "WorkloadEntry":
        own = workload.ports.get(port.name)
        if own is not None:
            return own
    return port.target if isinstance(port.target, int) else workload.ports.get(port.target)


def _of_workload(workload: Workload, address: str, number: int, more: tuple[str, ...]) -> Endpoint:
    return Endpoint(
        address,
        number,
        workload.labels,
        locality=workload.locality,
        weight=workload.weight,
        node=workload.node,
        network=workload.network,
        service_account=workload.service_account,
        mutual_tls=workload.mutual_tls,
        workload=f"{workload.namespace}/{workload.name}",
        more_addresses=more,
    )


def accounts(ports: Iterable[Sequence[Endpoint]]) -> tuple[str, ...]:
    """The service accounts of the workloads behind a service ("namespace/account"), sorted; none if none is known."""
    found: set[str] = set()
    for endpoints in ports:
        found.update([endpoint.service_account for endpoint in endpoints])
    found.discard("")
    return tuple(sorted(found))


def _is_refused(address: str, *, refuse_local: bool) -> bool:
    return is_ours(address) if address.startswith(UNIX) and not refuse_local else refuse_local and is_local(address)


def problems_of_workloads(
    service: Service, workloads: Sequence[Workload], *, refuse_local: bool = False
) -> tuple[Problem, ...]:
    """Workloads that a selector found and nobody can call: names where addresses are needed, callers' own machines."""
    refused = [one for one in workloads if one.addresses and _is_refused(one.addresses[0], refuse_local=refuse_local)]
    local = tuple(
        invalid(one.origin.at("spec.address"), leads_to_itself(one.addresses[0], refuse_local=refuse_local))
        for one in refused
    )
    if service.resolution in {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}:
        return local
    text = f"{service.host} ({service.origin}) needs addresses: a name is no endpoint of it, but with resolution DNS"
    named = tuple(
        invalid(workload.origin.at("spec.address"), text)
        for workload in workloads
        if workload.addresses and not (is_ip(workload.addresses[0]) or workload.addresses[0].startswith(UNIX))
    )
    return (*local, *named)


def leads_to_itself(address: str, *, refuse_local: bool) -> str:
    """Why such an address is left out."""
    if refuse_local:
        return f"{address!r} would lead callers to themselves (refuseLocalEndpoints)"
    return f"{address!r} is where a proxy is told what to do: nobody's endpoint"


def problems_of_slice(part: core.EndpointSlice, *, refuse_local: bool = False) -> tuple[Problem, ...]:
    """What of a slice is left out, and why."""
    origin = origin_of(part)
    if part.address_type == "FQDN":
        text = "slices of DNS names are not used, as Kubernetes' own proxy does not use them"
        return (ignored(origin.at("addressType"), "SliceNotUsed", text),)
    problems: list[Problem] = []
    namespaces = ("", part.meta.namespace)
    for index, entry in enumerate(part.endpoints):
        if entry.addresses and not is_ip(entry.addresses[0]):
            at = origin.at(f"endpoints[{index}].addresses[0]")
            problems.append(invalid(at, f"{entry.addresses[0]!r} is no IP address: it is left out"))
        elif entry.addresses and refuse_local and is_local_ip(entry.addresses[0]):
            at = origin.at(f"endpoints[{index}].addresses[0]")
            problems.append(invalid(at, leads_to_itself(entry.addresses[0], refuse_local=True)))
        if entry.target_ref is not None and entry.target_ref.namespace not in namespaces:
            at = origin.at(f"endpoints[{index}].targetRef")
            text = f"points to a Pod of namespace {entry.target_ref.namespace!r}: its labels and identity do not count"
            problems.append(Problem("ForeignEndpoint", Level.WARNING, at, text))
    return tuple(problems)
