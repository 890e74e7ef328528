"""What holds for every assignment, whatever the endpoints and wherever the caller stands."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.ir.policy import LoadBalancer, LocalityPreference
from controlplane.ir.service import Endpoint, Health
from controlplane.mesh.clusters import assignment
from tests.mesh.test_assignment import CLOSE, PLAIN, of

LOCALITIES = st.sampled_from(["", "eu", "eu/eu-a", "eu/eu-a/1", "eu/eu-b", "us/us-a", "/lone"])
NODES = st.sampled_from(["", "a", "b"])
LABELS = st.dictionaries(st.sampled_from(["version", "env"]), st.sampled_from(["v1", "v2"]))
PREFERENCES = st.builds(
    LocalityPreference,
    failover=st.sampled_from([(), (("eu", "us"),)]),
    failover_priority=st.sampled_from([(), ("version",), ("env=v1", "topology.kubernetes.io/region")]),
)
DISTRIBUTIONS = st.builds(
    LocalityPreference,
    distribute=st.sampled_from([(("*", (("eu/*", 70), ("us/*", 30))),), (("eu", (("eu/eu-a", 100),)),)]),
)
BALANCERS = st.builds(LoadBalancer, locality=st.none() | PREFERENCES | DISTRIBUTIONS, locality_chosen=st.booleans())
SERVICES = st.sampled_from(
    [PLAIN, CLOSE, of("trafficDistribution: PreferSameNode"), of("internalTrafficPolicy: Local")]
)


@st.composite
def endpoints(draw):
    found = draw(
        st.lists(
            st.builds(
                Endpoint,
                st.integers(0, 30).map(lambda last: f"10.0.0.{last}"),
                st.just(80),
                LABELS,
                locality=LOCALITIES,
                node=NODES,
                weight=st.sampled_from([1, 2, 100, 2**32 - 1]),
                health=st.sampled_from([Health.HEALTHY, Health.DRAINING]),
            ),
            unique_by=lambda endpoint: endpoint.address,
            max_size=12,
        )
    )
    return sorted(found, key=lambda endpoint: (endpoint.address, endpoint.port))


CALLS = {
    "found": endpoints(),
    "lb": BALANCERS,
    "service": SERVICES,
    "labels": LABELS,
    "outlier": st.booleans(),
    "locality": LOCALITIES,
    "node": NODES,
    "caller_labels": st.none() | LABELS,
}


@given(**CALLS)
def test_envoy_can_take_every_assignment(found, lb, service, labels, **caller):
    groups = assignment("c", found, labels, lb, service=service, **caller).groups
    priorities = sorted({group.priority for group in groups})
    assert priorities == list(range(len(priorities)))  # no gaps
    assert all(group.endpoints and (group.weight or 0) >= 1 for group in groups)
    assert all(endpoint.weight >= 1 for group in groups for endpoint in group.endpoints)
    assert sum(endpoint.weight for group in groups for endpoint in group.endpoints) < 2**32
    assert len({(group.priority, group.locality) for group in groups}) == len(groups)


@given(**CALLS)
def test_nobody_is_lost_or_doubled(found, lb, service, labels, **caller):
    groups = assignment("c", found, labels, lb, service=service, **caller).groups
    got = [endpoint.address for group in groups for endpoint in group.endpoints]
    assert len(got) == len(set(got))
    wanted = [
        endpoint.address
        for endpoint in found
        if labels.items() <= endpoint.labels.items()
        and not (service.same_node and caller["node"] and endpoint.node != caller["node"])
    ]
    if lb.locality is not None and lb.locality.distribute:
        assert set(got) <= set(wanted)  # localities without a share are left out
    else:
        assert sorted(got) == wanted


@given(**CALLS)
def test_endpoints_of_a_group_share_its_locality_and_are_sorted(found, lb, service, labels, **caller):
    for group in assignment("c", found, labels, lb, service=service, **caller).groups:
        assert {endpoint.locality for endpoint in group.endpoints} == {group.locality}
        assert [endpoint.address for endpoint in group.endpoints] == sorted(one.address for one in group.endpoints)
