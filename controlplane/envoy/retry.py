"""Retries of one request."""

from datetime import timedelta
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2

from controlplane.envoy.any import packed
from controlplane.envoy.duration import duration
from controlplane.ir.route import Retry

_HOST_ATTEMPTS: Final = 5  # how often a retry looks for a host that was not tried before
_UPDATE_FREQUENCY: Final = 2  # after every second attempt the priorities are weighed anew


def retry_policy(retry: Retry) -> Any:
    """A `RetryPolicy`."""
    policy = route_components_pb2.RetryPolicy(retry_on=retry.on, retriable_status_codes=retry.status_codes)
    policy.num_retries.value = retry.attempts
    _set_time(policy.per_try_timeout, retry.per_try_timeout)
    _set_time(policy.retry_back_off.base_interval, retry.backoff)
    if retry.ignore_previous_hosts:
        predicate = policy.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts")
        predicate.typed_config.CopyFrom(packed(previous_hosts_pb2.PreviousHostsPredicate()))
        policy.host_selection_retry_max_attempts = _HOST_ATTEMPTS
    if retry.previous_priorities:
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        config = previous_priorities_config_pb2.PreviousPrioritiesConfig(update_frequency=_UPDATE_FREQUENCY)
        policy.retry_priority.typed_config.CopyFrom(packed(config))
    return policy


def _set_time(field: Any, value: timedelta | None) -> None:
    if value is not None:
        field.CopyFrom(duration(value))
