"""Where webhooks come into an installation: what the API server is told to ask, and what the answers are made of.

Whom to call and whom to believe (`caBundle`, the path) is the control plane's to say: it knows once it runs, and keeps
that right. So an installation leaves these fields alone, and can be applied again without undoing them.
"""

from collections.abc import Mapping
from typing import Any

from controlplane.install.names import IDENTITY_PORT, TRUST_BUNDLE, WEBHOOKS, Place, labels
from controlplane.install.objects import Object
from controlplane.install.values import Values
from controlplane.webhooks.configurations import Service, injection
from controlplane.webhooks.injection.settings import decode
from controlplane.webhooks.validation.configuration import validation


def webhooks(values: Values, place: Place, mesh: Mapping[str, Any]) -> list[Object]:
    """Of one revision."""
    settings = decode(injection_settings(values, place), mesh)
    service = Service(place.namespace, place.control_plane, "")
    ours = labels(WEBHOOKS, place.revision)
    found = (
        injection(place.injector, settings, service),
        validation(place.validator, place.revision, settings.tags, service, b""),
    )
    return [_ours(one, ours) for one in found]


def _ours(found: Object, ours: Mapping[str, str]) -> Object:
    meta = {**found["metadata"], "labels": {**found["metadata"]["labels"], **ours}}
    return {**found, "metadata": meta, "webhooks": [_without_the_control_planes(hook) for hook in found["webhooks"]]}


def injection_settings(values: Values, place: Place) -> Mapping[str, Any]:
    """What injection is told: where we are, and what was asked for besides."""
    ours: dict[str, Any] = {
        "image": values.image,
        "imagePullPolicy": str(values.image_pull_policy),
        "imagePullSecrets": list(values.image_pull_secrets),
        "revision": place.revision,
        "namespace": place.namespace,
        "caAddress": f"{place.server_name}:{IDENTITY_PORT}",
        "serverName": place.server_name,
    }
    return {**ours, **values.injection}


def bundle_name(values: Values) -> str:
    """Of the ConfigMap with the mesh's roots, in each namespace."""
    return str(values.injection.get("rootConfigMap", TRUST_BUNDLE))


def _without_the_control_planes(hook: Object) -> Object:
    """Rules are owned as a whole, so what the API server would add to them is said: else who applies anew conflicts."""
    service = {key: value for key, value in hook["clientConfig"]["service"].items() if key != "path"}
    rules = [{"scope": "*", **rule} for rule in hook["rules"]]
    return {**hook, "clientConfig": {"service": service}, "rules": rules}
