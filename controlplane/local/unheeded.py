"""What a Pod asks of a kubelet and does not get on a laptop.

A command that misses its init container or its mounted file fails in a way nobody connects with the manifest. So each
field that would change what runs is named once, on its workload. What only makes things run worse than in a cluster
is a note. A command in `Lateenfile` stands for the first container: what that one would mount is its author's then.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.local.commands import unset
from controlplane.local.manifests import ENVOY_CONTAINERS, Manifest, Manifests, Workload
from controlplane.local.processes import GRACE
from controlplane.model.problem import Level, Origin, Problem

NOT_RUN: Final = "NotRunLocally"
_SOURCES: Final = {
    "configMap": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    "hostPath": ("host path", "path"),
}

# What is noted of any container: field -> what it means here.
_NOTES: Final[Mapping[str, str]] = {
    "livenessProbe": "is not looked at here: a command that hangs is not started again",
    "startupProbe": "is not looked at here: a replica is ready when its readinessProbe says so",
    "resources": "are not kept here: a command takes what it takes",
    "securityContext": "does not hold here: commands run as you",
}


def unheeded(workload: Workload, manifest: Manifest, manifests: Manifests, *, replaced: bool) -> Iterator[Problem]:
    """`replaced`: a command in `Lateenfile` stands for the first container. `manifest`: the workload's own."""
    spec = _mapping(manifest.get("spec"))
    origin = Origin(workload.ref, "spec")
    if workload.ref.kind != "Pod":
        spec, origin = _mapping(_mapping(spec.get("template")).get("spec")), origin.at("template.spec")
    yield from _of_pod(spec, origin)
    containers = [
        (origin.at(f"containers[{index}]"), container)
        for index, container in enumerate(_mappings(spec.get("containers")))
        if container.get("name") not in ENVOY_CONTAINERS
    ]
    for index, (at, container) in enumerate(containers):
        yield from _of_container(container, at)
        if index or not replaced:
            yield from _mounts(container, spec, at)
    for at, container in containers[1:]:
        yield from _of_other(container, at)
    yield from _variables(workload, origin, manifests)


def _of_pod(spec: Mapping[str, Any], origin: Origin) -> Iterator[Problem]:
    if names := [str(each.get("name", "")) for each in _mappings(spec.get("initContainers"))]:
        text = (
            f"init containers are not run here ({', '.join(names)}): do by hand, once, what the commands need of them"
        )
        yield Problem(NOT_RUN, Level.WARNING, origin.at("initContainers"), text)
    if spec.get("hostAliases"):
        text = "no names are added here: give the commands addresses, or add the names to /etc/hosts"
        yield Problem(NOT_RUN, Level.WARNING, origin.at("hostAliases"), text)
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace > GRACE:
        text = f"here a command has {GRACE:.0f} seconds to end"
        yield Problem(NOT_RUN, Level.INFO, origin.at("terminationGracePeriodSeconds"), text)


def _of_container(container: Mapping[str, Any], origin: Origin) -> Iterator[Problem]:
    for field, words in _NOTES.items():
        if container.get(field):
            yield Problem(NOT_RUN, Level.INFO, origin.at(field), f"{field} {words}")
    hooks = _mapping(container.get("lifecycle"))
    if hooks.get("postStart"):
        text = "postStart is not run here: do by hand what the command needs of it"
        yield Problem(NOT_RUN, Level.WARNING, origin.at("lifecycle.postStart"), text)
    if hooks.get("preStop"):
        text = "preStop is not run here: a command leaves its endpoints a second before it is asked to end"
        yield Problem(NOT_RUN, Level.INFO, origin.at("lifecycle.preStop"), text)


def _of_other(container: Mapping[str, Any], origin: Origin) -> Iterator[Problem]:
    """A container beside the first."""
    if container.get("readinessProbe"):
        text = "only the first container's readinessProbe is looked at here"
        yield Problem(NOT_RUN, Level.INFO, origin.at("readinessProbe"), text)
    if not container.get("command"):
        text = f"container {container.get('name')!r} is not run: its image does not say what to run here"
        yield Problem(NOT_RUN, Level.WARNING, origin, f"{text}; give it a command")


def _mounts(container: Mapping[str, Any], spec: Mapping[str, Any], origin: Origin) -> Iterator[Problem]:
    volumes = {volume.get("name"): volume for volume in _mappings(spec.get("volumes"))}
    mounts = _mappings(container.get("volumeMounts"))
    if not mounts:
        return
    wanted = [mount for mount in mounts if "emptyDir" not in volumes.get(mount.get("name"), {})]
    level = Level.WARNING if wanted else Level.INFO
    places = ", ".join(f"{mount.get('mountPath')} ({_source(volumes.get(mount.get('name'), {}))})" for mount in mounts)
    advice = "" if level is Level.INFO else ": put there what the command reads, or name another command in Lateenfile"
    yield Problem(NOT_RUN, level, origin.at("volumeMounts"), f"nothing is mounted here at {places}{advice}")


def _source(volume: Mapping[str, Any]) -> str:
    """ "ConfigMap settings"; else the volume's own name."""
    for field, (kind, key) in _SOURCES.items():
        if name := _mapping(volume.get(field)).get(key):
            return f"{kind} {name}"
    return f"volume {volume.get('name', '?')}"


def _variables(workload: Workload, origin: Origin, manifests: Manifests) -> Iterator[Problem]:
    """Variables whose source is not there: a cluster would not even start the container."""
    for index, container in enumerate(workload.template.spec.containers):
        for path, words in unset(container, workload.ref.namespace, manifests):
            yield Problem("ReferencedResourceNotFound", Level.WARNING, origin.at(f"containers[{index}].{path}"), words)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
