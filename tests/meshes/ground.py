"""Where a mesh stands: imaginary addresses, or real ones where upstreams answer and Envoys may bind."""

from collections.abc import Iterator
from itertools import count

import msgspec


class Ground(msgspec.Struct, frozen=True):
    """Addresses. On real ground all endpoints are IP addresses that answer, and nothing is left to chance."""

    workloads: tuple[str, ...] = ()  # IP addresses of workloads, each with all of `ports`; () = as many as wanted
    ports: tuple[int, int] = (8001, 8002)  # what every workload listens on
    virtual: str = "10.96"  # the first half of virtual addresses
    external: str = "10.97"  # ... of services outside
    bind: str = "127.93.0"  # a network whose addresses proxies may bind: one for each
    real: bool = False
    files: str = "/etc/certs"  # where proxies have tls.crt and tls.key
    certificates: bool = True  # real ones, different in each process; otherwise words that look like some

    def places(self) -> Iterator[str]:
        """Addresses for workloads, one after the other."""
        while self.workloads:
            yield from self.workloads
        yield from (f"10.{1 + number // 250 % 90}.{number // 22500}.{1 + number % 250}" for number in count())
