"""SotW: what a request asks for, and what the answer has to be."""

from envoy.config.route.v3 import route_pb2

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from controlplane.xds.protocol.commands import Refused
from tests.xds.protocol.trace import acks, changes, nacks, recv, run, sends, silent, sotw, tells
from tests.xds.views import cluster, endpoints, host, listener, mesh, route, secret


def test_an_empty_first_request_is_a_wildcard():
    run(
        sotw(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
    )


def test_an_explicit_star_is_a_wildcard():
    run(
        sotw(listener("l")),
        recv(LISTENER, "*"),
        sends(LISTENER, "l"),
    )


def test_a_wildcard_over_nothing_is_answered_with_nothing():
    run(
        sotw(),
        recv(CLUSTER),
        sends(CLUSTER),
        acks(CLUSTER),
        silent,
    )


def test_only_full_sets_have_a_legacy_wildcard():
    """An Envoy without endpoints to ask for sends an empty list after a reconnect."""
    run(
        sotw(endpoints("a")),
        recv(ENDPOINT),
        silent,
    )


def test_once_a_name_was_given_an_empty_list_means_nothing():
    run(
        sotw(cluster("a"), cluster("b")),
        recv(CLUSTER, "a"),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        sends(CLUSTER),
        acks(CLUSTER),
        changes(cluster("b", 2)),
        silent,
    )


def test_a_name_given_after_the_legacy_wildcard_ends_it():
    run(
        sotw(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
        acks(CLUSTER, "a"),
        sends(CLUSTER, "a"),
    )


def test_a_star_beside_a_name_keeps_the_wildcard():
    run(
        sotw(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
        acks(CLUSTER, "*", "a"),
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


def test_a_removed_listener_is_missing_from_the_full_set():
    run(
        sotw(listener("l"), listener("m")),
        recv(LISTENER),
        sends(LISTENER, "l", "m"),
        acks(LISTENER),
        changes(remove=[listener("m")]),
        sends(LISTENER, "l"),
    )


def test_the_last_listener_leaves_an_empty_set():
    run(
        sotw(listener("l")),
        recv(LISTENER),
        sends(LISTENER, "l"),
        acks(LISTENER),
        changes(remove=[listener("l")]),
        sends(LISTENER),
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


def test_an_ack_gets_no_answer():
    run(
        sotw(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        silent,
    )


def test_a_stale_nonce_gets_no_answer():
    run(
        sotw(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT, "a"),
        recv(ENDPOINT, "a", "b", nonce="stale"),
        silent,
        recv(ENDPOINT, "a", "b"),
        sends(ENDPOINT, "b"),
    )


def test_a_name_left_out_by_a_stale_request_is_sent_again_when_it_is_named_again():
    """The proxy dropped it in between, although no request that counts ever said so."""
    run(
        sotw(route("80"), route("81")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        acks(ROUTE, "80"),
        changes(route("80", 2)),
        sends(ROUTE, "80"),
        recv(ROUTE, nonce="stale"),
        silent,
        acks(ROUTE, "80"),
        sends(ROUTE, "80"),
    )


def test_what_a_stale_request_left_out_waits_for_one_that_counts():
    """Sent at once, it would make that one stale too: two types could keep each other busy for ever."""
    run(
        sotw(route("80"), cluster("a"), endpoints("a")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        acks(ROUTE, "80"),
        changes(route("80", 2)),
        sends(ROUTE, "80"),
        recv(ROUTE, nonce="stale"),
        silent,
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT, "a"),
        silent,
        acks(ROUTE, "80"),
        sends(ROUTE, "80"),
    )


def test_route_configurations_that_are_asked_for_again_are_sent_again():
    """Envoy dropped the last listener that used one and made another, in one update: that one waits."""
    run(
        sotw(route("80"), route("81")),
        recv(ROUTE, "80", "81"),
        sends(ROUTE, "80", "81"),
        acks(ROUTE, "80", "81"),
        silent,
        recv(ROUTE, "80", "81"),
        sends(ROUTE, "80", "81"),
        acks(ROUTE, "80", "81"),
        silent,
    )


def test_asking_again_with_a_stale_nonce_counts_with_the_next_answer():
    run(
        sotw(route("80"), route("81")),
        recv(ROUTE, "80", "81"),
        sends(ROUTE, "80", "81"),
        acks(ROUTE, "80", "81"),
        changes(route("81", 2)),
        sends(ROUTE, "81"),
        recv(ROUTE, "80", "81", nonce="stale"),
        silent,
        acks(ROUTE, "80", "81"),
        sends(ROUTE, "80", "81"),
        acks(ROUTE, "80", "81"),
        silent,
    )


def test_endpoints_that_are_named_again_are_an_answer_like_any():
    """Envoy repeats its last answer when clusters change; their endpoints went out with them."""
    run(
        sotw(endpoints("a")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT, "a"),
        recv(ENDPOINT, "a"),
        silent,
    )


def test_the_latest_request_supersedes_earlier_ones():
    run(
        sotw(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT, "b"),
        sends(ENDPOINT, "b"),
        acks(ENDPOINT, "b"),
        changes(endpoints("a", 2)),
        silent,
    )


def test_a_newly_named_resource_is_sent_even_if_it_was_sent_unasked():
    run(
        sotw(cluster("a"), endpoints("a")),
        recv(ENDPOINT),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
    )


def test_a_name_that_does_not_exist_is_answered_when_it_does():
    run(
        sotw(),
        recv(SECRET, "s"),
        silent,
        changes(secret("s")),
        sends(SECRET, "s"),
    )


def test_only_its_parent_deletes_a_named_resource():
    run(
        sotw(route("80")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        acks(ROUTE, "80"),
        changes(remove=[route("80")]),
        silent,
    )


def test_a_named_resource_that_returns_is_sent_again():
    run(
        sotw(route("80")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        acks(ROUTE, "80"),
        changes(remove=[route("80")]),
        changes(route("80")),
        sends(ROUTE, "80"),
    )


def test_route_configurations_are_whole():
    session = run(
        sotw(*mesh("a", "b")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
    )
    message = route_pb2.RouteConfiguration.FromString(session.all_said[0].bodies["80"])
    assert [each.name for each in message.virtual_hosts] == ["a", "b"]
    assert not message.HasField("vhds")


def test_a_changed_host_brings_its_whole_route_configuration():
    run(
        sotw(*mesh("a", "b"), route("81")),
        recv(ROUTE, "80", "81"),
        sends(ROUTE, "80", "81"),
        acks(ROUTE, "80", "81"),
        changes(host("80/a", "b", v=2)),
        sends(ROUTE, "80"),
    )


def test_a_nack_for_a_type_never_watched_is_a_no_op():
    run(
        sotw(listener("l")),
        recv(LISTENER, nonce="x", error="no"),
        silent,
    )


def test_a_refused_version_is_not_sent_again():
    run(
        sotw(listener("l")),
        recv(LISTENER),
        sends(LISTENER, "l"),
        nacks(LISTENER, "Error adding/updating listener(s) l: no"),
        tells(Refused),
        silent,
    )


def test_versions_name_content_and_are_equal_on_every_replica():
    first, other = (run(sotw(*mesh("a")), recv(CLUSTER), sends(CLUSTER, "a")) for _ in range(2))
    assert first.all_said[0].version == other.all_said[0].version
    run(first, changes(cluster("a", 2)), sends(CLUSTER, "a"))
    assert first.all_said[1].version != first.all_said[0].version


def test_the_first_request_of_a_stream_is_answered_whatever_version_it_claims():
    """A refused response may be applied in part under the old version: only a full set makes sure."""
    first = run(sotw(cluster("a")), recv(CLUSTER), sends(CLUSTER, "a"))
    run(
        sotw(cluster("a")),
        recv(CLUSTER, version=first.all_said[0].version),
        sends(CLUSTER, "a"),
    )


def test_what_only_this_proxy_sees_is_in_its_full_set():
    run(
        sotw(cluster("a"), own=[cluster("inbound")]),
        recv(CLUSTER),
        sends(CLUSTER, "a", "inbound"),
        acks(CLUSTER),
        changes(cluster("inbound", 2), own=True),
        sends(CLUSTER, "a", "inbound"),
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
