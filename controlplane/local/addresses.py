"""Addresses and ports on the loopback network, the same in every run.

Every replica has an address of its own, as a Pod has, so that ten of them can listen on the port their manifests name.
127.0.0.0/8 has room for that and needs no rights (Linux). The address comes from a digest of who the replica is, so
logs, browser tabs and notes stay true over restarts, and two meshes on one machine keep out of each other's way.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from typing import Final

FIRST_UNPRIVILEGED: Final = 1024
OFFSET: Final = 10_000  # port 80 is bound at 10080
_COMMAND_PORTS: Final = 20_000  # the command behind container port 8080 listens on 28080
LAST_PORT: Final = 65_535


def bound_port(port: int) -> int:
    """Where a port is really bound: below 1024 would need root."""
    return port if port >= FIRST_UNPRIVILEGED else port + OFFSET


class AddressBook:
    """Hands out loopback addresses: by name, stable, never the same one twice."""

    def __init__(self, mesh: str, taken: Iterable[str] = ()) -> None:
        """`mesh` says which mesh on this machine this is."""
        self._mesh = mesh
        self._given: dict[str, str] = {}
        self._taken = set(taken)

    def address(self, name: str) -> str:
        """The address of `name`: 127.1.0.1 to 127.254.255.254, so never one that programs use by habit."""
        if name not in self._given:
            self._given[name] = self._free(name)
        return self._given[name]

    def _free(self, name: str) -> str:
        attempt = 0
        while (address := _candidate(f"{self._mesh}\0{name}\0{attempt}")) in self._taken:
            attempt += 1
        self._taken.add(address)
        return address


def _candidate(text: str) -> str:
    a, b, c = blake2b(text.encode(), digest_size=3).digest()
    return f"127.{a % 254 + 1}.{b}.{c % 254 + 1}"


class PortBook:
    """Hands out the ports of one address."""

    def __init__(self, busy: AbstractSet[int]) -> None:
        """`busy`: ports that some program on this machine holds on every address."""
        self._busy = busy
        self._given: set[int] = set()

    def is_free(self, port: int) -> bool:
        """Whether nobody was given this port and nobody holds it."""
        return port not in self._given and port not in self._busy

    def take(self, wanted: int, avoiding: AbstractSet[int] = frozenset()) -> int:
        """`wanted`, or the next port above it that is free and none of `avoiding`."""
        port = wanted
        while not self.is_free(port) or port in avoiding:
            port = port + 1 if port < LAST_PORT else FIRST_UNPRIVILEGED
        self._given.add(port)
        return port

    def take_for_sidecar(self, container_port: int) -> int:
        """Where the sidecar takes what is meant for this container port."""
        return self.take(bound_port(container_port))

    def take_for_command(self, container_port: int) -> int:
        """Where the command listens that stands for this container port."""
        return self.take(_COMMAND_PORTS + container_port % OFFSET)
