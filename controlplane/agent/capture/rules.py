"""The rules, for one family of addresses, as `iptables-save` prints them.

In the kernel's own spelling, so that what was set can be compared with what is there, line by line. Chains are called
as Istio calls them: people look for these names when traffic goes where it should not.

    PREROUTING  -> ISTIO_INBOUND -> ISTIO_IN_REDIRECT -> 15006      what comes to the Pod
    OUTPUT      -> ISTIO_OUTPUT  -> ISTIO_REDIRECT    -> 15001      what the application dials
                                 -> ISTIO_IN_REDIRECT -> 15006      what the proxy dials of its own Pod

Packets of the proxy pass, or it would talk to itself for ever: it is known by its user, and, where Envoy hands an
inbound connection on to the application, by the address that connection comes from (127.0.0.6).
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from controlplane.agent.capture.options import Capture, Network

TABLE: Final = "nat"
PREFIX: Final = "ISTIO_"
INBOUND: Final = "ISTIO_INBOUND"
IN_REDIRECT: Final = "ISTIO_IN_REDIRECT"
REDIRECT: Final = "ISTIO_REDIRECT"
OUTPUT: Final = "ISTIO_OUTPUT"
CHAINS: Final = (INBOUND, IN_REDIRECT, OUTPUT, REDIRECT)
JUMPS: Final = (f"-A PREROUTING -p tcp -j {INBOUND}", f"-A OUTPUT -p tcp -j {OUTPUT}")


class Family(IntEnum):
    """Of addresses."""

    IPV4 = 4
    IPV6 = 6


_LOOPBACK: Final = {Family.IPV4: "127.0.0.1/32", Family.IPV6: "::1/128"}
_PAST: Final = {Family.IPV4: "127.0.0.6/32", Family.IPV6: "::6/128"}  # where Envoy's inbound connections go on from


def rules(capture: Capture, family: Family) -> tuple[str, ...]:
    """All of them, jumps first, chain by chain in order of names."""
    return (*JUMPS, *_inbound(capture, family), *_redirects(capture), *_output(capture, family), _last(capture))


def _inbound(capture: Capture, family: Family) -> Iterator[str]:
    for name in capture.exclude_interfaces:
        yield f"-A {INBOUND} -i {name} -j RETURN"
    for name in capture.virtual_interfaces:  # a virtual machine's calls come in there, and are outbound ones
        for condition in _included(capture, family):
            yield f"-A {INBOUND} {condition}-i {name} -j {REDIRECT}"
        yield f"-A {INBOUND} -i {name} -j RETURN"
    for port in capture.exclude_inbound:
        yield f"-A {INBOUND} -p tcp -m tcp --dport {port} -j RETURN"
    if capture.include_inbound is None:
        yield f"-A {INBOUND} -p tcp -j {IN_REDIRECT}"
    for port in capture.include_inbound or ():
        yield f"-A {INBOUND} -p tcp -m tcp --dport {port} -j {IN_REDIRECT}"


def _redirects(capture: Capture) -> Iterator[str]:
    yield f"-A {IN_REDIRECT} -p tcp -j REDIRECT --to-ports {capture.inbound_port}"


def _last(capture: Capture) -> str:
    return f"-A {REDIRECT} -p tcp -j REDIRECT --to-ports {capture.outbound_port}"


def _output(capture: Capture, family: Family) -> Iterator[str]:
    for name in capture.exclude_interfaces:
        yield f"-A {OUTPUT} -o {name} -j RETURN"
    for port in capture.exclude_outbound:
        yield f"-A {OUTPUT} -p tcp -m tcp --dport {port} -j RETURN"
    yield f"-A {OUTPUT} -s {_PAST[family]} -o lo -j RETURN"
    for owner in (f"--uid-owner {capture.uid}", f"--gid-owner {capture.gid}"):
        # The application calls a Service and is chosen itself: by way of its own proxy, as from any other Pod.
        yield f"-A {OUTPUT} ! -d {_LOOPBACK[family]} -o lo -p tcp -m owner {owner} -j {IN_REDIRECT}"
        if not _wants_loopback(capture):
            yield f"-A {OUTPUT} -o lo -m owner ! {owner} -j RETURN"  # one container of the Pod calls another
        yield f"-A {OUTPUT} -m owner {owner} -j RETURN"
    yield f"-A {OUTPUT} -d {_LOOPBACK[family]} -j RETURN"
    for block in _of(capture.exclude_ranges, family):
        yield f"-A {OUTPUT} -d {block} -j RETURN"
    for port in capture.include_outbound:
        yield f"-A {OUTPUT} -p tcp -m tcp --dport {port} -j {REDIRECT}"
    for condition in _included(capture, family):
        yield f"-A {OUTPUT} {condition}-j {REDIRECT}"


def _included(capture: Capture, family: Family) -> Iterator[str]:
    if capture.include_ranges is None:
        yield ""
    for block in _of(capture.include_ranges or (), family):
        yield "" if not block.prefixlen else f"-d {block} "


def _of(blocks: tuple[Network, ...], family: Family) -> Iterator[Network]:
    return (block for block in blocks if block.version == family)


def _wants_loopback(capture: Capture) -> bool:
    return any(block.is_loopback for block in capture.include_ranges or ())
