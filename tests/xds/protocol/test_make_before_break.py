"""Nothing points at a cluster that cannot serve, and no cluster goes while something points at it."""

import pytest

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from controlplane.xds.protocol.commands import HoldEnded, Refused
from tests.xds.protocol.test_order import synced
from tests.xds.protocol.trace import (
    acks,
    changes,
    delta,
    nacks,
    passes,
    recv,
    run,
    sends,
    shows,
    silent,
    skips,
    sotw,
    tells,
)
from tests.xds.views import cluster, endpoints, host, listener, mesh, route

both = pytest.mark.parametrize("protocol", [delta, sotw])


def sends_routes(protocol, name="80/a"):
    return sends(VIRTUAL_HOST, name) if protocol is delta else sends(ROUTE, "80")


def acks_routes(protocol):
    return acks(VIRTUAL_HOST) if protocol is delta else acks(ROUTE, "80")


def sends_clusters(protocol, changed, all_of_them):
    return sends(CLUSTER, *(changed if protocol is delta else all_of_them))


@both
def test_a_route_waits_for_the_ack_of_its_new_cluster(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2)),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        silent,
        acks(CLUSTER),
        sends_routes(protocol),
    )


@both
def test_an_older_version_is_sent_again_while_the_new_one_waits(protocol):
    """Who asks again may have dropped it, and its cluster may never come: a listener would wait for ever."""
    session = synced(protocol(*mesh("a")))
    asked = (VIRTUAL_HOST, "80/a") if session.is_delta else (ROUTE, "80")
    seen = []

    def remembers(session):
        seen.append(session.said[0].bodies)
        return True

    run(
        session,
        recv(*asked),
        shows(remembers),
        sends_routes(protocol),
        acks_routes(protocol),
        changes(host("80/a", "b", v=2)),
        silent,
        recv(*asked),
        shows(lambda session: session.said[0].bodies == seen[0]),
        sends_routes(protocol),
        acks_routes(protocol),
        silent,
        changes(cluster("b"), endpoints("b")),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        silent,
        acks(CLUSTER),
        shows(lambda session: session.said[0].bodies != seen[0]),
        sends_routes(protocol),
    )


@both
def test_a_first_version_that_was_sent_before_its_cluster_is_sent_again(protocol):
    session = synced(protocol(*mesh("a"), route("81"), host("81/b", "nobody")))
    asked = (VIRTUAL_HOST, "81/b") if session.is_delta else (ROUTE, "81")
    run(session, recv(*asked), sends(*asked))


@both
def test_a_cluster_waits_for_the_ack_of_what_named_it(protocol):
    run(
        synced(protocol(*mesh("a", "b"))),
        changes(host("80/a", "b", v=2), remove=[cluster("a"), endpoints("a")]),
        sends_routes(protocol),
        silent,
        acks_routes(protocol),
        sends(CLUSTER, removed=["a"]) if protocol is delta else sends(CLUSTER, "b"),
    )


@both
def test_a_route_moves_from_an_old_cluster_to_a_new_one(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2), remove=[cluster("a"), endpoints("a")]),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        silent,
        acks(CLUSTER),
        sends_routes(protocol),
        silent,
        acks_routes(protocol),
        sends(CLUSTER, removed=["a"]) if protocol is delta else sends(CLUSTER, "b"),
    )


@both
def test_an_unacknowledged_route_keeps_both_of_its_clusters(protocol):
    """Which version the proxy uses is not known before the ACK."""
    run(
        synced(protocol(*mesh("a", "b", "c"))),
        changes(host("80/a", "b", v=2)),
        sends_routes(protocol),
        changes(host("80/a", "c", v=3)),
        sends_routes(protocol),
        changes(remove=[cluster("a"), cluster("b"), host("80/b")]),
        skips,
        shows(lambda session: {"a", "b"} <= session.stream._ledgers[CLUSTER].odd.keys()),
    )


@both
def test_a_hold_ends_10_seconds_after_the_cluster_was_sent_and_says_so(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2)),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        passes(9.9),
        silent,
        tells(),
        passes(0.2),
        sends_routes(protocol),
        tells(HoldEnded(*((VIRTUAL_HOST, "80/a") if protocol is delta else (ROUTE, "80")), ("b",))),
    )


@both
def test_what_happens_meanwhile_does_not_put_off_the_end_of_a_hold(protocol):
    """Found with a real Envoy: any event that was no ACK took the deadline back, and the hold never ended."""
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2)),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        changes(endpoints("a", 2)),
        sends(ENDPOINT, "a"),
        passes(10.1),
        sends_routes(protocol),
        tells(HoldEnded),
    )


