"""Addresses for Services: kept, given back, and not given twice."""

import pytest

from e2e.cluster.loadbalancer import AddressPool


def test_a_service_keeps_its_address_and_gives_it_back() -> None:
    pool = AddressPool("10.0.0.1", "10.0.0.2")
    assert pool.given("a/one") == pool.given("a/one") == "10.0.0.1"
    assert pool.given("a/two") == "10.0.0.2"
    with pytest.raises(LookupError):
        pool.given("a/three")
    assert pool.taken_back("a/one") == "10.0.0.1"
    assert pool.taken_back("a/one") is None
    assert pool.given("a/three") == "10.0.0.1"


def test_what_a_service_shows_already_stays_its_own() -> None:
    """The controller starts again and finds Services as it left them."""
    pool = AddressPool("10.0.0.1", "10.0.0.3")
    assert pool.given("a/old", "10.0.0.2") == "10.0.0.2"
    assert pool.given("a/thief", "10.0.0.2") == "10.0.0.1"
    assert pool.given("a/foreign", "192.168.0.1") == "10.0.0.3"
