"""What tells the API server to ask: webhook configurations as values, and what keeps them right.

    rev.namespace   namespaces labelled istio.io/rev=NAME
    rev.object      Pods labelled istio.io/rev=NAME in namespaces without a label
    namespace       namespaces labelled istio-injection=enabled       } for the revision that is the default
    object          Pods labelled sidecar.istio.io/inject=true        } one, or has its tag

These are Istio's rules. Beyond them no webhook ever sees the system's namespaces or our own: a control plane that is
down must be able to start. `failurePolicy: Fail` is for Pods that asked to be in the mesh, by a label of theirs or of
their namespace: without a proxy they would run past every policy. Nobody else is even asked about.

An installer creates these objects. The control plane may only patch them, by name, and only does so to `clientConfig`:
whom to call, and by whose certificate it is known. What else differs is reported: it may be an upgrade under way.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from controlplane.webhooks.injection.decision import INJECT, NAMESPACE_LABEL, REVISION
from controlplane.webhooks.injection.settings import DEFAULT_REVISION, InjectionSettings
from controlplane.webhooks.jsonpatch import Patch, Replace, Test, diff

API_VERSION: Final = "admissionregistration.k8s.io/v1"
_OF_TAG: Final = ".tag.lateen.dev"  # entries for the tags of a revision, which come and go without us
_HOOK: Final = "sidecar-injector.lateen"  # names of webhooks have three parts at least
_TIMEOUT: Final = 5  # seconds
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"  # a label that Kubernetes sets itself


class Service(NamedTuple):
    """Whom the API server calls."""

    namespace: str
    name: str
    path: str
    port: int = 443


class Repair(NamedTuple):
    """What to do about an object as it is now: nothing, when both are empty."""

    patch: Patch  # `application/json-patch+json`
    drift: tuple[str, ...]  # paths that differ and are left


def secret_path(prefix: str, secret: bytes) -> str:
    """`/inject/…`: the same for all who know the secret, and nobody else can say it."""
    return f"{prefix}/{hmac.new(secret, prefix.encode(), sha256).hexdigest()[:40]}"


def injection(
    name: str,
    settings: InjectionSettings,
    service: Service,
    roots: bytes = b"",
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The MutatingWebhookConfiguration of a revision.

    `roots`: PEM, by which the server is known; none where an installer leaves that to the control plane.
    """
    revision = settings.revision or DEFAULT_REVISION
    metadata = {"name": name, "labels": {**(labels or {}), "app": "sidecar-injector", REVISION: revision}}
    hooks = [_hook(name, settings, selectors, service, roots) for name, selectors in _selectors(settings).items()]
    return {"apiVersion": API_VERSION, "kind": "MutatingWebhookConfiguration", "metadata": metadata, "webhooks": hooks}


def repaired(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> Repair:
    """Of any webhook configuration. Webhooks that are gone are drift: to put one back would be to create it."""
    there = list(enumerate(current.get("webhooks") or ()))
    by_name = {hook["name"]: hook for hook in wanted["webhooks"]}
    patch: list[Test | Replace] = []
    for index, hook in there:
        config = _client_config_of(hook.get("name", ""), by_name)
        if config is not None and _differs(hook.get("clientConfig") or {}, config):
            patch.append(Test(path=f"/webhooks/{index}/name", value=hook["name"]))
            patch.append(Replace(path=f"/webhooks/{index}/clientConfig", value=config))
    found = {hook.get("name"): hook for _, hook in there}
    drift = [path for name, hook in by_name.items() for path in _drift(name, found.get(name), hook)]
    return Repair(tuple(patch), tuple(drift))


def _client_config_of(name: str, wanted: Mapping[str, Mapping[str, Any]]) -> Any:
    """What an entry should have; None: it is somebody else's."""
    if name in wanted:
        return wanted[name]["clientConfig"]
    return next(iter(wanted.values()))["clientConfig"] if name.endswith(_OF_TAG) and wanted else None


def _drift(name: str, there: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> list[str]:
    if there is None:
        return [f"webhooks[{name}]"]
    return [f"webhooks[{name}].{key}" for key in _OURS if key in wanted and _differs(there.get(key), wanted[key])]


_OURS: Final = ("failurePolicy", "namespaceSelector", "objectSelector", "reinvocationPolicy", "rules", "timeoutSeconds")


def _differs(there: Any, wanted: Any) -> bool:
    """Beyond what the API server adds as defaults."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        return any(_differs(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        return any(_differs(mine, other) for mine, other in zip(there, wanted, strict=True))
    return bool(diff(there, wanted))


def _hook(
    name: str, settings: InjectionSettings, selectors: "_Selectors", service: Service, roots: bytes
) -> dict[str, Any]:
    kept_out = _expression(_NAMESPACE_NAME, "NotIn", *sorted(settings.left_alone))
    return {
        "name": f"{name}.{_HOOK}",
        "clientConfig": client_config(service, roots),
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        "namespaceSelector": {"matchExpressions": [*selectors.namespace, kept_out]},
        "objectSelector": {"matchExpressions": [*selectors.pod]},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "sideEffects": "None",
        "timeoutSeconds": _TIMEOUT,
        "admissionReviewVersions": ["v1"],
    }


def client_config(service: Service, roots: bytes) -> dict[str, Any]:
    """Whom to call, and whom to believe."""
    reference = {"namespace": service.namespace, "name": service.name, "path": service.path, "port": service.port}
    return {"service": reference, **({"caBundle": base64.b64encode(roots).decode()} if roots else {})}


class _Selectors(NamedTuple):
    namespace: Sequence[Mapping[str, Any]]
    pod: Sequence[Mapping[str, Any]]


def _selectors(settings: InjectionSettings) -> dict[str, _Selectors]:
    names = sorted(settings.names)
    not_refused = _expression(INJECT, "NotIn", "false")
    unlabelled = (_expression(NAMESPACE_LABEL, "DoesNotExist"), _expression(REVISION, "DoesNotExist"))
    found = {
        "rev.namespace": _Selectors(
            (_expression(NAMESPACE_LABEL, "DoesNotExist"), _expression(REVISION, "In", *names)), (not_refused,)
        ),
        "rev.object": _Selectors(unlabelled, (not_refused, _expression(REVISION, "In", *names))),
    }
    if DEFAULT_REVISION in settings.names:
        found["namespace"] = _Selectors((_expression(NAMESPACE_LABEL, "In", "enabled"),), (not_refused,))
        found["object"] = _Selectors(
            unlabelled, (_expression(INJECT, "In", "true"), _expression(REVISION, "DoesNotExist"))
        )
    return found


def _expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)} if values else {"key": key, "operator": operator}
