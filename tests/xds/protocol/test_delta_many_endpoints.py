"""Delta: thousands of endpoints asked for at once, as Envoy does after clusters came."""

from controlplane.snapshot.resource import Ref, resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT
from tests.xds.protocol.trace import acks, changes, delta, drains, recv, run, sends, silent, skips, stalls
from tests.xds.views import cluster, endpoints

NAMES = [f"c{number:04}" for number in range(300)]
ALL = [endpoints(name) for name in NAMES]


def test_many_names_are_answered_in_one_response():
    run(
        delta(*ALL),
        recv(ENDPOINT, *NAMES),
        sends(ENDPOINT, *NAMES),
        acks(ENDPOINT),
        silent,
    )


def test_many_more_names_on_the_same_stream_are_answered_together_and_alone():
    more = [f"d{number:04}" for number in range(300)]
    run(
        delta(*ALL, *(endpoints(name) for name in more)),
        recv(ENDPOINT, *NAMES),
        sends(ENDPOINT, *NAMES),
        recv(ENDPOINT, *more),
        sends(ENDPOINT, *more),
        changes(endpoints("d0007", 2)),
        sends(ENDPOINT, "d0007"),
        changes(endpoints("c0007", 2)),
        sends(ENDPOINT, "c0007"),
    )


def test_many_names_asked_for_again_are_all_sent_again():
    """ "The client may have forgotten" them."""
    run(
        delta(*ALL),
        recv(ENDPOINT, *NAMES),
        sends(ENDPOINT, *NAMES),
        acks(ENDPOINT),
        recv(ENDPOINT, *NAMES),
        sends(ENDPOINT, *NAMES),
        acks(ENDPOINT),
        silent,
    )


def test_among_many_names_those_that_do_not_exist_are_said_to_be_gone():
    run(
        delta(*ALL),
        recv(ENDPOINT, *NAMES, "nobody"),
        sends(ENDPOINT, *NAMES),
        sends(ENDPOINT, removed=["nobody"]),
        changes(endpoints("nobody")),
        sends(ENDPOINT, "nobody"),
    )


def test_many_names_come_with_what_changed_while_the_socket_was_busy():
    run(
        delta(cluster("a"), *ALL),
        stalls,
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        recv(ENDPOINT, *NAMES),
        changes(endpoints("c0005", 2)),
        changes(remove=[Ref(ENDPOINT, "c0006")]),
        drains,
        sends_all_but("c0006"),
        drains,
        silent,
    )


def test_a_name_unsubscribed_meanwhile_is_not_sent():
    run(
        delta(cluster("a"), *ALL),
        stalls,
        recv(CLUSTER),
        sends(CLUSTER, "a"),
        recv(ENDPOINT, *NAMES),
        recv(ENDPOINT, unsubscribe=["c0005"]),
        drains,
        sends_all_but("c0005"),
        drains,
        changes(endpoints("c0005", 2)),
        silent,
    )


def sends_all_but(left_out: str):
    return sends(ENDPOINT, *(name for name in NAMES if name != left_out))


def test_endpoints_of_new_clusters_of_a_first_sync_wait_to_be_asked_for():
    """Envoy asks by itself for the endpoints of clusters it did not know; unasked they would be sent twice."""
    clusters = [resource(CLUSTER, name, f"cluster {name} {'.' * 8192}".encode()) for name in NAMES]
    session = run(delta(*clusters, *ALL), stalls, recv(CLUSTER), skips, recv(ENDPOINT, *NAMES[:100]), drains, skips)
    while session.writing:
        session.drain()
    sent = [name for said in session.all_said if said.type_url == ENDPOINT for name in said.names]
    assert sorted(sent) == NAMES[:100]
