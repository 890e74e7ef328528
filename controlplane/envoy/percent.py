"""Percentages, as fine as the API can say them."""

from typing import Any, Final

from envoy.type.v3 import percent_pb2

_PER_PERCENT: Final = 10_000  # of a million


def fraction(percent: float) -> Any:
    """`FractionalPercent` of a million: 0.0001 % is the smallest step."""
    millionths = round(percent * _PER_PERCENT)
    return percent_pb2.FractionalPercent(numerator=millionths, denominator=percent_pb2.FractionalPercent.MILLION)
