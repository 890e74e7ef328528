"""What API servers ask of us over HTTPS, on a port of its own, and the objects that tell them to."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, Protocol

import msgspec
import structlog

from controlplane.runtime.https import HttpsServer, Route
from controlplane.runtime.tasks import Supervisor
from controlplane.runtime.tls import Generation
from controlplane.security.apiserver import NoAnswer, answered
from controlplane.webhooks.admission import LIMITS
from controlplane.webhooks.jsonpatch import Patch
from controlplane.webhooks.keeping import NotKept

log = structlog.get_logger(__name__)

_PATIENCE: Final = 10.0  # seconds
_GRACE: Final = 1.0  # seconds for what is being answered when the process ends
_METHOD: Final = "webhook_configuration_without_preload_content"


class Generations(Protocol):
    """Certificates to serve with: see `security.serving.Serving`."""

    def read(self) -> Generation: ...

    def follow(self, changed: Callable[[Generation], None]) -> None: ...


@asynccontextmanager
async def open_webhooks(
    routes: Sequence[Route], generations: Generations, tasks: Supervisor, host: str, port: int
) -> AsyncIterator[int]:
    """Until left, or until `tasks` end; the port. Raises OSError."""
    https = HttpsServer(routes, generations.read(), LIMITS)
    generations.follow(https.use)
    found = await https.listen(tasks, host, port)
    log.info("webhooks are answered", address=f"{host}:{found}")
    try:
        yield found
    finally:
        await https.stop(_GRACE)


class WebhookConfigurations:
    """See `webhooks.keeping.Configurations`."""

    def __init__(self, api: Any, kind: Literal["mutating", "validating"]) -> None:
        """`api`: `kubernetes.aio.client.AdmissionregistrationV1Api`."""
        self._api = api
        self._kind = kind

    async def read(self, name: str) -> Mapping[str, Any] | None:
        status, body = await self._asked("read", name)
        if status == 404:
            return None
        if status != 200:
            raise NotKept(_refused("read", status))
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NotKept(f"the API server's answer is no webhook configuration: {error}") from error

    async def patch(self, name: str, patch: Patch) -> None:
        steps = list(msgspec.to_builtins(patch))
        status, _ = await self._asked("patch", name, steps, _content_type="application/json-patch+json")
        if status != 200:
            raise NotKept(_refused("patched", status))

    async def _asked(self, verb: str, *what: Any, **how: Any) -> tuple[int, bytes]:
        try:
            return await answered(getattr(self._api, f"{verb}_{self._kind}_{_METHOD}")(*what, **how), seconds=_PATIENCE)
        except NoAnswer as error:
            raise NotKept(str(error)) from error


def _refused(what: str, status: int) -> str:
    may_not = ": we may not (get and patch are needed)" if status in (401, 403) else ""
    return f"cannot be {what}, status {status}{may_not}"
