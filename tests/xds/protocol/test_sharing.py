"""N proxies cost one encoding, and a steady stream costs next to nothing."""

import sys
from typing import Any

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from controlplane.xds.protocol.commands import Send
from tests.xds.protocol.test_order import synced
from tests.xds.protocol.trace import acks, acks_all, changes, delta, moves, recv, run, sends, silent, skips, sotw
from tests.xds.views import MemoryView, cluster, endpoints, host, listener, mesh, route


def sends_of(commands) -> list[Send]:
    return [each for each in commands if isinstance(each, Send)]


def many(protocol, count, *resources):
    first = protocol(*resources)
    return [first, *(protocol(like=first) for _ in range(count - 1))]


def test_streams_in_the_same_state_share_one_bytes_object():
    sessions = [synced(each) for each in many(delta, 3, *mesh("a", "b"))]
    changed = sessions[0].view.apply(host("80/a", "b", v=2))
    said = sessions[0].scope.advance(changed)["delta"]
    payloads = [sends_of(each.stream.view_changed(said))[0].payload for each in sessions]
    assert payloads[0] is payloads[1] is payloads[2]


def test_a_change_is_encoded_once_for_all_streams():
    sessions = [synced(each) for each in many(delta, 10, *mesh("a", "b"))]
    built = sessions[0].scope.responses.built
    changed = sessions[0].view.apply(endpoints("a", 2))
    said = sessions[0].scope.advance(changed)["delta"]
    for each in sessions:
        each.take(each.stream.view_changed(said))
    assert sessions[0].scope.responses.built == built + 1


def test_first_syncs_share_their_steps():
    sessions = many(delta, 5, *mesh(*(f"s{i:03}" for i in range(300))))
    synced(sessions[0])
    built = sessions[0].scope.responses.built
    for each in sessions[1:]:
        synced(each)
    assert sessions[0].scope.responses.built == built


def test_a_change_makes_only_its_own_step_stale():
    clusters = [cluster(f"c{i:02}") for i in range(40)]
    bulky = [type(each)(CLUSTER, each.name, each.version, each.body + b"x" * 100_000) for each in clusters]
    first = run(delta(*bulky), recv(CLUSTER), skips)
    steps = len(first.all_said)
    built = first.scope.responses.built
    run(first, acks_all, changes(cluster("c05", 2)), skips)
    run(delta(like=first), recv(CLUSTER), skips)
    assert steps >= 3
    assert first.scope.responses.built == built + 2  # the change itself, and the step it is in


def test_full_sets_are_shared_too():
    sessions = many(sotw, 5, *mesh("a", "b"))
    for each in sessions:
        run(each, recv(CLUSTER), skips)
    assert len({id(each.all_said[0].nonce) for each in sessions}) <= 5
    assert len({each.all_said[0].nonce for each in sessions}) == 1


def test_whole_routes_are_joined_once_for_all_streams():
    sessions = [synced(each) for each in many(sotw, 4, *mesh("a", "b"))]
    changed = sessions[0].view.apply(host("80/a", "b", v=2))
    built = sessions[0].scope.responses.built
    said = sessions[0].scope.advance(changed)["sotw"]
    payloads = {id(sends_of(each.stream.view_changed(said))[0].payload) for each in sessions}
    assert len(payloads) == 1
    assert sessions[0].scope.responses.built == built + 1


def test_what_one_proxy_sees_alone_does_not_keep_it_from_sharing():
    first = delta(*mesh("a"))
    mine = delta(like=first, own=[cluster("inbound")])
    run(first, recv(CLUSTER), sends(CLUSTER, "a"))
    run(mine, recv(CLUSTER), sends(CLUSTER, "a"), sends(CLUSTER, "inbound"))
    assert first.all_said[0].nonce == mine.all_said[0].nonce


def test_own_resources_change_on_their_own():
    run(
        delta(cluster("a"), own=[cluster("inbound"), listener("virtualInbound")]),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        sends(CLUSTER, "inbound"),
        acks(CLUSTER),
        acks(CLUSTER),
        recv(LISTENER),
        sends(LISTENER),
        sends(LISTENER, "virtualInbound"),
        changes(cluster("inbound", 2), own=True),
        sends(CLUSTER, "inbound"),
        acks(CLUSTER),
        changes(cluster("a", 2)),
        sends(CLUSTER, "a"),
    )


def test_an_answer_that_is_still_awaited_is_not_reused_for_another_response():
    session = run(delta(endpoints("a")), recv(ENDPOINT, "a"), sends(ENDPOINT, "a"))
    run(session, recv(ENDPOINT, "a"), sends(ENDPOINT, "a"))
    assert session.all_said[0].nonce != session.all_said[1].nonce


