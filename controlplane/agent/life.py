"""An agent's life: a certificate, then Envoy, then whichever ends first.

    Envoy ends by itself      an error: whoever started us starts both anew
    the Pod is going          Envoy asks its callers to leave, and serves on: the application may still be there
    we are asked to end       Envoy is drained and ended; asked again, the drain is cut short

The status ports answer from the first moment, so that whoever waits is told for what.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from controlplane.agent.admin import SOCKET, AdminClient
from controlplane.agent.authority import AuthorityClient
from controlplane.agent.bundle import BundleFile
from controlplane.agent.drain import drain
from controlplane.agent.envoy import EnvoyProcess, check, describe, start_envoy
from controlplane.agent.figures import Scrapes, figures
from controlplane.agent.generations import IdentityWriter, Stored
from controlplane.agent.http.client import NoAnswer
from controlplane.agent.http.server import Request, Response, serving, text
from controlplane.agent.identity import IdentityRunner
from controlplane.agent.logs import Log
from controlplane.agent.probes import ProbeRunner
from controlplane.agent.readiness import Readiness
from controlplane.agent.renewal import Random
from controlplane.agent.scraping import Application, MetricsRunner
from controlplane.agent.settings import Settings
from controlplane.agent.status import DRAIN, QUIT, Status, readiness_routes, routed, status_routes
from controlplane.base.clock import Clock

WELL: Final = 0
ENVOY_ENDED: Final = 1


class Agent:
    """Everything beside one Envoy. The process's working directory is the agent's."""

    def __init__(self, settings: Settings, log: Log, clock: Clock, random: Random) -> None:
        self._settings = settings
        self._log = log
        self._asked = asyncio.Event()
        self._hurried = asyncio.Event()
        self._admin = AdminClient(SOCKET)
        self._writer = IdentityWriter(settings.directory)
        self._identity = IdentityRunner(
            AuthorityClient(settings.control_plane, settings.server_name, settings.token, self._writer.pair),
            self._writer,
            BundleFile(settings.bundle, log),
            node=settings.node,
            seconds=settings.certificate_seconds,
            expected=settings.expected_name,
            in_use=self._uses,
            log=log,
            clock=clock,
            random=random,
        )
        self._readiness = Readiness(self._admin, self._identity, log)
        self._status = Status(
            ready=self._ready,
            metrics=self._metrics().answer,
            probe=ProbeRunner(settings.status.application, settings.status.port, settings.status.probe_from).answer,
            probers=settings.status.probers,
            quit=self._quit,
            drain=self._leave,
        )

    async def run(self) -> int:
        """The exit code. Raises OSError and `NoEnvoy` when it cannot even begin."""
        check(self._settings.envoy)
        self._writer.prepare()
        ports = self._settings.status
        with _signals(self._end):
            async with (
                serving(ports.address, ports.readiness_port, routed(readiness_routes(self._status))),
                serving(ports.address, ports.port, routed(status_routes(self._status))),
            ):
                code: int = await _first_of(self._live(), self._identity.run())
        return code

    def _metrics(self) -> MetricsRunner:
        scrapes, status = Scrapes(), self._settings.status
        application = Application(status.scraped_at, status.scrape.path) if status.scrape is not None else None
        return MetricsRunner(lambda: figures(self._identity, scrapes), self._admin, application, scrapes, self._log)

    async def _live(self) -> int:
        await _first_of(self._identity.first.wait(), self._asked.wait())
        if self._asked.is_set():
            return WELL
        self._identity.envoy_starts()
        envoy = await start_envoy(self._settings.envoy, self._settings.directory)
        self._readiness.started = True
        self._log.info("Envoy started", pid=envoy.pid)
        try:
            await _first_of(envoy.wait(), self._asked.wait())
            if not self._asked.is_set():
                self._log.error("Envoy ended by itself", status=describe(await envoy.wait()))
                return ENVOY_ENDED
            await self._drain(envoy)
        finally:
            await envoy.end()
        self._log.info("Envoy ended")
        return WELL

    async def _drain(self, envoy: EnvoyProcess) -> None:
        self._readiness.draining = True
        options, inbound_only = self._settings.drain, self._settings.is_sidecar
        drained = drain(self._admin, options, inbound_only=inbound_only, log=self._log, sleep=asyncio.sleep)
        await _first_of(drained, envoy.wait(), self._hurried.wait())

    async def _uses(self, generation: Stored) -> bool:
        return await self._admin.uses(generation.chain, generation.roots)

    def _end(self) -> None:
        if self._asked.is_set():
            self._hurried.set()
        self._asked.set()

    async def _ready(self, _request: Request) -> Response:
        return await self._readiness.answer()

    async def _leave(self, _request: Request) -> Response:
        self._log.info("the Pod is going, callers are asked to leave", by=DRAIN)
        self._readiness.draining = True
        try:
            await self._admin.drain(inbound_only=self._settings.is_sidecar)
        except NoAnswer as error:
            return text(503, f"Envoy could not be asked to drain: {error}")
        return text(200, "draining")

    async def _quit(self, _request: Request) -> Response:
        self._log.info("asked to end", by=QUIT)
        self._end()
        return text(200, "ending")


@contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _first_of(*works: Coroutine[Any, Any, Any]) -> Any:
    """What the first that ends returns, or raises; the others are cancelled."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return first.result()
