"""Load balancing: which endpoint gets the next request, how locality weighs, when endpoints are ejected."""

from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2

from controlplane.envoy.duration import duration
from controlplane.ir.policy import Algorithm, LoadBalancer, OutlierDetection, Warmup

_ALWAYS: Final = 100  # per cent of ejections that are carried out
_AGGRESSION_KEY: Final = "lateen.slow_start.aggression"  # Envoy demands a runtime key; nobody sets it

_Cluster = cluster_pb2.Cluster

_POLICIES: Final = {
    Algorithm.LEAST_REQUEST: _Cluster.LEAST_REQUEST,
    Algorithm.ROUND_ROBIN: _Cluster.ROUND_ROBIN,
    Algorithm.RANDOM: _Cluster.RANDOM,
    Algorithm.RING_HASH: _Cluster.RING_HASH,
    Algorithm.MAGLEV: _Cluster.MAGLEV,
    Algorithm.PASSTHROUGH: _Cluster.CLUSTER_PROVIDED,
}


def set_balancer(cluster: Any, balancer: LoadBalancer) -> None:
    """The algorithm and its parameters."""
    cluster.lb_policy = _POLICIES[balancer.algorithm]
    if balancer.algorithm is Algorithm.RING_HASH:
        cluster.ring_hash_lb_config.minimum_ring_size.value = balancer.minimum_ring_size
    elif balancer.algorithm is Algorithm.MAGLEV:
        cluster.maglev_lb_config.table_size.value = balancer.table_size
    elif balancer.warmup is not None and balancer.algorithm is Algorithm.ROUND_ROBIN:
        _set_slow_start(cluster.round_robin_lb_config.slow_start_config, balancer.warmup)
    elif balancer.warmup is not None and balancer.algorithm is Algorithm.LEAST_REQUEST:
        _set_slow_start(cluster.least_request_lb_config.slow_start_config, balancer.warmup)


def _set_slow_start(config: Any, warmup: Warmup) -> None:
    config.slow_start_window.CopyFrom(duration(warmup.duration))
    config.min_weight_percent.value = warmup.minimum_percent
    if warmup.aggression != 1.0:
        config.aggression.default_value = warmup.aggression
        config.aggression.runtime_key = _AGGRESSION_KEY


def set_common(cluster: Any, balancer: LoadBalancer, outlier: OutlierDetection | None) -> None:
    """Panic and locality. The panic threshold is 0 unless a rule says otherwise: sick endpoints get nothing."""
    common = cluster.common_lb_config
    common.healthy_panic_threshold.value = outlier.min_health_percent if outlier is not None else 0
    if _weighs_localities(balancer, outlier):
        common.locality_weighted_lb_config.SetInParent()
    elif balancer.zone_aware_min_cluster_size is not None:
        common.zone_aware_lb_config.min_cluster_size.value = balancer.zone_aware_min_cluster_size


def _weighs_localities(balancer: LoadBalancer, outlier: OutlierDetection | None) -> bool:
    """Only where a rule distributes, or fails over: it would otherwise disturb the algorithm."""
    locality = balancer.locality
    if locality is None:
        return False
    return bool(locality.distribute or (outlier is not None and (locality.failover or locality.failover_priority)))


def outlier_detection(outlier: OutlierDetection) -> Any:
    """`OutlierDetection`. Ejection by success rate is off: nobody asked for statistics to decide."""
    message = outlier_detection_pb2.OutlierDetection()
    message.enforcing_success_rate.value = 0
    _set_detector(message, "consecutive_5xx", outlier.consecutive_5xx)
    _set_detector(message, "consecutive_gateway_failure", outlier.consecutive_gateway_errors)
    if outlier.interval is not None:
        message.interval.CopyFrom(duration(outlier.interval))
    if outlier.base_ejection_time is not None:
        message.base_ejection_time.CopyFrom(duration(outlier.base_ejection_time))
    if outlier.max_ejection_percent is not None:
        message.max_ejection_percent.value = outlier.max_ejection_percent
    if outlier.split_local_origin:
        message.split_external_local_origin_errors = True
        message.enforcing_local_origin_success_rate.value = 0
        _set_detector(message, "consecutive_local_origin_failure", outlier.consecutive_local_origin_failures)
    return message


def _set_detector(message: Any, name: str, threshold: int | None) -> None:
    """A threshold of 0 turns a detector off."""
    if threshold is not None:
        getattr(message, name).value = threshold
        getattr(message, f"enforcing_{name}").value = _ALWAYS if threshold else 0
