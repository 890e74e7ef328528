"""Injected delays and failures: the filter stands in every chain, a route that has a fault switches it on."""

from typing import Any, Final

from envoy.extensions.filters.http.fault.v3 import fault_pb2

from controlplane.envoy.duration import duration
from controlplane.envoy.percent import fraction
from controlplane.ir.route import Fault

NAME: Final = "envoy.filters.http.fault"


def config() -> Any:
    """The filter itself says nothing."""
    return fault_pb2.HTTPFault()


def policy(fault: Fault) -> Any:
    """An `HTTPFault` for one route."""
    message = fault_pb2.HTTPFault()
    if fault.delay is not None:
        message.delay.fixed_delay.CopyFrom(duration(fault.delay))
        _set_percentage(message.delay, fault.delay_percent)
    if fault.abort_grpc_status is not None:
        message.abort.grpc_status = fault.abort_grpc_status
    elif fault.abort_status is not None:
        message.abort.http_status = fault.abort_status
    if message.HasField("abort"):
        _set_percentage(message.abort, fault.abort_percent)
    return message


def _set_percentage(message: Any, percent: float | None) -> None:
    if percent is not None:
        message.percentage.CopyFrom(fraction(percent))
