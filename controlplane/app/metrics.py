"""The control plane's own metrics: `GET /metrics` over plain HTTP, for whoever reaches the port.

There is nothing in them but numbers, names of our own objects and versions, and scrapers have no certificate of ours.
"""

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final

from controlplane.agent.http.server import Request, Response, serving
from controlplane.agent.status import Route, routed
from controlplane.app.control import ControlPlane
from controlplane.base.prometheus import CONTENT_TYPE, Family, Sample, gauge, page
from controlplane.sources.kubernetes.source import Standing

PATH: Final = "/metrics"
_STATM: Final = "/proc/self/statm"  # pages: of the program, of those in memory, …

Families = Callable[[], Iterable[Family]]


class Metrics:
    """Who has something to tell, in the order they came."""

    def __init__(self) -> None:
        self._told: list[Families] = []

    def also(self, families: Families) -> None:
        """Asked at each scrape: cheap, and never raises."""
        self._told.append(families)

    def page(self) -> bytes:
        """As of now."""
        return page(family for families in self._told for family in families())

    def routes(self) -> Iterator[Route]:
        """All that is answered."""
        yield Route("GET", PATH, self._answer)

    async def _answer(self, _request: Request) -> Response:
        return Response(200, self.page(), CONTENT_TYPE)


@asynccontextmanager
async def open_metrics(metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Until left; the port. Raises OSError."""
    async with serving(host, port, routed(metrics.routes())) as found:
        yield found


def process_families() -> Iterator[Family]:
    """Names are those of every client library."""
    yield Family("process_cpu_seconds_total", "counter", "Processor time.", (Sample(time.process_time()),))
    try:
        with open(_STATM, "rb") as file:  # noqa: PTH123  a word of the kernel's, not a path of anybody's
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return
    yield gauge("process_resident_memory_bytes", "Memory.", resident)


def proxy_families(control: ControlPlane, version: str) -> Iterator[Family]:
    """Who is connected, and what runs. `version`: ours."""
    by_kind = Counter((one.type.value, one.envoy_version) for one in control.server.proxies())
    samples = tuple(Sample(count, {"type": kind, "version": envoy}) for (kind, envoy), count in sorted(by_kind.items()))
    yield Family("pilot_xds", "gauge", "Proxies that are connected to this replica, by their Envoy.", samples)
    yield Family("lateen_build", "gauge", "1, for the version that runs.", (Sample(1, {"version": version}),))
    yield gauge("lateen_serving", "Whether all was read and proxies are served.", control.is_serving)


def source_families(standings: Iterable[Standing]) -> Iterator[Family]:
    """How it is with each kind that is read from an API server."""
    found = [(one, {"resource": one.resource}) for one in standings]
    for name, kind, words, value in _OF_SOURCES:
        yield Family(f"lateen_watch_{name}", kind, words, tuple(Sample(value(one), labels) for one, labels in found))


_OF_SOURCES: Final[tuple[tuple[str, str, str, Callable[[Standing], float]], ...]] = (
    ("objects", "gauge", "Objects that are known.", lambda one: one.objects),
    ("lists_total", "counter", "Lists that were begun.", lambda one: one.lists),
    ("failures_total", "counter", "Lists and watches that failed.", lambda one: one.failures),
    ("repairs_total", "counter", "Lists because a watch had not told everything.", lambda one: one.repairs),
)
