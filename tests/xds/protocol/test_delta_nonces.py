"""Delta: what an answer says, and what it does not."""

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER
from controlplane.xds.protocol.commands import Accepted, Close, Refused
from tests.xds.protocol.trace import acks, changes, delta, nacks, passes, recv, run, sends, shows, silent, stalls, tells
from tests.xds.views import cluster, endpoints, listener


def test_a_stale_nonce_does_not_drop_the_subscription_change():
    """Istio returned early here and lost the subscription."""
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        recv(ENDPOINT, "b", nonce="stale"),
        sends(ENDPOINT, "b"),
    )


def test_a_stale_nonce_does_not_drop_an_unsubscription():
    run(
        delta(endpoints("a")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        recv(ENDPOINT, unsubscribe=["a"], nonce="stale"),
        changes(endpoints("a", 2)),
        silent,
    )


def test_an_ack_may_carry_a_subscription():
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT, "b"),
        sends(ENDPOINT, "b"),
        shows(lambda session: len(session.stream._ledgers[ENDPOINT].flights) == 1),
    )


def test_a_nack_may_carry_a_subscription():
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        nacks(ENDPOINT, "malformed", "b"),
        sends(ENDPOINT, "b"),
        tells(Refused),
    )


def test_a_nack_is_error_detail_and_nothing_else():
    run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        nacks(CLUSTER, "no"),
        tells(Refused),
    )


def test_a_nack_for_a_type_never_watched_is_a_no_op():
    """istio PR 33156."""
    run(
        delta(cluster("a")),
        recv(LISTENER, nonce="x", error="no"),
        silent,
        recv(CLUSTER),
        sends(CLUSTER, "a"),
    )


def test_a_nack_of_an_unknown_nonce_is_a_no_op():
    run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        recv(CLUSTER, nonce="x", error="no"),
        silent,
        changes(cluster("a", 2)),
        sends(CLUSTER, "a"),
    )


def test_nonces_of_different_types_do_not_mix():
    def crossed(session):
        nonce = session.pop(CLUSTER).nonce
        recv(LISTENER, nonce=nonce)(session)

    run(
        delta(cluster("a"), listener("l")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        recv(LISTENER),
        sends(LISTENER, "l"),
        changes(cluster("a", 2)),
        sends(CLUSTER, "a"),
        crossed,
        shows(lambda session: len(session.stream._ledgers[CLUSTER].flights) == 1),
        shows(lambda session: len(session.stream._ledgers[LISTENER].flights) == 1),
    )


def test_no_two_responses_of_a_stream_share_a_nonce():
    session = delta(endpoints("a"))
    run(session, recv(ENDPOINT, "a"), sends(ENDPOINT, "a"))
    for v in (2, 1, 2, 1):
        run(session, changes(endpoints("a", v)), sends(ENDPOINT, "a"))
    unanswered = [each.nonce for each in session.unanswered]
    assert len(set(unanswered)) == len(unanswered) == 5


def test_a_missing_ack_holds_up_nothing_of_the_same_type():
    run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        changes(cluster("a", 2)),
        sends(CLUSTER, "a"),
        changes(cluster("a", 3)),
        sends(CLUSTER, "a"),
    )


def test_a_missing_ack_is_never_a_reason_to_end_a_stream():
    session = run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        passes(100_000),
        tells(),
    )
    assert not any(isinstance(each, Close) for each in session.others)


def test_acks_may_come_late_and_out_of_order():
    run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        changes(cluster("a", 2)),
        sends(CLUSTER, "a"),
        acks(CLUSTER, nth=1),
        acks(CLUSTER),
        shows(lambda session: not session.stream._ledgers[CLUSTER].flights),
        silent,
    )


def test_an_ack_is_told_with_what_it_was_about():
    session = run(delta(cluster("a"), cluster("b")), recv(CLUSTER), sends(CLUSTER, "a", "b"), acks(CLUSTER))
    assert list(session.others) == [Accepted(CLUSTER, session.all_said[0].nonce, ("a", "b"), ())]


def test_garbage_ends_the_stream_and_says_whose_fault_it_is():
    session = delta()
    session.take(session.stream.request_received(b"\xff\xff\xff"))
    run(session, tells(Close))


def test_what_changes_while_a_write_is_under_way_is_merged():
    session = run(delta(cluster("a"), cluster("b")), recv(CLUSTER), sends(CLUSTER, "a", "b"), acks(CLUSTER))
    run(session, stalls, changes(cluster("a", 2)), sends(CLUSTER, "a"))
    for v in range(3, 30):
        run(session, changes(cluster("a", v), cluster("b", v)))
    session.drain()
    run(session, sends(CLUSTER, "a", "b", bodies={"a": cluster("a", 29).body, "b": cluster("b", 29).body}))


def test_what_was_undone_while_a_write_was_under_way_is_not_sent():
    session = run(delta(cluster("a"), cluster("b")), recv(CLUSTER), sends(CLUSTER, "a", "b"), acks(CLUSTER))
    run(session, stalls, changes(cluster("b", 2)), sends(CLUSTER, "b"))
    run(session, changes(cluster("a", 2)), changes(cluster("a", 1)))
    session.drain()
    run(session, silent)
