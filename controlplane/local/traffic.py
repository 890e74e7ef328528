"""Where calls really went, counted by the Envoys that sent them."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from controlplane.local.envoys import HostCalls

WINDOW: Final = 10  # samples, one a second


class Share(msgspec.Struct, frozen=True, order=True):
    """How much of the calls to one host went to one workload."""

    host: str  # "bill-service.istio-demo.svc.cluster.local:9999"
    workload: str
    recent: int  # calls in the window
    total: int
    errors: int


class TrafficMeter:
    """Adds up what all Envoys report, restarts of Envoys included."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._totals: dict[tuple[str, str], tuple[int, int]] = {}  # (host, address) -> calls, errors
        self._samples: deque[dict[tuple[str, str], int]] = deque(maxlen=WINDOW)

    def sample(self, reports: Mapping[str, Iterable[HostCalls]]) -> None:
        """One round over all Envoys, by their names."""
        fresh: dict[tuple[str, str], int] = {}
        for envoy, hosts in reports.items():
            for host in hosts:
                calls, errors = self._increase(envoy, host)
                key = (host_of(host.cluster), host.address)
                before = self._totals.get(key, (0, 0))
                self._totals[key] = (before[0] + calls, before[1] + errors)
                fresh[key] = fresh.get(key, 0) + calls
        self._samples.append(fresh)

    def shares(self, workload_of: Callable[[str], str | None]) -> tuple[Share, ...]:
        """Calls by host and workload; addresses that nobody knows stand for themselves."""
        recent: dict[tuple[str, str], int] = {}
        for sample in self._samples:
            for key, calls in sample.items():
                recent[key] = recent.get(key, 0) + calls
        added: dict[tuple[str, str], list[int]] = {}
        for (host, address), (total, errors) in self._totals.items():
            row = added.setdefault((host, workload_of(address) or address), [0, 0, 0])
            for index, number in enumerate((recent.get((host, address), 0), total, errors)):
                row[index] += number
        return tuple(sorted(Share(host, workload, *row) for (host, workload), row in added.items() if row[1]))

    def _increase(self, envoy: str, host: HostCalls) -> tuple[int, int]:
        """Since the last sample; a counter that went back belongs to an Envoy (or endpoint) that started anew."""
        key = (envoy, host.cluster, host.address)
        calls, errors = self._last.get(key, (0, 0))
        if host.total < calls:
            calls, errors = 0, 0
        self._last[key] = (host.total, host.errors)
        return host.total - calls, max(0, host.errors - errors)


def host_of(cluster: str) -> str:
    """`outbound|9999|v1|bill.demo.svc.cluster.local` -> `bill.demo.svc.cluster.local:9999`: subsets are one host."""
    _, port, _, host = cluster.split("|", 3)
    return f"{host}:{port}"
