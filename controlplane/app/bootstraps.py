"""What an Envoy whose agent asks for it is started with.

All paths are relative, and mean the agent's own directory, so that the control plane need not know where that is:
`identity/` holds the generation of certificates that Envoy watches, `admin.sock` is Envoy's own.
"""

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.base.identity import Identity
from controlplane.ir.names import IDENTITY_FOLDER as IDENTITY
from controlplane.local.ports import BIND_ADDRESS
from controlplane.security.endpoint import Node
from controlplane.security.refusal import Refusal, Why

ADMIN: Final = "admin.sock"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  a Pod's statistics are for whoever may reach the Pod
_LARGEST: Final = 2.0**53  # what a JSON number can be without being another one


class XdsPlace(msgspec.Struct, frozen=True):
    """Where proxies find their control plane."""

    host: str
    port: int
    server_name: str  # of its certificate


class Bootstraps:
    """See `security.endpoint.Bootstraps`."""

    def __init__(
        self,
        xds: XdsPlace,
        *,
        prometheus_port: int = 15090,
        system_roots: str = "",
        stats: tuple[str, ...] | None = None,
    ) -> None:
        """`prometheus_port`: 0 for none. `system_roots`, `stats`: see `envoy.bootstrap.ProxyBootstrap`."""
        self._xds = xds
        self._prometheus_port = prometheus_port
        self._system_roots = system_roots
        self._stats = stats
        # envoy_data_plane makes what checks a message when it is first needed, and two threads at once trip over that.
        self._one_at_a_time = asyncio.Lock()

    async def warm_up(self) -> None:
        """Load what renders: half a second, better now than while somebody waits."""
        await asyncio.to_thread(_renderer)

    async def __call__(self, caller: Identity, node: Node) -> Mapping[str, str] | Refusal:
        """In a thread: tens of milliseconds, in which others are to be answered."""
        del caller  # the node was held against it already
        address = node.metadata.get(BIND_ADDRESS, _EVERYWHERE)
        if not _is_address(address):
            return Refusal(Why.MALFORMED, f"{BIND_ADDRESS} {address!r} is no IP address")
        if not _is_plain(node.metadata):
            return Refusal(Why.MALFORMED, "the node's metadata has numbers that JSON cannot carry")
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._rendered, node, address)

    def _rendered(self, node: Node, address: str) -> Mapping[str, str]:
        bootstrap = _renderer()
        server = bootstrap.TlsServer(
            host=self._xds.host,
            port=self._xds.port,
            folder=IDENTITY,
            chain=f"{IDENTITY}/cert-chain.pem",
            key=f"{IDENTITY}/key.pem",
            roots=f"{IDENTITY}/root-cert.pem",
            server_name=self._xds.server_name,
        )
        proxy = bootstrap.ProxyBootstrap(
            node_id=node.id,
            cluster=node.cluster,
            server=server,
            admin=ADMIN,
            prometheus=f"{address}:{self._prometheus_port}" if self._prometheus_port else "",
            metadata=node.metadata,
            locality=node.locality,
            stats=self._stats,
            system_roots=self._system_roots,
        )
        found: Mapping[str, str] = bootstrap.files(proxy, Path())
        return found


def _renderer() -> Any:
    from controlplane.envoy import bootstrap  # noqa: PLC0415  see `warm_up`

    return bootstrap


def _is_address(text: object) -> bool:
    try:
        ip_address(text if isinstance(text, str) else "")
    except ValueError:
        return False
    return True


def _is_plain(metadata: Mapping[str, Any]) -> bool:
    """Whether all numbers in there are ones that a double holds; no deeper than a request may nest."""
    left: list[Any] = [metadata]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, int | float) and not abs(value) <= _LARGEST:
            return False
    return True