def test_an_ack_speaks_for_the_responses_before_it():
    """Found with a real Envoy: while clusters warm it says nothing, and then acknowledges the last full set alone."""
    run(
        synced(sotw(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2)),
        sends(CLUSTER, "a", "b"),
        sends(ENDPOINT, "b"),
        changes(cluster("c"), endpoints("c")),
        sends(CLUSTER, "a", "b", "c"),
        sends(ENDPOINT, "c"),
        acks(CLUSTER, nth=1),
        sends_routes(sotw),
    )


def test_a_refusal_speaks_for_the_responses_before_it():
    """Which of them was refused nobody knows: what they brought is sent again, without the culprit."""
    run(
        synced(sotw(*mesh("a"))),
        changes(cluster("b"), endpoints("b")),
        sends(CLUSTER, "a", "b"),
        sends(ENDPOINT, "b"),
        changes(cluster("c"), endpoints("c")),
        sends(CLUSTER, "a", "b", "c"),
        sends(ENDPOINT, "c"),
        nacks(CLUSTER, "Error adding/updating cluster(s) b: no", nth=1),
        tells(Refused, Refused),
        sends(CLUSTER, "a", "c"),
        sends(ENDPOINT, "c"),
    )


def test_while_a_host_is_held_others_go_out():
    run(
        synced(delta(*mesh("a", "c"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2), host("80/c", "c", v=2)),
        sends(CLUSTER, "b"),
        sends(ENDPOINT, "b"),
        sends(VIRTUAL_HOST, "80/c"),
        acks(VIRTUAL_HOST),
        acks(CLUSTER),
        sends(VIRTUAL_HOST, "80/a"),
    )


@both
def test_a_listener_waits_for_its_new_cluster_too(protocol):
    run(
        synced(protocol(*mesh("a"), listener("tcp", "a"))),
        changes(cluster("b"), endpoints("b"), listener("tcp", "b", v=2)),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        silent,
        acks(CLUSTER),
        sends(LISTENER, *(("tcp",) if protocol is delta else ("l80", "tcp"))),
    )


def test_a_held_listener_stays_in_the_full_set_in_its_older_version():
    session = run(
        synced(sotw(*mesh("a"), listener("tcp", "a"))),
        changes(cluster("b"), endpoints("b"), listener("tcp", "b", v=2), listener("l80", v=2)),
        sends(CLUSTER, "a", "b"),
        sends(ENDPOINT, "b"),
        sends(LISTENER, "l80", "tcp"),
    )
    assert session.all_said[-1].bodies["tcp"] == listener("tcp", "a").body
    run(session, acks(LISTENER), acks(CLUSTER), sends(LISTENER, "l80", "tcp"))
    assert session.all_said[-1].bodies["tcp"] == listener("tcp", "b", v=2).body


def test_an_old_cluster_stays_in_the_full_set_until_nothing_names_it():
    session = run(
        synced(sotw(*mesh("a", "b"))),
        changes(host("80/a", "b", v=2), cluster("b", 2), remove=[cluster("a"), endpoints("a")]),
        sends(CLUSTER, "a", "b"),
        sends(ENDPOINT, "b"),
        sends(ROUTE, "80"),
    )
    assert session.all_said[-3].bodies["a"] == cluster("a").body


@both
def test_a_route_to_a_cluster_missing_by_definition_keeps_its_older_version(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(host("80/a", "nowhere", v=2)),
        silent,
        passes(3600),
        silent,
        changes(cluster("nowhere"), endpoints("nowhere")),
        sends_clusters(protocol, ["nowhere"], ["a", "nowhere"]),
        sends(ENDPOINT, "nowhere"),
        acks(CLUSTER),
        sends_routes(protocol),
    )


@both
def test_its_old_cluster_is_kept_with_it(protocol):
    run(
        synced(protocol(*mesh("a", "b"))),
        changes(host("80/a", "nowhere", v=2), remove=[cluster("a"), endpoints("a")]),
        silent,
        passes(3600),
        silent,
    )


@both
def test_a_new_proxy_gets_it_and_answers_503(protocol):
    session = protocol(*mesh("a"), host("80/a", "nowhere", v=2))
    run(
        session,
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        recv(ENDPOINT, "a"),
        sends(ENDPOINT, "a"),
        acks(CLUSTER),
        acks(ENDPOINT, *(() if protocol is delta else ("a",))),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
    )
    if protocol is delta:
        run(session, recv(VIRTUAL_HOST), sends(VIRTUAL_HOST, "80/a"))


@both
def test_a_new_host_waits_for_the_cluster_that_comes_with_it(protocol):
    """It may take its requests from a wildcard host that served them so far."""
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/b", "b")),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        silent,
        acks(CLUSTER),
        sends_routes(protocol, "80/b"),
    )


def test_a_new_host_does_not_wait_for_a_cluster_that_may_never_be_warm():
    run(
        synced(delta(*mesh("a"))),
        changes(cluster("d", dns=True), host("80/d", "d")),
        sends(CLUSTER, "d"),
        sends(VIRTUAL_HOST, "80/d"),
    )


