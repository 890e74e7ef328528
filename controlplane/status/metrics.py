"""What writing status counts, for scrapers."""

from collections.abc import Iterator

from controlplane.base.prometheus import Family, counter, gauge
from controlplane.status.writer import Writer


def status_families(writer: Writer, *, leads: bool, missing: int) -> Iterator[Family]:
    """Of one replica; `missing`: others that do not say what their proxies run."""
    yield gauge("lateen_status_leader", "Whether this replica writes status.", leads)
    yield gauge("lateen_status_replicas_missing", "Replicas that do not tell the leader what they know.", missing)
    yield gauge("lateen_status_due", "Objects whose status is to be looked at.", len(writer))
    yield counter("lateen_status_writes_total", "Statuses that were written.", writer.writes)
    yield counter("lateen_status_conflicts_total", "Writes of objects that had changed meanwhile.", writer.conflicts)
    yield counter("lateen_status_events_total", "Events that were told.", writer.events)
    words = "Events that were not told, because there were too many."
    yield counter("lateen_status_events_left_out_total", words, writer.events_left_out)