def size(value: Any, seen: set[int]) -> int:
    """Bytes of a stream's own objects; what it shares with others is not its own."""
    if id(value) in seen or isinstance(value, str | bytes | type) or value is None:
        return 0
    seen.add(id(value))
    total = sys.getsizeof(value)
    if isinstance(value, dict):
        total += sum(size(each, seen) for pair in value.items() for each in pair)
    elif isinstance(value, list | tuple | set | frozenset) or type(value).__name__ == "deque":
        total += sum(size(each, seen) for each in value)
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    total += sum(size(getattr(value, name, None), seen) for name in slots)
    return total + size(getattr(value, "__dict__", None), seen)


def test_a_steady_stream_keeps_less_than_64_kb_at_5000_services():
    session = synced(delta(*mesh(*(f"outbound|9080||service-{i:04}.ns.svc.cluster.local" for i in range(5000)))))
    stream = session.stream
    shared: set[int] = {id(each) for each in (stream._scope, stream._content, session.view, session.clock)}
    shared |= {id(stream._judge._quarantine), id(stream._judge.content)}
    assert size(stream, shared) < 64 * 1024
    run(session, changes(*(host(f"80/x{i}") for i in range(10))), skips, acks_all, skips)
    assert size(stream, shared) < 64 * 1024


def test_a_change_costs_the_same_at_100_and_at_5000_services():
    def touched(count):
        names = [f"s{i:04}" for i in range(count)]
        session = synced(delta(*mesh(*names)))
        session.view.touched = 0
        run(session, changes(endpoints("s0001", 2)), skips, acks_all)
        run(session, changes(host("80/s0001", "s0002", v=2)), skips, acks_all)
        return session.view.touched

    assert touched(100) == touched(5000) == 0


def test_a_moved_stream_is_sent_the_difference():
    run(
        synced(delta(*mesh("a", "b"))),
        moves(*mesh("a", "c")),
        sends(CLUSTER, "c"),
        sends(ENDPOINT, "c"),
        sends(VIRTUAL_HOST, removed=["80/b"]),
        acks(CLUSTER),
        sends(VIRTUAL_HOST, "80/c"),
        acks(VIRTUAL_HOST),
        sends(CLUSTER, removed=["b"]),
    )


def test_a_stream_moved_to_an_equal_scope_is_sent_nothing():
    run(synced(delta(*mesh("a", "b"))), moves(*mesh("a", "b")), silent)
    run(synced(sotw(*mesh("a", "b"))), moves(*mesh("a", "b")), silent)


def test_a_moved_stream_goes_on_with_the_changes_of_its_new_scope():
    session = synced(delta(*mesh("a", "b")))
    old = session.scope
    run(session, moves(*mesh("a", "b")), silent, changes(endpoints("a", 2)), sends(ENDPOINT, "a"))
    view = old.view
    assert isinstance(view, MemoryView)
    assert view.get(ENDPOINT, "a") == endpoints("a")


def test_a_moved_sotw_stream_gets_the_full_sets_of_its_new_scope():
    run(
        synced(sotw(*mesh("a", "b"))),
        moves(*mesh("a", "c")),
        sends(CLUSTER, "a", "b", "c"),
        sends(ENDPOINT, "c"),
        acks(CLUSTER),
        sends(ROUTE, "80"),
        acks(ROUTE, "80"),
        sends(CLUSTER, "a", "c"),
    )


def test_a_move_in_the_middle_of_a_first_sync_loses_nothing():
    clusters = [cluster(f"c{i}") for i in range(6)]
    bulky = [type(each)(CLUSTER, each.name, each.version, each.body + b"x" * 700_000) for each in clusters]
    session = delta(*bulky)
    session.slow = True
    run(session, recv(CLUSTER), skips, moves(*bulky[:3], cluster("c4", 2), cluster("new")))
    session.slow = False
    session.drain()
    run(session, skips, recv(LISTENER), acks_all, skips)
    sent = {name for said in session.all_said if said.type_url == CLUSTER for name in said.names}
    assert {"c0", "c1", "c2", "c4", "new"} <= sent
    assert session.stream.extent < 5
    gone = {name for said in session.all_said for name in said.removed}
    assert gone <= {"c0", "c1", "c2", "c3", "c5"}


def test_route_headers_are_told_apart_from_whole_routes_in_one_scope():
    first = run(delta(route("80"), host("80/a")), recv(ROUTE, "80"), sends(ROUTE, "80"))
    other = run(sotw(like=first), recv(ROUTE, "80"), sends(ROUTE, "80"))
    assert b"a" in other.all_said[0].bodies["80"]
    assert first.all_said[0].bodies["80"] != other.all_said[0].bodies["80"]
