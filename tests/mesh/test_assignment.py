"""The endpoints a caller sees: chosen by labels and node, grouped by locality, ranked by nearness, shared out."""

import pytest

from controlplane.ir.cluster import Assignment
from controlplane.ir.policy import LoadBalancer, LocalityPreference
from controlplane.ir.service import Endpoint, Health, Service
from controlplane.mesh.clusters import assignment
from controlplane.mesh.locality import matches
from controlplane.mesh.service import from_service
from tests.mesh.manifests import SETTINGS, service

NEAR = LoadBalancer(locality=LocalityPreference())


def of(body: str = "") -> Service:
    found, _ = from_service(service(body + "\nports: [{port: 80, name: http}]"), SETTINGS)
    assert found is not None
    return found


PLAIN = of()


def at(locality: str, *, number: int = 1, **more) -> Endpoint:
    """An endpoint that stands in a locality, by which it is also known in the tests."""
    return Endpoint(f"10.0.0.{number}", 80, more.pop("labels", {}), locality=locality, **more)


def assigned(*endpoints: Endpoint, labels=None, lb=NEAR, service=PLAIN, outlier=False, **caller) -> Assignment:
    return assignment("c", endpoints, labels or {}, lb, service=service, outlier=outlier, **caller)


def localities(found: Assignment) -> list[list[str]]:
    """Localities by priority; priorities have no gaps."""
    by_priority: dict[int, list[str]] = {}
    for group in found.groups:
        by_priority.setdefault(group.priority, []).append(group.locality)
    assert list(by_priority) == list(range(len(by_priority)))
    return list(by_priority.values())


def addresses(found: Assignment) -> list[str]:
    return [endpoint.address for group in found.groups for endpoint in group.endpoints]


# Choice


def test_no_endpoints_is_an_answer():
    assert assigned() == Assignment("c", (), (PLAIN.origin,))


def test_endpoints_of_one_locality_are_one_group_in_their_order():
    found = assigned(at("eu", number=1), at("us", number=2), at("eu", number=3))
    assert [(group.locality, [one.address for one in group.endpoints]) for group in found.groups] == [
        ("eu", ["10.0.0.1", "10.0.0.3"]),
        ("us", ["10.0.0.2"]),
    ]
    assert localities(found) == [["eu", "us"]]


def test_a_subset_has_the_endpoints_with_all_its_labels():
    both = at("", number=1, labels={"version": "v1", "env": "prod", "more": "x"})
    found = assigned(
        both, at("", number=2, labels={"version": "v1"}), at("", number=3), labels={"version": "v1", "env": "prod"}
    )
    assert addresses(found) == ["10.0.0.1"]


def test_internal_traffic_policy_local_keeps_to_the_callers_node():
    endpoints = at("", number=1, node="a"), at("", number=2, node="b")
    local = of("internalTrafficPolicy: Local")
    assert addresses(assigned(*endpoints, service=local, node="b")) == ["10.0.0.2"]
    assert addresses(assigned(*endpoints, service=local, node="c")) == []  # as kube-proxy: dropped
    assert addresses(assigned(*endpoints, service=local)) == ["10.0.0.1", "10.0.0.2"]  # node unknown
    assert addresses(assigned(*endpoints, node="b")) == ["10.0.0.1", "10.0.0.2"]


def healths(found: Assignment) -> list[Health]:
    return [endpoint.health for group in found.groups for endpoint in group.endpoints]


def test_draining_endpoints_stay_and_get_nothing_new():
    found = assigned(at("", number=1), at("", number=2, health=Health.DRAINING))
    assert healths(found) == [Health.HEALTHY, Health.DRAINING]


def test_when_all_are_draining_they_serve_on():
    found = assigned(at("", number=1, health=Health.DRAINING), at("", number=2, health=Health.DRAINING))
    assert healths(found) == [Health.HEALTHY, Health.HEALTHY]


def test_whether_all_are_draining_is_a_matter_of_the_subset():
    old = at("", number=1, health=Health.DRAINING, labels={"version": "v1"})
    new = at("", number=2, labels={"version": "v2"})
    assert healths(assigned(old, new, labels={"version": "v1"})) == [Health.HEALTHY]


