"""Addresses: IP and port, or the path of a Unix socket."""

from ipaddress import ip_address, ip_network
from typing import Any

from envoy.config.core.v3 import address_pb2

_UNIX = "unix://"


def is_unix(address: str) -> bool:
    """Whether this is a Unix socket, as "unix:///path" or "unix://@abstract"."""
    return address.startswith(_UNIX)


def socket_address(address: str, port: int) -> Any:
    """An `Address`; for a Unix socket the port says nothing."""
    if is_unix(address):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=address.removeprefix(_UNIX)))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def cidr(block: str) -> Any:
    """A `CidrRange` from "10.0.0.0/8" or a bare address."""
    address, _, length = block.partition("/")
    prefix = int(length) if length else ip_address(address).max_prefixlen
    network = ip_network((address, prefix), strict=False)
    message = address_pb2.CidrRange(address_prefix=str(network.network_address))
    message.prefix_len.value = prefix
    return message
