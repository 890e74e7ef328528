"""Metadata written by hand is the metadata protobuf's Struct would hold."""

import pytest
from envoy.config.core.v3 import base_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from controlplane.envoy import metadata
from controlplane.model.problem import ObjectRef


@given(st.text(max_size=200), st.text(max_size=200), st.text(), st.integers(0, 65535), st.text())
def test_cluster_fields(name: str, host: str, namespace: str, port: int, subset: str) -> None:
    fields = metadata.port_field(port) + metadata.services_field(name, host, namespace) + metadata.subset_field(subset)
    found = json_format.MessageToDict(base_pb2.Metadata.FromString(metadata.istio(fields)))
    assert found["filterMetadata"]["istio"] == {
        "default_original_port": port,
        "services": [{"name": name, "host": host, "namespace": namespace}],
        "subset": subset,
    }


def test_config_is_the_path_of_the_object() -> None:
    ref = ObjectRef("networking.istio.io", "VirtualService", "shop", "reviews")
    found = base_pb2.Metadata.FromString(metadata.config_metadata(ref))
    assert found.filter_metadata["istio"]["config"] == (
        "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews"
    )


def test_a_service_is_no_configuration_object() -> None:
    assert metadata.config_metadata(ObjectRef("", "Service", "shop", "reviews")) == b""


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("VirtualService", "virtual-service"),
        ("HTTPRoute", "http-route"),
        ("GRPCRoute", "grpc-route"),
        ("Gateway", "gateway"),
    ],
)
def test_kinds_in_kebab_case(kind: str, expected: str) -> None:
    assert metadata.kebab(kind) == expected
