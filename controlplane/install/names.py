"""What things of an installation are called, and the labels they are found by.

Every object carries `OURS`. What belongs to one revision says which, so that two of them stand side by side and one can
be taken away; what they share (Namespace, CRDs, the account, the Lease) says `base`, and goes with the last of them.
"""

from typing import Final

import msgspec

from controlplane.model.validate.common import is_dns_label

NAMESPACE: Final = "lateen-system"
DEFAULT_REVISION: Final = "default"
FIELD_MANAGER: Final = "lateen"

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
PART_OF: Final = "app.kubernetes.io/part-of"
NAME: Final = "app.kubernetes.io/name"
US: Final = "lateen"
REVISION: Final = "lateen.dev/revision"
COMPONENT: Final = "lateen.dev/component"
ISTIO_REVISION: Final = "istio.io/rev"
OURS: Final = f"{MANAGED_BY}={US},{PART_OF}={US}"  # as a selector

BASE: Final = "base"
CONTROL_PLANE: Final = "control-plane"
INGRESS_GATEWAY: Final = "ingress-gateway"
WEBHOOKS: Final = "webhooks"
GRANT: Final = "gateway-grant"

ACCOUNT: Final = "lateend"  # of all revisions: what namespaces grant it holds while one replaces another
GATEWAY: Final = "istio-ingressgateway"  # as Istio calls its own: what names it, settings or a person, finds it
PEERS: Final = "lateend-peers"
LEASE: Final = "lateen-leader"
TRUST_BUNDLE: Final = "istio-ca-root-cert"
BUNDLE_BESIDE_ISTIOD: Final = "lateen-ca-root-cert"

XDS_PORT: Final = 15012
IDENTITY_PORT: Final = 15013
METRICS_PORT: Final = 15014  # as Istio's control plane
WEBHOOK_PORT: Final = 15017
STATUS_PORT: Final = 15020
READINESS_PORT: Final = 15021

_LONGEST_REVISION: Final = 40  # characters: it is part of names that have 63


class Place(msgspec.Struct, frozen=True):
    """Where, and as which revision."""

    namespace: str = NAMESPACE
    revision: str = DEFAULT_REVISION

    @property
    def suffix(self) -> str:
        return "" if self.revision == DEFAULT_REVISION else f"-{self.revision}"

    @property
    def control_plane(self) -> str:
        """The Deployment, the Service, and all that goes with them."""
        return f"lateend{self.suffix}"

    @property
    def settings(self) -> str:
        """The ConfigMap with the MeshConfig."""
        return f"lateen{self.suffix}"

    @property
    def server_name(self) -> str:
        """What agents and proxies call the control plane; its certificate says the same."""
        return f"{self.control_plane}.{self.namespace}.svc"

    @property
    def cluster_role(self) -> str:
        """Cluster-wide names say the namespace: two meshes may share a cluster."""
        return f"{self.control_plane}-{self.namespace}"

    @property
    def injector(self) -> str:
        """The MutatingWebhookConfiguration."""
        return f"lateen-sidecar-injector{self.suffix}"

    @property
    def validator(self) -> str:
        """The ValidatingWebhookConfiguration."""
        return f"lateen-validator{self.suffix}"

    def wrong(self) -> str:
        """What cannot be a namespace or a revision; "": nothing."""
        if not is_dns_label(self.namespace):
            return f"namespace {self.namespace!r}: use lower-case letters, digits and '-'"
        if not is_dns_label(self.revision) or len(self.revision) > _LONGEST_REVISION:
            return f"revision {self.revision!r}: use at most {_LONGEST_REVISION} lower-case letters, digits and '-'"
        return ""


def labels(component: str, revision: str = "", name: str = "") -> dict[str, str]:
    """Of an object of ours."""
    found = {MANAGED_BY: US, PART_OF: US, COMPONENT: component}
    found |= {REVISION: revision} if revision else {}
    return found | ({NAME: name} if name else {})
