"""Who can be called, and where they are: services by host, their owners, their endpoints.

A host may be declared more than once: by a Kubernetes Service, and by ServiceEntries of several namespaces. Its owner
is the Kubernetes Service, else the oldest ServiceEntry; that declaration is what everybody sees. A namespace that has
a declaration of its own for a host it does not own sees its own (`mesh.tenancy`).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from controlplane.compile.inputs import Inputs, Key, settings_of
from controlplane.compile.peers import Peers
from controlplane.ir.service import Endpoint, Service, ServicePort, Workload
from controlplane.mesh import endpoints as mesh_endpoints
from controlplane.mesh import service as mesh_service
from controlplane.mesh import serviceentry as mesh_serviceentry
from controlplane.mesh import workload as mesh_workload
from controlplane.mesh.caller import has_labels
from controlplane.model import core
from controlplane.model.proxy import Proxy
from controlplane.model.serviceentry import ServiceEntry, WorkloadEntry
from controlplane.store import Fetch, Index, Store

HostKey = tuple[str, str]  # (host, namespace of the declaration)
Place = tuple[str, str]  # (namespace, address or ANYWHERE)
ANYWHERE = ""  # no address
EndpointKey = tuple[str, str, int]  # (host, namespace of the declaration, port)
EntryKey = tuple[str, str, str]  # (host, namespace, name) of a ServiceEntry
_NEVER = datetime.max.replace(tzinfo=UTC)


class Registry:
    """Collections about what can be called."""

    def __init__(self, store: Store, inputs: Inputs, peers: Peers) -> None:
        self._inputs = inputs
        self._peers = peers
        self._localities = store.derive("NodeLocalities", inputs.nodes, _locality)
        self._pods = store.derive("PodWorkloads", inputs.pods, self._pod_workload)
        self._entries = store.derive("EntryWorkloads", inputs.workload_entries, _entry_workload)
        self._pods_at = store.index("PodsAt", self._pods, _places)
        self._entries_at = store.index("EntriesAt", self._entries, _places)

        kubernetes = store.expand("KubernetesServices", inputs.services, self._kubernetes_services)
        written = store.expand("EntryServices", inputs.service_entries, self._entry_services)
        self._written = store.index("EntriesByHost", written, lambda key, _: ((key[0], key[1]),))
        declared = store.derive("DeclaredServices", store.keys("DeclaredHosts", self._written), self._declared)
        self.services = store.union("Services", kubernetes, declared)
        self.by_host = store.index("ServicesByHost", self.services, lambda key, _: (key[0],))
        self.hosts = store.keys("Hosts", self.by_host)
        self.owners = store.derive("Owners", self.hosts, self._owner)

        self._slices = store.index("SlicesByService", inputs.slices, _slice_owner)
        self.endpoints = store.query("Endpoints", self._endpoints)
        self._accounts = store.query("Accounts", self._accounts_of)
        self._capable = store.query("CapableOfMutualTls", self._all_capable)

    def service_for(self, fetch: Fetch, host: str, namespace: str) -> Service | None:
        """The declaration of `host` that callers of `namespace` see (export apart)."""
        owner = fetch(self.owners, host)
        if owner is None or owner.kubernetes or owner.namespace == namespace:
            return owner
        return fetch(self.services, (host, namespace)) or owner

    def concrete(self, fetch: Fetch, service: Service) -> Service | None:
        """The service of the registry that an ExternalName stands for; None for names of the DNS, and all others."""
        if not service.alias_of:
            return None
        end = self._followed(fetch, service)
        return None if end is None or end.alias_of else end

    def is_circular(self, fetch: Fetch, service: Service) -> bool:
        """Whether an ExternalName leads back to a name before it."""
        end = self._followed(fetch, service)
        return end is not None and bool(end.alias_of)

    def _followed(self, fetch: Fetch, service: Service) -> Service | None:
        """Where a chain of ExternalNames ends: at a name of the DNS (None), at a service, or where it was before."""
        seen = {service.host}
        following: Service | None = service
        while following is not None and following.alias_of and following.alias_of not in seen:
            seen.add(following.alias_of)
            following = fetch(self.owners, following.alias_of)
        return following

    def _kubernetes_services(self, fetch: Fetch, _: Key, service: core.Service) -> Mapping[HostKey, Service]:
        value, problems = mesh_service.from_service(service, settings_of(fetch, self._inputs))
        fetch.report(*problems)
        return {} if value is None else {(value.host, value.namespace): value}

    def _entry_services(self, fetch: Fetch, key: Key, entry: ServiceEntry) -> Mapping[EntryKey, Service]:
        values, problems = mesh_serviceentry.from_service_entry(entry, settings_of(fetch, self._inputs))
        fetch.report(*problems)
        return {(value.host, *key): value for value in values}

    def _declared(self, fetch: Fetch, key: HostKey, _: bool) -> Service:  # noqa: FBT001  a key collection's value
        """What the ServiceEntries of one namespace say of one host together."""
        written = sorted(fetch.values(self._written, key), key=lambda entry: (*seniority(entry[1]), entry[0][2]))
        service, problems = mesh_serviceentry.united([service for _, service in written])
        fetch.report(*problems)
        return service

    def _owner(self, fetch: Fetch, host: str, _: bool) -> Service:  # noqa: FBT001  a key collection's value
        return min((service for _, service in fetch.values(self.by_host, host)), key=seniority)

    def _pod_workload(self, fetch: Fetch, _: Key, pod: core.Pod) -> Workload | None:
        node = pod.spec.node_name
        return mesh_workload.from_pod(pod, (fetch(self._localities, ("", node)) or "") if node else "")

    def workload(self, fetch: Fetch, proxy: Proxy) -> Workload | None:
        """What a proxy stands beside: the Pod of its name, else the WorkloadEntry, else the one at its address.

        Pods on their node's network share an address, and labels tell them apart; where they do not, it is none.
        """
        key = (proxy.namespace, proxy.name)
        named = fetch(self._pods, key) or fetch(self._entries, key)
        if named is not None:
            return named
        indexes = (self._pods_at, self._entries_at)
        there = {
            workload.origin: workload
            for address in proxy.ips
            for index in indexes
            for _, workload in fetch.values(index, (proxy.namespace, address))
            if _agree(workload.labels, proxy.labels)
        }
        return next(iter(there.values())) if len(there) == 1 else None

    def accounts(self, fetch: Fetch, service: Service) -> tuple[str, ...]:
        """The accounts of the workloads behind a service; none while none is known.

        A value of its own, so that endpoints come and go without their clusters as long as their accounts stay.
        """
        ports = tuple([port.number for port in service.ports])
        return fetch(self._accounts, (service.host, service.namespace, ports)) or ()

    def all_capable(self, fetch: Fetch, service: Service, port: ServicePort) -> bool:
        """Whether every endpoint of a port takes mutual TLS of the mesh, and there are any."""
        return fetch(self._capable, (service.host, service.namespace, port.number)) or False

    def _accounts_of(self, fetch: Fetch, key: tuple[str, str, tuple[int, ...]]) -> tuple[str, ...] | None:
        host, namespace, ports = key
        found = [fetch(self.endpoints, (host, namespace, port)) or () for port in ports]
        return mesh_endpoints.accounts(found) or None

    def _all_capable(self, fetch: Fetch, key: EndpointKey) -> bool:
        endpoints = fetch(self.endpoints, key) or ()
        return bool(endpoints) and all(endpoint.mutual_tls for endpoint in endpoints)

    def _endpoints(self, fetch: Fetch, key: EndpointKey) -> tuple[Endpoint, ...] | None:
        """Endpoints of one port of one declaration of a host; None when there is no such port."""
        settings = settings_of(fetch, self._inputs)
        found = self._listed(fetch, key, refuse_local=settings.refuse_local_endpoints)
        return self._peers.secured(fetch, key[1], found) if found and settings.mutual_tls else found

    def _listed(self, fetch: Fetch, key: EndpointKey, *, refuse_local: bool) -> tuple[Endpoint, ...] | None:
        host, namespace, number = key
        service = fetch(self.services, (host, namespace))
        port = service.port(number) if service else None
        if service is None or port is None:
            return None
        if number in service.static:
            return service.static[number]
        if service.kubernetes:
            slices = [value for _, value in fetch.values(self._slices, (namespace, service.name))]
            problems = [
                one for part in slices for one in mesh_endpoints.problems_of_slice(part, refuse_local=refuse_local)
            ]
            if problems:
                fetch.report(*problems)
            found = mesh_endpoints.from_slices(
                service,
                port,
                slices,
                lambda ns, name: fetch(self._pods, (ns, name)),
                lambda node: fetch(self._localities, ("", node)) or "",
                refuse_local=refuse_local,
                all_good=not problems,
            )
            entries = self._selected(fetch, self._entries_at, namespace, service.selector)
            if not entries:
                return found
            fetch.report(*mesh_endpoints.problems_of_workloads(service, entries, refuse_local=refuse_local))
            return (*found, *mesh_endpoints.from_workloads(service, port, entries, refuse_local=refuse_local))
        chosen = [
            *self._selected(fetch, self._entries_at, namespace, service.selector),
            *self._selected(fetch, self._pods_at, namespace, service.selector),
        ]
        fetch.report(*mesh_endpoints.problems_of_workloads(service, chosen, refuse_local=refuse_local))
        return mesh_endpoints.from_workloads(service, port, chosen, refuse_local=refuse_local)

    def _selected(
        self, fetch: Fetch, index: Index[Place, Key, Workload], namespace: str, selector: Mapping[str, str]
    ) -> list[Workload]:
        """Workloads of a namespace with all of a selector's labels; nothing is selected by nothing."""
        if not selector:
            return []
        there = fetch.values(index, (namespace, ANYWHERE))
        return [workload for _, workload in there if has_labels(workload.labels, selector)]


def seniority(service: Service) -> tuple[bool, datetime, str]:
    """Sorts the declarations of one host: Kubernetes first, then by age, then by namespace."""
    return (not service.kubernetes, service.created or _NEVER, service.namespace)


def _locality(_: Fetch, __: Key, node: core.Node) -> str | None:
    return mesh_workload.locality_of_node(node) or None


def _entry_workload(fetch: Fetch, _: Key, entry: WorkloadEntry) -> Workload:
    fetch.report(*mesh_workload.problems_of_workload_entry(entry))
    return mesh_workload.from_workload_entry(entry)


def _places(key: Key, workload: Workload) -> Iterable[Place]:
    """One index for both: there are more Pods than anything else."""
    return ((key[0], ANYWHERE), *[(key[0], address) for address in workload.addresses])


def _agree(labels: Mapping[str, str], claimed: Mapping[str, str]) -> bool:
    """Whether one workload can have both: no label has two values."""
    return all(labels.get(key, value) == value for key, value in claimed.items())


def _slice_owner(key: Key, value: core.EndpointSlice) -> Iterable[Key]:
    return ((key[0], value.service),) if value.service else ()
