"""The workload's key: made on this machine, and told to nobody."""

import asyncio
import sys
from typing import Final, NamedTuple

_PROGRAM: Final = ("-P", "-m", "controlplane.agent.minting")  # -P: nothing is imported from the working directory
_TIME: Final = 20.0  # seconds
_REQUEST: Final = b"-----BEGIN CERTIFICATE REQUEST-----"


class NoKey(Exception):  # noqa: N818  (a fact about the machine)
    """None could be made; the message says why."""


class Key(NamedTuple):
    """PEM."""

    secret: bytes
    request: bytes

    def __repr__(self) -> str:
        return "Key([redacted])"


async def new_key() -> Key:
    """See `minting`. Raises `NoKey`."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *_PROGRAM, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise NoKey(f"no key can be made: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(_TIME):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise NoKey(f"no key was made within {_TIME:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    secret, begin, rest = output.partition(_REQUEST)
    if process.returncode != 0 or not secret or not rest:
        raise NoKey(f"no key was made: exit status {process.returncode}")
    return Key(secret, begin + rest)
