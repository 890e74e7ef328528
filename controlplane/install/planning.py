"""What an installation would do to a cluster, as a value: object by object, before anything is done.

What others made is never changed. A Namespace or a CRD of theirs is used as it is; anything else of the same name
stops the whole thing, before its first step.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from controlplane.install.names import (
    COMPONENT,
    CONTROL_PLANE,
    INGRESS_GATEWAY,
    MANAGED_BY,
    PART_OF,
    REVISION,
    US,
    WEBHOOKS,
    Place,
)
from controlplane.install.objects import BY_NAME, Object, Ref, labels_of, ref_of

_OTHERS_WILL_DO: Final = ("Namespace", "CustomResourceDefinition")
_OF_AN_INSTALLATION: Final = (CONTROL_PLANE, INGRESS_GATEWAY, WEBHOOKS)
# What an API server adds, or counts; nobody's wish.
_KEPT_BY_SERVER: Final = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)
# Parts that whoever works with an object writes all the while. Of a Lease that is who leads, and until when.
_WRITTEN_AT_WORK: Final = {"Lease": ("status", "spec")}


class Does(StrEnum):
    """What becomes of an object."""

    CREATE = "created"
    CHANGE = "changed"
    NOTHING = "unchanged"
    USE = "used as it is"  # somebody else's
    LEAVE = "left"  # another revision's
    REMOVE = "removed"


class Step(NamedTuple):
    """One object and what becomes of it. `after`: as the API server would have it."""

    does: Does
    ref: Ref
    wanted: Object | None = None
    before: Object | None = None
    after: Object | None = None


class Plan(msgspec.Struct, frozen=True):
    """Steps in order, and what stands in the way of all of them."""

    steps: tuple[Step, ...]
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, *does: Does) -> list[Step]:
        return [step for step in self.steps if step.does in does]

    @property
    def changes(self) -> list[Step]:
        return self.of(Does.CREATE, Does.CHANGE, Does.REMOVE)


def is_ours(obj: Mapping[str, Any]) -> bool:
    """Whether we made it."""
    labels = labels_of(obj)
    return labels.get(MANAGED_BY) == US and labels.get(PART_OF) == US


def plan(wanted: Sequence[Object], found: Mapping[Ref, Object], place: Place, *, move_gateways: bool) -> Plan:
    """`found`: what stands there now under the names of what is wanted. CHANGE may turn out to be none."""
    steps = [_step(obj, found.get(ref_of(obj)), place, move_gateways=move_gateways) for obj in wanted]
    obstacles = [_foreign(step.ref) for step in steps if _is_in_the_way(step)]
    going = [step for step in steps if _is_going(step)]
    obstacles += [f"{step.ref} is just being deleted: wait until it is gone" for step in going]
    return Plan(tuple(steps), tuple(obstacles), tuple(_notes(steps, place)))


def _step(wanted: Object, found: Object | None, place: Place, *, move_gateways: bool) -> Step:
    ref = ref_of(wanted)
    if found is None:
        return Step(Does.CREATE, ref, wanted)
    if not is_ours(found):
        return Step(Does.USE if ref.kind in _OTHERS_WILL_DO else Does.CHANGE, ref, wanted, found)
    return Step(Does.LEAVE if _is_anothers(found, place) and not move_gateways else Does.CHANGE, ref, wanted, found)


def _is_anothers(found: Object, place: Place) -> bool:
    """Gateways belong to the revision that configured them last; all else has the revision in its name."""
    labels = labels_of(found)
    return labels.get(COMPONENT) == INGRESS_GATEWAY and labels.get(REVISION) != place.revision


def _is_in_the_way(step: Step) -> bool:
    return step.does is Does.CHANGE and step.before is not None and not is_ours(step.before)


def _is_going(step: Step) -> bool:
    return step.before is not None and "deletionTimestamp" in step.before["metadata"]


def _foreign(ref: Ref) -> str:
    return (
        f"{ref} is there, and is not ours: remove it, install elsewhere (--namespace, --revision), or label it "
        f"{MANAGED_BY}={US} and {PART_OF}={US} to hand it over"
    )


def _notes(steps: Sequence[Step], place: Place) -> list[str]:
    notes = []
    if crds := [step for step in steps if step.does is Does.USE and step.ref.kind == "CustomResourceDefinition"]:
        notes.append(
            f"{len(crds)} of {sum(step.ref.kind == 'CustomResourceDefinition' for step in steps)} CRDs were made by "
            "somebody else and are used as they are: a field that they do not know is lost in the API server"
        )
    if left := [step for step in steps if step.does is Does.LEAVE and step.ref.kind == "Deployment"]:
        owner = labels_of(left[0].before or {"metadata": {}}).get(REVISION, "")
        notes.append(
            f"the ingress gateway stays with revision {owner}: lateen upgrade --revision {place.revision} moves it here"
        )
    return notes


def settled(step: Step, after: Object) -> Step:
    """A step, once the API server has said what would come of it."""
    if step.before is None:
        return step._replace(after=after)
    same = essence(step.before) == essence(after)
    return step._replace(does=Does.NOTHING if same else Does.CHANGE, after=after)


def removals(ours: Sequence[Object], wanted: Sequence[Object], place: Place) -> list[Step]:
    """What an earlier installation of this revision made and this one has no more. Tags and grants are people's."""
    kept = {ref_of(obj) for obj in wanted}
    mine = [obj for obj in ours if labels_of(obj).get(REVISION) == place.revision]
    made = [obj for obj in mine if labels_of(obj).get(COMPONENT) in _OF_AN_INSTALLATION]
    return [Step(Does.REMOVE, ref_of(obj), before=obj) for obj in made if ref_of(obj) not in kept]


def essence(obj: Object | None) -> Object:
    """What somebody asked for, without what the API server keeps for itself; nothing of no object."""
    if obj is None:
        return {}
    meta = {key: value for key, value in obj["metadata"].items() if key not in _KEPT_BY_SERVER}
    left_out = _WRITTEN_AT_WORK.get(obj["kind"], ("status",))
    return {**{key: value for key, value in obj.items() if key not in left_out}, "metadata": meta}


def needs(step: Step, missing_namespaces: set[str]) -> bool:
    """Whether an API server can say now what would come of it: not in a Namespace that is only about to be made."""
    return step.does in (Does.CREATE, Does.CHANGE) and not (
        BY_NAME[step.ref.kind].namespaced and step.ref.namespace in missing_namespaces
    )
