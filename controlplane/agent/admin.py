"""Envoy's admin interface, on a Unix socket in the agent's directory: what the agent asks of it, and nothing else."""

import asyncio
import base64
import json
from typing import Final

from controlplane.agent.http.client import Connect, NoAnswer, NoConnection, Request, exchange, over_unix

SOCKET: Final = "admin.sock"

_ALL_CONNECTIONS: Final = "server.total_connections"  # counted whatever statistics are kept, a few seconds late
_IDENTITY: Final = "/config_dump?resource=dynamic_active_secrets&name_regex=^(default|ROOTCA)$"
_TIME: Final = 2.0  # seconds
_LARGEST: Final = 262_144  # bytes of an answer
_LARGEST_IDENTITY: Final = 4 * 1024 * 1024  # a bundle may have 1 MiB, and comes in base64


class AdminClient:
    """One Envoy."""

    def __init__(self, socket: str) -> None:
        self.connect: Connect = over_unix(socket)

    async def state(self) -> str:
        """LIVE once it has its first configuration; INITIALIZING and others before, DRAINING after. Raises NoAnswer."""
        _, body = await self._ask("/ready")
        return body.decode("ascii", errors="replace").strip()

    async def drain(self, *, inbound_only: bool) -> None:
        """Asks clients to go elsewhere, and goes on serving them meanwhile. Raises NoAnswer."""
        inbound = "inboundonly&" if inbound_only else ""
        status, body = await self._ask(f"/drain_listeners?{inbound}graceful&skip_exit", "POST")
        if status != 200:
            raise NoAnswer(body.decode(errors="replace").strip())

    async def connections(self) -> int | None:
        """How many clients are connected; None when its statistics do not tell. Raises NoAnswer."""
        status, body = await self._ask(f"/stats?format=json&filter=downstream_cx_active$|{_ALL_CONNECTIONS}")
        return counted(body) if status == 200 else None

    async def uses(self, chain: bytes, roots: bytes) -> bool:
        """Whether it has these, and not what was there before. One that is not running will. Raises NoAnswer."""
        try:
            status, body = await self._ask(_IDENTITY, limit=_LARGEST_IDENTITY)
        except NoConnection:
            return True
        return status == 200 and secrets_of(body) == {"default": chain, "ROOTCA": roots}

    async def _ask(self, target: str, method: str = "GET", limit: int = _LARGEST) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(_TIME), exchange(self.connect, Request(target, method)) as answer:
                return answer.status, await answer.body(limit)
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {_TIME:.0f} s") from error


def secrets_of(dump: bytes) -> dict[str, bytes]:
    """Chain and roots by the name of their secret, from `/config_dump?resource=dynamic_active_secrets`."""
    found = {}
    for entry in json.loads(dump).get("configs", ()):
        secret = entry.get("secret", {})
        source = secret.get("tls_certificate", {}).get("certificate_chain") or secret.get("validation_context", {}).get(
            "trusted_ca"
        )
        if source and "inline_bytes" in source:
            found[entry["name"]] = base64.b64decode(source["inline_bytes"])
    return found


def counted(stats: bytes) -> int | None:
    """Active connections of all listeners but the admin's, from `/stats?format=json`."""
    found = {stat["name"]: stat["value"] for stat in json.loads(stats).get("stats", ()) if "value" in stat}
    of_listeners = [value for name, value in found.items() if _is_of_listener(name)]
    return sum(of_listeners) if of_listeners else found.get(_ALL_CONNECTIONS)


def _is_of_listener(name: str) -> bool:
    """Each has one such number for all its workers, and one for each."""
    return name.startswith("listener.") and not name.startswith("listener.admin.") and ".worker_" not in name
