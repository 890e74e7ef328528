"""Fields written by hand are the fields protobuf writes."""

from envoy.config.core.v3 import address_pb2
from envoy.config.route.v3 import route_components_pb2
from hypothesis import given
from hypothesis import strategies as st

from controlplane.envoy import wire

LENGTHS = st.sampled_from((0, 1, 127, 128, 300, 16_383, 16_384))


@given(st.text())
def test_text_is_utf8_with_its_length(value: str) -> None:
    expected = route_components_pb2.VirtualHost(domains=[value]).SerializeToString()
    assert wire.text(route_components_pb2.VirtualHost, "domains")(value) == expected


@given(LENGTHS)
def test_text_of_every_length_of_length(length: int) -> None:
    value = "x" * length
    assert wire.text(route_components_pb2.VirtualHost, "domains")(value) == (
        route_components_pb2.VirtualHost(domains=[value]).SerializeToString()
    )


@given(LENGTHS)
def test_embedded_of_every_length_of_length(length: int) -> None:
    inner = route_components_pb2.Route(name="x" * length)
    assert wire.embedded(route_components_pb2.VirtualHost, "routes")(inner.SerializeToString()) == (
        route_components_pb2.VirtualHost(routes=[inner]).SerializeToString()
    )


@given(st.integers(min_value=1, max_value=2**32 - 1))
def test_number_is_a_varint(value: int) -> None:
    expected = address_pb2.SocketAddress(port_value=value).SerializeToString()
    assert wire.number(address_pb2.SocketAddress, "port_value")(value) == expected


def test_field_numbers_above_15_take_two_bytes() -> None:
    expected = route_components_pb2.Route(stat_prefix="x").SerializeToString()
    assert wire.text(route_components_pb2.Route, "stat_prefix")("x") == expected
