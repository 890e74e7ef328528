"""VHDS: one wildcard for all route configurations of a stream, asked for once; the rest is the server's to know."""

from controlplane.snapshot.types import LISTENER, ROUTE, VIRTUAL_HOST
from tests.xds.protocol.trace import (
    Session,
    acks,
    changes,
    delta,
    nacks,
    recv,
    run,
    sends,
    shows,
    silent,
    skips,
    stalls,
    tells,
)
from tests.xds.protocol.trace import acks_all as acks_everything
from tests.xds.views import cluster, host, listener, mesh, route


def with_hosts(*resources, routes=("80",)) -> Session:
    """A stream that subscribed to route configurations and to virtual hosts, and has all of them."""
    session = delta(*resources)
    return run(session, recv(ROUTE, *routes), sends(ROUTE, *routes), recv(VIRTUAL_HOST), skips, acks_everything, skips)


def test_hosts_wait_for_the_first_vhds_request():
    run(
        delta(route("80"), host("80/a")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        acks(ROUTE),
        silent,
        recv(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_hosts_of_route_configurations_nobody_subscribed_to_are_not_sent():
    run(
        delta(route("80"), route("81"), host("80/a"), host("81/a")),
        recv(ROUTE, "81"),
        sends(ROUTE, "81"),
        recv(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, "81/a"),
        acks(VIRTUAL_HOST),
        changes(host("80/b"), host("81/b")),
        sends(VIRTUAL_HOST, "81/b"),
    )


def test_hosts_of_a_later_route_configuration_follow_it_at_once():
    """It brings an RDS request, and no VHDS request."""
    run(
        with_hosts(route("80"), route("81"), host("80/a"), host("81/a"), host("81/b")),
        recv(ROUTE, "81"),
        sends(ROUTE, "81"),
        sends(VIRTUAL_HOST, "81/a", "81/b"),
    )


def test_hosts_follow_every_subscription_whatever_was_sent_before():
    run(
        with_hosts(route("80"), host("80/a")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_hosts_are_forgotten_with_their_route_configuration():
    run(
        with_hosts(route("80"), host("80/a")),
        recv(ROUTE, unsubscribe=["80"]),
        silent,
        changes(host("80/a", v=2), host("80/b")),
        silent,
    )


def test_a_drained_listener_that_comes_back_gets_its_hosts_again():
    run(
        with_hosts(route("80"), host("80/a")),
        recv(ROUTE, unsubscribe=["80"]),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_a_changed_route_configuration_does_not_bring_its_hosts():
    run(
        with_hosts(route("80"), host("80/a")),
        changes(route("80", 2)),
        sends(ROUTE, "80"),
        silent,
    )


def test_a_changed_host_travels_alone():
    run(
        with_hosts(*mesh("a", "b", "c")),
        changes(host("80/b", "a", v=2)),
        sends(VIRTUAL_HOST, "80/b"),
    )


def test_a_removed_host_is_removed():
    run(
        with_hosts(route("80"), host("80/a"), host("80/b")),
        changes(remove=[host("80/a")]),
        sends(VIRTUAL_HOST, removed=["80/a"]),
    )


def test_a_domain_moves_in_one_response():
    run(
        with_hosts(route("80"), host("80/a"), host("80/b")),
        changes(host("80/b", domains=["a", "b"]), remove=[host("80/a")]),
        sends(VIRTUAL_HOST, "80/b", removed=["80/a"]),
    )


def test_changes_of_several_hosts_are_one_rebuild():
    run(
        with_hosts(*mesh("a", "b", "c")),
        changes(host("80/a", v=2), host("80/b", v=2), host("80/c", v=2)),
        sends(VIRTUAL_HOST, "80/a", "80/b", "80/c"),
    )


def test_a_route_configuration_without_hosts_gets_a_placeholder():
    run(
        delta(route("80")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        recv(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, "80/placeholder.invalid"),
    )


def test_the_first_host_replaces_the_placeholder_in_one_response():
    run(
        with_hosts(route("80")),
        changes(host("80/a")),
        sends(VIRTUAL_HOST, "80/a", removed=["80/placeholder.invalid"]),
    )


def test_a_route_configuration_that_loses_its_last_host_needs_no_placeholder():
    """Its listeners are open, and an empty table answers 404."""
    run(
        with_hosts(route("80"), host("80/a")),
        changes(remove=[host("80/a")]),
        sends(VIRTUAL_HOST, removed=["80/a"]),
        acks(VIRTUAL_HOST),
        silent,
    )


def test_when_the_only_host_is_refused_the_placeholder_takes_its_place():
    run(
        delta(route("80"), host("80/a", bad=True)),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        recv(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, "80/a"),
        nacks(VIRTUAL_HOST, "duplicate domain"),
        sends(VIRTUAL_HOST, "80/placeholder.invalid"),
        tells(object),
        acks(VIRTUAL_HOST),
        changes(host("80/a")),
        sends(VIRTUAL_HOST, "80/a"),
        acks(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, removed=["80/placeholder.invalid"]),
    )


def test_a_route_configuration_that_is_gone_takes_its_hosts_along():
    """Connections that drain still use the table: hosts are not removed one by one from under them."""
    run(
        with_hosts(listener("l", rds="80"), route("80"), host("80/a")),
        recv(LISTENER),
        sends(LISTENER, "l"),
        acks(LISTENER),
        changes(remove=[listener("l"), route("80"), host("80/a")]),
        sends(LISTENER, removed=["l"]),
        acks(LISTENER),
        sends(ROUTE, removed=["80"]),
        recv(ROUTE, unsubscribe=["80"]),
        silent,
        shows(lambda session: not session.stream._ledgers[VIRTUAL_HOST].odd),
    )


def test_a_route_configuration_that_returns_brings_its_hosts():
    run(
        with_hosts(route("80"), host("80/a")),
        changes(remove=[route("80"), host("80/a")]),
        sends(ROUTE, removed=["80"]),
        acks(ROUTE),
        changes(route("80"), host("80/a")),
        sends(ROUTE, "80"),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_hosts_from_before_a_route_configuration_went_away_are_removed_before_it_gets_new_ones():
    """Envoy ignores the removal of a table that a draining listener uses, and two hosts with one domain break it."""
    run(
        with_hosts(route("80"), host("80/a"), host("80/b")),
        changes(remove=[route("80"), host("80/a"), host("80/b")]),
        sends(ROUTE, removed=["80"]),
        acks(ROUTE),
        changes(route("80"), host("80/b"), host("80/c")),
        sends(ROUTE, "80"),
        sends(VIRTUAL_HOST, removed=["80/a"]),
        sends(VIRTUAL_HOST, "80/b", "80/c"),
    )


def test_hosts_of_a_route_configuration_that_drained_are_not_removed_again():
    run(
        with_hosts(route("80"), host("80/a")),
        changes(remove=[route("80"), host("80/a")]),
        sends(ROUTE, removed=["80"]),
        acks(ROUTE),
        recv(ROUTE, unsubscribe=["80"]),
        changes(route("80"), host("80/c")),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        sends(VIRTUAL_HOST, "80/c"),
    )


def test_a_route_configuration_asked_for_before_it_exists_brings_its_hosts():
    run(
        with_hosts(route("80"), host("80/a")),
        recv(ROUTE, "81"),
        sends(ROUTE, removed=["81"]),
        acks(ROUTE),
        changes(route("81"), host("81/a")),
        sends(ROUTE, "81"),
        sends(VIRTUAL_HOST, "81/a"),
    )


def test_thousands_of_hosts_cost_a_stream_nothing_to_remember():
    names = [f"80/h{i:04}" for i in range(3000)]
    session = delta(route("80"), *map(host, names))
    run(session, recv(ROUTE, "80"), sends(ROUTE, "80"), recv(VIRTUAL_HOST), skips)
    assert [name for said in session.all_said[1:] for name in said.names] == names
    run(session, acks_everything, shows(lambda session: session.stream.extent < 10))


def test_a_host_that_appears_while_the_first_hosts_travel_is_not_lost():
    names = [f"80/h{i:04}" for i in range(200)]
    bulky = [host(name, domains=[f"{name}-{i}.example.com" for i in range(400)]) for name in names]
    session = delta(route("80"), *bulky)
    run(session, recv(ROUTE, "80"), sends(ROUTE, "80"))
    run(session, stalls, recv(VIRTUAL_HOST), skips)
    first = session.all_said[-1]
    early, late = "80/h0000-new", "80/h0199-new"
    assert early < first.names[-1] < late
    run(session, changes(host(early), host(late), remove=[bulky[1], bulky[198]]))
    session.slow = False
    session.drain()
    run(session, skips)
    said = session.all_said[2:]
    sent = [name for each in said for name in each.names]
    assert sorted([*first.names, *sent]) == sorted({*names, early, late} - {names[198]})
    assert [name for each in said for name in each.removed] == [names[1]]


def test_hosts_name_clusters_that_need_not_exist_on_a_stream_without_clusters():
    run(
        with_hosts(route("80"), host("80/a")),
        changes(host("80/a", "nowhere", v=2)),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_hosts_of_two_route_configurations_do_not_mix():
    run(
        with_hosts(route("80"), route("80/x"), host("80/a"), host("80/x/a"), cluster("c"), routes=("80", "80/x")),
        recv(ROUTE, unsubscribe=["80"]),
        changes(host("80/a", v=2), host("80/x/a", v=2)),
        sends(VIRTUAL_HOST, "80/x/a"),
    )
