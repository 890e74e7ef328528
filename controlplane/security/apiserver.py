"""One question to an API server: answered within bounds of time and size, or not answered.

The client's models are not used for what comes back. An answer is bytes until `msgspec` has found in it exactly what
was expected.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import aiohttp

LARGEST: Final = 1024 * 1024  # bytes of an answer; objects are not larger
_CHUNK: Final = 64 * 1024


class NoAnswer(Exception):  # noqa: N818  (what happened; whose fault it is nobody here knows)
    """The API server could not be asked, or answered nonsense; the message says which."""


async def answered(asking: Awaitable[Any], *, seconds: float) -> tuple[int, bytes]:
    """Status and body of what a `…_without_preload_content` method of the client asked. Raises NoAnswer."""
    try:
        async with asyncio.timeout(seconds):
            response: aiohttp.ClientResponse = await asking
            async with response:
                return response.status, await body(response, LARGEST)
    except TimeoutError as error:
        raise NoAnswer(f"the API server did not answer within {seconds:.0f} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoAnswer(f"the API server cannot be asked: {error}") from error


async def body(response: aiohttp.ClientResponse, largest: int) -> bytes:
    """The whole of an answer, of `largest` bytes at most. Raises NoAnswer."""
    found = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        found += chunk
        if len(found) > largest:
            raise NoAnswer(f"the API server's answer has more than {largest} bytes")
    return bytes(found)
