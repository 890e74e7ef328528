"""What the agent says of itself, in Prometheus' text."""

import os
from typing import Final

from controlplane.agent.identity import IdentityRunner
from controlplane.base.prometheus import Family, Sample, counter, gauge, page

_PREFIX: Final = "lateen_agent_"


class Scrapes:
    """What went wrong when others were asked for their metrics, since the start."""

    def __init__(self) -> None:
        self.failed = {"envoy": 0, "application": 0}
        self.dropped = 0


def figures(identity: IdentityRunner, scrapes: Scrapes) -> bytes:
    """One page."""
    return page(_named(one) for one in _families(identity, scrapes))


def _families(identity: IdentityRunner, scrapes: Scrapes) -> list[Family]:
    held, reports = identity.held, identity.reports
    ends = held.facts.not_after.timestamp() if held is not None else 0
    failed = tuple(Sample(count, {"source": source}) for source, count in scrapes.failed.items())
    return [
        gauge("certificate_expiry_timestamp_seconds", "When the workload's certificate ends.", ends),
        counter("certificates_total", "Certificates that were issued to this agent.", identity.issued),
        counter("certificate_failures_total", "Requests for a certificate that failed.", identity.failed),
        gauge(
            "certificate_trouble", "Whether the last request for a certificate failed.", identity.trouble is not None
        ),
        gauge("report_pending", "Whether the control plane has not yet taken the last report.", reports.pending),
        gauge("bootstrap_outdated", "Whether Envoy runs with an older bootstrap than there is.", identity.outdated),
        gauge("resident_memory_bytes", "Memory of the agent's process.", _resident()),
        Family("scrape_failures_total", "counter", "Times that metrics could not be had.", failed),
        counter("scrape_dropped_lines_total", "Lines of an application that no scraper would take.", scrapes.dropped),
    ]


def _named(family: Family) -> Family:
    return family._replace(name=f"{_PREFIX}{family.name}")


def _resident() -> float:
    """Bytes; 0 where the system does not say (it is Linux that does)."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  (a word of the kernel's, not a path of anybody's)
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0
