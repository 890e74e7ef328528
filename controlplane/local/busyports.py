"""Ports that somebody else took while the mesh ran: who has them, and whether they are free again.

An Envoy that cannot listen says so once. Who holds the port, and that it was let go, is for us to find out: then the
Envoy is called back, and tries again.
"""

import asyncio
from collections.abc import Iterator

from controlplane.base.clock import Clock
from controlplane.local import sockets
from controlplane.local.ports import BusyPort, ControlPlane
from controlplane.model.problem import Problem

_CALL_BACK_EVERY = 5.0  # seconds, at most


class BusyPorts:
    """Looks when it is asked to."""

    def __init__(self, control: ControlPlane, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._holders: dict[BusyPort, str] = {}  # in words
        self._called: dict[str, float] = {}  # proxy -> when

    async def look(self) -> None:
        """Once, now."""
        busy = self._control.busy_ports()
        self._holders = {each: await asyncio.to_thread(sockets.holder_of, each.port) for each in busy}
        for each in busy:
            if await asyncio.to_thread(sockets.can_bind, each.address, each.port):
                self._call_back(each.proxy)

    def problems(self) -> Iterator[Problem]:
        """As the control plane's, but with the name of who holds the port; said when that is known."""
        for each, holder in self._holders.items():
            yield from each.problems(holder)

    def _call_back(self, proxy: str) -> None:
        now = self._clock.monotonic()
        if now - self._called.get(proxy, float("-inf")) >= _CALL_BACK_EVERY:
            self._called[proxy] = now
            self._control.call_back(proxy)
