"""What the agent says of itself, in Prometheus' text."""

import os
from typing import Final, NamedTuple

from controlplane.agent.identity import IdentityRunner

_PREFIX: Final = "lateen_agent_"


class Scrapes:
    """What went wrong when others were asked for their metrics, since the start."""

    def __init__(self) -> None:
        self.failed = {"envoy": 0, "application": 0}
        self.dropped = 0


class _Family(NamedTuple):
    name: str
    kind: str
    help: str
    samples: tuple[tuple[str, float], ...]  # labels, value


def figures(identity: IdentityRunner, scrapes: Scrapes) -> bytes:
    """One page."""
    return "".join(map(_text, _families(identity, scrapes))).encode()


def _families(identity: IdentityRunner, scrapes: Scrapes) -> list[_Family]:
    held, reports = identity.held, identity.reports
    ends = held.facts.not_after.timestamp() if held is not None else 0
    failed = tuple((f'{{source="{source}"}}', float(count)) for source, count in scrapes.failed.items())
    return [
        _gauge("certificate_expiry_timestamp_seconds", "When the workload's certificate ends.", ends),
        _counter("certificates_total", "Certificates that were issued to this agent.", identity.issued),
        _counter("certificate_failures_total", "Requests for a certificate that failed.", identity.failed),
        _gauge(
            "certificate_trouble", "Whether the last request for a certificate failed.", identity.trouble is not None
        ),
        _gauge("report_pending", "Whether the control plane has not yet taken the last report.", reports.pending),
        _gauge("bootstrap_outdated", "Whether Envoy runs with an older bootstrap than there is.", identity.outdated),
        _gauge("resident_memory_bytes", "Memory of the agent's process.", _resident()),
        _Family("scrape_failures_total", "counter", "Times that metrics could not be had.", failed),
        _counter("scrape_dropped_lines_total", "Lines of an application that no scraper would take.", scrapes.dropped),
    ]


def _gauge(name: str, words: str, value: float) -> _Family:
    return _Family(name, "gauge", words, (("", float(value)),))


def _counter(name: str, words: str, value: float) -> _Family:
    return _Family(name, "counter", words, (("", float(value)),))


def _text(family: _Family) -> str:
    name = _PREFIX + family.name
    samples = "".join(f"{name}{labels} {value:.17g}\n" for labels, value in family.samples)
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n{samples}"


def _resident() -> float:
    """Bytes; 0 where the system does not say (it is Linux that does)."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  (a word of the kernel's, not a path of anybody's)
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0
