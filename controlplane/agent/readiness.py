"""Whether traffic may come: Envoy has its first configuration, and is not on its way out."""

import asyncio

from controlplane.agent.admin import AdminClient
from controlplane.agent.http.client import NoAnswer
from controlplane.agent.http.server import Response, text
from controlplane.agent.identity import IdentityRunner
from controlplane.agent.logs import Log

_LIVE = "LIVE"


class Readiness:
    """Asked by the platform every few seconds. What changes is said once."""

    def __init__(self, admin: AdminClient, identity: IdentityRunner, log: Log) -> None:
        self._admin = admin
        self._identity = identity
        self._log = log
        self._last = ""
        self._asking = asyncio.Lock()
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
        async with self._asking:  # one at a time: however many ask us, Envoy hears of one
            try:
                state = await self._admin.state()
            except NoAnswer as error:
                return f"Envoy does not answer: {error}"
        return "" if state == _LIVE else f"Envoy is {state or 'silent'}"
