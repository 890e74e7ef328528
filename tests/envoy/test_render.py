"""Encoded resources as people read them."""

import ast
import json
from pathlib import Path

from envoy.config.cluster.v3 import cluster_pb2

from controlplane.envoy import cluster, endpoint, listener, render, route, secret
from controlplane.ir.cluster import Assignment
from controlplane.ir.listener import RouteTable
from controlplane.snapshot.resource import resource
from controlplane.snapshot.routes import placeholder_host
from controlplane.snapshot.types import CLUSTER
from tests.envoy import values

KEY = "-----BEGIN PRIVATE KEY-----"


def test_private_keys_are_hidden_unless_asked_for() -> None:
    pair = secret.encode_certificate("kubernetes://a", b"a certificate", KEY.encode())
    hidden = json.dumps(render.document([pair]))
    assert KEY not in hidden
    assert render.REDACTED in hidden
    assert "a certificate" in hidden
    shown = render.document([pair], show_secrets=True)["secrets"][0]
    assert shown["tlsCertificate"]["privateKey"] == {"inlineString": KEY}


def test_files_of_keys_are_shown() -> None:
    found = secret.of_files("file-cert:/tls.crt~/tls.key")
    assert found is not None
    written = render.document([found])["secrets"][0]["tlsCertificate"]
    assert written["privateKey"] == {"filename": "/tls.key"}
    assert written["watchedDirectory"] == {"path": "/"}


def test_bytes_that_are_no_text_are_kept() -> None:
    found = secret.encode_bundle("x", b"\xff\xfe")
    written = render.document([found])["secrets"][0]["validationContext"]
    assert written["trustedCa"] == {"inlineBytes": "//4="}


def test_maps_come_in_order_of_their_keys() -> None:
    free = cluster_pb2.Cluster(name="c")
    names = [f"key{i:02}" for i in range(40)]
    for name in reversed(names):
        free.metadata.filter_metadata[name]["outer"] = dict.fromkeys(reversed(names), 1)
        free.typed_extension_protocol_options[name].type_url = "type.googleapis.com/google.protobuf.Empty"
    encoded = resource(CLUSTER, "c", free.SerializeToString())
    written = render.message_dict(encoded)
    assert set(written) == {"name", "metadata", "typedExtensionProtocolOptions"}
    assert list(written["metadata"]["filterMetadata"]) == names
    assert list(written["metadata"]["filterMetadata"]["key07"]["outer"]) == names
    assert list(written["typedExtensionProtocolOptions"]) == names


def test_other_names_are_no_files() -> None:
    assert secret.of_files("kubernetes://a") is None


def test_sections_by_name_with_whole_routes() -> None:
    resources = [
        listener.encode(values.listener(values.tcp_chain("a")), values.SETTINGS),
        cluster.encode(values.cluster("b"), values.SETTINGS),
        cluster.encode(values.cluster("a"), values.SETTINGS),
        route.encode_table(RouteTable("9080")),
        placeholder_host("9080"),
        route.encode_virtual_host("9080", values.virtual_host()),
        endpoint.encode(Assignment("a", ())),
    ]
    found = render.document(resources)
    assert list(found) == ["listeners", "clusters", "routes", "endpoints", "secrets"]
    assert [one["name"] for one in found["clusters"]] == ["a", "b"]
    assert [host["name"] for host in found["routes"][0]["virtualHosts"]] == [f"{values.HOST}:9080"]
    assert "vhds" not in found["routes"][0]
    assert found["secrets"] == []
    assert type(found["listeners"][0]["filterChains"][0]["filters"][0]["typedConfig"]) is dict


def test_every_message_that_encoding_makes_can_be_shown() -> None:
    """Those of extensions lie in an `Any`: a type that only some other test imported would be missing for a user."""
    imported = {
        f"{node.module}.{name.name}"
        for path in Path(render.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("envoy.extensions")
        for name in node.names
        if name.name.endswith("_pb2")
    }
    assert imported
    assert imported <= set(render.TYPES)
