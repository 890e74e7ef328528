"""Message counts of gRPC streams, for the access log and for telemetry."""

from typing import Any, Final

from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2

NAME: Final = "envoy.filters.http.grpc_stats"


def config() -> Any:
    """Counts go into filter state; per-method statistics would be as many as there are methods."""
    message = config_pb2.FilterConfig(emit_filter_state=True)
    message.stats_for_all_methods.value = False
    return message
