"""Every kind Lateen knows of: what decodes it, and what is said of those nothing decodes yet."""

import msgspec

from controlplane.model import core
from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.destinationrule import DestinationRule
from controlplane.model.gateway import Gateway
from controlplane.model.ingress import Ingress, IngressClass
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.serviceentry import ServiceEntry, WorkloadEntry
from controlplane.model.sidecar import Sidecar
from controlplane.model.unsupported import UnsupportedObject
from controlplane.model.virtualservice import VirtualService

MeshObject = (
    VirtualService
    | DestinationRule
    | Gateway
    | ServiceEntry
    | WorkloadEntry
    | Sidecar
    | PeerAuthentication
    | RequestAuthentication
    | AuthorizationPolicy
)
CoreObject = (
    core.Service
    | core.EndpointSlice
    | core.Pod
    | core.Deployment
    | core.Namespace
    | core.Node
    | core.Secret
    | core.ConfigMap
    | core.ServiceAccount
    | Ingress
    | IngressClass
)
Object = MeshObject | CoreObject | UnsupportedObject


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind, as an API server names it."""

    type: type
    group: str
    kind: str
    plural: str
    versions: tuple[str, ...]  # the storage version first
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    mesh: bool = False  # its CRD is ours to make, its unknown fields are problems


ISTIO_VERSIONS = ("v1", "v1beta1", "v1alpha3")
SECURITY_VERSIONS = ("v1", "v1beta1")


def _mesh(of: type, plural: str, short_names: tuple[str, ...], versions: tuple[str, ...] = ISTIO_VERSIONS) -> Kind:
    return Kind(
        type=of,
        group=of.GROUP,  # type: ignore[attr-defined]
        kind=of.__name__,
        plural=plural,
        versions=versions,
        short_names=short_names,
        mesh=True,
    )


def _core(of: type, plural: str, *, namespaced: bool = True) -> Kind:
    return Kind(
        type=of,
        group=of.GROUP,  # type: ignore[attr-defined]
        kind=of.__name__,
        plural=plural,
        versions=("v1",),
        namespaced=namespaced,
    )


MESH_KINDS: tuple[Kind, ...] = (
    _mesh(VirtualService, "virtualservices", ("vs",)),
    _mesh(DestinationRule, "destinationrules", ("dr",)),
    _mesh(Gateway, "gateways", ("gw",)),
    _mesh(ServiceEntry, "serviceentries", ("se",)),
    _mesh(WorkloadEntry, "workloadentries", ("we",)),
    _mesh(Sidecar, "sidecars", ()),
    _mesh(PeerAuthentication, "peerauthentications", ("pa",), SECURITY_VERSIONS),
    _mesh(RequestAuthentication, "requestauthentications", ("ra",), SECURITY_VERSIONS),
    _mesh(AuthorizationPolicy, "authorizationpolicies", ("ap",), SECURITY_VERSIONS),
)
CORE_KINDS: tuple[Kind, ...] = (
    _core(core.Service, "services"),
    _core(core.EndpointSlice, "endpointslices"),
    _core(core.Pod, "pods"),
    _core(core.Deployment, "deployments"),
    _core(core.Namespace, "namespaces", namespaced=False),
    _core(core.Node, "nodes", namespaced=False),
    _core(core.Secret, "secrets"),
    _core(core.ConfigMap, "configmaps"),
    _core(core.ServiceAccount, "serviceaccounts"),
    _core(Ingress, "ingresses"),
    _core(IngressClass, "ingressclasses", namespaced=False),
)
KINDS: tuple[Kind, ...] = MESH_KINDS + CORE_KINDS
BY_NAME: dict[tuple[str, str], Kind] = {(kind.group, kind.kind): kind for kind in KINDS}

# Groups whose every kind means something for traffic: a kind of theirs that we do not know is worth a word.
MESH_GROUPS = frozenset(
    {
        "networking.istio.io",
        "security.istio.io",
        "telemetry.istio.io",
        "extensions.istio.io",
        "gateway.networking.k8s.io",
    }
)
SECURITY_GROUP = "security.istio.io"
# Kinds that have become another's: what is to be said of them.
REPLACED = {
    ("", "Endpoints"): "EndpointSlices are read instead, which a cluster makes of Endpoints; without one, write an "
    "EndpointSlice (discovery.k8s.io/v1) with the label kubernetes.io/service-name",
}
