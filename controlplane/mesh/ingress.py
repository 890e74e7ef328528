"""The ingress listeners of a Sidecar: which ports a workload serves, and where its application listens."""

import msgspec

from controlplane.ir.listener import ServerTls
from controlplane.ir.service import Protocol
from controlplane.mesh import hosts, protocol
from controlplane.mesh.egress import LOOPBACK, is_bound
from controlplane.mesh.hosts import UNIX, is_ours
from controlplane.mesh.listeners import ANY_ADDRESS
from controlplane.mesh.problems import ineffective, invalid
from controlplane.mesh.servertls import server_tls, terminates
from controlplane.model.destinationrule import ConnectionPoolSettings
from controlplane.model.meta import origin_of
from controlplane.model.problem import Origin, Problem
from controlplane.model.sidecar import IngressListener, Sidecar

_MAX_PORT = 65535


class Ingress(msgspec.Struct, frozen=True):
    """One port the workload serves."""

    port: int
    protocol: Protocol  # inside TLS, if there is any
    origin: Origin
    name: str = ""
    bind: str = ""  # "" = the workload's addresses
    bound: bool = False
    target: str = ""  # "address:port" or "unix:///path"; "" = where the caller dialled
    pool: ConnectionPoolSettings | None = None
    tls: ServerTls | None = None
    closed: bool = False  # it cannot be served as asked (without its TLS, past its endpoint): then it is not at all


def read_ingress(sidecar: Sidecar, *, captured: bool) -> tuple[tuple[Ingress, ...], tuple[Problem, ...]]:
    """All ingress listeners; none means the ports of the workload's Services."""
    origin = origin_of(sidecar, "spec")
    found: list[Ingress] = []
    closed: list[Ingress] = []
    problems: list[Problem] = []
    for index, written in enumerate(sidecar.spec.ingress):
        at = origin.at(f"ingress[{index}]")
        one = None if written.invalid else _read(written, at, problems, captured=captured)
        if one is None or isinstance(one, Problem):
            problems += () if one is None else (one,)
            closed += _closed(written, at, captured=captured)
        elif any((other.port, other.bind) == (one.port, one.bind) for other in found):
            text = f"port {one.port} is already served by an earlier listener"
            problems.append(ineffective(one.origin.at("port"), text))
        else:
            found.append(one)
    served = {one.port for one in found}
    return (*found, *(one for one in closed if one.port not in served)), tuple(problems)


def _closed(written: IngressListener, origin: Origin, *, captured: bool) -> tuple[Ingress, ...]:
    """What is left of a listener that cannot be opened. Captured calls to its port must not pass as if it were not
    there; one with a socket of its own has none, which says the same.
    """
    number = written.port.number if written.port is not None else None
    if number is None or not 0 < number <= _MAX_PORT or is_bound(written.capture_mode, captured=captured):
        return ()
    return (Ingress(number, Protocol.TCP, origin, closed=True),)


def _read(written: IngressListener, origin: Origin, problems: list[Problem], *, captured: bool) -> Ingress | Problem:
    if written.port is None or not written.port.number:
        return invalid(origin.at("port.number"), "a listener needs a port number; it is not opened")
    spoken = protocol.of_declared(written.port.protocol)
    if spoken is None:
        text = f'"{written.port.protocol}" is no protocol; the listener is not opened'
        return invalid(origin.at("port.protocol"), text)
    bound = is_bound(written.capture_mode, captured=captured)
    bind = written.bind or ""
    target = _target(written.default_endpoint or "", bind, written.port.number, origin, bound=bound)
    if isinstance(target, Problem):
        return target
    tls = _tls(written, origin)
    if isinstance(tls, Problem):
        problems.append(tls)
    return Ingress(
        port=written.port.number,
        protocol=spoken if tls is None else _inside_tls(spoken),
        origin=origin,
        name=written.port.name,
        bind=bind,
        bound=bound,
        target=target,
        pool=written.connection_pool,
        tls=tls if isinstance(tls, ServerTls) else None,
        closed=isinstance(tls, Problem),
    )


def _target(endpoint: str, bind: str, port: int, origin: Origin, *, bound: bool) -> str | Problem:
    """Where the application listens. A bound listener passes nothing on to where the caller dialled: that is itself."""
    if not endpoint:
        endpoint = f"{LOOPBACK}:{port}" if bound else ""
    elif not _is_local(endpoint):
        text = f'"{endpoint}" is neither a loopback address nor 0.0.0.0 with a port, nor unix:///path'
        return invalid(origin.at("defaultEndpoint"), f"{text}; the listener is not opened")
    if bound and _leads_back(endpoint, bind, port):
        text = "the listener would call itself: give defaultEndpoint the port of the application; it is not opened"
        return invalid(origin.at("defaultEndpoint"), text)
    return endpoint


def _is_local(endpoint: str) -> bool:
    if endpoint.startswith(UNIX):
        return not is_ours(endpoint)
    address, port = _split(endpoint)
    local = address in {ANY_ADDRESS, "::", "::1"} or (address.startswith("127.") and hosts.is_ip(address))
    return local and 0 < port <= _MAX_PORT


def _leads_back(endpoint: str, bind: str, port: int) -> bool:
    if endpoint.startswith(UNIX):
        return False
    address, target_port = _split(endpoint)
    everywhere = {ANY_ADDRESS, "::"}
    return target_port == port and (address == bind or bind in everywhere or (not bind and address in everywhere))


def _split(endpoint: str) -> tuple[str, int]:
    address, _, port = endpoint.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= len(str(_MAX_PORT)) else 0
    return address.removeprefix("[").removesuffix("]"), number


def _tls(written: IngressListener, origin: Origin) -> ServerTls | Problem | None:
    if written.tls is None or not terminates(written.tls):
        return None
    return server_tls(written.tls, origin.at("tls"))


def _inside_tls(spoken: Protocol) -> Protocol:
    """What is spoken once TLS is taken off."""
    return {Protocol.HTTPS: Protocol.HTTP, Protocol.TLS: Protocol.TCP}.get(spoken, spoken)