def test_a_changed_host_waits_for_it_10_seconds():
    run(
        synced(delta(*mesh("a"))),
        changes(cluster("d", dns=True), host("80/a", "d", v=2)),
        sends(CLUSTER, "d"),
        passes(9.9),
        silent,
        passes(0.2),
        sends(VIRTUAL_HOST, "80/a"),
        tells(HoldEnded),
    )


@both
def test_a_changed_route_waits_for_the_secret_of_its_cluster(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("s", secret="missing"), host("80/a", "s", v=2)),
        silent,
        passes(3600),
        silent,
    )


@both
def test_a_change_that_was_taken_back_while_held_is_never_sent(protocol):
    run(
        synced(protocol(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2)),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        changes(host("80/a", "a", v=1)),
        acks(CLUSTER),
        silent,
    )


@both
def test_a_cluster_that_comes_back_while_it_is_kept_is_not_sent_again(protocol):
    run(
        synced(protocol(*mesh("a", "b"))),
        changes(host("80/a", "b", v=2), remove=[cluster("a")]),
        sends_routes(protocol),
        changes(cluster("a")),
        silent,
        acks_routes(protocol),
        silent,
    )


@both
def test_a_route_whose_clusters_are_all_there_does_not_wait(protocol):
    run(
        synced(protocol(*mesh("a", "b"))),
        changes(host("80/a", "a", "b", v=2)),
        sends_routes(protocol),
    )


@both
def test_a_changed_cluster_holds_nothing_up(protocol):
    """Envoy serves with the old one until the new one is warm."""
    run(
        synced(protocol(*mesh("a", "b"))),
        changes(cluster("b", 2), host("80/a", "b", v=2)),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        sends(ENDPOINT, "b"),
        sends_routes(protocol),
    )


@both
def test_a_cluster_removed_and_added_anew_is_waited_for_anew(protocol):
    run(
        synced(protocol(*mesh("a"), cluster("b"), endpoints("b"))),
        changes(remove=[cluster("b"), endpoints("b")]),
        skips,
        changes(cluster("b", 2), endpoints("b", 2), host("80/a", "b", v=2)),
        sends_clusters(protocol, ["b"], ["a", "b"]),
        skips,
        shows(lambda session: bool(session.stream._ledgers[VIRTUAL_HOST if protocol is delta else ROUTE].parked)),
    )


def test_a_held_host_of_an_unsubscribed_route_configuration_is_forgotten():
    run(
        synced(delta(*mesh("a"))),
        changes(cluster("b"), endpoints("b"), host("80/a", "b", v=2)),
        sends(CLUSTER, "b"),
        sends(ENDPOINT, "b"),
        recv(ROUTE, unsubscribe=["80"]),
        acks(CLUSTER),
        silent,
    )


def test_a_route_configuration_stays_while_a_listener_names_it():
    run(
        synced(delta(listener("l80", rds="80"), route("80"), host("80/a"))),
        changes(listener("l80", rds="81", v=2), route("81"), host("81/a"), remove=[route("80"), host("80/a")]),
        sends(LISTENER, "l80"),
        silent,
        acks(LISTENER),
        sends(ROUTE, removed=["80"]),
    )


def test_a_domain_of_a_host_that_waits_is_nobody_elses_yet():
    """The table would have it twice, and Envoy refuse it."""
    run(
        synced(delta(*mesh("a"), host("80/old", "a", domains=["x"]))),
        changes(
            cluster("b"), endpoints("b"), host("80/old", "b", v=2, domains=["y"]), host("80/new", "a", domains=["x"])
        ),
        sends(CLUSTER, "b"),
        sends(ENDPOINT, "b"),
        silent,
        acks(CLUSTER),
        sends(VIRTUAL_HOST, "80/new", "80/old"),
    )


def test_other_hosts_do_not_wait_for_a_domain_that_is_not_theirs():
    run(
        synced(delta(*mesh("a"), host("80/old", "a", domains=["x"]))),
        changes(
            cluster("b"), endpoints("b"), host("80/old", "b", v=2, domains=["y"]), host("80/new", "a", domains=["z"])
        ),
        sends(CLUSTER, "b"),
        sends(ENDPOINT, "b"),
        sends(VIRTUAL_HOST, "80/new"),
        acks(VIRTUAL_HOST),
        acks(CLUSTER),
        sends(VIRTUAL_HOST, "80/old"),
    )


def test_who_waits_for_what_may_never_come_gives_its_domains_up():
    """Else a rule about a missing destination would keep another host out for ever."""
    run(
        synced(delta(*mesh("a"), host("80/old", "a", domains=["x"]))),
        changes(host("80/old", "missing", v=2, domains=["y"])),
        silent,
        changes(host("80/new", "a", domains=["x"])),
        sends(VIRTUAL_HOST, "80/new", "80/old"),
    )
