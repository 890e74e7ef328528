"""Whether a Pod gets a proxy.

The API server has asked most of this already: the webhook's selectors say the same (`webhooks.configurations`). The
rest they cannot see (`hostNetwork`), and for `lateen inject` there are none.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from controlplane.webhooks.injection.pod import PROXY, Pod
from controlplane.webhooks.injection.settings import DEFAULT_REVISION, InjectionSettings

INJECT: Final = "sidecar.istio.io/inject"
REVISION: Final = "istio.io/rev"
NAMESPACE_LABEL: Final = "istio-injection"
STATUS: Final = "sidecar.istio.io/status"

OPTED_OUT: Final = "namespace-opted-out"
NOT_LABELLED: Final = "namespace-not-labelled"

_YES: Final = frozenset({"y", "yes", "true", "on"})


class Namespace(msgspec.Struct, frozen=True):
    """Where a Pod is to be. `labels`: None when who asks has looked at them, as an API server has."""

    name: str
    labels: Mapping[str, str] | None = None


class Skipped(msgspec.Struct, frozen=True):
    """No proxy. `why`: a stable word for metrics; `message`: a sentence."""

    why: str
    message: str


def skipped(settings: InjectionSettings, namespace: Namespace, pod: Pod) -> Skipped | None:
    """Why this Pod gets none; None: it gets one."""
    return _impossible(settings, namespace, pod) or _unwanted(settings, namespace, pod)


def _impossible(settings: InjectionSettings, namespace: Namespace, pod: Pod) -> Skipped | None:
    if STATUS in pod.annotations and pod.spec.proxy is not None:
        return Skipped("injected", "it has a proxy already")
    if namespace.name in settings.left_alone:
        return Skipped("system-namespace", f"nothing is injected in namespace {namespace.name}")
    if pod.spec.host_network:
        return Skipped(
            "host-network", "hostNetwork: its traffic is the node's, and the rules would capture all of that"
        )
    if pod.spec.os is not None and pod.spec.os.name.lower() == "windows":
        return Skipped("windows", "there is no proxy for Windows")
    return None


def _unwanted(settings: InjectionSettings, namespace: Namespace, pod: Pod) -> Skipped | None:
    wish = pod.labels.get(INJECT, pod.annotations.get(INJECT, "")).lower()
    if wish and wish not in _YES:
        return Skipped("pod-opted-out", f"{INJECT} is {wish!r}")
    if namespace.labels is not None and (found := _of_namespace(settings, namespace.labels, pod)) is not None:
        return found
    if not wish and any(selector.matches(pod.labels) for selector in settings.never_inject_selector):
        return Skipped("never-selector", "its labels match neverInjectSelector")
    return None


def _of_namespace(settings: InjectionSettings, labels: Mapping[str, str], pod: Pod) -> Skipped | None:
    """As Istio's selectors: `istio-injection` before `istio.io/rev`, and the namespace before the Pod."""
    said = labels.get(NAMESPACE_LABEL)
    if said == "enabled":
        return _revision(settings, DEFAULT_REVISION)
    if said is not None:
        return Skipped(OPTED_OUT, f"its namespace is labelled {NAMESPACE_LABEL}={said}")
    if REVISION in labels:
        return _revision(settings, labels[REVISION])
    if REVISION in pod.labels:
        return _revision(settings, pod.labels[REVISION])
    if pod.labels.get(INJECT, "").lower() in _YES:
        return _revision(settings, DEFAULT_REVISION)
    annotated = ": an annotation is not seen there, a label is" if INJECT in pod.annotations else ""
    return Skipped(
        NOT_LABELLED,
        f"neither its namespace ({NAMESPACE_LABEL}=enabled) nor its labels ({INJECT}=true) ask for it{annotated}",
    )


def _revision(settings: InjectionSettings, asked: str) -> Skipped | None:
    if asked in settings.names:
        return None
    return Skipped("other-revision", f"revision {asked} is asked for, this is {settings.revision or DEFAULT_REVISION}")


def waits_for_an_image(pod: Pod) -> bool:
    """`image: auto` is a placeholder: a Pod that keeps it never starts."""
    return any(container.name == PROXY and container.image == "auto" for container in pod.spec.everything)
