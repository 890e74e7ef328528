"""The next step of a call that was forwarded: how it comes to the proxy before the endpoint."""

import msgspec

from controlplane.explain.call import Address, Call, Tls, split_port
from controlplane.explain.outcome import Destination, Endpoint, Outcome, Stage


def next_hop(call: Call, outcome: Outcome, destination: Destination, endpoint: Endpoint, *, identity: str = "") -> Call:
    """The call as `endpoint`, an address of `destination`, gets it.

    `identity`: the SPIFFE id that the proxy shows where its configuration gives it a certificate.
    """
    ip, port = split_port(endpoint.address)
    made: Call = msgspec.structs.replace(
        call,
        address=Address(ip.removeprefix("[").removesuffix("]"), int(port)),
        captured_at=None,
        proxy_header=None,
        tls=_tls(call, outcome, endpoint, identity),
    )
    if outcome.name(Stage.NETWORK_FILTER) == "tcp_proxy":
        return made
    return msgspec.structs.replace(made, authority=destination.authority, path=destination.path, scheme="")


def _tls(call: Call, outcome: Outcome, endpoint: Endpoint, identity: str) -> Tls | None:
    """The proxy's own, else the caller's where its bytes go on as they are."""
    own = endpoint.secured
    if own.tls:
        return Tls(own.sni, own.alpn, bool(own.certificate), (identity,) if own.certificate and identity else ())
    return None if outcome.step(Stage.TLS) is not None or outcome.name(Stage.REQUEST) else call.tls
