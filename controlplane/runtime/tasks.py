"""Tasks that cannot die unseen.

An asyncio task that raises is silent until somebody awaits it; a control plane whose push task died looks healthy and
serves the past for ever. So every task is started through a `Supervisor` and has a name. A *critical* one that ends,
whether it raises or just returns, ends the process; any other is started again, after a backoff, and counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import structlog

from controlplane.base.clock import Clock
from controlplane.runtime.backoff import Backoff, BackoffPolicy

Work = Callable[[], Coroutine[Any, Any, None]]
Sleep = Callable[[float], Awaitable[None]]

log = structlog.get_logger(__name__)


class CriticalTaskEnded(Exception):  # noqa: N818  (an event, named for what happened)
    """A task the process cannot do without has ended. Its own exception, if any, is the cause."""

    def __init__(self, name: str) -> None:
        super().__init__(f"critical task {name!r} ended")
        self.name = name


class Supervisor:
    """Owns tasks; leaving it cancels them all and waits for them.

    async with Supervisor(clock) as tasks:
        tasks.critical("push", push.run)
        tasks.restarted("kubernetes list+watch", watch.run)
        await tasks.wait()          # until cancelled, or CriticalTaskEnded
    """

    def __init__(self, clock: Clock, *, sleep: Sleep = asyncio.sleep, policy: BackoffPolicy | None = None) -> None:
        self._clock = clock
        self._sleep = sleep
        self._policy = policy or BackoffPolicy()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.restarts: dict[str, int] = {}

    def critical(self, name: str, work: Work) -> asyncio.Task[None]:
        """Start `work`; when it ends in any way but our cancelling it, so does the process."""
        task = self._start(name, work())
        task.add_done_callback(self._critical_done)
        return task

    def restarted(self, name: str, work: Work) -> asyncio.Task[None]:
        """Start `work` again whenever it raises. Returning normally is its way to say it is done."""
        return self._start(name, self._restart_for_ever(name, work))

    def once(self, name: str, work: Work) -> asyncio.Task[None]:
        """Start `work`, which ends by itself. Raising is our bug: logged, nothing else."""
        task = self._start(name, work())
        task.add_done_callback(_log_failure)
        return task

    async def wait(self) -> None:
        """Until cancelled, or until a critical task ended: then `CriticalTaskEnded`."""
        await asyncio.shield(self._ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._tasks:  # a task that is being cancelled may still start another one
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._ended.done():
            self._ended.exception()  # seen: no "never retrieved" warning
        else:
            self._ended.cancel()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _critical_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._ended.done():
            return
        ended = CriticalTaskEnded(task.get_name())
        ended.__cause__ = task.exception()
        log.error("critical task ended", task=task.get_name(), error=repr(ended.__cause__))
        self._ended.set_exception(ended)

    async def _restart_for_ever(self, name: str, work: Work) -> None:
        backoff = Backoff(self._policy)
        while True:
            started = self._clock.monotonic()
            try:
                await work()
            except Exception as error:  # noqa: BLE001  (the boundary that keeps the process alive and says so)
                backoff.ran(self._clock.monotonic() - started)
                self.restarts[name] = self.restarts.get(name, 0) + 1
                wait = backoff.next()
                log.warning("task failed, starting it again", task=name, wait=round(wait, 2), error=repr(error))
                await self._sleep(wait)
            else:
                return


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task failed", task=task.get_name(), error=repr(error))
