"""Asks Envoy and the application for their metrics, and passes them on as they come.

A mesh of thousands of services makes pages of many megabytes: nothing is kept. The application is asked first, because
the format of the page is its; its lines come last, because in OpenMetrics they end the page. Whoever fails, is slow or
sends too much is left out from there on, at the end of a line; the others are not.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

from controlplane.agent.admin import AdminClient
from controlplane.agent.exposition import END, Format, Lines, Page, asked_for, format_of
from controlplane.agent.figures import Scrapes
from controlplane.agent.http.client import Address, Answer, Connect, NoAnswer, exchange, over_tcp
from controlplane.agent.http.client import Request as Question
from controlplane.agent.http.server import Request, Response
from controlplane.agent.logs import Log

_LARGEST: Final = 256 * 1024 * 1024  # bytes of a source
_TIME: Final = 10.0  # seconds, when the scraper does not say how long it waits
_LONGEST: Final = 50.0
_TIMEOUT: Final = "x-prometheus-scrape-timeout-seconds"
_ENVOY: Final = Question("/stats/prometheus")

Passing = Callable[[list[bytes]], Iterator[bytes]]


class Application(NamedTuple):
    """Where it has its metrics."""

    address: Address
    path: str


class MetricsRunner:
    """One page for each request."""

    def __init__(
        self,
        own: Callable[[], bytes],
        admin: AdminClient,
        application: Application | None,
        scrapes: Scrapes,
        log: Log,
    ) -> None:
        self._own = own
        self._admin = admin
        self._application = application
        self._scrapes = scrapes
        self._log = log
        self._silent: set[str] = set()

    async def answer(self, request: Request) -> Response:
        """All there is."""
        patience = _patience(request.headers.get(_TIMEOUT, ""))
        now = asyncio.get_running_loop().time()
        async with AsyncExitStack() as opened:
            application = await self._ask_application(request.headers, opened, now + patience / 2)
            form = format_of(application.headers.get("content-type", "")) if application else None
            page, kept = Page(form or Format.TEXT), opened.pop_all()
        pieces = self._pieces(page, application, kept, now + patience)
        return Response(200, _Body(pieces, kept), page.format.value)

    async def _ask_application(self, headers: Mapping[str, str], opened: AsyncExitStack, until: float) -> Answer | None:
        """Its answer, if it is metrics."""
        if self._application is None:
            return None
        passed_on = {name: headers[name] for name in ("user-agent", _TIMEOUT) if name in headers}
        wanted = {"Host": str(self._application.address), "Accept": asked_for(headers.get("accept", ""))}
        question = Question(self._application.path, headers={**passed_on, **wanted})
        return await self._ask("application", over_tcp(self._application.address), question, opened, until)

    async def _ask(
        self, source: str, connect: Connect, question: Question, opened: AsyncExitStack, until: float
    ) -> Answer | None:
        """Its answer, if it is metrics. In time is the first word of it."""
        try:
            async with asyncio.timeout_at(until):
                answer = await opened.enter_async_context(exchange(connect, question))
        except (NoAnswer, TimeoutError) as error:
            self._failed(source, str(error) or "no answer in time")
            return None
        if (wrong := _wrong(answer)) is not None:
            self._failed(source, wrong)
            return None
        return answer

    async def _pieces(
        self, page: Page, application: Answer | None, opened: AsyncExitStack, until: float
    ) -> AsyncIterator[bytes]:
        yield _joined(page.ours(self._own().splitlines()))
        envoy = await self._ask("envoy", self._admin.connect, _ENVOY, opened, until)
        for source, answer, passing in (("envoy", envoy, page.ours), ("application", application, page.theirs)):
            if answer is not None:
                async for piece in self._passed_on(source, answer, passing, until):
                    yield piece
        self._scrapes.dropped += page.dropped
        if page.format is Format.OPEN:
            yield END + b"\n"

    async def _passed_on(self, source: str, answer: Answer, passing: Passing, until: float) -> AsyncIterator[bytes]:
        lines, chunks = Lines(), answer.chunks(_LARGEST)
        try:
            while (chunk := await _next(chunks, until)) is not None:
                yield _joined(passing(lines.of(chunk)))
        except (NoAnswer, TimeoutError) as error:
            self._failed(source, str(error) or "not all of it in time")
        else:
            self._silent.discard(source)
            yield _joined(passing(lines.last()))

    def _failed(self, source: str, why: str) -> None:
        """Counted each time, and said once until it is well again."""
        self._scrapes.failed[source] += 1
        if source not in self._silent:
            self._log.warning("no metrics", of=source, why=why)
        self._silent.add(source)


class _Body:
    """Pieces of a page, and what is open for it: that is closed whether or not anybody read."""

    def __init__(self, pieces: AsyncIterator[bytes], opened: AsyncExitStack) -> None:
        self._pieces = pieces
        self.aclose = opened.aclose

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


def _wrong(answer: Answer) -> str | None:
    """Why these cannot be metrics."""
    if answer.status != 200:
        return f"status {answer.status}"
    if answer.headers.get("content-encoding", "identity") != "identity":
        return "compressed, and was not asked to be"
    kind = answer.headers.get("content-type", "")
    return f"no metrics but {kind[:100]}" if format_of(kind) is None else None


async def _next(chunks: AsyncIterator[bytes], until: float) -> bytes | None:
    """The time is for what is read; while the scraper takes its pieces nobody is late."""
    async with asyncio.timeout_at(until):
        return await anext(chunks, None)


def _joined(lines: Iterator[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _patience(seconds: str) -> float:
    """Seconds; a little less than the scraper's, who then gets what there is."""
    try:
        found = float(seconds)
    except ValueError:
        return _TIME
    return max(0.5, min(found * 0.9, _LONGEST)) if found > 0 else _TIME
