"""Where the Pods are in what people apply: by kind, lists unrolled.

For `lateen inject`, which does to a Deployment's template what the webhook does to each Pod that is made from it.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final, NamedTuple

from controlplane.model.problem import Level, ObjectRef, Origin, Problem
from controlplane.webhooks.injection.annotations import belongs_to_pods
from controlplane.webhooks.injection.decision import Namespace
from controlplane.webhooks.injection.pod import Workload
from controlplane.webhooks.injection.render import Injected, Outcome, inject
from controlplane.webhooks.injection.settings import InjectionSettings

_TEMPLATE: Final = ("spec", "template")
_PODS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": (),
    "Deployment": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "DaemonSet": _TEMPLATE,
    "Job": _TEMPLATE,
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_GROUPS: Final = frozenset({"", "apps", "batch", "extensions"})  # a kind of the same name elsewhere is something else


class Result(NamedTuple):
    """What became of one workload."""

    ref: ObjectRef
    outcome: Outcome
    problems: tuple[Problem, ...]


def namespaces_in(documents: Iterable[Any]) -> dict[str, Mapping[str, str]]:
    """The labels of the namespaces that are made here, too."""
    found = {}
    for document in unrolled(documents):
        if document.get("kind") == "Namespace" and isinstance(document.get("metadata"), Mapping):
            labels = document["metadata"].get("labels")
            found[str(document["metadata"].get("name"))] = labels if isinstance(labels, Mapping) else {}
    return found


def unrolled(documents: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """Each object, out of its lists."""
    for document in documents:
        if not isinstance(document, Mapping):
            continue
        if _is_list(document):
            yield from unrolled(document["items"])
        else:
            yield document


def inject_document(
    settings: InjectionSettings, document: Any, namespaces: Mapping[str, Mapping[str, str]], namespace: str
) -> tuple[Any, list[Result]]:
    """The document with its Pods injected, and what became of each. `namespace`: of those that do not say theirs."""
    if not isinstance(document, Mapping):
        return document, []
    if _is_list(document):
        done = [inject_document(settings, item, namespaces, namespace) for item in document["items"]]
        return {**document, "items": [item for item, _ in done]}, [result for _, found in done for result in found]
    keys = _PODS_OF.get(str(document.get("kind")))
    if keys is None or str(document.get("apiVersion", "")).rpartition("/")[0] not in _GROUPS:
        return document, []
    return _injected(settings, document, keys, namespaces, namespace)


def _injected(
    settings: InjectionSettings,
    document: Mapping[str, Any],
    keys: tuple[str, ...],
    namespaces: Mapping[str, Mapping[str, str]],
    namespace: str,
) -> tuple[Any, list[Result]]:
    metadata = document.get("metadata")
    meta: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    where = str(meta.get("namespace") or namespace)
    workload = Workload(str(meta.get("name", "")), str(document["kind"]), str(document.get("apiVersion", "")))
    ref = ObjectRef(workload.api_version.rpartition("/")[0], workload.kind, where, workload.name)
    place = Namespace(where, namespaces.get(where))
    outcome = inject(settings, place, _below(document, keys), workload if keys else None)
    problems = (*outcome.problems, *(_misplaced(ref, meta) if keys else ()))
    changed = _with(document, keys, outcome.pod) if isinstance(outcome, Injected) else document
    return changed, [Result(ref, outcome, problems)]


def _misplaced(ref: ObjectRef, meta: Mapping[str, Any]) -> Iterator[Problem]:
    """What stands on a Deployment is not on its Pods."""
    for field in ("annotations", "labels"):
        said = meta.get(field)
        for name in said if isinstance(said, Mapping) else ():
            if isinstance(name, str) and belongs_to_pods(name):
                path = f'metadata.{field}["{name}"]'
                message = f"{name} has no effect on a {ref.kind}: it belongs into spec.template.metadata"
                yield Problem("MisplacedAnnotation", Level.WARNING, Origin(ref, path), message)


def _is_list(document: Mapping[str, Any]) -> bool:
    return str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list)


def _below(document: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _with(document: Mapping[str, Any], keys: tuple[str, ...], pod: Mapping[str, Any]) -> Mapping[str, Any]:
    if not keys:
        return pod
    found = deepcopy(dict(document))
    _below(found, keys[:-1])[keys[-1]] = pod
    return found
