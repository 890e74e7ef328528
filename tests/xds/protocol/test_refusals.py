"""NACKs: applied in part, traced to a culprit, quarantined; nothing else waits."""

import pytest

from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from controlplane.xds.protocol import nack
from controlplane.xds.protocol.commands import Refused
from controlplane.xds.protocol.quarantine import Quarantine
from controlplane.xds.protocol.status import Standing
from tests.xds.protocol.test_order import both, synced
from tests.xds.protocol.trace import (
    ENVOY,
    acks,
    acks_all,
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

BAD = "Error adding/updating cluster(s) bad: malformed IP address"


def standing(session, type_url):
    return next(each.standing for each in session.stream.status() if each.type_url == type_url)


@both
def test_the_rest_of_a_refused_response_is_sent_again_without_the_culprit(protocol):
    """Its good parts may be applied, but no later request of the proxy would say so."""
    session = run(protocol(cluster("a"), cluster("bad")), recv(CLUSTER), sends(CLUSTER, "a", "bad"))
    run(session, nacks(CLUSTER, BAD), sends(CLUSTER, "a"), tells(Refused), acks(CLUSTER), silent)


@both
def test_a_refusal_names_the_culprit_and_its_version(protocol):
    session = run(protocol(cluster("a"), cluster("bad")), recv(CLUSTER), sends(CLUSTER, "a", "bad"))
    nonce = session.all_said[0].nonce
    culprits = (("bad", cluster("bad").version),)
    run(session, nacks(CLUSTER, BAD), sends(CLUSTER, "a"), tells(Refused(CLUSTER, nonce, BAD, culprits)))


@both
def test_a_culprit_is_sent_again_when_it_changes(protocol):
    session = run(protocol(cluster("bad")), recv(CLUSTER), sends(CLUSTER, "bad"))
    run(session, nacks(CLUSTER, BAD), skips, acks_all, skips, changes(cluster("bad", 2)), sends(CLUSTER, "bad"))


@both
def test_the_last_good_version_stays(protocol):
    session = synced(protocol(*mesh("bad", "a")))
    run(session, changes(cluster("bad", 2)), skips, nacks(CLUSTER, BAD), skips)
    assert session.all_said[-1].type_url in {CLUSTER, ENDPOINT}
    last = next(said for said in reversed(session.all_said) if said.type_url == CLUSTER)
    assert last.bodies["bad"] == cluster("bad").body


def test_nobody_else_waits_for_a_refused_resource():
    session = synced(delta(*mesh("bad", "a")))
    run(
        session,
        changes(cluster("bad", 2), host("80/a", v=2)),
        sends(CLUSTER, "bad"),
        sends(ENDPOINT, "bad"),
        sends(VIRTUAL_HOST, "80/a"),
        nacks(CLUSTER, BAD),
        skips,
        changes(cluster("a", 2)),
        sends(CLUSTER, "a"),
        sends(ENDPOINT, "a"),
    )


def test_another_envoy_of_that_version_is_not_offered_it():
    quarantine = Quarantine()
    first = run(delta(cluster("a"), cluster("bad"), quarantine=quarantine), recv(CLUSTER), skips)
    run(first, nacks(CLUSTER, BAD), skips)
    second = delta(quarantine=quarantine, like=first)
    run(second, recv(CLUSTER), sends(CLUSTER, "a"), acks(CLUSTER), silent)


def test_another_envoy_gets_the_last_good_version():
    quarantine = Quarantine()
    first = run(delta(cluster("bad"), quarantine=quarantine), recv(CLUSTER), sends(CLUSTER, "bad"), acks(CLUSTER))
    run(first, changes(cluster("bad", 2)), sends(CLUSTER, "bad"), nacks(CLUSTER, BAD), skips)
    second = run(delta(quarantine=quarantine, like=first), recv(CLUSTER), sends(CLUSTER), sends(CLUSTER, "bad"))
    assert second.all_said[-1].bodies["bad"] == cluster("bad").body


def test_an_envoy_that_took_it_before_keeps_it():
    quarantine = Quarantine()
    first = run(delta(cluster("bad"), quarantine=quarantine), recv(CLUSTER), sends(CLUSTER, "bad"), acks(CLUSTER))
    second = run(delta(quarantine=quarantine, like=first), recv(CLUSTER), sends(CLUSTER, "bad"))
    run(second, nacks(CLUSTER, BAD), skips)
    run(first, recv(LISTENER), sends(LISTENER), silent)


def test_an_envoy_of_another_version_is_offered_it():
    quarantine = Quarantine()
    quarantine.add(cluster("bad"), "1.39.0", None)
    run(delta(cluster("bad"), quarantine=quarantine), recv(CLUSTER), sends(CLUSTER, "bad"))


def test_a_port_in_use_is_no_reason_to_withhold_it_from_others():
    quarantine = Quarantine()
    first = run(delta(listener("l"), quarantine=quarantine), recv(LISTENER), sends(LISTENER, "l"))
    error = "Error adding/updating listener(s) l: cannot bind '0.0.0.0:80': Permission denied"
    run(first, nacks(LISTENER, error), tells(Refused), silent)
    run(delta(quarantine=quarantine, like=first), recv(LISTENER), sends(LISTENER, "l"))


def test_a_culprit_nobody_names_is_found_by_halves():
    hosts = [host(f"80/h{i}") for i in range(8)]
    session = run(delta(route("80"), *hosts), recv(ROUTE, "80"), skips, recv(VIRTUAL_HOST), skips)
    run(session, acks(ROUTE))
    rounds = 0
    bad = "80/h5"
    while any(bad in said.names for said in session.unanswered):
        rounds += 1
        for said in list(session.unanswered):
            session.unanswered.remove(said)
            error = {"error": "Only unique values for domains are permitted"} if bad in said.names else {}
            recv(VIRTUAL_HOST, nonce=said.nonce, **error)(session)
    found = [each for each in session.others if isinstance(each, Refused) and each.culprits]
    assert [each.culprits[0][0] for each in found] == [bad]
    assert rounds <= 4
    run(session, skips, acks_all, skips)
    good = {name for said in session.all_said[2:] for name in said.names} - {"80/placeholder.invalid"}
    assert good == {each.name for each in hosts}


def test_two_culprits_are_both_found():
    session = run(delta(*(endpoints(f"e{i}") for i in range(8))), recv(ENDPOINT, *(f"e{i}" for i in range(8))), skips)
    bad = {"e1", "e6"}
    for _ in range(6):
        for said in list(session.unanswered):
            session.unanswered.remove(said)
            error = {"error": "malformed"} if bad & {*said.names} else {}
            recv(ENDPOINT, nonce=said.nonce, **error)(session)
    run(session, skips)
    found = {each.culprits[0][0] for each in session.others if isinstance(each, Refused) and each.culprits}
    assert found == bad
    assert not session.unanswered


def test_halves_are_tried_one_by_one_where_each_response_is_a_full_set():
    session = run(sotw(*(listener(f"l{i}") for i in range(4))), recv(LISTENER), skips)
    bad = "l2"
    for _ in range(12):
        if not session.unanswered:
            break
        assert len(session.unanswered) == 1
        said = session.unanswered.pop()
        error = {"error": "proto constraint validation failed"} if bad in said.names else {}
        recv(LISTENER, nonce=said.nonce, **error)(session)
    run(session, skips)
    found = [each.culprits[0][0] for each in session.others if isinstance(each, Refused) and each.culprits]
    assert found == [bad]
    assert set(session.all_said[-1].names) == {"l0", "l1", "l3"}


def test_a_response_under_way_with_the_culprit_in_it_blames_nobody_else():
    session = synced(sotw(*mesh("a")))
    run(session, changes(cluster("bad")), sends(CLUSTER, "a", "bad"), skips)
    run(session, changes(cluster("a", 2)), sends(CLUSTER, "a", "bad"), skips)
    run(session, nacks(CLUSTER, BAD), skips, nacks(CLUSTER, BAD), skips, acks_all, skips)
    culprits = [name for each in session.others if isinstance(each, Refused) for name, _ in each.culprits]
    assert culprits == ["bad"]
    last = next(said for said in reversed(session.all_said) if said.type_url == CLUSTER)
    assert last.bodies == {"a": cluster("a", 2).body}


def test_a_refusal_is_about_the_version_that_was_refused():
    """A newer one may be under way, or in use, by the time it is heard."""
    quarantine = Quarantine()
    session = run(delta(cluster("bad"), quarantine=quarantine), recv(CLUSTER), sends(CLUSTER, "bad"))
    run(session, changes(cluster("bad", 2)), sends(CLUSTER, "bad"), nacks(CLUSTER, BAD), silent)
    assert [each.version for each in quarantine.refusals()] == [cluster("bad").version]
    run(session, acks(CLUSTER), silent)


def test_an_unknown_name_is_present_when_it_has_to_be_removed():
    session = run(delta(cluster("a"), cluster("bad")), recv(CLUSTER), sends(CLUSTER, "a", "bad"))
    run(session, recv(LISTENER), nacks(CLUSTER, BAD), sends(CLUSTER, "a"), skips)
    run(session, acks_all, skips, changes(remove=[cluster("bad")]), sends(CLUSTER, removed=["bad"]))


@both
def test_a_route_to_a_refused_cluster_keeps_its_older_version(protocol):
    session = synced(protocol(*mesh("a")))
    run(session, changes(cluster("bad"), endpoints("bad"), host("80/a", "bad", v=2)), skips)
    run(session, nacks(CLUSTER, BAD), silent, passes(60), silent)


@both
def test_a_route_waits_for_a_good_cluster_of_a_refused_response(protocol):
    session = synced(protocol(*mesh("a")))
    listed = ("b", "bad") if protocol is delta else ("a", "b", "bad")
    run(
        session,
        changes(cluster("bad"), cluster("b"), endpoints("b"), host("80/a", "b", v=2)),
        sends(CLUSTER, *listed),
        sends(ENDPOINT, "b"),
        nacks(CLUSTER, BAD),
        sends(CLUSTER, *(("b",) if protocol is delta else ("a", "b"))),
        sends(ENDPOINT, "b"),
        acks(CLUSTER),
        sends(*((VIRTUAL_HOST, "80/a") if protocol is delta else (ROUTE, "80"))),
    )


def test_a_refused_response_of_removals_is_not_repeated_for_ever():
    session = run(delta(listener("l"), listener("m")), recv(LISTENER), sends(LISTENER, "l", "m"), acks(LISTENER))
    run(session, changes(remove=[listener("m")]), sends(LISTENER, removed=["m"]), nacks(LISTENER, "no"), silent)


def test_status_says_refused_until_the_next_ack():
    session = run(delta(cluster("a"), cluster("bad")), recv(CLUSTER), sends(CLUSTER, "a", "bad"))
    assert standing(session, CLUSTER) is Standing.PENDING
    run(session, nacks(CLUSTER, BAD), sends(CLUSTER, "a"))
    assert standing(session, CLUSTER) is Standing.REFUSED
    run(session, acks(CLUSTER))
    assert standing(session, CLUSTER) is Standing.WAITING  # the culprit is held back
    run(session, changes(cluster("bad", 2)), sends(CLUSTER, "bad"), acks(CLUSTER), shows(lambda _: True))
    assert standing(session, CLUSTER) is Standing.SYNCED


def test_quarantine_is_bounded():
    quarantine = Quarantine(kept=3)
    for i in range(5):
        quarantine.add(cluster(f"c{i}"), ENVOY, None)
    assert [each.name for each in quarantine.refusals()] == ["c2", "c3", "c4"]


def test_quarantine_keeps_a_last_good_version_it_knew():
    quarantine = Quarantine()
    quarantine.add(cluster("a", 2), ENVOY, cluster("a"))
    quarantine.add(cluster("a", 2), ENVOY, None)
    assert quarantine.last_good(cluster("a", 2), ENVOY) == cluster("a")


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        ("Error adding/updating cluster(s) a: no", ("a",)),
        ("Error adding/updating cluster(s) a: no, b: neither", ("a", "b")),
        ("Error adding/updating listener(s) b: one\na: other\n", ("a", "b")),
        ("Error adding/updating cluster(s) outbound|80||a: no", ()),
        ("malformed a: address", ()),
        ("Error adding/updating cluster(s) x: cannot find a: nothing", ()),
        ("", ()),
    ],
)
def test_the_names_in_an_error_are_those_envoy_lists(error, blamed):
    assert nack.culprits(error, ["a", "b"]) == blamed


