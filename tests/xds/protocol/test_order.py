"""In which order responses leave: what is named before what names it, endpoints at once, removals last."""

import pytest

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from tests.xds.protocol.trace import (
    acks,
    acks_all,
    changes,
    delta,
    drains,
    passes,
    recv,
    run,
    sends,
    silent,
    skips,
    sotw,
    stalls,
)
from tests.xds.views import cluster, endpoints, host, listener, mesh, route, secret, service

both = pytest.mark.parametrize("protocol", [delta, sotw])


def synced(session):
    """A stream that asked for everything, has it, and acknowledged it."""
    eds = sorted(session.view.names(ENDPOINT))
    sds = sorted(session.view.names(SECRET))
    run(session, recv(CLUSTER), skips, recv(ENDPOINT, *eds), skips)
    if sds:
        run(session, recv(SECRET, *sds), skips)
    run(session, acks_all, skips, recv(LISTENER), skips, recv(ROUTE, *session.view.names(ROUTE)), skips)
    if session.is_delta:
        run(session, recv(VIRTUAL_HOST), skips)
    return run(session, acks_all, skips)


@both
def test_one_revision_leaves_in_push_order(protocol):
    session = synced(protocol(*mesh("a"), secret("s")))
    last = (VIRTUAL_HOST, "80/a") if session.is_delta else (ROUTE, "80")
    expected = [sends(CLUSTER, "a"), sends(ENDPOINT, "a"), sends(SECRET, "s"), sends(LISTENER, "l80")]
    routes = [sends(ROUTE, "80")] if session.is_delta else []
    run(
        session,
        changes(host("80/a", v=2), route("80", 2), listener("l80", v=2), secret("s", 2), *service("a", 2)),
        *expected,
        *routes,
        sends(*last),
    )


@both
def test_endpoints_leave_without_waiting_for_anything(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(endpoints("a", 2)),
        sends(ENDPOINT, "a"),
    )


@both
def test_endpoints_follow_a_changed_cluster_unasked_and_before_its_ack(protocol):
    run(
        synced(protocol(*mesh("a", "b"))),
        changes(cluster("a", 2)),
        sends(CLUSTER, *(("a",) if protocol is delta else ("a", "b"))),
        sends(ENDPOINT, "a"),
    )


@both
def test_endpoints_follow_a_new_cluster_unasked(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("b"), endpoints("b")),
        sends(CLUSTER, *(("b",) if protocol is delta else ("a", "b"))),
        sends(ENDPOINT, "b"),
    )


def test_endpoints_of_a_new_cluster_are_sent_again_when_they_are_asked_for():
    """What came unasked may have come before anybody listened."""
    run(
        synced(delta(*mesh("a"))),
        changes(cluster("b"), endpoints("b")),
        sends(CLUSTER, "b"),
        sends(ENDPOINT, "b"),
        recv(ENDPOINT, "b"),
        sends(ENDPOINT, "b"),
    )


@both
def test_endpoints_of_exactly_the_clusters_that_were_sent_follow(protocol):
    session = synced(protocol(*mesh("a", "b", "c")))
    run(
        session,
        changes(cluster("b", 2)),
        sends(CLUSTER, *(("b",) if protocol is delta else ("a", "b", "c"))),
        sends(ENDPOINT, "b"),
        silent,
    )


@both
def test_secrets_of_a_changed_cluster_follow_too(protocol):
    """envoy #33607."""
    session = protocol(cluster("a", secret="s"), endpoints("a"), secret("s"))
    run(
        synced(session),
        changes(cluster("a", 2, secret="s")),
        sends(CLUSTER, "a"),
        sends(ENDPOINT, "a"),
        sends(SECRET, "s"),
    )


