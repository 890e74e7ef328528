"""On demand: a sidecar asks for the virtual host of a call, then its cluster, then its endpoints."""

from controlplane.snapshot.resource import Ref
from controlplane.snapshot.types import CLUSTER, ENDPOINT, ROUTE, VIRTUAL_HOST
from tests.xds.protocol.trace import Session, acks, changes, delta, recv, run, sends, silent
from tests.xds.views import cluster, endpoints, host, route


def on_demand(*resources) -> Session:
    session = delta(route("80"), *resources)
    return run(session, recv(ROUTE, "80"), sends(ROUTE, "80"), acks(ROUTE))


def test_a_host_asked_for_by_authority_is_answered_with_that_alias():
    run(
        on_demand(host("80/reviews", domains=["reviews", "reviews:80"])),
        recv(VIRTUAL_HOST, "80/reviews:80"),
        sends(VIRTUAL_HOST, "80/reviews", aliases={"80/reviews": ("80/reviews:80",)}),
    )


def test_two_authorities_of_one_host_are_two_aliases():
    run(
        on_demand(host("80/reviews", domains=["reviews", "reviews.ns"])),
        recv(VIRTUAL_HOST, "80/reviews", "80/reviews.ns"),
        sends(VIRTUAL_HOST, "80/reviews", aliases={"80/reviews": ("80/reviews", "80/reviews.ns")}),
    )


def test_an_unknown_authority_is_answered_with_an_empty_resource():
    run(
        on_demand(),
        recv(VIRTUAL_HOST, "80/nowhere"),
        sends(VIRTUAL_HOST, "80/nowhere", aliases={"80/nowhere": ("80/nowhere",)}, bodies={"80/nowhere": b""}),
    )


def test_an_unknown_authority_is_answered_again_when_its_host_appears():
    run(
        on_demand(),
        recv(VIRTUAL_HOST, "80/late"),
        sends(VIRTUAL_HOST, "80/late"),
        acks(VIRTUAL_HOST),
        changes(host("80/x", domains=["late"])),
        sends(VIRTUAL_HOST, "80/x", aliases={"80/x": ("80/late",)}),
    )


def test_a_host_that_was_asked_for_is_kept_up_to_date():
    run(
        on_demand(host("80/a"), host("80/b")),
        recv(VIRTUAL_HOST, "80/a"),
        sends(VIRTUAL_HOST, "80/a"),
        acks(VIRTUAL_HOST),
        changes(host("80/a", v=2), host("80/b", v=2)),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_an_authority_that_was_withdrawn_is_not():
    run(
        on_demand(host("80/a")),
        recv(VIRTUAL_HOST, "80/a"),
        sends(VIRTUAL_HOST, "80/a"),
        acks(VIRTUAL_HOST),
        recv(VIRTUAL_HOST, unsubscribe=["80/a"]),
        changes(host("80/a", v=2)),
        silent,
    )


def test_a_host_stays_while_another_authority_asks_for_it():
    run(
        on_demand(host("80/a", domains=["a", "a.ns"])),
        recv(VIRTUAL_HOST, "80/a", "80/a.ns"),
        sends(VIRTUAL_HOST, "80/a"),
        acks(VIRTUAL_HOST),
        recv(VIRTUAL_HOST, unsubscribe=["80/a"]),
        changes(host("80/a", v=2, domains=["a", "a.ns"])),
        sends(VIRTUAL_HOST, "80/a", aliases={"80/a": ("80/a.ns",)}),
    )


def test_a_host_asked_for_again_is_sent_again():
    run(
        on_demand(host("80/a")),
        recv(VIRTUAL_HOST, "80/a"),
        sends(VIRTUAL_HOST, "80/a"),
        acks(VIRTUAL_HOST),
        recv(VIRTUAL_HOST, "80/a"),
        sends(VIRTUAL_HOST, "80/a"),
    )


def test_a_cluster_hidden_from_the_wildcard_is_sent_when_it_is_asked_for_and_its_endpoints_too():
    session = delta(cluster("hidden"), endpoints("hidden"))
    session.view.hide(Ref(CLUSTER, "hidden"))
    run(
        session,
        recv(CLUSTER),
        sends(CLUSTER),
        acks(CLUSTER),
        recv(CLUSTER, "hidden"),
        sends(CLUSTER, "hidden"),
        recv(ENDPOINT, "hidden"),
        sends(ENDPOINT, "hidden"),
    )


def test_a_host_that_names_a_hidden_cluster_does_not_wait_for_it():
    """The proxy fetches it when it needs it."""
    session = delta(route("80"), cluster("hidden"), host("80/a"))
    session.view.hide(Ref(CLUSTER, "hidden"))
    run(
        session,
        recv(CLUSTER),
        sends(CLUSTER),
        acks(CLUSTER),
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        recv(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, "80/a"),
        acks(VIRTUAL_HOST),
        changes(host("80/a", "hidden", v=2)),
        sends(VIRTUAL_HOST, "80/a"),
    )
