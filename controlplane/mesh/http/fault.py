"""HTTPFaultInjection: delays and aborts. A kind of fault that Envoy does not have is left out."""

from controlplane.ir.route import Fault
from controlplane.model.grpcstatus import GRPC_STATUS
from controlplane.model.virtualservice import FaultAbort, FaultDelay, HTTPFaultInjection


def fault(written: HTTPFaultInjection | None) -> Fault | None:
    """The faults of a route, None if there are none."""
    if written is None:
        return None
    delay = written.delay if written.delay is not None and written.delay.fixed_delay is not None else None
    abort = written.abort if written.abort is not None and _aborts(written.abort) else None
    if delay is None and abort is None:
        return None
    return Fault(
        delay=delay.fixed_delay if delay is not None else None,
        delay_percent=delay_percent(delay) if delay is not None else None,
        abort_status=abort.http_status if abort is not None else None,
        abort_grpc_status=grpc_status(abort) if abort is not None and abort.http_status is None else None,
        abort_percent=abort_percent(abort) if abort is not None else None,
    )


def delay_percent(delay: FaultDelay) -> float:
    """The share of requests delayed; nothing said is none, as in Istio."""
    if delay.percentage is not None:
        return delay.percentage.value or 0.0
    return float(delay.percent or 0)


def abort_percent(abort: FaultAbort) -> float | None:
    """The share of requests aborted; None leaves Envoy's default, which is none."""
    return (abort.percentage.value or 0.0) if abort.percentage is not None else None


def grpc_status(abort: FaultAbort) -> int | None:
    """The number of a gRPC status given by name or number."""
    text = (abort.grpc_status or "").strip()
    if text.isascii() and text.isdigit():
        return int(text)
    return GRPC_STATUS.get(text.upper())


def _aborts(abort: FaultAbort) -> bool:
    return abort.http_status is not None or grpc_status(abort) is not None
