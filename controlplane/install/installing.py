"""Carries out an installation: looks, asks the API server what would come of each object, and only then writes.

Everything is applied, so doing it again after it was cut off anywhere goes on where it stopped. The control plane comes
up before gateways are made, whose certificates it issues, and before webhooks call it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from controlplane.base.clock import Clock
from controlplane.install.api import Api, RefusedError, UnreachableError
from controlplane.install.health import Trouble, last_lines, missing, troubles, unsigned
from controlplane.install.manifests import manifests
from controlplane.install.names import COMPONENT, INGRESS_GATEWAY, OURS, WEBHOOKS, Place
from controlplane.install.objects import KINDS, Object, Ref, labels_of, ref_of
from controlplane.install.planning import Does, Plan, Step, needs, plan, removals, settled
from controlplane.install.preflight import look
from controlplane.install.values import Values

LOOK_EVERY: Final = 0.5  # seconds, while something comes up
STUCK_FOR: Final = 20.0  # seconds: what time alone does not mend is not waited for any longer
_TRIES: Final = 4
_PAUSE: Final = 1.0  # seconds, before another try
_COME_UP: Final = ("Deployment", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_SECOND: Final = (INGRESS_GATEWAY, WEBHOOKS)  # components that need a control plane

Sleep = Callable[[float], Awaitable[None]]


class FailedError(Exception):
    """It did not work; what was done stays, and the same command goes on from there. `lines`: more about it."""

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


class Progress(Protocol):
    """Who watches."""

    def did(self, step: Step) -> None:
        """A step was taken."""
        ...

    def waits(self, ref: Ref, words: str, found: Sequence[Trouble]) -> None:
        """Something is not up yet: said whenever that is something new."""
        ...

    def up(self, ref: Ref) -> None:
        """It is."""
        ...


class _Seen:
    """Of one thing that is waited for: what was told of it, and since when only somebody's doing can mend it."""

    def __init__(self) -> None:
        self.words = ""
        self.troubles: set[Trouble] = set()
        self._stuck_since: float | None = None

    def stuck_for(self, words: str, found: Sequence[Trouble], now: float) -> float:
        """Seconds."""
        self.words, self.troubles = words, self.troubles | set(found)
        if not any(trouble.stuck for trouble in found):
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        return 0.0 if self._stuck_since is None else now - self._stuck_since


