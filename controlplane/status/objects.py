"""Statuses of objects in an API server: read whole, written as merge patches of the status alone."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from controlplane.base.digest import digest
from controlplane.model.decode import decode
from controlplane.model.kinds import BY_NAME, Kind
from controlplane.model.problem import ObjectRef
from controlplane.security.apiserver import NoAnswer, answered
from controlplane.status.conditions import Condition, is_trouble
from controlplane.status.writer import Busy, Outcome, Standing

log = structlog.get_logger(__name__)

_PATIENCE: Final = 10.0  # seconds
_REST: Final = 2.0  # seconds, where the API server does not say how long
_LONGEST_REST: Final = 60.0  # seconds, whatever it says
_MERGE: Final = "application/merge-patch+json"
_MOST: Final = 1_000  # Events that are counted up; an older one begins anew
_LONGEST_NOTE: Final = 1_000  # characters; an API server takes 1,024


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    resource_version: str = ""
    generation: int = 0


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata
    status: dict[str, Any] | None = None


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: float = 0.0


class _Refusal(msgspec.Struct, frozen=True):
    details: _Details | None = None


class KubernetesStatuses:
    """See `writer.Statuses`."""

    def __init__(self, custom: Any, core: Any, served: Callable[[ObjectRef], Any | None], reporter: str) -> None:
        """`custom`, `core`: `CustomObjectsApi` and `CoreV1Api` of `kubernetes.aio.client`.

        `served`: the value of an object that proxies are served from. `reporter`: the name of this replica.
        """
        self._custom = custom
        self._core = core
        self._served = served
        self._reporter = reporter
        self._counts: OrderedDict[str, int] = OrderedDict()

    async def read(self, ref: ObjectRef) -> Standing | None:
        ask = self._custom.get_namespaced_custom_object_without_preload_content
        status, body = await self._asked(ask(*_place(ref)))
        if status == 404:
            return None
        if status != 200:
            raise NoAnswer(f"{ref}: the API server answers with status {status}")
        try:
            found = msgspec.json.decode(body, type=_Object)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NoAnswer(f"{ref}: the API server's answer is no object: {error}") from error
        meta = found.metadata
        return Standing(meta.resource_version, meta.generation, meta.uid, found.status, self._is_current(ref, body))

    def _is_current(self, ref: ObjectRef, document: bytes) -> bool:
        """Of an object that cannot be used at all the last good version is served; so it says of itself."""
        value = decode(document).value
        return value is None or value == self._served(ref)

    async def write(self, ref: ObjectRef, version: str, status: Mapping[str, Any]) -> Outcome:
        patch = {"metadata": {"resourceVersion": version}, "status": status}
        ask = self._custom.patch_namespaced_custom_object_status_without_preload_content
        answer, _ = await self._asked(ask(*_place(ref), patch, _content_type=_MERGE))
        if answer == 200:
            return Outcome.WRITTEN
        if answer == 404:
            return Outcome.GONE
        if answer == 409:
            return Outcome.CONFLICT
        log.warning("status is not taken", object=str(ref), status=answer)
        return Outcome.REFUSED

    async def tell(self, ref: ObjectRef, uid: str, condition: Condition, now: datetime) -> None:
        """Made, or, where there is one of the same name, counted up."""
        name = f"{ref.name[:200]}.{digest(f'{uid}/{condition.type}/{condition.status}/{condition.reason}'.encode())}"
        count = self._counts[name] = self._counts.pop(name, 0) + 1
        if len(self._counts) > _MOST:
            self._counts.popitem(last=False)
        at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = _event(ref, name, uid, condition, self._reporter) | {"firstTimestamp": at}
        again = {"count": max(count, 2), "lastTimestamp": at, "message": event["message"]}
        if count == 1:
            make = self._core.create_namespaced_event_without_preload_content
            status, _ = await self._asked(make(ref.namespace, event | {"count": 1, "lastTimestamp": at}))
            if status != 409:
                return
        patch = self._core.patch_namespaced_event_without_preload_content
        status, _ = await self._asked(patch(name, ref.namespace, again, _content_type=_MERGE))
        if status == 404:  # they are kept for an hour
            self._counts.pop(name, None)

    async def _asked(self, asking: Awaitable[Any]) -> tuple[int, bytes]:
        status, body = await answered(asking, seconds=_PATIENCE)
        if status == 429:
            raise Busy(_rest(body))
        if status == 401 or status >= 500:
            raise NoAnswer(f"the API server answers with status {status}")
        return status, body


def _place(ref: ObjectRef) -> tuple[str, str, str, str, str]:
    kind: Kind = BY_NAME[ref.group, ref.kind]
    return ref.group, kind.versions[0], ref.namespace, kind.plural, ref.name


def _rest(body: bytes) -> float:
    try:
        details = msgspec.json.decode(body, type=_Refusal).details
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _REST
    seconds = details.retry_after_seconds if details is not None else 0.0
    return min(seconds, _LONGEST_REST) if seconds > 0 else _REST


def _event(ref: ObjectRef, name: str, uid: str, condition: Condition, reporter: str) -> dict[str, Any]:
    trouble = is_trouble(condition)
    version = BY_NAME[ref.group, ref.kind].versions[0]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": ref.namespace},
        "involvedObject": {
            "apiVersion": f"{ref.group}/{version}",
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": uid,
        },
        "type": "Warning" if trouble else "Normal",
        "reason": condition.reason,
        "message": f"{condition.type} is {condition.status}: {condition.message}"[:_LONGEST_NOTE],
        "source": {"component": "lateen"},
        "reportingComponent": "lateen.dev/control-plane",
        "reportingInstance": reporter,
    }
