"""SotW: what a request asks for, and what the answer has to be."""

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.xds.protocol.trace import acks, changes, recv, run, sends, silent, sotw
from tests.xds.views import cluster, endpoints, host, mesh


def test_an_empty_first_request_is_a_wildcard():
    run(
        sotw(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
    )


def test_a_changed_cluster_brings_the_full_set():
    run(
        sotw(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
        acks(CLUSTER),
        changes(cluster("a", 2)),
        sends(CLUSTER, "a", "b"),
    )


def test_changed_endpoints_travel_alone():
    run(
        sotw(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a", "b"),
        sends(ENDPOINT, "a", "b"),
        acks(ENDPOINT, "a", "b"),
        changes(endpoints("b", 2)),
        sends(ENDPOINT, "b"),
        acks(ENDPOINT, "a", "b"),
        silent,
    )


def test_first_sync_of_a_small_mesh():
    run(
        sotw(*mesh("a", "b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
        recv(ENDPOINT, "a", "b"),
        sends(ENDPOINT, "a", "b"),
        acks(CLUSTER),
        acks(ENDPOINT, "a", "b"),
        recv(LISTENER),
        sends(LISTENER, "l80"),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        acks(LISTENER),
        acks(ROUTE, "80"),
        changes(host("80/a", "b", v=2)),
        sends(ROUTE, "80"),
        acks(ROUTE, "80"),
        silent,
    )
