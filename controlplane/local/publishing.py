"""What the mesh is told about the laptop: only what changed, all of one moment at once."""

from collections.abc import Iterable, Mapping

import msgspec

from controlplane.local.manifests import Manifest
from controlplane.local.objects import Health, endpoint_slices, pod_ref, replica_pod
from controlplane.local.plan import Plan, Replica
from controlplane.local.sidecars import GROUP
from controlplane.model.problem import ObjectRef
from controlplane.sources.source import Changes, Decode, Object


def world(
    plan: Plan, leaving: Iterable[Replica], health: Mapping[tuple[str, str], Health]
) -> dict[ObjectRef, Manifest]:
    """All objects that local makes. `leaving`: replicas no longer planned, still ending."""
    planned = {replica.key for replica in plan.replicas}
    staying = tuple(replica for replica in leaving if replica.key not in planned)
    everybody = msgspec.structs.replace(plan, replicas=(*plan.replicas, *staying))
    objects = dict(plan.objects)
    for replica in everybody.replicas:
        objects[pod_ref(*replica.key)] = replica_pod(replica, health.get(replica.key, Health.STARTING))
    return objects | endpoint_slices(everybody, health)


class Publisher:
    """Remembers what was told last."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._told: dict[ObjectRef, Manifest] = {}

    @property
    def told(self) -> Mapping[ObjectRef, Manifest]:
        """All objects the mesh knows from us."""
        return self._told

    def news(self, objects: Mapping[ObjectRef, Manifest], leaving: Iterable[Replica]) -> Changes:
        """The difference to the last time. Sidecars of replicas that are leaving stay until these are gone."""
        kept = {ObjectRef(GROUP, "Sidecar", *replica.key) for replica in leaving}
        now = {**{ref: self._told[ref] for ref in kept if ref in self._told}, **objects}
        changed: dict[ObjectRef, Object | None] = {
            ref: self._decode(manifest).value for ref, manifest in now.items() if self._told.get(ref) != manifest
        }
        gone: dict[ObjectRef, Object | None] = {ref: None for ref in self._told if ref not in now}
        self._told = now
        return changed | gone
