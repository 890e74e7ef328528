"""Hold what the simulator says against what Envoy did."""

from collections.abc import Iterator
from typing import Any

from controlplane.explain import Destination, Failure, Outcome, Stage, Verdict
from controlplane.explain.headers import is_grpc, received
from tests.envoys.upstreams import MESH_ALPN, PLAIN
from tests.explain.observe import Observation, place

_OUR_FLAGS = frozenset({"NR", "NC", "UH", "FI", "DPE"})


def disagreements(said: Outcome, did: Observation) -> list[str]:
    """Each difference in words; empty when they agree in everything that can be seen."""
    return [
        f"{what}: simulated {ours!r}, Envoy {theirs!r}"
        for what, ours, theirs in _differences(said, did)
        if ours != theirs
    ]


_Pairs = Iterator[tuple[str, Any, Any]]


def _differences(said: Outcome, did: Observation) -> _Pairs:
    yield "refused", said.verdict is Verdict.REFUSED, did.refused
    if did.refused:
        return
    yield "listener", said.listener, did.listener
    yield "filter chain", _chain(said), did.chain
    if said.ended_at.stage is Stage.TLS:  # a TCP proxy starts before the handshake is over, and logs
        yield "cut", said.verdict is Verdict.CLOSED, did.cut or bool(did.tls_failure)
        return
    yield "network filter", _filter(said), did.filter
    if did.filter == "http":
        yield from _of_request(said, did)
    elif did.filter == "tcp":
        yield from _of_bytes(said, did)
    else:
        yield from _of_connection(said, did)


def _of_connection(said: Outcome, did: Observation) -> _Pairs:
    """Nothing read the bytes: the connection was cut, or waits."""
    yield "cut", said.verdict is Verdict.CLOSED, did.cut
    if said.failure:
        yield "flags", {said.failure.flag}, set(did.flags)
        yield "details", said.failure.details, did.details


def _of_request(said: Outcome, did: Observation) -> _Pairs:
    drawn = _drawn(said, did)
    failure = drawn.failure if drawn else said.failure
    if drawn and _has_names(drawn):  # what they resolve to is nobody's configuration
        yield "cluster", drawn.cluster, did.cluster
        yield "route", _route(said), did.route
        return
    if failure or "UF" not in did.flags:  # nor is an endpoint that takes no connection
        yield "status", _status(said, failure, did), 200 if did.status == 101 else did.status
        if not said.destinations:
            yield "gRPC status", _text(said.grpc_status), did.grpc_status
        yield "details", failure.details if failure else _details(said), _plain(did.details)
    yield "flags", {failure.flag} - {""} if failure else set(), set(did.flags) & _OUR_FLAGS
    if said.ended_at.stage is not Stage.REQUEST:  # a redirect to the normal path has a route in the log
        yield "route", _route(said), did.route
    yield "location", said.location, did.location
    if said.body and did.call.method != "HEAD":
        yield "body", len(said.body), did.sent
    if said.destinations:
        yield from _of_destination(drawn, did)


def _of_destination(drawn: Destination | None, did: Observation) -> _Pairs:
    yield "cluster", drawn is not None, True
    if drawn is None or drawn.failure:
        return
    yield "endpoint is a candidate", did.endpoint in {one.address for one in drawn.endpoints}, True
    yield from _of_security(drawn, did)
    if did.echo_path:
        yield "upstream path", drawn.path, did.echo_path
        yield "upstream authority", drawn.authority or did.echo_host, did.echo_host


def _of_security(drawn: Destination, did: Observation) -> _Pairs:
    """How the endpoint was called, where it heard anything. Bytes that go on as they are may be TLS of the caller's."""
    called = [one.secured for one in drawn.endpoints if one.address == did.endpoint]
    if not did.secured or not called or "UF" in did.flags or (did.call.tls and not called[0].tls):
        return
    ours = next((one for one in MESH_ALPN if one in called[0].alpn), "") if called[0].tls else PLAIN
    yield "how the endpoint is called", ours, did.secured


def _drawn(said: Outcome, did: Observation) -> Destination | None:
    """The destination Envoy took, of those it may take. A cluster that does not exist has no name in the log."""
    for one in said.destinations:
        if one.cluster == did.cluster or (one.failure and one.failure.flag in did.flags and not did.cluster):
            return one
    return None


def _of_bytes(said: Outcome, did: Observation) -> _Pairs:
    drawn = _drawn(said, did)
    yield "cluster", drawn is not None, True
    if drawn and not _has_names(drawn):
        yield "forwarded", drawn.failure is None, bool(did.endpoint)
        yield "flags", {drawn.failure.flag} if drawn.failure else set(), set(did.flags) & _OUR_FLAGS
        listed = {one.address for one in drawn.endpoints} or {""}
        yield "endpoint is a candidate", did.endpoint in listed, True
        yield from _of_security(drawn, did)
    if said.verdict is Verdict.CLOSED:
        yield "cut", True, did.cut


def _has_names(drawn: Destination) -> bool:
    """Whether one of its endpoints is a name."""
    return any(any(letter.isalpha() for letter in one.address.split(":")[0]) for one in drawn.endpoints)


def _chain(said: Outcome) -> str:
    """By number, as the harness stamps chains: names may be missing."""
    step, owner = said.step(Stage.FILTER_CHAIN), said.step(Stage.LISTENER)
    if step is None or step.found is None or owner is None:
        return ""
    numbers = [str(i) for i, one in enumerate(owner.message.filter_chains) if one == step.message]
    return numbers[0] if numbers else "default"


def _filter(said: Outcome) -> str:
    step = said.step(Stage.NETWORK_FILTER)
    waits = said.ended_at.stage is Stage.REQUEST and not (said.failure and said.failure.details)
    return (
        {"tcp_proxy": "tcp", "http_connection_manager": "" if waits else "http"}.get(step.found or "", "")
        if step
        else ""
    )


def _status(said: Outcome, failure: Failure | None, did: Observation) -> int:
    """With several destinations each has its own fate."""
    if not said.destinations:
        return said.status
    return failure.status if failure and not is_grpc(received(did.call.headers)) else 200


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _plain(details: str) -> str:
    """Upstreams here never switch protocols; that they answered is what counts."""
    return "via_upstream" if details == "websocket_handshake_unsuccessful" else details


def _details(said: Outcome) -> str:
    return "via_upstream" if said.verdict is Verdict.FORWARDED else "direct_response"


def _route(said: Outcome) -> str:
    """The simulator's choice in the words of the stamps."""
    config, host, route = (said.step(stage) for stage in (Stage.ROUTE_CONFIGURATION, Stage.VIRTUAL_HOST, Stage.ROUTE))
    if not (config and host and route and route.found) or route.message is None:
        return ""
    return place(config.message.name, host.message.name, len(route.tried))