class Installer:
    """One installation, or upgrade, of one place."""

    def __init__(  # noqa: PLR0913  everything it needs comes in here
        self,
        api: Api,
        place: Place,
        clock: Clock,
        progress: Progress,
        *,
        sleep: Sleep = asyncio.sleep,
        force: bool = False,
    ) -> None:
        """`force`: fields of our objects that somebody else set are set again."""
        self._api = api
        self._place = place
        self._clock = clock
        self._progress = progress
        self._sleep = sleep
        self._force = force
        self._fewest: Mapping[Ref, int] = {}

    # Before

    async def prepare(self, values: Values, *, upgrade: bool = False) -> Plan:
        """What would be done. Writes nothing. An upgrade moves gateways here, and removes what is no part any more."""
        facts, obstacles = await look(self._api, self._place)
        wanted = manifests(values, self._place, facts)
        found = await self._found(wanted)
        first = plan(wanted, found, self._place, move_gateways=upgrade)
        obstacles += first.obstacles
        if obstacles:
            return msgspec.structs.replace(first, obstacles=tuple(obstacles))
        steps, refused = await self._tried(first.steps, found)
        old = removals(await self.ours(), wanted, self._place)
        notes = list(first.notes)
        if old and not upgrade:
            notes.append(
                f"{len(old)} objects of an earlier installation are not part of this one: lateen upgrade removes them"
            )
        return Plan((*steps, *(old if upgrade else ())), tuple(refused), tuple(notes))

    async def ours(self) -> list[Object]:
        """All objects of ours, of all revisions."""
        lists = await asyncio.gather(*(self._api.list(kind.path(), OURS, whole=False) for kind in KINDS))
        # Lists of metadata do not say of what.
        return [
            {**obj, "apiVersion": kind.api_version, "kind": kind.kind}
            for kind, objects in zip(KINDS, lists, strict=True)
            for obj in objects
        ]

    async def _found(self, wanted: Sequence[Object]) -> dict[Ref, Object]:
        refs = [ref_of(obj) for obj in wanted]
        found = await asyncio.gather(*map(self._api.get, refs))
        return {ref: obj for ref, obj in zip(refs, found, strict=True) if obj is not None}

    async def _tried(self, steps: Iterable[Step], found: Mapping[Ref, Object]) -> tuple[list[Step], list[str]]:
        """Each step as the API server would take it, and what it would refuse."""
        absent = {step.ref.name for step in steps if step.ref.kind == "Namespace" and step.ref not in found}
        results = await asyncio.gather(*(self._try(step, absent) for step in steps))
        return [step for step, _ in results], [words for _, words in results if words]

    async def _try(self, step: Step, absent: set[str]) -> tuple[Step, str]:
        if not needs(step, absent):
            return step, ""
        assert step.wanted is not None
        try:
            return settled(step, await self._api.apply(step.wanted, dry_run=True, force=self._force)), ""
        except RefusedError as error:
            return step, refused(step.ref, error)

    # Doing it

    async def carry_out(self, steps: Sequence[Step], patience: float | None) -> None:
        """Raises FailedError. `patience`: seconds for all that has to come up; None: nothing is waited for."""
        end = None if patience is None else self._clock.monotonic() + patience
        second = [step for step in steps if _component(step) in _SECOND]
        self._fewest = scaled(step.wanted for step in steps if step.wanted is not None)
        for phase in ([step for step in steps if step not in second], second):
            for step in phase:
                await self._take(step)
            if end is not None:
                await self._come_up([step.ref for step in phase if _comes_up(step)], end)

    async def _take(self, step: Step) -> None:
        if step.does in (Does.CREATE, Does.CHANGE):
            assert step.wanted is not None
            wanted = step.wanted
            await self._again(step.ref, lambda: self._api.apply(wanted, force=self._force))
            if step.does is Does.CREATE and (replicas := self._fewest.get(step.ref, 1)) > 1:
                await self._again(step.ref, lambda: self._api.scale(step.ref, replicas))
        elif step.does is Does.REMOVE:
            assert step.before is not None
            uid = step.before["metadata"].get("uid", "")
            await self._again(step.ref, lambda: self._api.delete(step.ref.path, uid))
        self._progress.did(step)

    async def _again(self, ref: Ref, doing: Callable[[], Awaitable[Any]]) -> None:
        """What an API server may well do at the next try is tried some times."""
        for left in reversed(range(_TRIES)):
            try:
                await doing()
            except RefusedError as error:
                if not left or not _is_passing(error):
                    raise FailedError(refused(ref, error)) from error
            except UnreachableError as error:
                if not left:
                    raise FailedError(f"{ref}: {error}") from error
            else:
                return
            await self._sleep(_PAUSE)

    # Until it is up

    async def _come_up(self, refs: Sequence[Ref], end: float) -> None:
        waiting = {ref: _Seen() for ref in refs}
        while waiting:
            for ref, seen in tuple(waiting.items()):
                if await self._is_up(ref, seen, end):
                    del waiting[ref]
                    self._progress.up(ref)
            if waiting:
                await self._sleep(LOOK_EVERY)

    async def _is_up(self, ref: Ref, seen: "_Seen", end: float) -> bool:
        words, found = await self._state(ref)
        if not words:
            return True
        news, now = [trouble for trouble in found if trouble not in seen.troubles], self._clock.monotonic()
        if words != seen.words or news:
            self._progress.waits(ref, words, news)
        if now >= end or seen.stuck_for(words, found, now) >= STUCK_FOR:
            raise FailedError(f"{ref} does not come up: {words}", await self._more(ref, found))
        return False

    async def _state(self, ref: Ref) -> tuple[str, list[Trouble]]:
        """What it waits for, and what is wrong; an API server that is away for a moment is waited for, too."""
        try:
            found = await self._api.get(ref)
            if found is None:
                return "gone: somebody deletes it", []
            if ref.kind != "Deployment":
                return ("the control plane has not taken it up yet" if unsigned(found) else ""), []
            words = missing(found)
            return words, await self._troubles(found) if words else []
        except (RefusedError, UnreachableError) as error:
            return str(error), []

    async def _troubles(self, deployment: Object) -> list[Trouble]:
        selector = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
        namespace = deployment["metadata"]["namespace"]
        pods = await self._api.list(f"/api/v1/namespaces/{namespace}/pods", selector)
        events = await self._api.list(f"/api/v1/namespaces/{namespace}/events", fields="involvedObject.kind=Pod")
        return troubles(deployment, pods, events)

    async def _more(self, ref: Ref, found: Sequence[Trouble]) -> list[str]:
        lines = []
        for trouble in found:
            lines.append(str(trouble))
            if trouble.container:
                lines += [f"  | {line}" for line in await self._log(ref.namespace, trouble)]
        return lines

    async def _log(self, namespace: str, trouble: Trouble) -> list[str]:
        """Of the container that ended, or of the one after it."""
        path = f"/api/v1/namespaces/{namespace}/pods/{trouble.pod}/log"
        for previous in ("true", "false"):
            query = urlencode({"container": trouble.container, "tailLines": "20", "previous": previous})
            try:
                if lines := last_lines(await self._api.text(f"{path}?{query}")):
                    return lines
            except (RefusedError, UnreachableError):
                return []
        return []


def refused(ref: Ref, error: RefusedError) -> str:
    """What the API server says no to, and what there is to do."""
    if error.status == 403:
        return f"{ref}: you may not do this: {error}"
    if error.status == 409 and error.causes:
        fields = "; ".join(f"{field} ({message})" for field, message in error.causes[:5])
        return f"{ref} has fields that somebody else set: {fields}. --force sets them again"
    return f"{ref}: the API server refuses it: {error}"


def _is_passing(error: RefusedError) -> bool:
    return error.status == 429 or error.status >= 500


def _component(step: Step) -> str:
    obj = step.wanted or step.before
    return labels_of(obj).get(COMPONENT, "") if obj is not None else ""


def _comes_up(step: Step) -> bool:
    return step.ref.kind in _COME_UP and step.does in (Does.CREATE, Does.CHANGE, Does.NOTHING)


def scaled(objects: Iterable[Object]) -> dict[Ref, int]:
    """Replicas that autoscalers want at least, by what they scale: a new Deployment has them from its first moment."""
    return {
        Ref("Deployment", obj["metadata"]["namespace"], obj["spec"]["scaleTargetRef"]["name"]): obj["spec"][
            "minReplicas"
        ]
        for obj in objects
        if obj["kind"] == "HorizontalPodAutoscaler"
    }
