"""Performs what a reflector wants done: the one file of this room that lists and watches."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final

import structlog

from controlplane.runtime.turns import Turn
from controlplane.sources.kubernetes.access import Access, Broken, Response, Unreachable
from controlplane.sources.kubernetes.audit import Audit
from controlplane.sources.kubernetes.reflector import List, Reflector, State, Wait, Watch
from controlplane.sources.kubernetes.resource import METADATA_LIST, Resource
from controlplane.sources.kubernetes.wire import LARGEST_PAGE, Garbage, Lines, read_answer, read_event, read_page

_AUDITED: Final = 500  # objects of a page
_LARGEST_REFUSAL: Final = 64 * 1024  # bytes
_FINE: Final = frozenset({State.LISTING, State.WATCHING})

log = structlog.get_logger(__name__)


class _TooLarge(Exception):  # noqa: N818  (what it is)
    """More than is read."""


class Watching:
    """Runs one reflector."""

    def __init__(
        self,
        access: Access,
        reflector: Reflector,
        turns: asyncio.Semaphore,
        changed: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`turns`: how many lists are asked for at a time. `changed` is called when there may be news."""
        self._access = access
        self._reflector = reflector
        self._turns = turns
        self._changed = changed
        self._sleep = sleep
        self._told = State.LISTING

    async def run(self) -> None:
        """Until cancelled."""
        self._reflector.begin_anew()
        while True:
            match self._reflector.next():
                case Wait(seconds):
                    await self._sleep(seconds)
                case List() as step:
                    async with self._turns:
                        await self._guarded(self._list(step))
                case Watch() as step:
                    await self._guarded(self._watch(step))
            self._tell()

    async def _guarded(self, asking: Awaitable[None]) -> None:
        try:
            await asking
        except Unreachable as error:
            self._reflector.unreached(str(error))
        except (Broken, Garbage) as error:
            self._reflector.failed(str(error))
        except _TooLarge:
            self._reflector.too_large()

    async def _list(self, step: List) -> None:
        query: dict[str, str | int] = {}
        if step.limit:
            query["limit"] = step.limit
        if step.token:
            query["continue"] = step.token
        async with self._asked(query, self._reflector.resource.list_type) as answer:
            if not await self._is_good(answer):
                return
            page = read_page(await _body(answer, LARGEST_PAGE))
        await in_turns(self._reflector.page(page))

    async def _watch(self, step: Watch) -> None:
        query: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": step.version,
            "timeoutSeconds": max(1, round(step.seconds)),
        }
        async with self._asked(query, self._reflector.resource.object_type) as answer:
            try:
                async with asyncio.timeout(step.seconds + self._access.patience.late):
                    if await self._is_good(answer):
                        await self._followed(answer)
            except TimeoutError as error:
                raise Broken("a watch did not end when it should: its connection is dead") from error

    async def _followed(self, answer: Response) -> None:
        """Until it ends by itself, or at an event after which it is not to be followed."""
        self._reflector.began()
        lines, turn = Lines(), Turn()
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    if not self._reflector.event(read_event(line)):
                        return
                    if turn.is_over():
                        self._changed()
                        await turn.next()
                self._tell()
        self._reflector.ended()

    def _asked(self, query: dict[str, str | int], accept: str) -> AbstractAsyncContextManager[Response]:
        return _asked(self._access, self._reflector.resource, query, accept)

    async def _is_good(self, answer: Response) -> bool:
        if answer.status == 200:
            return True
        body = b""
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _LARGEST_REFUSAL:
                    break
        self._reflector.refused(read_answer(answer.status, answer.headers, body))
        return False

    def _tell(self) -> None:
        """News go on; a line in the log for what became otherwise, and none for what is as it was."""
        self._changed()
        state, why = self._reflector.state, self._reflector.trouble
        if state is self._told or (why and state in _FINE) or (state is State.FAILING and self._access.away):
            return  # said already; or a watch that has yet to bring something; or said once, for all kinds
        if state not in _FINE:
            log.warning("not as it should be", resource=str(self._reflector.resource), state=str(state), why=why)
        elif self._told not in _FINE:
            log.info("read again", resource=str(self._reflector.resource))
        self._told = state


async def audited(access: Access, audit: Audit, resource: Resource) -> None:
    """Asks for the names and versions of all there is. Raises Unreachable, Broken, Garbage."""
    token = ""
    while True:
        query: dict[str, str | int] = {"limit": _AUDITED} | ({"continue": token} if token else {})
        async with _asked(access, resource, query, METADATA_LIST) as answer:
            if answer.status != 200:
                raise Broken(f"status {answer.status}")
            try:
                page = read_page(await _body(answer, LARGEST_PAGE))
            except _TooLarge as error:
                raise Broken("an answer is too large") from error
        await in_turns(audit.page(page))
        token = page.token
        if not token:
            return


async def in_turns(steps: Iterator[None]) -> None:
    """Large work in small steps; between some of them others have their turn."""
    turn = Turn()
    for _ in steps:
        if turn.is_over():
            await turn.next()


def _asked(
    access: Access, resource: Resource, query: dict[str, str | int], accept: str
) -> AbstractAsyncContextManager[Response]:
    if resource.fields:
        query["fieldSelector"] = resource.fields
    # Compressing costs an API server more than what it saves on the way.
    return access.get(resource.path, query, {"Accept": accept, "Accept-Encoding": "identity"})


async def _body(answer: Response, most: int) -> bytes:
    """Raises Broken, _TooLarge."""
    body = bytearray()
    async with aclosing(answer.chunks()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                raise _TooLarge
    return bytes(body)
