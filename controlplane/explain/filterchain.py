"""Which filter chain of a listener takes the connection.

Envoy builds nested maps, one level a criterion, and walks down once: at each level the most specific key that
fits the connection is taken and there is no way back, even if nothing below it fits. The same walk here: at each
level all chains under other keys drop out.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from controlplane.explain.outcome import Connection

_Level = Callable[[Sequence[Any], Connection], list[Any]]
_Network = IPv4Network | IPv6Network
_ANY, _LOCAL, _EXTERNAL = 0, 1, 2  # FilterChainMatch.ConnectionSourceType


def choose(listener: Any, connection: Connection) -> Any | None:
    """The chain, or the listener's default chain, or None: the connection is closed."""
    chains: Sequence[Any] = listener.filter_chains
    for level in _LEVELS:
        chains = level(chains, connection)
    if chains:
        return chains[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def name_of(listener: Any, chain: Any) -> str:
    """Its name, or its place for a chain that has none."""
    if chain.name:
        return str(chain.name)
    places = [i for i, one in enumerate(listener.filter_chains) if one is chain or one == chain]
    return f"#{places[0]}" if places else "default"


def _first(chains: Sequence[Any], tests: Iterable[Callable[[Any], bool]]) -> list[Any]:
    """The chains that pass the first test any of them passes."""
    for test in tests:
        if found := [chain for chain in chains if test(chain.filter_chain_match)]:
            return found
    return []


def _by_port(chains: Sequence[Any], connection: Connection) -> list[Any]:
    port = connection.local.port
    return _first(chains, (lambda m: m.destination_port.value == port, lambda m: not m.HasField("destination_port")))


def _by_address(chains: Sequence[Any], connection: Connection) -> list[Any]:
    return _longest_prefix(chains, connection.local.ip, lambda m: m.prefix_ranges)


def _by_server_name(chains: Sequence[Any], connection: Connection) -> list[Any]:
    """Exact, then wildcards from the longest suffix to the shortest, then chains that name none."""
    name = connection.server_name
    wanted = [name, *("*" + suffix for suffix in _suffixes(name))] if name else []
    tests = [lambda m, key=key: key in m.server_names for key in wanted]
    return _first(chains, [*tests, lambda m: not m.server_names])


def _suffixes(name: str) -> Iterable[str]:
    """`a.b.c` -> `.b.c`, `.c`."""
    dot = name.find(".", 1)
    while 0 < dot < len(name) - 1:
        yield name[dot:]
        dot = name.find(".", dot + 1)


def _by_transport(chains: Sequence[Any], connection: Connection) -> list[Any]:
    wanted = connection.transport_protocol
    return _first(chains, (lambda m: m.transport_protocol == wanted, lambda m: not m.transport_protocol))


def _by_application(chains: Sequence[Any], connection: Connection) -> list[Any]:
    """The client's list decides the order."""
    tests = [lambda m, key=key: key in m.application_protocols for key in connection.application_protocols]
    return _first(chains, [*tests, lambda m: not m.application_protocols])


def _by_direct_source(chains: Sequence[Any], connection: Connection) -> list[Any]:
    return _longest_prefix(chains, connection.direct_remote.ip, lambda m: m.direct_source_prefix_ranges)


def _by_source_type(chains: Sequence[Any], connection: Connection) -> list[Any]:
    own = _LOCAL if _is_local(connection) else _EXTERNAL
    return _first(chains, (lambda m: m.source_type == own, lambda m: m.source_type == _ANY))


def _is_local(connection: Connection) -> bool:
    """Loopback is 127.0.0.1 and ::1 alone: the rest of 127.0.0.0/8 counts as external."""
    remote = connection.remote.ip
    return remote in {connection.local.ip, "127.0.0.1", "::1"}


def _by_source(chains: Sequence[Any], connection: Connection) -> list[Any]:
    return _longest_prefix(chains, connection.remote.ip, lambda m: m.source_prefix_ranges)


def _by_source_port(chains: Sequence[Any], connection: Connection) -> list[Any]:
    port = connection.remote.port
    return _first(chains, (lambda m: port in m.source_ports, lambda m: not m.source_ports))


def _longest_prefix(chains: Sequence[Any], ip: str, ranges: Callable[[Any], Sequence[Any]]) -> list[Any]:
    """A chain without ranges stands under the shortest prefix, /0, together with chains that say /0."""
    address = ip_address(ip)
    whole = ip_network("::/0" if address.version == 6 else "0.0.0.0/0")
    networks = [[_network(r) for r in ranges(c.filter_chain_match)] or [whole] for c in chains]
    fitting = {n for each in networks for n in each if n.version == address.version and address in n}
    if not fitting:
        return []
    best = max(fitting, key=lambda network: network.prefixlen)
    return [chain for chain, each in zip(chains, networks, strict=True) if best in each]


def _network(cidr: Any) -> _Network:
    return ip_network((cidr.address_prefix, cidr.prefix_len.value), strict=False)


_LEVELS: Sequence[_Level] = (
    _by_port,
    _by_address,
    _by_server_name,
    _by_transport,
    _by_application,
    _by_direct_source,
    _by_source_type,
    _by_source,
    _by_source_port,
)
