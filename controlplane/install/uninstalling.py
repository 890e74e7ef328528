"""Takes an installation away: what we made, nothing that others made, and nothing that still holds what they made.

Without `purge` a revision goes, and with the last one what all of them shared; the authority, the CRDs and the
Namespace stay, so that the next installation is the same mesh. With it nothing of ours is left, but a CRD that still
has objects stays with them, and so does a Namespace that holds anything else.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from controlplane.base.clock import Clock
from controlplane.install.api import Api, RefusedError, UnreachableError
from controlplane.install.installing import FailedError, Progress, Sleep, refused
from controlplane.install.names import BASE, COMPONENT, ISTIO_REVISION, OURS, REVISION, TRUST_BUNDLE, Place
from controlplane.install.objects import KINDS, Kind, Object, Ref, labels_of, ref_of
from controlplane.install.planning import Does, Step
from controlplane.model.kinds import MESH_KINDS
from controlplane.security.secretstore import NAME as ROOT_SECRET

_SECRET: Final = Kind("v1", "Secret", "secrets")
_PATIENCE: Final = 120.0  # seconds for what was deleted to be gone
_LOOK_EVERY: Final = 0.5
# What a cluster itself puts into every Namespace, or keeps about what is in it.
_FURNITURE: Final = {
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", TRUST_BUNDLE),
}
_BYPRODUCTS: Final = frozenset({"Endpoints", "EndpointSlice", "Event", "PodMetrics", "Lease"})
_INJECTED: Final = "sidecar.istio.io/status"
_TAKE_TIME: Final = ("Deployment", "CustomResourceDefinition")  # to be gone: Pods end, finalizers hold
_REVERSED: Final = {kind.kind: -place for place, kind in enumerate(KINDS)}


class Farewell(msgspec.Struct, frozen=True):
    """What goes, in order, and what stays although it is ours, with the reason."""

    steps: tuple[Step, ...]
    stays: tuple[str, ...]
    users: tuple[Step, ...] = ()  # objects of users that go first, because they were asked to
    notes: tuple[str, ...] = ()


class Uninstaller:
    """Of one place."""

    def __init__(self, api: Api, place: Place, clock: Clock, progress: Progress, sleep: Sleep = asyncio.sleep) -> None:
        self._api = api
        self._place = place
        self._clock = clock
        self._progress = progress
        self._sleep = sleep

    async def prepare(self, *, purge: bool, delete_users: bool) -> Farewell:
        """What would be done. `purge`: all revisions; `delete_users`: and what users keep in CRDs of ours."""
        ours = await self._ours()
        going = [obj for obj in ours if purge or labels_of(obj).get(REVISION) == self._place.revision]
        rest = {labels_of(obj).get(REVISION) for obj in ours if obj not in going} - {None}
        left = await self._proxies(None if purge else self._place.revision) if going else []
        notes = tuple(_left_behind(left))
        if not purge and going and not rest:
            going += [obj for obj in ours if labels_of(obj).get(COMPONENT) == BASE and not _stays_for_next(obj)]
        if not purge:
            return Farewell(_steps(going), tuple(_kept_for_next(ours, rest)), notes=notes)
        going += await self._unlabelled()
        held = {ref_of(crd): await self._held(crd) for crd in going if crd["kind"] == "CustomResourceDefinition"}
        stays = [] if delete_users else [f"{ref}: {_count(objects)}" for ref, objects in held.items() if objects]
        kept = set() if delete_users else {ref for ref, objects in held.items() if objects}
        theirs = [obj for objects in held.values() for obj in objects] if delete_users else []
        steps = _steps(obj for obj in going if ref_of(obj) not in kept)
        users = tuple(Step(Does.REMOVE, ref_of(obj), before=obj) for obj in theirs)
        return Farewell(steps, tuple(stays), users, notes)

    async def carry_out(self, farewell: Farewell) -> list[str]:
        """What stayed after all, with the reason. Raises FailedError."""
        for step in farewell.users:
            await self._remove(step, _mesh_path(step.ref))
        await self._gone(farewell.users, _mesh_path)
        stayed, going = [], []
        for step in farewell.steps:
            if step.ref.kind == "CustomResourceDefinition" and (objects := await self._held(step.before or {})):
                stayed.append(f"{step.ref}: {_count(objects)}")
            elif step.ref.kind != "Namespace":
                await self._remove(step, _path(step.ref))
                going.append(step)
        await self._gone([step for step in going if step.ref.kind in _TAKE_TIME], _path)
        namespaces = [step for step in farewell.steps if step.ref.kind == "Namespace"]
        for step in namespaces:
            if strangers := await self._strangers(step.ref.name):
                stayed.append(f"{step.ref}: it holds {_list(strangers)}, which we did not make")
            else:
                await self._remove(step, _path(step.ref))
                await self._gone([step], _path)
        return stayed

    async def _remove(self, step: Step, path: str) -> None:
        assert step.before is not None
        try:
            await self._api.delete(path, step.before["metadata"].get("uid", ""))
        except RefusedError as error:
            if error.status != 409:  # another of its name, made meanwhile by somebody else
                raise FailedError(refused(step.ref, error)) from error
        except UnreachableError as error:
            raise FailedError(f"{step.ref}: {error}") from error
        self._progress.did(step)

    async def _gone(self, steps: Sequence[Step], path: Any) -> None:
        """Until none is there any more: what waits for a finalizer is not gone."""
        end, left = self._clock.monotonic() + _PATIENCE, list(steps)
        while left:
            left = [step for step in left if await self._is_there(path(step.ref), step)]
            if left and self._clock.monotonic() >= end:
                raise FailedError(f"{left[0].ref} does not go: something in it, or its finalizers, hold it")
            if left:
                await self._sleep(_LOOK_EVERY)

    async def _is_there(self, path: str, step: Step) -> bool:
        assert step.before is not None
        try:
            found = await self._api.document(path)
        except (RefusedError, UnreachableError):
            return True
        return found is not None and found["metadata"].get("uid") == step.before["metadata"].get("uid")

    # What is there

    async def _ours(self) -> list[Object]:
        lists = await asyncio.gather(*(self._api.list(kind.path(), OURS, whole=False) for kind in KINDS))
        named = zip(KINDS, lists, strict=True)
        found = [
            {**obj, "apiVersion": kind.api_version, "kind": kind.kind} for kind, objects in named for obj in objects
        ]
        return [obj for obj in found if obj["kind"] != "Namespace" or obj["metadata"]["name"] == self._place.namespace]

    async def _unlabelled(self) -> list[Object]:
        """What the control plane made itself: its root. Only ours has this type."""
        found = await self._api.document(_SECRET.path(self._place.namespace, ROOT_SECRET))
        return [found] if found is not None and found.get("type") == "lateen.io/ca-root" else []

    async def _held(self, crd: Object) -> list[Object]:
        """Objects of a CRD, by their metadata."""
        name = crd["metadata"]["name"]
        kind = next((kind for kind in MESH_KINDS if f"{kind.plural}.{kind.group}" == name), None)
        if kind is None:
            return []
        path = f"/apis/{kind.group}/{kind.versions[0]}/{kind.plural}"
        objects = await self._api.list(path, whole=False)
        return [{**obj, "apiVersion": f"{kind.group}/{kind.versions[0]}", "kind": kind.kind} for obj in objects]

    async def _proxies(self, revision: str | None) -> list[Ref]:
        """Pods that a revision, or any, gave a proxy, outside of our own namespace: injection labels them."""
        pods = await self._api.list(
            "/api/v1/pods", f"{ISTIO_REVISION}={revision}" if revision else ISTIO_REVISION, whole=False
        )
        refs = (Ref("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods if _is_injected(pod))
        return sorted(ref for ref in refs if ref.namespace != self._place.namespace)

    async def _strangers(self, namespace: str) -> list[Ref]:
        """What a Namespace holds besides ours and a cluster's own: of every kind there is."""
        kinds = await self._kinds()
        lists = await asyncio.gather(*(self._listed(kind, namespace) for kind in kinds))
        return sorted({ref for refs in lists for ref in refs})

    async def _listed(self, kind: Kind, namespace: str) -> list[Ref]:
        try:
            objects = await self._api.list(kind.path(namespace), whole=False)
        except RefusedError as error:
            raise FailedError(
                f"{kind.plural} in {namespace} cannot be listed, so nobody knows whose it is: {error}"
            ) from error
        return [
            Ref(kind.kind, namespace, obj["metadata"]["name"])
            for obj in objects
            if not _is_furniture(kind.kind, obj) and "deletionTimestamp" not in obj["metadata"]
        ]

    async def _kinds(self) -> list[Kind]:
        """Every kind that namespaces hold, each by one of its versions."""
        groups = (await self._api.document("/apis") or {}).get("groups") or []
        versions = ["v1", *(group["preferredVersion"]["groupVersion"] for group in groups)]
        found: dict[tuple[str, str], Kind] = {}
        for version in versions:
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for one in await self._resources(root):
                if one["namespaced"] and "list" in one["verbs"] and "/" not in one["name"]:
                    kind = Kind(version, one["kind"], one["name"])
                    found.setdefault((kind.group, kind.plural), kind)
        return [kind for kind in found.values() if kind.kind not in _BYPRODUCTS]

    async def _resources(self, root: str) -> list[Object]:
        """None of an API that another server was to answer for and does not: it keeps nothing here."""
        try:
            found: Object = await self._api.document(root) or {}
        except RefusedError:
            return []
        return found.get("resources") or []


