"""`timedelta` as protobuf's Duration."""

from datetime import timedelta

from google.protobuf import duration_pb2

_SECONDS_PER_DAY = 86_400


def duration(value: timedelta) -> duration_pb2.Duration:
    """Exact: microseconds are kept."""
    seconds = value.days * _SECONDS_PER_DAY + value.seconds
    return duration_pb2.Duration(seconds=seconds, nanos=value.microseconds * 1000)
