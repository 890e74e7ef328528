"""Resources with a time to live: a fault that is being injected ends by itself when the control plane dies."""

import pytest

from controlplane.snapshot.types import ROUTE, VIRTUAL_HOST
from tests.xds.protocol.trace import acks, changes, delta, passes, recv, run, sends, silent, skips
from tests.xds.views import host, route


@pytest.fixture
def faulty():
    session = delta(route("80"), host("80/a"), host("80/fault", ttl=60.0))
    return run(
        session,
        recv(ROUTE, "80"),
        sends(ROUTE, "80"),
        recv(VIRTUAL_HOST),
        sends(VIRTUAL_HOST, "80/a"),
        sends(VIRTUAL_HOST, "80/fault", ttls={"80/fault": 60.0}),
        acks(ROUTE),
        acks(VIRTUAL_HOST),
        acks(VIRTUAL_HOST),
    )


def test_it_is_renewed_with_an_empty_body_and_the_same_version(faulty):
    version = host("80/fault", ttl=60.0).version
    run(
        faulty,
        passes(29),
        silent,
        passes(2),
        sends(VIRTUAL_HOST, "80/fault", bodies={"80/fault": b""}, versions={"80/fault": version}),
    )


def test_it_is_renewed_again_and_again(faulty):
    for _ in range(5):
        run(faulty, passes(30), sends(VIRTUAL_HOST, "80/fault", ttls={"80/fault": 60.0}), acks(VIRTUAL_HOST))


def test_others_are_not_renewed(faulty):
    run(faulty, passes(1000), skips)
    assert all("80/a" not in said.names for said in faulty.all_said[2:])


def test_it_is_not_renewed_any_more_once_it_lost_its_time_to_live(faulty):
    run(faulty, changes(host("80/fault", v=2)), sends(VIRTUAL_HOST, "80/fault", ttls={}), acks(VIRTUAL_HOST))
    run(faulty, passes(1000), silent)


def test_it_is_not_renewed_once_it_is_removed(faulty):
    run(faulty, changes(remove=[host("80/fault")]), sends(VIRTUAL_HOST, removed=["80/fault"]), passes(1000), silent)


def test_a_heartbeat_that_is_acknowledged_means_nothing_else(faulty):
    run(faulty, passes(31), sends(VIRTUAL_HOST, "80/fault"), acks(VIRTUAL_HOST), silent)