def _is_injected(pod: Mapping[str, Any]) -> bool:
    return _INJECTED in (pod["metadata"].get("annotations") or {}) and "deletionTimestamp" not in pod["metadata"]


def _left_behind(pods: Sequence[Ref]) -> Iterator[str]:
    if pods:
        yield (
            f"{len(pods)} Pods still have a proxy that this control plane serves ({_list(pods)}): what they have now "
            "stays in force, and their certificates end within a day. Restart them with another revision, or without"
        )


def _is_furniture(kind: str, obj: Mapping[str, Any]) -> bool:
    meta = obj["metadata"]
    return (kind, meta["name"]) in _FURNITURE or bool(meta.get("ownerReferences")) or _is_a_token(kind, meta)


def _is_a_token(kind: str, meta: Mapping[str, Any]) -> bool:
    return kind == "Secret" and "kubernetes.io/service-account.name" in (meta.get("annotations") or {})


def _stays_for_next(obj: Object) -> bool:
    return obj["kind"] in ("Namespace", "CustomResourceDefinition")


def _kept_for_next(ours: Iterable[Object], rest: set[Any]) -> list[str]:
    if rest:
        return [f"what revisions share: {', '.join(sorted(rest))} still uses it"]
    kept = [obj for obj in ours if labels_of(obj).get(COMPONENT) == BASE and _stays_for_next(obj)]
    return (
        ["the Namespace, the CRDs and the mesh's authority, for the next installation (--purge takes them, too)"]
        if kept
        else []
    )


def _steps(objects: Iterable[Object]) -> tuple[Step, ...]:
    """Webhooks first, so that nothing is stopped by what is going; the Namespace last."""
    steps = {ref_of(obj): Step(Does.REMOVE, ref_of(obj), before=obj) for obj in objects}
    return tuple(sorted(steps.values(), key=lambda step: (_REVERSED.get(step.ref.kind, -2), step.ref)))


def _count(objects: Sequence[Object]) -> str:
    refs = [ref_of(obj) for obj in objects]
    return f"it holds {_list(refs)} (--delete-my-objects takes them, too)"


def _list(refs: Sequence[Ref], most: int = 3) -> str:
    shown = ", ".join(map(str, refs[:most]))
    return shown if len(refs) <= most else f"{shown} and {len(refs) - most} more"


def _path(ref: Ref) -> str:
    return _SECRET.path(ref.namespace, ref.name) if ref.kind == "Secret" else ref.path


def _mesh_path(ref: Ref) -> str:
    kind = next(kind for kind in MESH_KINDS if kind.kind == ref.kind)
    return f"/apis/{kind.group}/{kind.versions[0]}/namespaces/{ref.namespace}/{kind.plural}/{ref.name}"
