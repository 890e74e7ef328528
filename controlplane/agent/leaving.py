"""`lateen agent drain`: tells the agent beside that the Pod is going.

The hook before a native sidecar's end: the kubelet runs it when the Pod is asked to end, and ends the sidecar only
after everything beside it. In between the application is still there, and callers can be asked to come back elsewhere.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from controlplane.agent.http.client import Address, NoAnswer, Request, exchange, over_tcp
from controlplane.agent.status import DRAIN

_AGENT: Final = Address("127.0.0.1", 15021)
_ANSWER: Final = 5.0  # seconds


def main(arguments: Sequence[str], agent: Address = _AGENT) -> int:
    """The exit code: 0 when callers are being told, 1 when they are not, 2 for what is no use of it."""
    if arguments:
        told = sys.stdout if arguments[0] in {"-h", "--help"} else sys.stderr
        told.write(
            "usage: lateen agent drain     (the proxy beside it asks its callers to leave; takes no arguments)\n"
        )
        return 0 if told is sys.stdout else 2
    try:
        return asyncio.run(_drain(agent))
    except (NoAnswer, TimeoutError) as error:
        sys.stderr.write(f"lateen: agent drain: {error or 'no answer'}\n")
        return 1


async def _drain(agent: Address) -> int:
    request = Request(DRAIN, "POST", headers={"Host": str(agent)})
    async with asyncio.timeout(_ANSWER), exchange(over_tcp(agent), request) as answer:
        return 0 if answer.status == 200 else 1
