"""What is looked at before anything is done: whether the cluster is one we run in, and who else is there.

Two meshes that inject the same Pods fight over them. So an istiod, or a webhook of somebody else that the labels of our
namespaces would wake, stops an installation as the default revision; as another one, both live side by side, and each
namespace says whose it is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.install.api import Api, collection
from controlplane.install.manifests import Facts
from controlplane.install.names import DEFAULT_REVISION, ISTIO_REVISION, Place
from controlplane.install.objects import Object
from controlplane.install.planning import is_ours

OLDEST: Final = (1, 30)  # Kubernetes: discovery in one document, CEL in CRDs, native sidecars
_INJECTION: Final = "istio-injection"
_ISTIOD: Final = "app=istiod"
_NAME: Final = "kubernetes.io/metadata.name"

Labels = Mapping[str, str]


async def look(api: Api, place: Place) -> tuple[Facts, list[str]]:
    """What manifests depend on, and what stands in the way. Raises RefusedError, UnreachableError."""
    obstacles = list(too_old(await api.document("/version") or {}))
    istiods = await api.list(collection("Deployment"), _ISTIOD, whole=False)
    injectors = await api.list(collection("MutatingWebhookConfiguration"))
    found = list(others(istiods, injectors, place))
    return Facts(istiod=bool(istiods)), obstacles + found


def too_old(version: Mapping[str, Any]) -> Iterator[str]:
    """Whether a cluster is."""
    numbers = tuple(int("".join(filter(str.isdigit, str(version.get(part, "")))) or 0) for part in ("major", "minor"))
    if numbers < OLDEST:
        found = version.get("gitVersion", "of unknown version")
        yield f"this cluster is Kubernetes {found}; {OLDEST[0]}.{OLDEST[1]} is the oldest that works"


def others(istiods: Sequence[Object], injectors: Iterable[Object], place: Place) -> Iterator[str]:
    """Who else would take care of our Pods, and the choice there is."""
    choice = (
        "install beside it with --revision NAME, and label the namespaces that are to be ours istio.io/rev=NAME "
        f"instead of {_INJECTION}=enabled"
    )
    if istiods and place.revision == DEFAULT_REVISION:
        where = ", ".join(sorted(f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in istiods))
        yield f"an istiod runs here ({where}): {choice}; or remove it first"
    for injector in injectors:
        if not is_ours(injector) and (label := wakes(injector, place)):
            yield f"{injector['metadata']['name']} (a webhook of somebody else) takes Pods labelled {label}: {choice}"


def wakes(injector: Object, place: Place) -> str:
    """The label of ours that wakes a webhook which sleeps without it; "": none does.

    Webhooks that look at all Pods, or select by something else, are not about injection.
    """
    ours = [{ISTIO_REVISION: place.revision}]
    ours += [{_INJECTION: "enabled"}] if place.revision == DEFAULT_REVISION else []
    for labels in ours:
        for webhook in injector.get("webhooks") or []:
            if _is_about_pods(webhook) and _is_woken(webhook, labels):
                ((key, value),) = labels.items()
                return f"{key}={value}"
    return ""


def _is_woken(webhook: Mapping[str, Any], labels: Labels) -> bool:
    return _asked(webhook, labels, {}) and not _asked(webhook, {}, {})


def _asked(webhook: Mapping[str, Any], namespace: Labels, pod: Labels) -> bool:
    named = {_NAME: "anybodys", **namespace}
    return _matches(webhook.get("namespaceSelector"), named) and _matches(webhook.get("objectSelector"), pod)


def _is_about_pods(webhook: Mapping[str, Any]) -> bool:
    return any({"pods", "*"} & {*(rule.get("resources") or [])} for rule in webhook.get("rules") or [])


def _matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """As an API server does: all of it; nothing said is everything."""
    said = selector or {}
    exact = (said.get("matchLabels") or {}).items()
    return exact <= labels.items() and all(_holds(one, labels) for one in said.get("matchExpressions") or [])


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False
