"""What a control plane tells scrapers, and that the port for it tells nothing else."""

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from controlplane.app.control import ControlPlane
from controlplane.app.metrics import Metrics, open_metrics, process_families, proxy_families, source_families
from controlplane.base.prometheus import CONTENT_TYPE, counter
from controlplane.model.settings import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.sources.kubernetes.source import Standing


def told(metrics: Metrics) -> dict[tuple[str, str], float]:
    """(Name of a sample, value of its first label) -> value."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in parsed(metrics.page().decode())
        for sample in family.samples
    }


async def test_one_path_is_answered_and_only_to_who_reads() -> None:
    metrics, asked = Metrics(), []
    metrics.also(lambda: [counter("asked_total", "Scrapes.", asked.append(1) or len(asked))])  # type: ignore[func-returns-value]
    async with open_metrics(metrics, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        for number in (1, 2):
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
                assert f"asked_total {number}\n" in await answer.text()
        for method, path, status in (("POST", "/metrics", 405), ("GET", "/", 404), ("GET", "/debug/proxies", 404)):
            async with session.request(method, f"http://127.0.0.1:{port}{path}") as answer:
                assert answer.status == status
    assert len(asked) == 2


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with open_metrics(Metrics(), "127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="in use"):
            async with open_metrics(Metrics(), "127.0.0.1", port):
                pass


def test_what_runs_and_how_it_is_with_what_is_read() -> None:
    metrics = Metrics()
    control = ControlPlane(Settings(), SystemClock(), lambda: 0.5)
    metrics.also(process_families)
    metrics.also(lambda: proxy_families(control, "1.2.3"))
    metrics.also(lambda: source_families([Standing("services", "watching", 7, 1.0, 2, 3, 4)]))
    found = told(metrics)
    assert found["process_resident_memory_bytes", ""] > 1024 * 1024
    assert found["process_cpu_seconds_total", ""] > 0
    assert found["lateen_build", "1.2.3"] == 1
    assert found["lateen_serving", ""] == 0
    names = ("objects", "lists_total", "failures_total", "repairs_total")
    assert [found[f"lateen_watch_{name}", "services"] for name in names] == [7, 2, 3, 4]
