"""What tells the API server to ask: the ValidatingWebhookConfiguration of a revision, as a value.

    rev        objects labelled istio.io/rev=NAME
    default    objects without that label      } for the revision that is the default one, or has its tag

`failurePolicy: Ignore`: whoever mends a mesh must be able to apply objects while its control plane is down. The kinds
are those of the model, so a kind that is added is asked about.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from controlplane.model.kinds import MESH_KINDS
from controlplane.webhooks.configurations import API_VERSION, Service, client_config
from controlplane.webhooks.injection.decision import REVISION
from controlplane.webhooks.injection.settings import DEFAULT_REVISION

KIND: Final = "ValidatingWebhookConfiguration"
_HOOK: Final = "validator.lateen"
_TIMEOUT: Final = 5  # seconds


def validation(name: str, revision: str, names: Iterable[str], service: Service, roots: bytes) -> dict[str, Any]:
    """`names`: what `istio.io/rev` may say to mean this revision. `roots`: PEM, by which the server is known."""
    meant = sorted({revision, *names})
    selectors: dict[str, dict[str, Any]] = {"rev": {"key": REVISION, "operator": "In", "values": meant}}
    if DEFAULT_REVISION in meant:
        selectors["default"] = {"key": REVISION, "operator": "DoesNotExist"}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "lateen", REVISION: revision}},
        "webhooks": [_hook(name, selector, service, roots) for name, selector in selectors.items()],
    }


def _hook(name: str, selector: dict[str, Any], service: Service, roots: bytes) -> dict[str, Any]:
    return {
        "name": f"{name}.{_HOOK}",
        "clientConfig": client_config(service, roots),
        "rules": list(_rules()),
        "objectSelector": {"matchExpressions": [selector]},
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "timeoutSeconds": _TIMEOUT,
        "admissionReviewVersions": ["v1"],
    }


def _rules() -> Iterable[dict[str, Any]]:
    """All versions: an API server converts what it asks about to one that is named."""
    kinds = sorted(MESH_KINDS, key=lambda kind: kind.group)
    for group, some in groupby(kinds, key=lambda kind: kind.group):
        yield {
            "operations": ["CREATE", "UPDATE"],
            "apiGroups": [group],
            "apiVersions": ["*"],
            "resources": sorted(kind.plural for kind in some),
            "scope": "Namespaced",
        }
