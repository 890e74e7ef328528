"""Where an issuer's keys are: the parts of a jwksUri, and the places nobody may be sent to.

Whoever may write a RequestAuthentication can make proxies, or the control plane, ask an address of his choice. What
only a machine itself or its cloud answers to is refused in any spelling; a name that leads there is seen by whoever
resolves it.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import msgspec

MAX_LENGTH: Final = 2048
DISCOVERY: Final = "/.well-known/openid-configuration"  # below an issuer: where it says where its keys are
_PORTS: Final = {"http": 80, "https": 443}
_LOCAL_NAMES: Final = ("localhost", "localhost.localdomain", "metadata", "metadata.google.internal", "instance-data")
# Metadata services of clouds outside of link-local ranges: AWS by IPv6, Alibaba, Oracle.
_METADATA: Final = tuple(map(ip_network, ("fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32")))

Address = IPv4Address | IPv6Address


class KeyLocation(msgspec.Struct, frozen=True):
    """A jwksUri, taken apart."""

    uri: str
    tls: bool
    host: str  # lower case, without brackets
    port: int


class UnusableUriError(Exception):
    """Why keys cannot be asked for there."""


def parse(uri: str) -> KeyLocation:
    """The parts; raises `UnusableUriError` for what is no such URI, and for places that are nobody's business."""
    if len(uri) > MAX_LENGTH:
        raise UnusableUriError(f"has {len(uri)} characters; at most {MAX_LENGTH} are allowed")
    if not uri.isascii() or not uri.isprintable() or " " in uri or "\\" in uri:
        raise UnusableUriError("holds characters that no URI has")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise UnusableUriError(str(error)) from error
    host = (parts.hostname or "").removesuffix(".")
    if parts.scheme not in _PORTS or not host:
        raise UnusableUriError("must be http:// or https:// with a host")
    if "@" in parts.netloc or parts.fragment:
        raise UnusableUriError("must hold neither a user nor a fragment")
    if port == 0:
        raise UnusableUriError("port 0 cannot be called")
    _check_host(host)
    return KeyLocation(uri, parts.scheme == "https", host, port or _PORTS[parts.scheme])


def discovery_uri(issuer: str) -> str:
    """Where an issuer that is a URI says more about itself (OpenID Connect Discovery); "" for any other."""
    uri = issuer.removesuffix("/") + DISCOVERY
    try:
        location = parse(uri)
    except UnusableUriError:
        return ""
    return uri if location.tls else ""


def is_literal(host: str) -> bool:
    """An IP address instead of a name."""
    return _address(host) is not None


def is_off_limits(address: Address) -> bool:
    """Whether only the machine itself, its link or its cloud answers there."""
    bare = _bare(address)
    special = bare.is_loopback or bare.is_link_local or bare.is_unspecified or bare.is_multicast
    return special or any(bare in network for network in _METADATA if network.version == bare.version)


def _check_host(host: str) -> None:
    if (address := _address(host)) is not None:
        if is_off_limits(address):
            raise UnusableUriError(f"{host} is an address of the machine itself, its link or its cloud")
        return
    labels = host.split(".")
    if not all(label and len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise UnusableUriError(f'"{host}" is no host')
    # "127.1", "0x7f000001" and their like are addresses to some resolvers.
    if labels[-1].isdecimal() or labels[-1].startswith("0x"):
        raise UnusableUriError(f'"{host}" is no host: write an address with four numbers')
    if host in _LOCAL_NAMES or labels[-1] == "localhost":
        raise UnusableUriError(f"{host} is a name of the machine itself or its cloud")


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _bare(address: Address) -> Address:
    """The IPv4 address within an IPv6 address, where there is one."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or address.sixtofour or _translated(address) or address


def _translated(address: IPv6Address) -> IPv4Address | None:
    """NAT64, and the old IPv4-compatible form."""
    prefix, last = int(address) >> 32, int(address) & 0xFFFFFFFF
    compatible = prefix == 0 and last > 1
    return IPv4Address(last) if compatible or prefix == 0x0064FF9B << 64 else None
