"""An application serves on for a moment when its Pod is asked to end.

The kubelet asks it at once, and its callers hear of that a moment later, one after the other: whoever calls in between
would meet a proxy with nobody behind it, and an application that drops what it is at would lose that. A `preStop` that
sleeps keeps the application until nobody calls any more. Who has a `preStop` has thought of it, and is left alone.
"""

from typing import Any, Final

from controlplane.webhooks.injection.options import Options
from controlplane.webhooks.injection.pod import PROXY, Container, Spec
from controlplane.webhooks.injection.settings import InjectionSettings

_GRACE: Final = 30  # seconds; Kubernetes' terminationGracePeriodSeconds
_ENDS_BY_ITSELF: Final = frozenset({"Never", "OnFailure"})


def linger(settings: InjectionSettings, options: Options, spec: Spec, manifest: dict[str, Any]) -> None:
    """Changes the manifest of a Pod's spec."""
    seconds = _seconds(settings, spec)
    is_called = options.capture is not None and options.capture.include_inbound != ""
    if not seconds or not is_called or spec.restart_policy in _ENDS_BY_ITSELF:
        return
    for container, written in zip(spec.containers, manifest["containers"], strict=True):
        if container.name != PROXY and not _has_thought_of_it(container):
            written["lifecycle"] = {**(written.get("lifecycle") or {}), "preStop": {"sleep": {"seconds": seconds}}}


def _seconds(settings: InjectionSettings, spec: Spec) -> int:
    """At least half of its time is left to the application. API servers refuse a sleep longer than all of it."""
    grace = spec.termination_grace_period_seconds
    return min(settings.linger_seconds, (_GRACE if grace is None else grace) // 2)


def _has_thought_of_it(container: Container) -> bool:
    return container.lifecycle is not None and container.lifecycle.pre_stop is not None