def test_halves_hold_every_name_once():
    assert nack.halves(("a", "b", "c")) == (("a", "b"), ("c",))
    assert nack.halves(("a",)) == (("a",),)
    assert nack.halves(()) == ()


# A proxy that lies


def as_seen(quarantine: Quarantine, witness: str, **fields):
    return delta(quarantine=quarantine.of(witness), **fields)


def test_what_proxies_of_one_namespace_refuse_binds_them_alone():
    quarantine = Quarantine()
    first = delta(cluster("a"), cluster("bad"), quarantine=quarantine.of("shop"))
    liar = run(first, recv(CLUSTER), skips)
    run(liar, nacks(CLUSTER, BAD), skips)
    run(as_seen(quarantine, "shop", like=liar), recv(CLUSTER), sends(CLUSTER, "a"), acks(CLUSTER), silent)
    run(as_seen(quarantine, "bank", like=liar), recv(CLUSTER), sends(CLUSTER, "a", "bad"))


def test_what_proxies_of_two_namespaces_refuse_binds_all():
    quarantine = Quarantine()
    for witness in ("shop", "bank"):
        quarantine.of(witness).add(cluster("bad"), ENVOY, None)
    assert quarantine.of("third").holds(cluster("bad"), ENVOY)


def test_what_the_machine_s_own_proxies_refuse_binds_all():
    quarantine = Quarantine()
    quarantine.add(cluster("bad"), ENVOY, None)
    assert quarantine.of("shop").holds(cluster("bad"), ENVOY)


def test_nobody_chooses_what_others_are_served_instead():
    quarantine = Quarantine()
    quarantine.of("shop").add(cluster("a", 3), ENVOY, cluster("a", 2))
    quarantine.of("bank").add(cluster("a", 3), ENVOY, cluster("a", 1))
    assert quarantine.of("shop").last_good(cluster("a", 3), ENVOY) == cluster("a", 2)
    assert quarantine.of("bank").last_good(cluster("a", 3), ENVOY) == cluster("a", 1)
    assert quarantine.of("third").last_good(cluster("a", 3), ENVOY) in {cluster("a", 1), cluster("a", 2)}
