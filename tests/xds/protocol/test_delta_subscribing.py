"""Delta: what a request subscribes to, and what the answer has to be."""

from controlplane.snapshot.resource import Ref
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST
from controlplane.xds.protocol.commands import Close
from tests.xds.protocol.trace import acks, changes, delta, recv, run, sends, shows, silent, tells
from tests.xds.views import cluster, endpoints, listener, mesh, route, secret, service


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


def test_what_did_not_change_is_not_sent():
    run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        changes(cluster("a")),
        silent,
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


def test_a_type_nobody_asked_for_is_not_sent():
    run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        changes(listener("l")),
        silent,
    )


def test_a_name_subscribed_later_is_sent():
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        recv(ENDPOINT, "b"),
        sends(ENDPOINT, "b"),
    )


def test_a_name_subscribed_again_is_sent_again():
    """The client may have forgotten."""
    run(
        delta(endpoints("a")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
    )


def test_a_star_subscribed_again_brings_everything_again():
    run(
        delta(cluster("a"), cluster("b")),
        recv(CLUSTER, "*"),
        sends(CLUSTER, "a", "b"),
        acks(CLUSTER),
        recv(CLUSTER, "*"),
        sends(CLUSTER, "a", "b"),
    )


def test_a_name_that_does_not_exist_is_answered_as_removed():
    run(
        delta(),
        recv(ROUTE, "80"),
        sends(ROUTE, removed=["80"]),
    )


def test_a_name_that_does_not_exist_is_remembered_and_sent_when_it_appears():
    run(
        delta(),
        recv(ROUTE, "80"),
        sends(ROUTE, removed=["80"]),
        acks(ROUTE),
        changes(route("80")),
        sends(ROUTE, "80"),
    )


def test_endpoints_that_do_not_exist_are_remembered_too():
    """go-control-plane PR 488: the client must not drop the name for good."""
    run(
        delta(),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, removed=["a"]),
        acks(ENDPOINT),
        changes(endpoints("a")),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        changes(endpoints("a", 2)),
        sends(ENDPOINT, "a"),
    )


def test_found_and_missing_names_share_one_answer():
    run(
        delta(secret("s")),
        recv(SECRET, "s", "t"),
        sends(SECRET, "s", removed=["t"]),
    )


def test_an_unsubscribed_name_is_not_sent_any_more():
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a", "b"),
        sends(ENDPOINT, "a", "b"),
        acks(ENDPOINT),
        recv(ENDPOINT, unsubscribe=["a"]),
        silent,
        changes(endpoints("a", 2), endpoints("b", 2)),
        sends(ENDPOINT, "b"),
    )


def test_after_the_last_name_is_unsubscribed_an_empty_list_means_nothing():
    """Not "everything": the legacy wildcard ended with the first name."""
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        recv(ENDPOINT, unsubscribe=["a"]),
        recv(ENDPOINT),
        silent,
        changes(endpoints("b", 2)),
        silent,
    )


