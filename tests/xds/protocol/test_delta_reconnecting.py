"""Delta: a proxy comes back and says what it has; only the difference travels."""

from collections.abc import Iterable

from controlplane.snapshot.resource import Resource
from controlplane.snapshot.routes import placeholder_host, with_vhds
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from tests.xds.protocol.trace import acks, changes, delta, nacks, passes, recv, run, sends, shows, silent, skips
from tests.xds.views import cluster, endpoints, host, listener, mesh, route, service


def having(*resources: Resource) -> dict[str, str]:
    return {each.name: (with_vhds(each) if each.type_url == ROUTE else each).version for each in resources}


def of(type_url: str, resources: Iterable[Resource]) -> list[Resource]:
    return [each for each in resources if each.type_url == type_url]


def everything(session, resources, *, but: Iterable[str] = ()):
    """All types of a mesh at once, as Envoy does after a reconnect."""
    for type_url in (CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST):
        known = [each for each in of(type_url, resources) if each.name not in but]
        names = [each.name for each in known] if type_url in {ENDPOINT, ROUTE} else ()
        if type_url == ROUTE and not names:
            continue
        recv(type_url, *names, initial=having(*known))(session)


def test_an_unchanged_proxy_is_sent_nothing():
    resources = mesh("a", "b", "c")
    session = delta(*resources)
    everything(session, resources)
    run(session, silent)


def test_afterwards_it_is_told_of_changes_like_any_other():
    resources = mesh("a", "b")
    session = delta(*resources)
    everything(session, resources)
    run(
        session,
        changes(*service("b", 2)),
        sends(CLUSTER, "b"),
        sends(ENDPOINT, "b"),
        sends(VIRTUAL_HOST, "80/b"),
    )


def test_what_changed_meanwhile_is_sent_alone():
    run(
        delta(cluster("a", 2), cluster("b")),
        recv(CLUSTER, initial=having(cluster("a"), cluster("b"))),
        sends(CLUSTER, "a"),
    )


def test_what_appeared_meanwhile_is_sent():
    run(
        delta(cluster("a"), cluster("b")),
        recv(CLUSTER, initial=having(cluster("a"))),
        sends(CLUSTER, "b"),
    )


def test_what_is_gone_is_removed():
    """istio #41494 leaked it."""
    run(
        delta(listener("l")),
        recv(LISTENER, initial=having(listener("l"), listener("gone"))),
        sends(LISTENER, removed=["gone"]),
    )


def test_a_named_resource_that_is_gone_is_removed():
    run(
        delta(),
        recv(ROUTE, "80", initial=having(route("80"))),
        passes(31),
        sends(ROUTE, removed=["80"]),
    )


def test_names_may_be_absent_from_the_subscription():
    """envoy #22418: what is in initial_resource_versions is subscribed, listed or not."""
    run(
        delta(endpoints("a", 2), endpoints("b")),
        recv(ENDPOINT, "b", initial=having(endpoints("a"), endpoints("b"))),
        sends(ENDPOINT, "a"),
        acks(ENDPOINT),
        changes(endpoints("a", 3)),
        sends(ENDPOINT, "a"),
    )


def test_a_name_that_is_subscribed_and_not_reported_is_sent():
    run(
        delta(endpoints("a"), endpoints("b")),
        recv(ENDPOINT, "a", "b", initial=having(endpoints("a"))),
        sends(ENDPOINT, "b"),
    )


def test_a_cluster_that_is_gone_waits_for_what_may_still_name_it():
    run(
        delta(listener("l", v=2)),
        recv(CLUSTER, initial=having(cluster("gone"))),
        silent,
        recv(LISTENER, initial=having(listener("l", "gone"))),
        sends(LISTENER, "l"),
        recv(ROUTE, "80", initial={}),
        sends(ROUTE, removed=["80"]),
        recv(VIRTUAL_HOST, initial={}),
        silent,
        acks(LISTENER),
        sends(CLUSTER, removed=["gone"]),
    )


def test_a_cluster_that_is_gone_does_not_wait_for_types_that_are_never_asked_for():
    run(
        delta(),
        recv(CLUSTER, initial=having(cluster("gone"))),
        silent,
        passes(31),
        sends(CLUSTER, removed=["gone"]),
    )


def test_endpoints_of_a_cluster_that_was_sent_follow_although_they_did_not_change():
    """envoy #33607: the cluster warms again, and asks for nothing."""
    run(
        delta(cluster("a", 2), endpoints("a"), endpoints("b"), cluster("b")),
        recv(CLUSTER, initial=having(cluster("a"), cluster("b"))),
        sends(CLUSTER, "a"),
        recv(ENDPOINT, "a", "b", initial=having(endpoints("a"), endpoints("b"))),
        sends(ENDPOINT, "a"),
    )


