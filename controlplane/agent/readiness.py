"""Whether traffic may come: Envoy has its first configuration, and is not on its way out."""

import asyncio
from typing import Final

from controlplane.agent.admin import AdminClient
from controlplane.agent.http.client import NoAnswer
from controlplane.agent.http.server import Response, text
from controlplane.agent.identity import IdentityRunner
from controlplane.agent.logs import Log

_LIVE: Final = "LIVE"


class Readiness:
    """Asked by the platform every few seconds. What changes is said once."""

    def __init__(self, admin: AdminClient, identity: IdentityRunner, log: Log) -> None:
        self._admin = admin
        self._identity = identity
        self._log = log
        self._last = ""
        self._asking: asyncio.Task[str] | None = None
        self.started = False
        self.draining = False

    async def answer(self) -> Response:
        """200, with what is worth knowing all the same; or 503, with the reason."""
        lacks = await self._lacks()
        if lacks != self._last:
            self._log.info("not ready" if lacks else "ready", **({"why": lacks} if lacks else {}))
            self._last = lacks
        if lacks:
            return text(503, f"not ready: {lacks}")
        return text(200, f"ready; {self._identity.trouble}" if self._identity.trouble else "ready")

    async def _lacks(self) -> str:
        """Why not; "" when nothing is missing."""
        if self.draining:
            return "draining"
        if self._identity.lacks:
            return self._identity.lacks
        if not self.started:
            return "Envoy is being started"
        try:
            state = await self._state()
        except NoAnswer as error:
            return f"Envoy does not answer: {error}"
        return "" if state == _LIVE else f"Envoy is {state or 'silent'}"

    async def _state(self) -> str:
        """However many ask us at one time, Envoy hears of one."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._admin.state())
        return await asyncio.shield(self._asking)
