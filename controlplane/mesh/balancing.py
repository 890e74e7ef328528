"""loadBalancer -> how an endpoint is picked: the algorithm, the hash key, warm-up, what locality counts for.

Ranges and contradictions are judged where the document is read (`model`); here every value is good.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from controlplane.ir.policy import (
    Algorithm,
    HashCookie,
    HashHeader,
    HashKey,
    HashQuery,
    HashSourceIp,
    LoadBalancer,
    LocalityPreference,
    Warmup,
)
from controlplane.model.destinationrule import (
    ConsistentHashLB,
    HTTPCookie,
    LoadBalancerSettings,
    LocalityLbSetting,
    SimpleLB,
    ZoneAwareLbSetting,
)

_SIMPLE: Final[Mapping[SimpleLB, Algorithm]] = {
    SimpleLB.UNSPECIFIED: Algorithm.LEAST_REQUEST,
    SimpleLB.LEAST_CONN: Algorithm.LEAST_REQUEST,
    SimpleLB.LEAST_REQUEST: Algorithm.LEAST_REQUEST,
    SimpleLB.RANDOM: Algorithm.RANDOM,
    SimpleLB.ROUND_ROBIN: Algorithm.ROUND_ROBIN,
    SimpleLB.PASSTHROUGH: Algorithm.PASSTHROUGH,
}
_WARMS_UP: Final = frozenset({Algorithm.LEAST_REQUEST, Algorithm.ROUND_ROBIN})
_RING_SIZE: Final = 1024
_TABLE_SIZE: Final = 65537
_ZONE_AWARE_FROM: Final = 6  # endpoints


def load_balancer(settings: LoadBalancerSettings, mesh: LocalityPreference | None) -> LoadBalancer:
    """A rule's balancer. `mesh` is the mesh-wide locality preference, which a rule's own replaces as a whole."""
    own_locality = settings.locality_lb_setting
    hashed = settings.consistent_hash
    if hashed is not None:
        algorithm = Algorithm.MAGLEV if hashed.maglev is not None else Algorithm.RING_HASH
    else:
        algorithm = _SIMPLE[settings.simple or SimpleLB.UNSPECIFIED]
    return LoadBalancer(
        algorithm=algorithm,
        hash_key=None if hashed is None else _hash_key(hashed),
        minimum_ring_size=_RING_SIZE if hashed is None else _ring_size(hashed),
        table_size=(hashed.maglev.table_size if hashed and hashed.maglev else None) or _TABLE_SIZE,
        warmup=_warmup(settings) if algorithm in _WARMS_UP else None,
        locality=mesh if own_locality is None else locality_preference(own_locality),
        zone_aware_min_cluster_size=_zone_aware(settings.zone_aware_lb_setting),
        algorithm_chosen=hashed is not None or settings.simple not in {None, SimpleLB.UNSPECIFIED},
        locality_chosen=own_locality is not None,
    )


def _hash_key(hashed: ConsistentHashLB) -> HashKey | None:
    if hashed.http_header_name:
        return HashHeader(hashed.http_header_name)
    if hashed.http_cookie is not None:
        return _cookie(hashed.http_cookie)
    if hashed.use_source_ip:
        return HashSourceIp()
    return HashQuery(hashed.http_query_parameter_name) if hashed.http_query_parameter_name else None


def _cookie(cookie: HTTPCookie) -> HashCookie:
    attributes = tuple([(attribute.name, attribute.value or "") for attribute in cookie.attributes])
    return HashCookie(cookie.name, cookie.path or "", cookie.ttl, attributes)


def _ring_size(hashed: ConsistentHashLB) -> int:
    own = hashed.ring_hash.minimum_ring_size if hashed.ring_hash is not None else hashed.minimum_ring_size
    return own or _RING_SIZE


def _warmup(settings: LoadBalancerSettings) -> Warmup | None:
    warmup = settings.warmup
    if warmup is not None and warmup.duration:
        minimum = 10.0 if warmup.minimum_percent is None else warmup.minimum_percent
        return Warmup(warmup.duration, minimum, warmup.aggression or 1.0)
    old = settings.warmup_duration_secs
    return Warmup(old) if old is not None and old > timedelta(0) else None


def _zone_aware(setting: ZoneAwareLbSetting | None) -> int | None:
    if setting is None or setting.enabled is False:
        return None
    return setting.min_cluster_size or _ZONE_AWARE_FROM


def locality_preference(setting: LocalityLbSetting) -> LocalityPreference | None:
    """What locality counts for; None when it is switched off. A rule that does not say `enabled` wants it."""
    if setting.enabled is False:
        return None
    return LocalityPreference(
        distribute=tuple([(one.from_, tuple(sorted(one.to.items()))) for one in setting.distribute]),
        failover=tuple([(one.from_, one.to) for one in setting.failover]),
        failover_priority=setting.failover_priority,
    )
