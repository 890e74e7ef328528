"""Protocol traces: this in, that out. No socket, no sleep, and time moves when a step says so.

    run(
        delta(cluster("a")),
        recv(CLUSTER),              sends(CLUSTER, "a"),
        acks(CLUSTER),
        changes(cluster("a", 2)),   sends(CLUSTER, "a"),
    )

Whatever a stream sends must be named by a `sends` before the next step goes in: a trace that sends too much fails.
Responses are decoded with protobuf's own classes, so the hand-written encoder is held against them in every trace.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.snapshot.view import View
from controlplane.xds.protocol import commands
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.protocol.ledger import NO_DOUBTS, Doubts
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.responses import Responses
from controlplane.xds.protocol.scope import Scope
from controlplane.xds.protocol.sotw import SotwStream
from controlplane.xds.protocol.wire import DISCOVERY_RESOURCE
from tests.xds.views import MemoryView

SHORT = {
    CLUSTER: "CDS",
    ENDPOINT: "EDS",
    SECRET: "SDS",
    LISTENER: "LDS",
    ROUTE: "RDS",
    VIRTUAL_HOST: "VHDS",
}
CDS, EDS, SDS, LDS, RDS, VHDS = SHORT
ENVOY = "1.40.0"


class TurnableClock:
    """Time that moves when a test turns it."""

    def __init__(self) -> None:
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)


class Said(NamedTuple):
    """One response, decoded."""

    type_url: str
    names: tuple[str, ...]
    removed: tuple[str, ...]
    nonce: str
    versions: Mapping[str, str]
    bodies: Mapping[str, bytes]
    aliases: Mapping[str, tuple[str, ...]]
    version: str
    payload: bytes
    ttls: Mapping[str, float]

    def __str__(self) -> str:
        gone = f" removed {list(self.removed)}" if self.removed else ""
        return f"{SHORT.get(self.type_url, self.type_url)} {list(self.names)}{gone}"


def decode(payload: bytes, *, is_delta: bool) -> Said:
    return _decode_delta(payload) if is_delta else _decode_sotw(payload)


def _decode_delta(payload: bytes) -> Said:
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(payload)
    assert all(
        not each.HasField("resource") or each.resource.type_url == message.type_url for each in message.resources
    )
    return Said(
        message.type_url,
        tuple(each.name for each in message.resources),
        tuple(message.removed_resources),
        message.nonce,
        {each.name: each.version for each in message.resources},
        {each.name: each.resource.value for each in message.resources},
        {each.name: tuple(each.aliases) for each in message.resources if each.aliases},
        "",
        payload,
        {each.name: each.ttl.ToNanoseconds() / 1e9 for each in message.resources if each.HasField("ttl")},
    )


def _decode_sotw(payload: bytes) -> Said:
    message = discovery_pb2.DiscoveryResponse.FromString(payload)
    bodies, ttls = {}, {}
    for each in message.resources:
        name, body, ttl = _unwrapped(each)
        bodies[name] = body
        if ttl:
            ttls[name] = ttl
    names = tuple(bodies)
    assert len(names) == len(message.resources), "a name twice in one response"
    return Said(message.type_url, names, (), message.nonce, {}, bodies, {}, message.version_info, payload, ttls)


def _unwrapped(each: Any) -> tuple[str, bytes, float]:
    if each.type_url == DISCOVERY_RESOURCE:
        inner = discovery_pb2.Resource.FromString(each.value)
        return inner.name, inner.resource.value, inner.ttl.ToNanoseconds() / 1e9
    return name_in(each.type_url, each.value), each.value, 0.0


def name_in(type_url: str, body: bytes) -> str:
    """The name inside a test resource: the second word of its text, or field 1 of a real message."""
    if body[:1] == b"\x0a":
        return body[2 : 2 + body[1]].decode()
    return body.split()[1].decode()


class Session:
    """A stream under test, and what it said and was told."""

    def __init__(self, stream: DeltaStream | SotwStream, scope: Scope, view: MemoryView, clock: TurnableClock) -> None:
        self.stream, self.scope, self.view, self.clock = stream, scope, view, clock
        self.said: deque[Said] = deque()  # not yet named by a `sends`
        self.unanswered: list[Said] = []
        self.others: deque[commands.Command] = deque()
        self.slow = False
        self.wake: float | None = None
        self.writing = False
        self.all_said: list[Said] = []

    @property
    def is_delta(self) -> bool:
        return self.stream.protocol == "delta"

    def take(self, out: Iterable[commands.Command]) -> None:
        for command in out:
            if isinstance(command, commands.Send):
                assert not self.writing, "a second response before the first was written"
                said = decode(command.payload, is_delta=self.is_delta)
                assert said.nonce == command.response.nonce
                self.said.append(said)
                self.all_said.append(said)
                self.unanswered.append(said)
                self.writing = True
            elif isinstance(command, commands.WakeAt):
                self.wake = command.deadline
            else:
                self.others.append(command)
        if self.writing and not self.slow:
            self.drain()

    def drain(self) -> None:
        if self.writing:
            self.writing = False
            self.take(self.stream.write_finished())

    def request(self, type_url: str, **fields: Any) -> None:
        error = fields.pop("error", None)
        if self.is_delta:
            message = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields)
        else:
            message = discovery_pb2.DiscoveryRequest(type_url=type_url, **fields)
        if error is not None:
            message.error_detail.code = 13
            message.error_detail.message = error
        self.take(self.stream.request_received(message.SerializeToString()))

    def pop(self, type_url: str, nth: int = 0) -> Said:
        """The oldest response of a type (or the nth) that is not answered yet."""
        found = [each for each in self.unanswered if each.type_url == type_url]
        assert found, f"no unanswered {SHORT.get(type_url, type_url)} response"
        self.unanswered.remove(found[nth])
        return found[nth]


Step = Callable[[Session], None]


def run(session: Session, *steps: Step) -> Session:
    for step in steps:
        if not getattr(step, "reads", False):
            _nothing_left(session)
        step(session)
    _nothing_left(session)
    return session


def _nothing_left(session: Session) -> None:
    assert not session.said, f"sent unexpectedly: {[str(each) for each in session.said]}"


def _reading(step: Step) -> Step:
    step.reads = True  # type: ignore[attr-defined]
    return step


# Sessions


def _session(
    kind: type[DeltaStream] | type[SotwStream],
    resources: Iterable[Resource],
    own: Iterable[Resource],
    quarantine: Quarantine | None,
    like: Session | None,
    doubts: Doubts = NO_DOUBTS,
) -> Session:
    clock = like.clock if like else TurnableClock()
    shared = MemoryView(resources) if like is None else like.scope.view
    assert isinstance(shared, MemoryView)
    scope = like.scope if like else Scope(shared, Responses())
    own = list(own)
    view = MemoryView(own, shared) if own else shared
    stream = kind(scope, view, clock, quarantine or Quarantine(), ENVOY, doubts)
    return Session(stream, scope, view, clock)


def delta(
    *resources: Resource,
    own: Iterable[Resource] = (),
    quarantine: Quarantine | None = None,
    like: Session | None = None,
    doubts: Doubts = NO_DOUBTS,
) -> Session:
    """A delta stream over these resources; `like`: another stream of the same scope."""
    return _session(DeltaStream, resources, own, quarantine, like, doubts)


def sotw(
    *resources: Resource,
    own: Iterable[Resource] = (),
    quarantine: Quarantine | None = None,
    like: Session | None = None,
) -> Session:
    """The same for SotW."""
    return _session(SotwStream, resources, own, quarantine, like)


# Steps: what goes in


def recv(type_url: str, *names: str, unsubscribe: Iterable[str] = (), **fields: Any) -> Step:
    """A request; for delta, `names` are subscribed, for SotW they are the whole list."""

    def step(session: Session) -> None:
        if session.is_delta:
            session.request(
                type_url, resource_names_subscribe=names, resource_names_unsubscribe=list(unsubscribe), **_delta(fields)
            )
        else:
            session.request(type_url, resource_names=names, **_sotw(session, type_url, fields))

    return step


def _delta(fields: dict[str, Any]) -> dict[str, Any]:
    renamed = {"initial": "initial_resource_versions", "nonce": "response_nonce"}
    return {renamed.get(key, key): value for key, value in fields.items()}


def _sotw(session: Session, type_url: str, fields: dict[str, Any]) -> dict[str, Any]:
    sent = [each for each in session.all_said if each.type_url == type_url]
    nonce = fields.pop("nonce", sent[-1].nonce if sent else "")
    return {"response_nonce": nonce, "version_info": fields.pop("version", sent[-1].version if sent else ""), **fields}


def acks(type_url: str, *names: str, nth: int = 0, **fields: Any) -> Step:
    """The ACK of the oldest unanswered response of a type; for SotW with the names of the subscription."""

    def step(session: Session) -> None:
        nonce = session.pop(type_url, nth).nonce
        recv(type_url, *names, nonce=nonce, **fields)(session)

    return step


def nacks(type_url: str, error: str, *names: str, nth: int = 0) -> Step:
    """The NACK of the oldest unanswered response of a type."""
    return acks(type_url, *names, nth=nth, error=error)


def acks_all(session: Session) -> None:
    """Acknowledge everything, and what follows from it, until there is peace; `sends` may follow."""
    while session.unanswered:
        said = session.unanswered.pop(0)
        recv(said.type_url, *_names_for(session, said), nonce=said.nonce)(session)


def _names_for(session: Session, said: Said) -> tuple[str, ...]:
    if session.is_delta or said.type_url in {CLUSTER, LISTENER}:
        return ()
    ledger = next(each for each in session.stream._started() if each.type_url == said.type_url)
    return tuple(sorted(session.stream._names_of(ledger)))


def changes(*resources: Resource, remove: Iterable[Resource | Ref] = (), own: bool = False) -> Step:
    """The view is at a new revision."""

    def step(session: Session) -> None:
        view = session.view if own else session.scope.view
        assert isinstance(view, MemoryView)
        changed = view.apply(*resources, remove=remove)
        said = session.stream.own_changes(changed) if own else session.scope.advance(changed)[session.stream.protocol]
        session.take(session.stream.view_changed(said))

    return step


def moves(*resources: Resource) -> Step:
    """The proxy belongs to another scope now."""

    def step(session: Session) -> None:
        view = MemoryView(resources)
        session.scope, session.view = Scope(view, session.scope.responses), view
        session.take(session.stream.view_replaced(session.scope, view))

    return step


def passes(seconds: float) -> Step:
    """Time passes; the stream is woken when it asked to be."""

    def step(session: Session) -> None:
        end = session.clock.time + seconds
        while session.wake is not None and session.wake <= end:
            session.clock.time = max(session.clock.time, session.wake)
            session.wake = None
            session.take(session.stream.time_passed())
        session.clock.time = end

    return step


def stalls(session: Session) -> None:
    """The socket takes nothing more for now."""
    session.slow = True


@_reading
def drains(session: Session) -> None:
    """The socket took what was written."""
    session.drain()


# Steps: what comes out


def sends(type_url: str, *names: str, removed: Iterable[str] = (), **expected: Any) -> Step:
    """The next response holds exactly these, and removes exactly those."""

    @_reading
    def step(session: Session) -> None:
        assert session.said, f"sent nothing; expected {SHORT.get(type_url, type_url)} {list(names)}"
        said = session.said.popleft()
        found = (SHORT.get(said.type_url, said.type_url), sorted(said.names), sorted(said.removed))
        assert found == (SHORT.get(type_url, type_url), sorted(names), sorted(removed))
        for key, value in expected.items():
            assert getattr(said, key) == value

    return step


def silent(session: Session) -> None:
    """Nothing is sent: said aloud where silence is the rule under test."""
    _nothing_left(session)


@_reading
def skips(session: Session) -> None:
    """Whatever was sent is not what this trace is about."""
    session.said.clear()


def tells(*expected: object) -> Step:
    """These commands came, besides responses, ACK records and deadlines; `expected` are types or values."""

    @_reading
    def step(session: Session) -> None:
        found = [each for each in session.others if not isinstance(each, commands.Accepted)]
        session.others.clear()
        assert len(found) == len(expected), found
        for command, wanted in zip(found, expected, strict=True):
            assert isinstance(command, wanted) if isinstance(wanted, type) else command == wanted

    return step


def shows(check: Callable[[Session], bool]) -> Step:
    """Something about the stream is true."""

    @_reading
    def step(session: Session) -> None:
        assert check(session)

    return step


def content_of(view: View) -> dict[str, set[str]]:
    return {kind: set(view.names(kind)) for kind in SHORT}
