"""Each VHDS response makes Envoy rebuild a table: a big one is not rebuilt more than five times a second."""

import pytest

from controlplane.snapshot.types import ROUTE, VIRTUAL_HOST
from tests.xds.protocol.trace import Session, acks_all, changes, delta, passes, recv, run, sends, silent, skips
from tests.xds.views import host, route


@pytest.fixture
def big() -> Session:
    session = delta(route("80"), *(host(f"80/h{i:04}") for i in range(1100)))
    run(session, recv(ROUTE, "80"), skips, recv(VIRTUAL_HOST), skips, acks_all, skips)
    return run(session, passes(1))


def test_a_first_change_leaves_at_once(big):
    run(big, changes(host("80/h0001", v=2)), sends(VIRTUAL_HOST, "80/h0001"))


def test_changes_that_follow_are_merged_into_one_response(big):
    run(big, changes(host("80/h0001", v=2)), sends(VIRTUAL_HOST, "80/h0001"))
    for i in range(2, 9):
        run(big, passes(0.02), changes(host(f"80/h000{i}", v=2)), silent)
    run(big, passes(0.1), sends(VIRTUAL_HOST, *(f"80/h000{i}" for i in range(2, 9))))


def test_there_are_about_five_responses_a_second(big):
    before = len(big.all_said)
    for v in range(2, 102):
        run(big, passes(0.01), skips, changes(host("80/h0001", v=v)), skips)
    assert 5 <= len(big.all_said) - before <= 6


def test_removals_are_paced_with_the_rest(big):
    run(big, changes(host("80/h0001", v=2)), sends(VIRTUAL_HOST, "80/h0001"))
    run(big, changes(remove=[host("80/h0002")]), silent)
    run(big, passes(0.25), sends(VIRTUAL_HOST, removed=["80/h0002"]))


def test_a_question_of_the_proxy_is_answered_at_once(big):
    run(big, changes(host("80/h0001", v=2)), sends(VIRTUAL_HOST, "80/h0001"))
    run(big, recv(VIRTUAL_HOST, "80/h0002"), sends(VIRTUAL_HOST, "80/h0002"))


def test_other_types_do_not_wait(big):
    run(big, changes(host("80/h0001", v=2)), sends(VIRTUAL_HOST, "80/h0001"))
    run(big, changes(route("80", 2), host("80/h0002", v=2)), sends(ROUTE, "80"), silent)


def test_a_small_proxy_is_not_paced():
    session = delta(route("80"), *(host(f"80/h{i:04}") for i in range(1000)))
    run(session, recv(ROUTE, "80"), skips, recv(VIRTUAL_HOST), skips, acks_all, skips)
    for v in range(2, 12):
        run(session, changes(host("80/h0001", v=v)), sends(VIRTUAL_HOST, "80/h0001"))