# Weights


def test_a_locality_weighs_as_much_as_its_endpoints():
    found = assigned(at("eu", number=1, weight=3), at("eu", number=2), at("us", number=3, weight=2))
    assert [group.weight for group in found.groups] == [4, 2]


def test_weights_that_envoy_would_refuse_are_scaled_down_in_proportion():
    most = 2**32 - 1
    found = assigned(at("", number=1, weight=most), at("", number=2, weight=most // 3), at("", number=3))
    first, second, third = (endpoint.weight for group in found.groups for endpoint in group.endpoints)
    assert first + second + third <= most
    assert abs(first / second - 3) < 0.001
    assert third == 1


# Failover


ALL = tuple(at(place) for place in ("", "eu", "eu/eu-a/1", "eu/eu-a/2", "eu/eu-b/1", "us/us-a/1", "ap/ap-a/1"))


def test_without_outlier_detection_nobody_is_preferred():
    assert len(localities(assigned(*ALL, locality="eu/eu-a/1"))) == 1


def test_a_caller_whose_place_is_unknown_prefers_nobody():
    assert len(localities(assigned(*ALL, outlier=True))) == 1


def test_locality_switched_off_prefers_nobody():
    assert len(localities(assigned(*ALL, lb=LoadBalancer(locality=None), outlier=True, locality="eu/eu-a/1"))) == 1


def test_subzone_zone_region_anywhere():
    assert localities(assigned(*ALL, outlier=True, locality="eu/eu-a/1")) == [
        ["eu/eu-a/1"],
        ["eu/eu-a/2"],
        ["eu", "eu/eu-b/1"],
        ["", "ap/ap-a/1", "us/us-a/1"],
    ]


def test_priorities_have_no_gaps():
    assert localities(assigned(at("us/us-a"), at("eu/eu-b"), outlier=True, locality="eu/eu-a")) == [
        ["eu/eu-b"],
        ["us/us-a"],
    ]


def test_a_region_fails_over_to_the_one_a_rule_names():
    lb = LoadBalancer(locality=LocalityPreference(failover=(("eu", "us"), ("us", "ap"))))
    assert localities(assigned(*ALL, lb=lb, outlier=True, locality="eu/eu-b/1")) == [
        ["eu/eu-b/1"],
        ["eu", "eu/eu-a/1", "eu/eu-a/2"],
        ["us/us-a/1"],
        ["", "ap/ap-a/1"],
    ]


def test_a_region_no_rule_names_fails_over_to_anyone():
    lb = LoadBalancer(locality=LocalityPreference(failover=(("eu", "us"),)))
    assert localities(assigned(at("eu"), at("us"), at("ap"), lb=lb, outlier=True, locality="ap")) == [
        ["ap"],
        ["eu", "us"],
    ]


# failoverPriority


def by_labels(*priority: str, **more) -> LoadBalancer:
    return LoadBalancer(locality=LocalityPreference(failover_priority=priority, **more))


def ranked(found: Assignment) -> list[list[str]]:
    """Addresses by priority."""
    by_priority: dict[int, list[str]] = {}
    for group in found.groups:
        by_priority.setdefault(group.priority, []).extend(endpoint.address for endpoint in group.endpoints)
    return list(by_priority.values())


VERSIONS = (
    at("", number=1, labels={"version": "v1", "env": "prod"}),
    at("", number=2, labels={"version": "v1"}),
    at("", number=3, labels={"env": "prod"}),
)


def test_the_more_labels_agree_the_nearer():
    found = assigned(
        *VERSIONS, lb=by_labels("version", "env"), outlier=True, caller_labels={"version": "v1", "env": "prod"}
    )
    assert ranked(found) == [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3"]]  # the first that differs decides


def test_a_label_may_be_given_a_value():
    found = assigned(*VERSIONS, lb=by_labels("env=prod"), outlier=True, caller_labels={"env": "test"})
    assert ranked(found) == [["10.0.0.1", "10.0.0.3"], ["10.0.0.2"]]


def test_a_label_both_lack_agrees():
    found = assigned(*VERSIONS, lb=by_labels("env"), outlier=True, caller_labels={"version": "v1"})
    assert ranked(found) == [["10.0.0.2"], ["10.0.0.1", "10.0.0.3"]]


def test_labels_of_an_unknown_caller_are_not_compared():
    assert ranked(assigned(*VERSIONS, lb=by_labels("version"), outlier=True)) == [["10.0.0.1", "10.0.0.2", "10.0.0.3"]]
    assert ranked(assigned(*VERSIONS, lb=by_labels("version", "env=prod"), outlier=True)) == [
        ["10.0.0.1", "10.0.0.3"],
        ["10.0.0.2"],
    ]


def test_topology_is_compared_like_labels():
    lb = by_labels("topology.istio.io/network", "topology.kubernetes.io/region", "topology.kubernetes.io/zone")
    endpoints = (
        at("eu/eu-a", number=1, network="n1"),
        at("eu/eu-b", number=2, network="n1"),
        at("us/us-a", number=3, network="n1"),
        at("eu/eu-a", number=4, network="n2"),
    )
    found = assigned(*endpoints, lb=lb, outlier=True, locality="eu/eu-a", network="n1")
    assert ranked(found) == [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.3"], ["10.0.0.4"]]


def test_endpoints_of_one_locality_may_have_several_priorities():
    found = assigned(*VERSIONS, lb=by_labels("version"), outlier=True, caller_labels={"version": "v1"})
    assert [(group.locality, group.priority, len(group.endpoints)) for group in found.groups] == [
        ("", 0, 2),
        ("", 1, 1),
    ]


def test_failover_decides_between_equals():
    lb = by_labels("env", failover=(("eu", "us"),))
    endpoints = (
        at("ap", number=1, labels={"env": "prod"}),
        at("us", number=2, labels={"env": "prod"}),
        at("eu", number=3),
    )
    found = assigned(*endpoints, lb=lb, outlier=True, locality="eu", caller_labels={"env": "prod"})
    assert ranked(found) == [["10.0.0.2"], ["10.0.0.1"], ["10.0.0.3"]]


def test_failover_priority_waits_for_outlier_detection():
    assert len(ranked(assigned(*VERSIONS, lb=by_labels("version"), caller_labels={"version": "v1"}))) == 1


# Distribution


def shared(*rules) -> LoadBalancer:
    return LoadBalancer(locality=LocalityPreference(distribute=rules))


def shares(found: Assignment) -> dict[str, int | None]:
    assert {group.priority for group in found.groups} <= {0}
    return {group.locality: group.weight for group in found.groups}


def test_localities_get_the_shares_a_rule_gives_and_others_nothing():
    lb = shared(("eu/*", (("eu/*", 80), ("us/*", 20))))
    found = assigned(at("eu/eu-a"), at("us/us-a"), at("ap/ap-a"), lb=lb, locality="eu/eu-a")
    assert shares(found) == {"eu/eu-a": 80, "us/us-a": 20}


def test_a_share_for_several_localities_is_divided_by_their_weights():
    lb = shared(("*", (("eu/*", 90), ("us/*", 10))))
    endpoints = at("eu/eu-a", number=1, weight=2), at("eu/eu-b", number=2), at("us/us-a", number=3)
    assert shares(assigned(*endpoints, lb=lb, locality="eu/eu-a")) == {"eu/eu-a": 60, "eu/eu-b": 30, "us/us-a": 10}


def test_the_more_specific_share_counts():
    lb = shared(("*", (("eu/*", 10), ("eu/eu-a", 90))))
    assert shares(assigned(at("eu/eu-a"), at("eu/eu-b"), lb=lb)) == {"eu/eu-a": 90, "eu/eu-b": 10}


def test_the_first_rule_for_the_callers_locality_counts():
    lb = shared(("eu/eu-a", (("eu/*", 100),)), ("eu/*", (("us/*", 100),)))
    assert shares(assigned(at("eu/eu-a"), at("us/us-a"), lb=lb, locality="eu/eu-a")) == {"eu/eu-a": 100}
    assert shares(assigned(at("eu/eu-a"), at("us/us-a"), lb=lb, locality="eu/eu-b")) == {"us/us-a": 100}


def test_a_caller_no_rule_speaks_of_goes_anywhere():
    lb = shared(("eu/*", (("eu/*", 100),)))
    assert shares(assigned(at("eu/eu-a"), at("us/us-a"), lb=lb, locality="ap/ap-a")) == {"eu/eu-a": 1, "us/us-a": 1}


def test_distribution_excludes_failover():
    lb = shared(("*", (("eu", 50), ("us", 50))))
    assert shares(assigned(at("eu"), at("us"), lb=lb, outlier=True, locality="eu")) == {"eu": 50, "us": 50}


@pytest.mark.parametrize(
    ("place", "pattern", "is_meant"),
    [
        ("eu/eu-a/1", "*", True),
        ("", "*", True),
        ("eu/eu-a/1", "eu", True),
        ("eu/eu-a/1", "eu/*", True),
        ("eu/eu-a/1", "eu/eu-a", True),
        ("eu/eu-a/1", "eu/eu-a/1", True),
        ("eu/eu-a/1", "eu/eu-a/2", False),
        ("eu/eu-a/1", "eu/eu-b/*", False),
        ("eu", "eu/eu-a", False),
        ("us", "eu/*", False),
    ],
)
def test_patterns_of_localities(place, pattern, is_meant):
    assert matches(place, pattern) is is_meant


# trafficDistribution


CLOSE = of("trafficDistribution: PreferClose")


def test_prefer_close_needs_no_outlier_detection():
    found = assigned(at("eu/eu-a"), at("eu/eu-b"), at("us/us-a"), service=CLOSE, locality="eu/eu-a")
    assert localities(found) == [["eu/eu-a"], ["eu/eu-b"], ["us/us-a"]]


def test_a_zone_is_the_same_zone_where_nobody_says_the_region():
    """Slices name zones alone."""
    for mine, here, there in (("eu/eu-a", "/eu-a", "/eu-b"), ("/eu-a", "eu/eu-a", "eu/eu-b")):
        found = assigned(at(here), at(there), service=CLOSE, locality=mine)
        assert localities(found) == [[here], [there]]
    assert len(localities(assigned(at("us/a"), at("eu/b"), service=CLOSE, locality="eu/a"))) == 2


def test_prefer_close_takes_a_zone_as_a_whole():
    assert localities(assigned(at("eu/eu-a/1"), at("eu/eu-a/2"), service=CLOSE, locality="eu/eu-a/1")) == [
        ["eu/eu-a/1", "eu/eu-a/2"]
    ]


def test_hints_of_the_slice_say_whose_zone_it_is():
    mine = at("eu/eu-b", number=1, zones=("eu-a",))
    theirs = at("eu/eu-a", number=2, zones=("eu-b",))
    assert ranked(assigned(mine, theirs, service=CLOSE, locality="eu/eu-a")) == [["10.0.0.1"], ["10.0.0.2"]]


def test_prefer_close_without_a_place_prefers_nobody():
    assert len(localities(assigned(at("eu/eu-a"), at("eu/eu-b"), service=CLOSE))) == 1


def test_prefer_same_node_then_zone():
    endpoints = at("eu/eu-a", number=1, node="a"), at("eu/eu-a", number=2, node="b"), at("eu/eu-b", number=3, node="c")
    found = assigned(*endpoints, service=of("trafficDistribution: PreferSameNode"), locality="eu/eu-a", node="b")
    assert ranked(found) == [["10.0.0.2"], ["10.0.0.1"], ["10.0.0.3"]]


def test_a_rule_about_locality_wins_over_the_services_wish():
    lb = LoadBalancer(locality=LocalityPreference(), locality_chosen=True)
    assert len(localities(assigned(at("eu/eu-a"), at("eu/eu-b"), lb=lb, service=CLOSE, locality="eu/eu-a"))) == 1
