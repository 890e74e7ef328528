"""Which listener gets the connection: the kernel's choice of a socket, then hand-over by original destination."""

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.explain.call import Address

_ANY4, _ANY6 = "0.0.0.0", "::"  # noqa: S104 — the names of wildcard listeners, nothing is bound here


def at_socket(listeners: Mapping[str, Any], where: Address) -> Any | None:
    """The bound listener whose socket the kernel chooses: an exact address before a wildcard."""
    return _best([pair for pair in _fitting(listeners, where) if is_bound(pair[1])])


def at_original_destination(listeners: Mapping[str, Any], where: Address) -> Any | None:
    """The listener a `use_original_dst` listener hands the connection to, whether it is bound to a port or not."""
    return _best(_fitting(listeners, where))


def hands_over(listener: Any) -> bool:
    return bool(listener.use_original_dst.value)


def is_bound(listener: Any) -> bool:
    """False for listeners that exist only to be handed connections."""
    if listener.HasField("bind_to_port"):
        return bool(listener.bind_to_port.value)
    deprecated = listener.deprecated_v1
    return bool(deprecated.bind_to_port.value) if deprecated.HasField("bind_to_port") else True


def addresses(listener: Any) -> Iterator[Any]:
    """All TCP socket addresses of a listener."""
    for address in (listener.address, *(more.address for more in listener.additional_addresses)):
        if address.HasField("socket_address") and address.socket_address.protocol == 0:  # TCP
            yield address.socket_address


_Ranked = list[tuple[int, Any]]


def _fitting(listeners: Mapping[str, Any], where: Address) -> _Ranked:
    """Almost all of thousands of listeners are on another port, so that is asked first."""
    found = []
    for one in listeners.values():
        if one.address.socket_address.port_value == where.port or one.additional_addresses:
            found += [(rank, one) for at in addresses(one) if (rank := _rank(at, where))]
    return found


def _best(found: _Ranked) -> Any | None:
    return min(found, key=lambda pair: (-pair[0], pair[1].name))[1] if found else None


def _rank(at: Any, where: Address) -> int:
    """3 exact address, 2 wildcard of the family, 1 an IPv6 wildcard that takes IPv4 too, 0 not at all."""
    if at.port_value != where.port:
        return 0
    if at.address == where.ip:
        return 3
    is_v6 = ":" in where.ip
    if at.address == (_ANY6 if is_v6 else _ANY4):
        return 2
    return 1 if at.address == _ANY6 and not is_v6 and at.ipv4_compat else 0
