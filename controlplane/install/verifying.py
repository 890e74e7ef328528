"""Whether an installation is what it should be, and works: one answer for each thing that could be wrong."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from controlplane.install.api import Api, RefusedError
from controlplane.install.health import missing, unsigned
from controlplane.install.names import TRUST_BUNDLE, Place
from controlplane.install.objects import BY_NAME, Object, Ref
from controlplane.install.planning import Does, Plan, Step


class Check(NamedTuple):
    """One thing."""

    good: bool
    what: str
    words: str


async def verify(api: Api, plan: Plan, place: Place) -> list[Check]:
    """`plan`: what would be done to get there; nothing, if all is well. Raises RefusedError, UnreachableError."""
    found = [Check(good=False, what="cluster", words=words) for words in plan.obstacles]
    for step in plan.steps:
        found += _of_step(step, await _live(api, step.ref))
    name = _bundle_name(plan, place)
    found.append(_bundle(name, await api.document(BY_NAME["ConfigMap"].path(place.namespace, name))))
    return found


def _bundle_name(plan: Plan, place: Place) -> str:
    """As the control plane is told."""
    told = Ref("ConfigMap", place.namespace, place.settings)
    settings = next(step.wanted for step in plan.steps if step.ref == told and step.wanted is not None)
    return str(json.loads(settings["data"]["injection"]).get("rootConfigMap", TRUST_BUNDLE))


async def _live(api: Api, ref: Ref) -> Object | None:
    try:
        return await api.get(ref)
    except RefusedError:
        return None


def _of_step(step: Step, live: Object | None) -> Iterator[Check]:
    what = str(step.ref)
    if live is None:
        yield Check(good=False, what=what, words="is missing")
        return
    if step.does is Does.CHANGE:
        yield Check(good=False, what=what, words="is not as it was installed: somebody changed it")
    elif step.does is Does.REMOVE:
        yield Check(good=False, what=what, words="is left from an earlier installation")
    yield from _health(what, live)


def _health(what: str, live: Object) -> Iterator[Check]:
    """What its own status says, of kinds that have one worth asking."""
    match live["kind"]:
        case "Deployment":
            words = missing(live)
            yield Check(not words, what, words or "is up")
        case "CustomResourceDefinition":
            yield Check(_is_established(live), what, "is served" if _is_established(live) else "is not served yet")
        case "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration":
            found = unsigned(live)
            words = f"has no caBundle: {', '.join(found)}" if found else "trusts the control plane"
            yield Check(not found, what, words)
        case _:
            yield Check(good=True, what=what, words="is there")


def _is_established(crd: Object) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)


def _bundle(name: str, bundle: Mapping[str, Any] | None) -> Check:
    what = f"ConfigMap {name}"
    has_roots = "BEGIN CERTIFICATE" in ((bundle or {}).get("data") or {}).get("root-cert.pem", "")
    return Check(has_roots, what, "has the mesh's roots" if has_roots else "is missing: workloads cannot trust anybody")


def bad(checks: Sequence[Check]) -> list[Check]:
    """Those that are not well."""
    return [check for check in checks if not check.good]
