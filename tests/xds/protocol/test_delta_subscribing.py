"""Delta: what a request subscribes to, and what the answer has to be."""

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from tests.xds.protocol.trace import acks, changes, delta, recv, run, sends, silent
from tests.xds.views import cluster, endpoints, mesh, service


def test_an_empty_first_request_is_a_wildcard():
    run(
        delta(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
    )


def test_an_explicit_star_is_a_wildcard():
    run(
        delta(cluster("a"), cluster("b")),
        recv(CLUSTER, "*"),
        sends(CLUSTER, "a", "b"),
    )


def test_a_wildcard_over_nothing_is_answered_with_nothing():
    run(
        delta(),
        recv(CLUSTER),
        sends(CLUSTER),
        acks(CLUSTER),
        silent,
    )


def test_a_change_is_sent_alone():
    run(
        delta(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
        acks(CLUSTER),
        changes(cluster("a", 2)),
        sends(CLUSTER, "a"),
    )


def test_what_is_not_subscribed_is_not_sent():
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        changes(endpoints("b", 2)),
        silent,
    )


def test_first_sync_of_a_small_mesh():
    run(
        delta(*mesh("a", "b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
        recv(ENDPOINT, "a", "b"),
        sends(ENDPOINT, "a", "b"),
        acks(CLUSTER),
        acks(ENDPOINT),
        recv(LISTENER),
        sends(LISTENER, "l80"),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        acks(LISTENER),
        acks(ROUTE),
        recv(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, "80/a", "80/b"),
        acks(VIRTUAL_HOST),
        changes(*service("b", 2)),
        sends(CLUSTER, "b"),
        sends(ENDPOINT, "b"),
        sends(VIRTUAL_HOST, "80/b"),
    )
