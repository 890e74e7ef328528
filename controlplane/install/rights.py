"""What the control plane may do: read what a mesh is made of, write what it is for, and no Secret of the cluster.

Whoever takes over a control plane has its rights. So there is no right on Secrets outside of namespaces that were
granted, webhooks can be changed by name only (our own), and what cannot be bounded by a name (creating) is bounded to
kinds that nobody trusts.
"""

from collections.abc import Sequence
from typing import Any, Final

from controlplane.install.names import (
    ACCOUNT,
    BASE,
    CONTROL_PLANE,
    GRANT,
    LEASE,
    Place,
    labels,
)
from controlplane.install.objects import Object, make
from controlplane.model.kinds import MESH_GROUPS, MESH_KINDS
from controlplane.security.secretstore import NAME as ROOT_SECRET

_READ: Final = ["get", "list", "watch"]
_RBAC: Final = "rbac.authorization.k8s.io"
_ADMISSION: Final = "admissionregistration.k8s.io"


def rights(place: Place, bundle: str) -> list[Object]:
    """Of one revision; `bundle`: the name of the trust bundle's ConfigMaps.

    All revisions share an account, so while there are two it has the rights of both.
    """
    ours = labels(CONTROL_PLANE, place.revision)
    cluster = make("ClusterRole", place.cluster_role, labels=ours, rules=_cluster_rules(place, bundle))
    local = make("Role", place.control_plane, place.namespace, labels=ours, rules=_local_rules())
    return [
        cluster,
        make(
            "ClusterRoleBinding",
            place.cluster_role,
            labels=ours,
            roleRef=_role("ClusterRole", place.cluster_role),
            subjects=[_account(place)],
        ),
        local,
        make(
            "RoleBinding",
            place.control_plane,
            place.namespace,
            labels=ours,
            roleRef=_role("Role", place.control_plane),
            subjects=[_account(place)],
        ),
    ]


def account(place: Place) -> Object:
    """Who the control plane is to the API server."""
    return make(
        "ServiceAccount",
        ACCOUNT,
        place.namespace,
        labels=labels(BASE, name=ACCOUNT),
        automountServiceAccountToken=False,
    )


def grant(place: Place, namespace: str, component: str = GRANT, revision: str = "") -> list[Object]:
    """Credentials of gateways in a namespace may be read: all of its Secrets, for that is what watching them takes."""
    name, ours = f"lateen-gateway-secrets{'' if component == GRANT else f'-{component}'}", labels(component, revision)
    return [
        make("Role", name, namespace, labels=ours, rules=[_rule([""], ["secrets"], _READ)]),
        make(
            "RoleBinding",
            name,
            namespace,
            labels=ours,
            roleRef=_role("Role", name),
            subjects=[_account(place)],
        ),
    ]


def _cluster_rules(place: Place, bundle: str) -> list[Object]:
    return [
        # What a mesh is made of.
        _rule([""], ["namespaces", "nodes", "pods", "services"], _READ),
        _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
        _rule(["networking.k8s.io"], ["ingressclasses", "ingresses"], _READ),
        _rule(sorted(MESH_GROUPS), ["*"], _READ),
        _rule(["apiextensions.k8s.io"], ["customresourcedefinitions"], _READ),
        # What we say about it.
        _rule(sorted({kind.group for kind in MESH_KINDS}), sorted(_statuses()), ["patch", "update"]),
        _rule(["networking.k8s.io"], ["ingresses/status"], ["patch", "update"]),
        _rule(["", "events.k8s.io"], ["events"], ["create", "patch"]),
        # Who calls, and whom callers trust. A create has no name that could be bounded; it changes nothing of others.
        _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
        _rule([""], ["configmaps"], ["create"]),
        _rule([""], ["configmaps"], [*_READ, "patch", "update"], [bundle]),
        # Our own webhooks' caBundle.
        _own_webhook("mutatingwebhookconfigurations", place.injector),
        _own_webhook("validatingwebhookconfigurations", place.validator),
    ]


def _local_rules() -> list[Object]:
    return [
        _rule([""], ["secrets"], ["create"]),
        _rule([""], ["secrets"], ["get", "patch"], [ROOT_SECRET]),
        _rule(["coordination.k8s.io"], ["leases"], [*_READ, "patch", "update"], [LEASE]),
    ]


def _statuses() -> set[str]:
    return {f"{kind.plural}/status" for kind in MESH_KINDS}


def _own_webhook(kind: str, name: str) -> Object:
    return _rule([_ADMISSION], [kind], [*_READ, "patch"], [name])


def _rule(groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Object:
    found: dict[str, Any] = {"apiGroups": list(groups), "resources": list(resources)}
    return found | ({"resourceNames": list(names)} if names else {}) | {"verbs": list(verbs)}


def _role(kind: str, name: str) -> Object:
    return {"apiGroup": _RBAC, "kind": kind, "name": name}


def _account(place: Place) -> Object:
    return {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": place.namespace}