@both
def test_a_cluster_without_endpoints_has_an_empty_assignment(protocol):
    session = run(
        protocol(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a", bodies={"a": b"\x0a\x01a"}),
    )
    run(session, acks_all, skips, changes(endpoints("a")), sends(ENDPOINT, "a"))


@both
def test_endpoints_that_vanish_are_emptied_not_removed(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(remove=[endpoints("a")]),
        sends(ENDPOINT, "a", bodies={"a": b"\x0a\x01a"}),
    )


@both
def test_new_clusters_travel_apart_from_changed_ones(protocol):
    session = synced(protocol(*mesh("a")))
    new, all_of_them = (("b",), ("a",)) if protocol is delta else (("a", "b"), ("a", "b"))
    run(
        session,
        changes(cluster("a", 2), cluster("b"), endpoints("b")),
        sends(CLUSTER, *new),
        sends(ENDPOINT, "b"),
        sends(CLUSTER, *all_of_them),
        sends(ENDPOINT, "a"),
    )


@both
def test_clusters_that_wait_for_dns_travel_apart_from_the_rest(protocol):
    session = synced(protocol(*mesh("a")))
    first, second = (("b",), ("d",)) if protocol is delta else (("a", "b"), ("a", "b", "d"))
    run(
        session,
        changes(cluster("d", dns=True), cluster("b"), endpoints("b")),
        sends(CLUSTER, *first),
        sends(ENDPOINT, "b"),
        sends(CLUSTER, *second),
    )


@both
def test_at_first_they_wait_for_the_ack_of_the_rest(protocol):
    """While one of them warms, Envoy acknowledges nothing."""
    run(
        protocol(cluster("a"), endpoints("a"), cluster("d", dns=True)),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        silent,
        acks(CLUSTER),
        sends(CLUSTER, *(("d",) if protocol is delta else ("a", "d"))),
    )


@both
def test_at_first_they_wait_for_10_seconds_at_most(protocol):
    run(
        protocol(cluster("a"), endpoints("a"), cluster("d", dns=True)),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        passes(9.9),
        silent,
        passes(0.2),
        sends(CLUSTER, *(("d",) if protocol is delta else ("a", "d"))),
    )


@both
def test_a_cluster_whose_secret_does_not_exist_is_not_sent_as_new(protocol):
    run(
        protocol(cluster("a"), cluster("s", secret="missing")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        silent,
    )


@both
def test_it_is_sent_when_its_secret_appears(protocol):
    run(
        protocol(cluster("a"), cluster("s", secret="missing")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        changes(secret("missing")),
        sends(CLUSTER, *(("s",) if protocol is delta else ("a", "s"))),
    )


@both
def test_a_cluster_the_proxy_has_is_updated_although_its_secret_is_gone(protocol):
    run(
        synced(protocol(cluster("s", secret="x"), secret("x"), endpoints("s"))),
        changes(cluster("s", 2, secret="x"), remove=[secret("x")]),
        sends(CLUSTER, "s"),
        sends(ENDPOINT, "s"),
        skips,
    )


@both
def test_listeners_wait_for_the_ack_of_the_first_full_set(protocol):
    run(
        protocol(*mesh("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        recv(LISTENER),
        silent,
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(CLUSTER),
        silent,
        acks(ENDPOINT, *(() if protocol is delta else ("a",))),
        sends(LISTENER, "l80"),
    )


@both
def test_listeners_wait_for_10_seconds_at_most(protocol):
    run(
        protocol(*mesh("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        recv(LISTENER),
        passes(9.9),
        silent,
        passes(0.2),
        sends(LISTENER, "l80"),
    )


@both
def test_a_stuck_cluster_does_not_hold_up_the_first_listeners(protocol):
    run(
        protocol(*mesh("a"), cluster("d", dns=True)),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        sends(CLUSTER, *(("d",) if protocol is delta else ("a", "d"))),
        recv(LISTENER),
        sends(LISTENER, "l80"),
    )


@both
def test_a_client_that_never_asks_for_clusters_gets_its_listeners_at_once(protocol):
    run(
        protocol(listener("l", "a")),
        recv(LISTENER),
        sends(LISTENER, "l"),
    )


@both
def test_removals_leave_last(protocol):
    session = synced(protocol(*mesh("a", "b")))
    listed = ("a",) if protocol is delta else ("a", "b")
    hosts = [sends(VIRTUAL_HOST, removed=["80/b"])] if protocol is delta else [sends(ROUTE, "80")]
    answer = acks(VIRTUAL_HOST) if protocol is delta else acks(ROUTE, "80")
    gone = sends(CLUSTER, removed=["b"]) if protocol is delta else sends(CLUSTER, "a")
    run(
        session,
        changes(cluster("a", 2), remove=service("b")),
        sends(CLUSTER, *listed),
        sends(ENDPOINT, "a"),
        *hosts,
        answer,
        gone,
    )


def test_endpoints_are_removed_only_after_their_cluster():
    run(
        synced(delta(*mesh("a", "b"))),
        changes(remove=service("b")),
        sends(VIRTUAL_HOST, removed=["80/b"]),
        acks(VIRTUAL_HOST),
        sends(CLUSTER, removed=["b"]),
        silent,
        acks(CLUSTER),
        sends(ENDPOINT, removed=["b"]),
    )


def test_endpoints_that_were_unsubscribed_are_not_removed_besides():
    run(
        synced(delta(*mesh("a", "b"))),
        changes(remove=service("b")),
        sends(VIRTUAL_HOST, removed=["80/b"]),
        acks(VIRTUAL_HOST),
        sends(CLUSTER, removed=["b"]),
        recv(ENDPOINT, unsubscribe=["b"]),
        acks(CLUSTER),
        silent,
    )


def test_a_listener_is_replaced_in_one_response():
    """Two listeners on one address: the old one goes where the new one comes."""
    run(
        synced(delta(*mesh("a"))),
        changes(listener("other", rds="80"), remove=[listener("l80")]),
        sends(LISTENER, "other", removed=["l80"]),
    )


def test_a_big_response_is_split():
    big = [cluster(f"c{i}") for i in range(8)]
    bulky = [type(each)(CLUSTER, each.name, each.version, each.body + b"x" * 700_000) for each in big]
    session = run(delta(*bulky), recv(CLUSTER), skips)
    assert sorted(name for said in session.all_said for name in said.names) == [each.name for each in big]
    assert len(session.all_said) > 1
    assert max(len(said.payload) for said in session.all_said) <= 3 * 1024 * 1024
    session.all_said.clear()
    changed = [type(each)(CLUSTER, each.name, "v2", each.body) for each in bulky]
    run(session, acks_all, changes(*changed), skips)
    assert sorted(name for said in session.all_said for name in said.names) == [each.name for each in big]
    assert max(len(said.payload) for said in session.all_said) <= 3 * 1024 * 1024


def test_a_stalled_first_sync_goes_on_where_it_was():
    big = [cluster(f"c{i}") for i in range(6)]
    bulky = [type(each)(CLUSTER, each.name, each.version, each.body + b"x" * 700_000) for each in big]
    session = run(delta(*bulky), stalls, recv(CLUSTER), skips)
    for _ in range(len(big)):
        run(session, drains, skips)
    assert [name for said in session.all_said for name in said.names] == [each.name for each in big]