def test_if_clusters_carried_nothing_endpoints_carry_nothing():
    run(
        delta(cluster("a"), endpoints("a")),
        recv(CLUSTER, initial=having(cluster("a"))),
        recv(ENDPOINT, "a", initial=having(endpoints("a"))),
        silent,
    )


def test_all_endpoints_follow_when_all_clusters_were_sent():
    run(
        delta(cluster("a"), endpoints("a")),
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        recv(ENDPOINT, "a", initial=having(endpoints("a"))),
        sends(ENDPOINT, "a"),
    )


def test_hosts_that_are_gone_are_removed():
    resources = mesh("a", "b")
    left = [each for each in resources if each.name != "80/b"]
    session = delta(*left)
    everything(session, resources)
    run(session, sends(VIRTUAL_HOST, removed=["80/b"]))


def test_hosts_that_changed_are_sent_alone():
    resources = mesh("a", "b")
    session = delta(*resources, host("80/a", "a", v=2))
    everything(session, resources)
    run(session, sends(VIRTUAL_HOST, "80/a"))


def test_hosts_of_a_route_configuration_that_was_forgotten_come_with_it():
    """The proxy still reports the hosts it dropped; what counts is that it subscribes to the route configuration anew."""
    resources = mesh("a")
    session = delta(*resources)
    everything(session, resources, but=["80"])
    run(
        session,
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_a_changed_route_configuration_does_not_bring_its_hosts():
    run(
        delta(route("80", 2), host("80/a")),
        recv(ROUTE, "80", initial=having(route("80"))),
        sends(ROUTE, "80"),
        recv(VIRTUAL_HOST, initial=having(host("80/a"))),
        silent,
    )


def test_a_reported_placeholder_goes_when_there_is_a_host():
    run(
        delta(route("80"), host("80/a")),
        recv(ROUTE, "80", initial=having(route("80"))),
        recv(VIRTUAL_HOST, initial=having(placeholder_host("80"))),
        sends(VIRTUAL_HOST, "80/a", removed=["80/placeholder.invalid"]),
    )


def test_a_reported_placeholder_stays_as_long_as_there_is_none():
    run(
        delta(route("80")),
        recv(ROUTE, "80", initial=having(route("80"))),
        recv(VIRTUAL_HOST, initial=having(placeholder_host("80"))),
        silent,
        changes(host("80/a")),
        sends(VIRTUAL_HOST, "80/a", removed=["80/placeholder.invalid"]),
    )


def test_a_proxy_that_reports_no_host_at_all_gets_the_placeholder_of_an_empty_route_configuration():
    run(
        delta(route("80")),
        recv(ROUTE, "80", initial=having(route("80"))),
        recv(VIRTUAL_HOST, initial={}),
        sends(VIRTUAL_HOST, "80/placeholder.invalid"),
    )


def test_versions_are_equal_on_every_replica():
    first = run(delta(*mesh("a")), recv(CLUSTER), sends(CLUSTER, "a"))
    other = run(delta(*mesh("a")), recv(CLUSTER), sends(CLUSTER, "a"))
    assert first.all_said[0].versions == other.all_said[0].versions


def test_versions_are_at_most_16_characters():
    session = run(delta(*mesh("a")), recv(CLUSTER), skips, recv(LISTENER), skips, recv(ROUTE, "80"), skips)
    assert all(len(version) <= 16 for said in session.all_said for version in said.versions.values())


def test_what_an_interrupted_refusal_left_behind_is_removed_by_the_next_stream():
    """Good parts of a refused response are applied and not recorded: no later request names them."""
    first = run(
        delta(cluster("a"), cluster("bad", bad=True)),
        recv(CLUSTER),
        sends(CLUSTER, "a", "bad"),
        nacks(CLUSTER, "Error adding/updating cluster(s) bad: no"),
        sends(CLUSTER, "a"),
    )
    changed = first.view.apply(remove=[cluster("a")])
    first.scope.advance(changed)
    run(
        delta(like=first, doubts=first.stream.doubts()),
        recv(LISTENER),
        sends(LISTENER),
        recv(CLUSTER, initial={}),
        skips,
        shows(lambda session: "a" in session.stream._ledgers[CLUSTER].odd),
        passes(31),
        sends(CLUSTER, removed=["a"]),
    )


def test_a_big_proxy_reconnects():
    """An EDS reconnect request names everything twice: 5.5 MB at 40,000 clusters."""
    names = [f"outbound|9080|v2|service-{i:05}.namespace-{i % 40:02}.svc.cluster.local" for i in range(40_000)]
    resources = [endpoints(name) for name in names]
    session = delta(*resources)
    run(
        session,
        recv(ENDPOINT, *names, initial=having(*resources)),
        silent,
        shows(lambda session: session.stream.extent < 10),
    )
