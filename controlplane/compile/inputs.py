"""Everything the graph is fed with: one input collection per kind, keyed by (namespace, name)."""

from typing import Any

from controlplane.model import core
from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.destinationrule import DestinationRule
from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.model.gateway import Gateway
from controlplane.model.ingress import Ingress, IngressClass
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.proxy import Proxy
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.serviceentry import ServiceEntry, WorkloadEntry
from controlplane.model.settings import Settings
from controlplane.model.sidecar import Sidecar
from controlplane.model.unsupported import UnsupportedObject
from controlplane.model.virtualservice import VirtualService
from controlplane.store import Fetch, Input, Store

Key = tuple[str, str]  # (namespace, name)
Labels = tuple[tuple[str, str], ...]  # sorted
SETTINGS_KEY: tuple[()] = ()
DEFAULT_SETTINGS = Settings()


class Inputs:
    """The inputs. `of` finds the one for a decoded value."""

    def __init__(self, store: Store) -> None:
        self.settings: Input[tuple[()], Settings] = store.input("Settings")
        self.services: Input[Key, core.Service] = store.input("Service")
        self.slices: Input[Key, core.EndpointSlice] = store.input("EndpointSlice")
        self.pods: Input[Key, core.Pod] = store.input("Pod")
        self.nodes: Input[Key, core.Node] = store.input("Node")
        self.namespaces: Input[Key, core.Namespace] = store.input("Namespace")
        self.secrets: Input[Key, core.Secret] = store.input("Secret")
        self.virtual_services: Input[Key, VirtualService] = store.input("VirtualService")
        self.destination_rules: Input[Key, DestinationRule] = store.input("DestinationRule")
        self.gateways: Input[Key, Gateway] = store.input("Gateway")
        self.service_entries: Input[Key, ServiceEntry] = store.input("ServiceEntry")
        self.workload_entries: Input[Key, WorkloadEntry] = store.input("WorkloadEntry")
        self.sidecars: Input[Key, Sidecar] = store.input("Sidecar")
        self.peer_authentications: Input[Key, PeerAuthentication] = store.input("PeerAuthentication")
        self.request_authentications: Input[Key, RequestAuthentication] = store.input("RequestAuthentication")
        self.authorization_policies: Input[Key, AuthorizationPolicy] = store.input("AuthorizationPolicy")
        self.ingresses: Input[Key, Ingress] = store.input("Ingress")
        self.ingress_classes: Input[Key, IngressClass] = store.input("IngressClass")
        self.fetched_keys: Input[str, FetchedKeys] = store.input("FetchedKeys")  # by URI
        self.unsupported: Input[tuple[str, str, str, str], UnsupportedObject] = store.input("Unsupported")
        self.proxies: Input[str, Proxy] = store.input("Proxy")  # by connection
        self._by_kind: dict[tuple[str, str], Input[Key, Any]] = {
            (core.Service.GROUP, core.Service.KIND): self.services,
            (core.EndpointSlice.GROUP, core.EndpointSlice.KIND): self.slices,
            (core.Pod.GROUP, core.Pod.KIND): self.pods,
            (core.Node.GROUP, core.Node.KIND): self.nodes,
            (core.Namespace.GROUP, core.Namespace.KIND): self.namespaces,
            (core.Secret.GROUP, core.Secret.KIND): self.secrets,
            (VirtualService.GROUP, VirtualService.KIND): self.virtual_services,
            (DestinationRule.GROUP, DestinationRule.KIND): self.destination_rules,
            (Gateway.GROUP, Gateway.KIND): self.gateways,
            (ServiceEntry.GROUP, ServiceEntry.KIND): self.service_entries,
            (WorkloadEntry.GROUP, WorkloadEntry.KIND): self.workload_entries,
            (Sidecar.GROUP, Sidecar.KIND): self.sidecars,
            (PeerAuthentication.GROUP, PeerAuthentication.KIND): self.peer_authentications,
            (RequestAuthentication.GROUP, RequestAuthentication.KIND): self.request_authentications,
            (AuthorizationPolicy.GROUP, AuthorizationPolicy.KIND): self.authorization_policies,
            (Ingress.GROUP, Ingress.KIND): self.ingresses,
            (IngressClass.GROUP, IngressClass.KIND): self.ingress_classes,
        }

    def of(self, group: str, kind: str) -> Input[Key, Any] | None:
        """The collection objects of this kind belong to; None for kinds nothing is made from."""
        return self._by_kind.get((group, kind))


def settings_of(fetch: Fetch, inputs: Inputs) -> Settings:
    return fetch(inputs.settings, SETTINGS_KEY) or DEFAULT_SETTINGS
