"""What replicas tell the one that writes status: counts, and whom they could not serve.

Each replica serves some of the proxies, so what it knows of an object is a part. The parts are added up. One that is
missing makes the sum unknown, never smaller: "all 12 run it" must not be said while 3 others have not been asked.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from controlplane.model.problem import ObjectRef

MOST_NAMED: Final = 5  # proxies of an object that one replica names


class Progress(msgspec.Struct, frozen=True):
    """How far one object is with the proxies that it concerns."""

    concerned: int = 0
    waiting: int = 0  # of these, those that have not acknowledged all that was made of it
    behind: tuple[str, ...] = ()  # names of some of these, sorted

    def __add__(self, other: "Progress") -> "Progress":
        """Of two replicas."""
        behind = tuple(sorted({*self.behind, *other.behind})[:MOST_NAMED])
        return Progress(self.concerned + other.concerned, self.waiting + other.waiting, behind)


NOTHING: Final = Progress()


class Report(msgspec.Struct, frozen=True):
    """What one replica knows. Objects that it serves nobody with are left out."""

    replica: str
    sent: int  # of this replica's reports: a later one has the greater number
    objects: Mapping[ObjectRef, Progress] = {}


class Union(msgspec.Struct, frozen=True):
    """All reports of one object together."""

    progress: Progress = NOTHING
    missing: tuple[str, ...] = ()  # replicas that are there, and have not said anything lately; sorted


class Reports:
    """The newest report of each replica."""

    def __init__(self, patience: float = 10.0) -> None:
        """`patience`: seconds for which a report is good."""
        self._patience = patience
        self._heard: dict[str, tuple[Report, float]] = {}

    def heard(self, report: Report, now: float) -> None:
        """`now`, in monotonic seconds. What is older than what is known (connections race) is left."""
        known = self._heard.get(report.replica)
        if known is None or known[0].sent < report.sent:
            self._heard[report.replica] = (report, now)

    def missing(self, replicas: Iterable[str], now: float) -> tuple[str, ...]:
        """Of the replicas there are, those whose part is not known."""
        return tuple(sorted(name for name in replicas if not self._is_good(name, now)))

    def of(self, ref: ObjectRef, replicas: Collection[str], now: float) -> Union:
        """What is known of an object; a replica that is gone for good (its Pod is) does not count."""
        good = [self._heard[name][0] for name in sorted(replicas) if self._is_good(name, now)]
        progress = sum((report.objects.get(ref, NOTHING) for report in good), NOTHING)
        return Union(progress, self.missing(replicas, now))

    def forget(self, replicas: Collection[str]) -> None:
        """All but these are gone."""
        self._heard = {name: heard for name, heard in self._heard.items() if name in replicas}

    def _is_good(self, replica: str, now: float) -> bool:
        heard = self._heard.get(replica)
        return heard is not None and now - heard[1] <= self._patience


def encode(report: Report) -> bytes:
    """Compact: arrays, kinds and names as they are."""
    rows = [
        (ref.group, ref.kind, ref.namespace, ref.name, progress.concerned, progress.waiting, progress.behind)
        for ref, progress in report.objects.items()
    ]
    return msgspec.msgpack.encode((report.replica, report.sent, rows))


_Row = tuple[str, str, str, str, int, int, tuple[str, ...]]
_DECODER: Final = msgspec.msgpack.Decoder(tuple[str, int, list[_Row]])


def decode(content: bytes) -> Report:
    """Raises ValueError: it is no report."""
    replica, sent, rows = _DECODER.decode(content)
    objects = {
        ObjectRef(*row[:4]): Progress(max(row[4], 0), min(max(row[5], 0), max(row[4], 0)), row[6][:MOST_NAMED])
        for row in rows
    }
    return Report(replica, sent, objects)
