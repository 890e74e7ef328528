"""Whether a Deployment is up, and if not, what is wrong with its Pods and what to do about it: words, from documents.

A Pod that does not come up says why in four different places: its conditions, its containers' states, the events about
it, and its log. People should not have to know which.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from controlplane.install.objects import Object
from controlplane.model.text import printable

_FAILED_PROBES: Final = 10  # in a row are worth a word
LAST_LINES: Final = 5  # of a log

_NO_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
_NO_CONTAINER: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_RESTARTING: Final = "CrashLoopBackOff"


class Trouble(NamedTuple):
    """Of one Pod. `stuck`: time alone will hardly mend it."""

    pod: str
    words: str
    advice: str
    stuck: bool
    container: str = ""  # whose log says more

    def __str__(self) -> str:
        return f"Pod {self.pod}: {self.words}{f' ({self.advice})' if self.advice else ''}"


def missing(deployment: Object) -> str:
    """What a Deployment still waits for; "": it is up, all of it in its newest form."""
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "not looked at yet"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} Pods made"
    if status.get("replicas", 0) > updated:
        return f"{status['replicas'] - updated} old Pods end"
    return f"{available} of {wanted} Pods ready" if available < wanted else ""


def unsigned(webhooks: Object) -> list[str]:
    """Webhooks of a configuration that the control plane has not taken up: nobody could be called by them yet."""
    return [one["name"] for one in webhooks.get("webhooks") or [] if not one["clientConfig"].get("caBundle")]


def troubles(deployment: Object, pods: Iterable[Object], events: Sequence[Object]) -> list[Trouble]:
    """Of a Deployment's Pods, the worst first; without Pods, of the Deployment itself."""
    found = [trouble for pod in pods for trouble in _of_pod(pod, events)]
    if not found:
        found = list(_of_deployment(deployment))
    return sorted(found, key=lambda trouble: not trouble.stuck)


def _of_deployment(deployment: Object) -> Iterator[Trouble]:
    for condition in (deployment.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            name, words = deployment["metadata"]["name"], _short(condition.get("message"))
            yield Trouble(f"of {name}", words, "a quota or an admission webhook refuses it", stuck=True)


def _of_pod(pod: Object, events: Sequence[Object]) -> Iterator[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"]:
        return
    if (words := _unscheduled(status)) is not None:
        yield Trouble(name, f"Pending: {words}", _scheduling_advice(words), stuck=True)
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    seen = False
    for container in containers:
        if (trouble := _of_container(name, container)) is not None:
            seen = True
            yield trouble
    if not seen and not _is_ready(status):
        yield from _of_events(name, events)


def _unscheduled(status: Mapping[str, Any]) -> str | None:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return _short(condition.get("message"))
    return None


def _scheduling_advice(words: str) -> str:
    if "Insufficient" in words:
        return "make room, or ask for less: --set controlPlane.resources.requests.cpu=100m, or --profile demo"
    if "taint" in words:
        return "--set 'controlPlane.tolerations=[{operator: Exists}]' tolerates every taint"
    return ""


def _of_container(pod: str, container: Mapping[str, Any]) -> Trouble | None:
    state = container.get("state") or {}
    waiting, name = state.get("waiting") or {}, container.get("name", "")
    reason, message = waiting.get("reason", ""), _short(waiting.get("message"))
    if reason in _NO_IMAGE:
        return Trouble(pod, f"{reason}: {message or container.get('image', '')}", _image_advice(container), stuck=True)
    if reason in _NO_CONTAINER:
        return Trouble(pod, f"{reason}: {message}", "", stuck=True)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    if reason == _RESTARTING or (ended and ended.get("exitCode") and not container.get("ready")):
        words = f"{name} ends again and again: {_how_it_ended(ended)}"
        return Trouble(pod, words, _ending_advice(ended), stuck=reason == _RESTARTING, container=name)
    return None


def _image_advice(container: Mapping[str, Any]) -> str:
    image = container.get("image", "")
    if image.startswith("localhost/"):
        return "no node has it: `make image` builds it; load it into the nodes, or push it somewhere and --set image=…"
    return (
        f"push {image} to where nodes can pull it, name another with --set image=…, or say which Secret has the "
        "registry's password: --set 'imagePullSecrets=[NAME]'"
    )


def _how_it_ended(ended: Mapping[str, Any]) -> str:
    message = _short(ended.get("message"), 300)
    return f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', '?')}{f': {message}' if message else ''}"


def _ending_advice(ended: Mapping[str, Any]) -> str:
    return "give it more memory: resources.limits.memory" if ended.get("reason") == "OOMKilled" else ""


def _of_events(pod: str, events: Sequence[Object]) -> Iterator[Trouble]:
    """The newest warning about it: a volume that is not there, a probe that fails."""
    about = [event for event in events if (event.get("involvedObject") or {}).get("name") == pod]
    warnings = [event for event in about if event.get("type") == "Warning" and not _is_no_news(event)]
    if warnings:
        newest = max(warnings, key=_when)
        yield Trouble(pod, f"{newest.get('reason', '')}: {_short(newest.get('message'))}", "", stuck=False)


def _is_no_news(event: Mapping[str, Any]) -> bool:
    """Told elsewhere already; or a probe that fails while something starts, as probes do."""
    reason = event.get("reason")
    return reason == "FailedScheduling" or (reason == "Unhealthy" and (event.get("count") or 1) < _FAILED_PROBES)


def _when(event: Mapping[str, Any]) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""


def _is_ready(status: Mapping[str, Any]) -> bool:
    conditions = status.get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _short(text: object, limit: int = 200) -> str:
    return printable(" ".join(str(text or "").split()), limit)


def last_lines(log: str) -> list[str]:
    """Of a log, for a terminal."""
    return [_short(line) for line in log.strip().splitlines()[-LAST_LINES:]]
