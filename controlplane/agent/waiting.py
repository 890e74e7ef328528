"""`lateen agent wait`: returns when the agent beside is ready.

The hook of an ordinary container's start: the kubelet starts no further container of the Pod before it has returned.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from controlplane.agent.http.client import Address, NoAnswer, Request, exchange, over_tcp

_READY: Final = Address("127.0.0.1", 15021)
_EVERY: Final = 0.1  # seconds
_LONGEST: Final = 600.0  # seconds; then the kubelet ends the container, and begins anew
_ANSWER: Final = 5.0  # seconds


def main(arguments: Sequence[str], ready: Address = _READY, longest: float = _LONGEST) -> int:
    """The exit code: 0 when it is ready, 1 when it did not become so, 2 for what is no use of it."""
    if arguments:
        told = sys.stdout if arguments[0] in {"-h", "--help"} else sys.stderr
        told.write("usage: lateen agent wait      (returns when the agent beside it is ready; takes no arguments)\n")
        return 0 if told is sys.stdout else 2
    try:
        asyncio.run(asyncio.wait_for(_wait(ready), longest))
    except TimeoutError:
        sys.stderr.write(f"lateen: agent wait: not ready within {longest:.0f} s\n")
        return 1
    return 0


async def _wait(ready: Address) -> None:
    while not await _is_ready(ready):  # noqa: ASYNC110  (what is waited for is in another process)
        await asyncio.sleep(_EVERY)


async def _is_ready(ready: Address) -> bool:
    try:
        async with (
            asyncio.timeout(_ANSWER),
            exchange(over_tcp(ready), Request("/healthz/ready", headers={"Host": str(ready)})) as answer,
        ):
            return answer.status == 200
    except (NoAnswer, TimeoutError):
        return False
