"""How often a proxy is made to rebuild a big route table.

Each VHDS response makes Envoy build the whole table of that route configuration again: about 4 µs a host, 20 ms of its
main thread at 5,000 hosts. A first change goes out at once; then changes are merged into about five responses a second.
"""

from typing import Final

INTERVAL: Final = 0.2  # seconds
BIG: Final = 1000  # hosts; below this a rebuild is cheap


class Pacer:
    """Spaces the VHDS changes of one stream."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def wait_until(self, now: float, hosts: int) -> float | None:
        """When the next change may go to a proxy with so many hosts; None: now."""
        return self._next if hosts > BIG and now < self._next else None

    def sent(self, now: float) -> None:
        """A change went out."""
        self._next = now + INTERVAL
