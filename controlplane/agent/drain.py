"""How a proxy leaves: told off first, then its connections, then itself.

Others learn that an endpoint is going only a moment later, and go on calling; a request may be under way. So draining
begins with asking every client to come back elsewhere (`Connection: close`, GOAWAY) while all of them are served on.
How long is Istio's to say, in its two ways: a fixed time (`terminationDrainDuration`); or a least time, and then until
nobody is connected (`EXIT_ON_ZERO_ACTIVE_CONNECTIONS`), which the platform's own grace period ends at last.
"""

from typing import Final

import msgspec

from controlplane.agent.admin import AdminClient
from controlplane.agent.http.client import NoAnswer
from controlplane.agent.logs import Log
from controlplane.agent.renewal import Sleep

_LOOK_EVERY: Final = 1.0  # seconds


class DrainOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    time: float = 5.0  # terminationDrainDuration
    until_idle: bool = False
    least: float = 5.0  # when until_idle
    most: float | None = None  # when until_idle; None: the platform's grace period is the end


async def drain(admin: AdminClient, options: DrainOptions, *, inbound_only: bool, log: Log, sleep: Sleep) -> None:
    """Returns when Envoy may be ended."""
    log.info("draining", time=None if options.until_idle else options.time, until_idle=options.until_idle)
    try:
        await admin.drain(inbound_only=inbound_only)
    except NoAnswer as error:
        log.warning("Envoy could not be asked to drain", error=str(error))
    await sleep(options.least if options.until_idle else options.time)
    if options.until_idle:
        await _until_idle(admin, options, log, sleep)


async def _until_idle(admin: AdminClient, options: DrainOptions, log: Log, sleep: Sleep) -> None:
    waited = options.least
    while options.most is None or waited < options.most:
        try:
            active = await admin.connections()
        except NoAnswer as error:
            log.warning("Envoy does not say who is connected", error=str(error))
            return
        if not active:
            log.info("nobody is connected any more" if active == 0 else "Envoy does not count its connections")
            return
        log.info("waiting for connections to end", active=active)
        await sleep(_LOOK_EVERY)
        waited += _LOOK_EVERY
    log.warning("time is up, connections are cut", after=f"{waited:.0f} s")
