"""How near an endpoint is to a caller, and what share a locality gets: Istio's rules on "region/zone/subzone".

A rank orders endpoints for failover: smaller is nearer. Ranks are compared, never used as numbers; whoever groups
endpoints turns them into priorities without gaps, as Envoy demands.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from controlplane.ir.policy import LoadBalancer, LocalityPreference
from controlplane.ir.service import Endpoint, Service
from controlplane.mesh.workload import LOCALITY_LABEL, NETWORK_LABEL
from controlplane.model.core import REGION_LABEL, SUBZONE_LABEL, ZONE_LABEL

Rank = Callable[[Endpoint], tuple[int, ...]]
HOSTNAME_LABEL: Final = "kubernetes.io/hostname"
CLUSTER_LABEL: Final = "topology.istio.io/cluster"
_TOPOLOGY: Final = frozenset({REGION_LABEL, ZONE_LABEL, SUBZONE_LABEL, HOSTNAME_LABEL, LOCALITY_LABEL, CLUSTER_LABEL})
_NO_LABELS: Final[Mapping[str, str]] = {}
_ANYWHERE: Final = 3
_NOT_CHOSEN: Final = 4


def parts(locality: str) -> tuple[str, str, str]:
    """Region, zone and subzone; parts that are missing are empty."""
    region, _, rest = locality.partition("/")
    zone, _, subzone = rest.partition("/")
    return region, zone, subzone


def matches(locality: str, pattern: str) -> bool:
    """Whether a locality is the one a rule means: "*" and missing parts stand for any."""
    wanted = parts(pattern)
    if wanted[0] == "*":
        return True
    return all(mine == its or its in {"", "*"} for mine, its in zip(parts(locality), wanted, strict=True))


def distribution(preference: LocalityPreference, locality: str) -> tuple[tuple[str, int], ...] | None:
    """The shares for callers of `locality`, the most specific first; None when the rule does not speak of them."""
    for origin, shares in preference.distribute:
        if matches(locality, origin):
            return tuple(sorted(shares, key=lambda share: (share[0].count("*"), -share[0].count("/"), share[0])))
    return None


def own_label(entry: str) -> str:
    """The label of the caller that an entry of failoverPriority compares; "" for one that is the same for all, or
    follows from where the caller stands.
    """
    return "" if "=" in entry or entry in _TOPOLOGY else entry


def needs_place(service: Service, lb: LoadBalancer, *, outlier: bool) -> tuple[bool, bool]:
    """Whether endpoints differ by the caller's locality, and by its node."""
    wishes = not lb.locality_chosen
    zone = wishes and (service.prefer_same_zone or service.prefer_same_node)
    if lb.locality is not None:
        zone = zone or bool(lb.locality.distribute) or outlier
    return zone, service.same_node or (wishes and service.prefer_same_node)


def ranking(  # noqa: PLR0913  where the caller stands, and who wishes what
    service: Service,
    lb: LoadBalancer,
    *,
    outlier: bool,
    locality: str,
    node: str,
    network: str = "",
    labels: Mapping[str, str] | None = None,
) -> Rank | None:
    """How endpoints rank for a caller; None when all are equal.

    The Service's own wish (trafficDistribution) acts unless a rule speaks of locality, and needs no outlier
    detection: an endpoint that is gone is gone from its slice. Failover needs it, or nothing would ever fail over.
    """
    if not lb.locality_chosen and (service.prefer_same_node or service.prefer_same_zone):
        if not (locality or node):
            return None
        return _near(locality, node if service.prefer_same_node else "")
    preference = lb.locality
    if preference is None or not outlier or preference.distribute:
        return None
    if preference.failover_priority:
        return _by_labels(preference, _Caller(locality, node, network, labels))
    return _by_failover(preference, locality) if locality else None


def _near(locality: str, node: str) -> Rank:
    """Same node (when asked), same zone, same region, anywhere. A slice's hints say which zones an endpoint is for."""
    region, zone, _ = parts(locality)

    def rank(endpoint: Endpoint) -> tuple[int, ...]:
        if node and endpoint.node == node:
            return (0,)
        its_region, its_zone, _ = parts(endpoint.locality)
        elsewhere = region and its_region and region != its_region  # a slice may say the zone alone
        near = zone in endpoint.zones if endpoint.zones else zone == its_zone and not elsewhere
        if zone and near:
            return (1,)
        return (2,) if region and region == its_region else (3,)

    return rank


def _by_failover(preference: LocalityPreference, locality: str) -> Rank:
    """Same subzone, zone, region, then the region the caller's fails over to, then the rest."""
    mine = parts(locality)
    chosen = next((to for origin, to in preference.failover if origin == mine[0]), None)
    known: dict[str, tuple[int, ...]] = {}

    def rank(endpoint: Endpoint) -> tuple[int, ...]:
        found = known.get(endpoint.locality)
        if found is None:
            found = known[endpoint.locality] = (_distance(mine, parts(endpoint.locality), chosen),)
        return found

    return rank


def _distance(mine: tuple[str, str, str], its: tuple[str, str, str], chosen: str | None) -> int:
    if mine[0] != its[0]:
        return _ANYWHERE if chosen is None or chosen == its[0] else _NOT_CHOSEN
    if mine[1] != its[1]:
        return 2
    return 1 if mine[2] != its[2] else 0


class _Caller:
    """What failoverPriority compares endpoints with. `labels` None: not known here, such entries are left out."""

    def __init__(self, locality: str, node: str, network: str, labels: Mapping[str, str] | None) -> None:
        self.locality = locality
        self._labels = labels
        self._topology = _topology(locality, node, network)

    def value(self, label: str) -> str | None:
        """The caller's value of a label; None when nothing is known of it."""
        own = self._labels.get(label) if self._labels is not None else None
        if own is not None:
            return own
        if label in self._topology:
            return self._topology[label] or None
        return None if self._labels is None else ""


def _by_labels(preference: LocalityPreference, caller: _Caller) -> Rank | None:
    """The more labels, in their order, agree with the caller's (or the value written), the nearer."""
    wanted = _wanted(preference.failover_priority, caller)
    failover = _by_failover(preference, caller.locality) if preference.failover and caller.locality else None
    if not wanted and failover is None:
        return None

    def rank(endpoint: Endpoint) -> tuple[int, ...]:
        agreeing = 0
        for label, value in wanted:
            if _endpoint_label(endpoint, label) != value:
                break
            agreeing += 1
        unlike = len(wanted) - agreeing
        return (unlike,) if failover is None else (unlike, *failover(endpoint))

    return rank


def _wanted(priority: Sequence[str], caller: _Caller) -> list[tuple[str, str]]:
    wanted: list[tuple[str, str]] = []
    for entry in priority:
        label, written, value = entry.partition("=")
        expected = value if written else caller.value(label)
        if expected is not None and label != CLUSTER_LABEL:  # there is one cluster: everyone agrees
            wanted.append((label, expected))
    return wanted


def _endpoint_label(endpoint: Endpoint, label: str) -> str:
    own = endpoint.labels.get(label)
    return own if own is not None else _topology(endpoint.locality, endpoint.node, endpoint.network).get(label, "")


def _topology(locality: str, node: str, network: str) -> dict[str, str]:
    """What Istio adds to the labels of every workload."""
    region, zone, subzone = parts(locality)
    return {
        REGION_LABEL: region,
        ZONE_LABEL: zone,
        SUBZONE_LABEL: subzone,
        NETWORK_LABEL: network,
        HOSTNAME_LABEL: node,
        LOCALITY_LABEL: locality,
    }
