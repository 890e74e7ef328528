"""The endpoints of one cluster as one caller should see them: chosen, grouped by locality, weighed, ranked.

This runs for every cluster of a service whenever one of its endpoints moves, so the plain case (no subset, no place
that matters) is one pass.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from controlplane.ir.cluster import Assignment, LocalityGroup
from controlplane.ir.policy import LoadBalancer
from controlplane.ir.service import Endpoint, Health, Service
from controlplane.mesh import locality as localities

_MAX_WEIGHT: Final = 2**32 - 1  # Envoy refuses endpoints whose weights sum to more
_Keyed = dict[tuple[tuple[int, ...], str], list[Endpoint]]
_EQUAL: Final[tuple[int, ...]] = ()


def assignment(  # noqa: PLR0913  the cluster, what it is made of, and where its caller stands
    cluster: str,
    endpoints: Sequence[Endpoint],
    labels: Mapping[str, str],
    balancer: LoadBalancer,
    *,
    service: Service,
    outlier: bool,
    locality: str = "",
    node: str = "",
    network: str = "",
    caller_labels: Mapping[str, str] | None = None,
) -> Assignment:
    """Endpoints with `labels` (a subset's; empty: all), in groups of one locality and one priority.

    `endpoints` come sorted by address and port. `locality`, `node`, `network` and `caller_labels` are the caller's;
    empty or None means unknown, and then nothing is preferred by it.
    """
    chosen = usable(endpoints, labels, node if service.same_node else "")
    shares = None
    if balancer.locality is not None and balancer.locality.distribute:
        shares = localities.distribution(balancer.locality, locality)
    rank = None
    if shares is None:  # shares say where calls go; nearness has no say beside them
        rank = localities.ranking(
            service, balancer, outlier=outlier, locality=locality, node=node, network=network, labels=caller_labels
        )
    keyed: _Keyed = {}
    for endpoint in chosen:
        key = (_EQUAL if rank is None else rank(endpoint), endpoint.locality)
        group = keyed.get(key)
        if group is None:
            keyed[key] = [endpoint]
        else:
            group.append(endpoint)
    groups = _groups(keyed)
    return Assignment(cluster, groups if shares is None else _shared_out(groups, shares), (service.origin,))


def usable(endpoints: Sequence[Endpoint], labels: Mapping[str, str], node: str = "") -> Sequence[Endpoint]:
    """The endpoints of a subset and, under internalTrafficPolicy Local, of the caller's node.

    When all that is left is draining, it is used as long as it still serves: kube-proxy does so too, and an answer
    from a Pod that is about to go beats none.
    """
    if labels:
        wanted = labels.items()
        endpoints = [endpoint for endpoint in endpoints if wanted <= endpoint.labels.items()]
    if node:
        endpoints = [endpoint for endpoint in endpoints if endpoint.node == node]
    total, healthy = 0, False
    for endpoint in endpoints:
        total += endpoint.weight
        healthy = healthy or endpoint.health is Health.HEALTHY
    if endpoints and not healthy:
        endpoints = [msgspec.structs.replace(endpoint, health=Health.HEALTHY) for endpoint in endpoints]
    return endpoints if total <= _MAX_WEIGHT else _scaled(endpoints, total)


def _scaled(endpoints: Sequence[Endpoint], total: int) -> list[Endpoint]:
    """Weights in the same proportions, small enough in sum; nobody falls below 1."""
    room = _MAX_WEIGHT - len(endpoints)
    return [msgspec.structs.replace(one, weight=max(1, one.weight * room // total)) for one in endpoints]


def _groups(keyed: _Keyed) -> tuple[LocalityGroup, ...]:
    """Groups, nearest first; priorities without gaps, as Envoy demands."""
    groups: list[LocalityGroup] = []
    priority, current = -1, None
    for key in sorted(keyed):
        rank, locality = key
        if rank != current:
            priority, current = priority + 1, rank
        members = keyed[key]
        groups.append(LocalityGroup(locality, tuple(members), priority, _weight(members)))
    return tuple(groups)


def _weight(members: Sequence[Endpoint]) -> int:
    """A locality weighs as much as its endpoints together. Used only where the balancer looks at localities."""
    return sum([endpoint.weight for endpoint in members])


def _shared_out(groups: Sequence[LocalityGroup], shares: Sequence[tuple[str, int]]) -> tuple[LocalityGroup, ...]:
    """Localities weighed by a rule's shares, those it does not name left out.

    A share for several localities ("us-east/*") is divided in proportion to their own weights.
    """
    weights: dict[str, int] = {}
    for pattern, share in shares:
        named = [one for one in groups if one.locality not in weights and localities.matches(one.locality, pattern)]
        total = sum(one.weight or 1 for one in named)
        weights.update({one.locality: -(-(one.weight or 1) * share // total) for one in named})
    return tuple(
        [
            msgspec.structs.replace(one, weight=weights[one.locality])
            for one in groups
            if weights.get(one.locality, 0) > 0
        ]
    )