def test_a_legacy_wildcard_goes_on_beside_a_name():
    run(
        delta(cluster("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        recv(CLUSTER, "x"),
        sends(CLUSTER, removed=["x"]),
        acks(CLUSTER),
        changes(cluster("b")),
        sends(CLUSTER, "b"),
    )


def test_a_wildcard_ends_when_the_star_is_unsubscribed():
    run(
        delta(cluster("a"), cluster("b")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b"),
        acks(CLUSTER),
        recv(CLUSTER, "a"),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        recv(CLUSTER, unsubscribe=["*"]),
        changes(cluster("a", 2), cluster("b", 2)),
        sends(CLUSTER, "a"),
    )


def test_unsubscribing_a_name_under_a_wildcard_is_answered_with_the_resource():
    run(
        delta(cluster("a"), cluster("b")),
        recv(CLUSTER, "*", "a"),
        sends(CLUSTER, "a", "b"),
        acks(CLUSTER),
        recv(CLUSTER, unsubscribe=["a"]),
        sends(CLUSTER, "a"),
    )


def test_unsubscribing_a_missing_name_under_a_wildcard_is_answered_as_removed():
    run(
        delta(cluster("a")),
        recv(CLUSTER, "*", "x"),
        sends(CLUSTER, "a"),
        sends(CLUSTER, removed=["x"]),
        acks(CLUSTER),
        recv(CLUSTER, unsubscribe=["x"]),
        sends(CLUSTER, removed=["x"]),
    )


def test_a_name_hidden_from_the_wildcard_is_served_to_who_asks_for_it():
    session = delta(cluster("a"), cluster("hidden"))
    session.view.hide(Ref(CLUSTER, "hidden"))
    run(
        session,
        recv(CLUSTER, "*"),
        sends(CLUSTER, "a"),
        acks(CLUSTER),
        recv(CLUSTER, "hidden"),
        sends(CLUSTER, "hidden"),
        acks(CLUSTER),
        changes(cluster("hidden", 2)),
        sends(CLUSTER, "hidden"),
    )


def test_unsubscribing_a_hidden_name_is_answered_as_removed():
    session = delta(cluster("a"), cluster("hidden"))
    session.view.hide(Ref(CLUSTER, "hidden"))
    run(
        session,
        recv(CLUSTER, "*", "hidden"),
        sends(CLUSTER, "a"),
        sends(CLUSTER, "hidden"),
        acks(CLUSTER),
        acks(CLUSTER),
        recv(CLUSTER, unsubscribe=["hidden"]),
        sends(CLUSTER, removed=["hidden"]),
        acks(CLUSTER),
        changes(cluster("hidden", 2)),
        silent,
    )


def test_every_type_may_be_asked_for_by_name():
    run(
        delta(*mesh("a"), secret("s")),
        recv(CLUSTER, "a"),
        sends(CLUSTER, "a"),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(CLUSTER),
        acks(ENDPOINT),
        recv(SECRET, "s"),
        sends(SECRET, "s"),
        recv(LISTENER, "l80"),
        sends(LISTENER, "l80"),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        recv(VIRTUAL_HOST, "80/a"),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_a_type_we_have_nothing_of_is_answered_so_that_nobody_waits():
    run(
        delta(),
        recv("type.googleapis.com/envoy.service.runtime.v3.Runtime", "rtds"),
        sends("type.googleapis.com/envoy.service.runtime.v3.Runtime", removed=["rtds"]),
    )


def test_too_many_types_end_the_stream():
    session = delta()
    types = [f"type.googleapis.com/x{i}" for i in range(40)]
    for each in types[:26]:
        run(session, recv(each, "n"), sends(each, removed=["n"]))
    run(session, recv(types[26], "n"), tells(Close))


def test_several_changes_of_one_type_travel_together():
    run(
        delta(cluster("a"), cluster("b"), cluster("c")),
        recv(CLUSTER),
        sends(CLUSTER, "a", "b", "c"),
        acks(CLUSTER),
        changes(cluster("a", 2), cluster("c", 2)),
        sends(CLUSTER, "a", "c"),
    )


def test_thousands_of_names_are_kept_as_everything_but_a_few():
    names = [f"c{i:04}" for i in range(3000)]
    run(
        delta(*map(endpoints, names)),
        recv(ENDPOINT, *names[1:]),
        sends(ENDPOINT, *names[1:]),
        acks(ENDPOINT),
        shows(lambda session: session.stream.extent < 10),
        changes(endpoints(names[0], 2)),
        silent,
        changes(endpoints(names[1], 2)),
        sends(ENDPOINT, names[1]),
        acks(ENDPOINT),
        recv(ENDPOINT, names[0], unsubscribe=[names[2]]),
        sends(ENDPOINT, names[0]),
        acks(ENDPOINT),
        changes(endpoints(names[2], 2), endpoints("new")),
        silent,
        recv(ENDPOINT, "new"),
        sends(ENDPOINT, "new"),
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
