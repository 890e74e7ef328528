"""A command in a container, over the API server: its exit code and what it printed.

That is a WebSocket to `pods/exec`, as kubectl opens one. Each binary message is a byte that says which stream it is of,
and a piece of that stream; the last is a Status, which has the exit code.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp

from controlplane.install.api import UnreachableError

_OUT, _ERRORS, _STATUS = 1, 2, 3
_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")  # they differ in how standard input ends: there is none
_LARGEST: Final = 256 * 1024 * 1024  # bytes of both streams
_SHOWN: Final = 300  # characters of what was printed to standard error


class Done(NamedTuple):
    """A command that ended."""

    code: int
    out: bytes
    errors: str


class PodExec:
    """Commands in containers of one cluster."""

    def __init__(self, client: Any, patience: float = 20.0) -> None:
        """`client`: a `kubernetes.aio.client.ApiClient`. `patience`: seconds for a command, with all it prints."""
        self._client = client
        self._patience = patience

    async def run(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Done:
        """Until it ends. Raises UnreachableError."""
        said = [
            ("container", container),
            ("stdout", "true"),
            ("stderr", "true"),
            *(("command", one) for one in command),
        ]
        # Names may be what a proxy says of itself: they stay names.
        place = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
        path = f"{place}/exec?{urlencode(said)}"
        try:
            async with asyncio.timeout(self._patience):
                return await self._run(path)
        except aiohttp.WSServerHandshakeError as error:
            raise UnreachableError(_refusal(error.status, namespace)) from error
        except TimeoutError as error:
            raise UnreachableError(f"no answer within {self._patience:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(str(error) or type(error).__name__) from error

    async def _run(self, path: str) -> Done:
        _, url, headers, _, _ = await self._client.param_serialize("GET", path, auth_settings=["BearerToken"])
        rest = self._client.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001  as the package's own client of WebSockets does
        async with rest.pool_manager.ws_connect(
            url.replace("http", "ws", 1), headers=headers, protocols=_PROTOCOLS, proxy=rest.proxy
        ) as socket:
            return await _read(socket)


async def _read(socket: aiohttp.ClientWebSocketResponse) -> Done:
    streams = {_OUT: bytearray(), _ERRORS: bytearray(), _STATUS: bytearray()}
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise ValueError("an answer that is none of pods/exec")
        streams.get(message.data[0], bytearray()).extend(message.data[1:])
        if sum(map(len, streams.values())) > _LARGEST:
            raise ValueError(f"it printed more than {_LARGEST} bytes")
    if not streams[_STATUS]:
        raise ConnectionError("the connection ended before the command did")
    errors = " ".join(streams[_ERRORS].decode(errors="replace").split())
    return Done(_code(streams[_STATUS]), bytes(streams[_OUT]), errors[-_SHOWN:])


def _code(status: bytes | bytearray) -> int:
    """Raises ValueError for what is none, and for a command that was never started."""
    found = json.loads(status)
    if not isinstance(found, dict):
        raise ValueError("an answer that is no Status")  # noqa: TRY004  as all that cannot be read here
    if found.get("status") == "Success":
        return 0
    causes = (found.get("details") or {}).get("causes") or []
    codes = [one.get("message", "") for one in causes if one.get("reason") == "ExitCode"]
    if not codes:
        raise ValueError(str(found.get("message") or "the command could not be started"))
    return int(codes[0])


def _refusal(status: int, namespace: str) -> str:
    match status:
        case 401:
            return "the API server does not know you (401)"
        case 403:
            return f"you may not: `create` and `get` on pods/exec in {namespace} are needed (403)"
        case 404:
            return "it is gone (404)"
    return f"the API server answers {status}"
