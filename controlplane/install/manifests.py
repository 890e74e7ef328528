"""All objects of an installation, as values: what `lateen install` applies and `lateen manifest generate` prints."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from controlplane.gatewayapi.ingresses.classes import CLASS, Controller
from controlplane.install.gateway import ingress_gateway
from controlplane.install.lateend import control_plane, peers
from controlplane.install.names import BASE, BUNDLE_BESIDE_ISTIOD, LEASE, Place, labels
from controlplane.install.objects import Object, in_order, make
from controlplane.install.rights import account, rights
from controlplane.install.values import Values
from controlplane.install.webhooks import bundle_name, webhooks
from controlplane.model.crd import crd
from controlplane.model.kinds import MESH_KINDS
from controlplane.model.meshconfig import decode_settings

ISTIO_NAMESPACE = "istio-system"


class Facts(msgspec.Struct, frozen=True):
    """What manifests depend on that only the cluster knows; as it is where nobody asks."""

    istiod: bool = False  # one runs here, and what is in istio-system is its own


def manifests(values: Values, place: Place, facts: Facts) -> list[Object]:
    """In the order in which they can be applied; the same values give the same objects."""
    mesh, values = mesh_config(values, place, facts), _with_bundle(values, facts)
    settings, _ = decode_settings(mesh)
    return in_order(
        [
            *base(place),
            *rights(place, bundle_name(values)),
            *control_plane(values, place, mesh),
            *webhooks(values, place, mesh),
            *ingress_gateway(values, place, settings.trust_domain),
        ]
    )


def base(place: Place) -> list[Object]:
    """What all revisions share."""
    ours = labels(BASE)
    return [
        make("Namespace", place.namespace, labels=ours),
        *crds(),
        account(place),
        peers(place),
        make("IngressClass", CLASS, labels=ours, spec={"controller": Controller.LATEEN.value}),
        # Made here so that the control plane needs no right to make any.
        make("Lease", LEASE, place.namespace, labels=ours),
    ]


@cache
def crds() -> tuple[Object, ...]:
    """Of all kinds that are read. They take a moment to make."""
    return tuple(_labelled(crd(kind)) for kind in MESH_KINDS)


def mesh_config(values: Values, place: Place, facts: Facts) -> Mapping[str, Any]:
    """What the control plane is told. Istio's root namespace counts, unless an istiod is there to read it."""
    roots = [place.namespace] if facts.istiod else [place.namespace, ISTIO_NAMESPACE]
    said = values.mesh_config
    if "rootNamespace" in said or "rootNamespaces" in said:
        return said
    return {**said, "rootNamespaces": list(dict.fromkeys(roots))}


def _with_bundle(values: Values, facts: Facts) -> Values:
    """An istiod keeps a ConfigMap of the usual name in every namespace: ours has another one beside it."""
    if not facts.istiod or "rootConfigMap" in values.injection:
        return values
    return msgspec.structs.replace(values, injection={**values.injection, "rootConfigMap": BUNDLE_BESIDE_ISTIOD})


def _labelled(obj: Object) -> Object:
    meta = {**obj["metadata"], "labels": labels(BASE)}
    return {**obj, "metadata": meta}
