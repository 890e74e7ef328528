"""A Pod in, the same Pod with a proxy out: one pure function, behind the webhook and behind `lateen inject`.

Nothing its author wrote is lost. What cannot be what the author means is refused with every reason at once; what has
no effect is a warning.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Final, NamedTuple

import msgspec

from controlplane.model.problem import ObjectRef, Problem
from controlplane.model.validate.findings import Findings
from controlplane.webhooks.injection import containers, lingering, metadata, probes, scraping
from controlplane.webhooks.injection.decision import (
    Namespace,
    Skipped,
    skipped,
    waits_for_an_image,
)
from controlplane.webhooks.injection.manifests import Written, plain
from controlplane.webhooks.injection.merge import merged
from controlplane.webhooks.injection.options import Options, options_of
from controlplane.webhooks.injection.pod import INIT, PROXY, Pod, Workload, read_pod, workload_of
from controlplane.webhooks.injection.settings import DEFAULT_REVISION, PROXY_ID, InjectionSettings
from controlplane.webhooks.injection.volumes import volumes

_CONTAINERS: Final = "containers"
_INIT_CONTAINERS: Final = "initContainers"


class Injected(msgspec.Struct, frozen=True):
    """It gets a proxy. `pod`: the whole of it; `problems`: warnings."""

    pod: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()


class Left(msgspec.Struct, frozen=True):
    """It gets none, and is fine as it is."""

    skipped: Skipped
    problems: tuple[Problem, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """It asks for something that cannot be."""

    problems: tuple[Problem, ...]


Outcome = Injected | Left | Refused


class _Job(NamedTuple):
    """Everything that is known about one Pod."""

    found: Findings
    settings: InjectionSettings
    options: Options
    pod: Pod
    workload: Workload


def inject(
    settings: InjectionSettings,
    namespace: Namespace,
    manifest: Mapping[str, Any],
    workload: Workload | None = None,
    *,
    asked: bool = False,
) -> Outcome:
    """What becomes of a Pod, or of a template of Pods.

    `workload`: what it is one of, where the Pod itself does not say. `asked`: whoever calls has decided that there is
    to be a proxy, as an installer does for its gateway; only a Pod that has one already is left alone then.
    """
    try:
        pod = read_pod(manifest)
    except msgspec.ValidationError as error:
        found = Findings(_ref(namespace, "", workload))
        found.error("InvalidValue", "", f"this is no Pod: {error}")
        return Refused(found.done())
    workload = workload or workload_of(pod)
    found = Findings(_ref(namespace, pod.name, workload))
    reason = skipped(settings, namespace, pod)
    if reason is not None and (not asked or reason.why == "injected"):
        if waits_for_an_image(pod) and reason.why != "injected":
            message = f'its {PROXY} has image "auto", which only injection replaces: it will never start'
            found.warn("ImageAutoWithoutInjection", "spec.containers", message)
        return Left(reason, found.done())
    options = options_of(found, settings, pod)
    _check(found, settings, pod, options)
    if found.errors:
        return Refused(found.done())
    whole = _injected(_Job(found, settings, options, pod, workload), manifest)
    return Injected(whole, found.done())


def _ref(namespace: Namespace, name: str, workload: Workload | None) -> ObjectRef:
    kind = workload.kind if workload is not None and workload.kind else "Pod"
    group = workload.api_version.rpartition("/")[0] if workload is not None else ""
    return ObjectRef(group, kind, namespace.name, workload.name if workload is not None else name)


def _check(found: Findings, settings: InjectionSettings, pod: Pod, options: Options) -> None:
    """What only the whole Pod shows."""
    ours = {volume.name for volume in volumes(settings)}
    taken = ours & {volume.name for volume in pod.spec.volumes or ()} - {str(one["name"]) for one in options.volumes}
    for name in sorted(taken):
        found.error("DuplicateValue", "spec.volumes", f"volume {name} is the proxy's own: use another name")
    for name in sorted(ours & {str(one["name"]) for one in options.volumes}):
        found.error("InvalidAnnotation", "metadata.annotations", f"userVolume {name} is the proxy's own")
    if options.capture is not None:
        _check_users(found, pod)
    if pod.spec.restart_policy in {"Never", "OnFailure"} and not options.native and not options.is_gateway:
        message = (
            "the proxy runs beside it as an ordinary container, and Jobs wait for that: end it from the Job with"
            f" POST http://127.0.0.1:{options.agent_port}/quitquitquit"
        )
        found.warn("JobWaitsForProxy", "spec.restartPolicy", message)


def _check_users(found: Findings, pod: Pod) -> None:
    """The rules know the proxy by its user: whoever runs as that is not captured."""
    of_all = pod.spec.security_context.run_as_user if pod.spec.security_context is not None else None
    for container in pod.spec.applications:
        own = container.security_context.run_as_user if container.security_context is not None else None
        if (of_all if own is None else own) == PROXY_ID:
            message = f"container {container.name} runs as user {PROXY_ID}, the proxy's: its calls bypass the proxy"
            found.warn("ApplicationHasProxyUser", "spec.containers", message)


def _injected(job: _Job, manifest: Mapping[str, Any]) -> dict[str, Any]:
    settings, options, pod = job.settings, job.options, job.pod
    whole = deepcopy(dict(manifest))
    spec, notes, labels = whole["spec"], _child(whole, "metadata", "annotations"), _child(whole, "metadata", "labels")
    proxy = plain(containers.proxy(settings, options, job.workload))
    if options.status_port:
        _tell_agent(job, spec, notes, proxy)
    lingering.linger(settings, options, pod.spec, spec)
    _put_containers(settings, options, spec, proxy)
    _put_volumes(settings, options, spec)
    secrets = [{"name": name} for name in settings.image_pull_secrets]
    _append(spec, "imagePullSecrets", (one for one in secrets if one not in (spec.get("imagePullSecrets") or [])))
    captured = options.capture is not None and options.capture.include_inbound != ""
    labels |= metadata.labels(settings, pod, job.workload, takes_tls=captured)
    notes |= metadata.annotations(pod, _added(settings, options))
    return whole


def _tell_agent(job: _Job, spec: dict[str, Any], notes: dict[str, Any], proxy: dict[str, Any]) -> None:
    """What the agent answers for the application."""
    options = job.options
    if options.merge_metrics and (scrape := scraping.merge(job.found, notes, options.status_port)):
        proxy["env"].append({"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": scrape})
    if options.rewrite_probes and not options.is_gateway:
        probers = probes.rewrite(job.found, job.pod.spec, spec, options.status_port)
        if probers:
            text = msgspec.json.encode(probers).decode()
            proxy["env"].append({"name": "ISTIO_KUBE_APP_PROBERS", "value": text})


def _put_containers(settings: InjectionSettings, options: Options, spec: dict[str, Any], proxy: dict[str, Any]) -> None:
    """In the order in which they have to start.

    A native sidecar comes before all else, so that init containers have the mesh as well. An ordinary container is
    there only after them: then the rules are set last, or they would lead to nobody.
    """
    proxy["volumeMounts"].extend(map(dict, options.volume_mounts))
    proxy = merged(proxy, _taken(spec, PROXY))
    rules: list[dict[str, Any]] = []
    if options.capture is not None:
        rules = [merged(plain(containers.init(settings, options, options.capture)), _taken(spec, INIT))]
    before, beside = spec.get(_INIT_CONTAINERS) or [], spec[_CONTAINERS]
    if options.native:
        before = [*rules, proxy, *before]
    else:
        before = [*before, *rules]
        beside = [proxy, *beside] if options.hold else [*beside, proxy]
    spec[_CONTAINERS] = beside
    if before or _INIT_CONTAINERS in spec:
        spec[_INIT_CONTAINERS] = before


def _taken(spec: dict[str, Any], name: str) -> Mapping[str, Any]:
    """The container of that name that the author began, which is no longer in the Pod then."""
    for field in (_CONTAINERS, _INIT_CONTAINERS):
        for index, container in enumerate(spec.get(field) or ()):
            if container["name"] == name:
                found: Mapping[str, Any] = spec[field].pop(index)
                return found
    return {}


def _put_volumes(settings: InjectionSettings, options: Options, spec: dict[str, Any]) -> None:
    written: Iterable[Written] = volumes(settings)
    there = {volume["name"] for volume in spec.get("volumes") or ()}
    _append(spec, "volumes", [*map(plain, written), *(one for one in options.volumes if one["name"] not in there)])


def _added(settings: InjectionSettings, options: Options) -> metadata.Added:
    rules = [INIT] if options.capture is not None else []
    return metadata.Added(
        init_containers=[*rules, PROXY] if options.native else rules or None,
        containers=None if options.native else [PROXY],
        volumes=[*(volume.name for volume in volumes(settings)), *(str(one["name"]) for one in options.volumes)],
        image_pull_secrets=list(settings.image_pull_secrets) or None,
        revision=settings.revision or DEFAULT_REVISION,
    )


def _append(owner: dict[str, Any], field: str, more: Iterable[Any]) -> None:
    """An absent list and null are the same."""
    found = [*(owner.get(field) or []), *more]
    if found:
        owner[field] = found


def _child(owner: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The object below these keys, made where it is not."""
    for key in keys:
        if owner.get(key) is None:
            owner[key] = {}
        owner = owner[key]
    return owner
