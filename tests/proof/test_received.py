"""The comparison of what is held with what is compiled finds what differs, and nothing else."""

import json
from copy import deepcopy
from typing import Any

from tests.proof.received import compiled, differences, held

HOST = {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 80}}}
DOCUMENT: dict[str, Any] = {
    "listeners": [{"name": "l", "statPrefix": "x"}],
    "clusters": [{"name": "c", "type": "EDS"}, {"name": "s", "type": "STATIC"}],
    "routes": [{"name": "80", "virtualHosts": [{"name": "a", "domains": ["a"]}, {"name": "b", "domains": ["b"]}]}],
    "endpoints": [{"clusterName": "c", "endpoints": [{"lbEndpoints": [{"endpoint": HOST}]}]}],
    "secrets": [{"name": "k", "tlsCertificate": {"privateKey": {"inlineString": "[redacted]"}}}],
}
ADMIN_HOST = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}}}
DUMP: dict[str, Any] = {
    "configs": [
        {"dynamic_listeners": [{"active_state": {"listener": {"name": "l", "stat_prefix": "x"}}}]},
        {"dynamic_active_clusters": [{"cluster": each} for each in DOCUMENT["clusters"]]},
        {
            "dynamic_route_configs": [
                {
                    "route_config": {
                        "name": "80",
                        "virtual_hosts": [{"name": "80/b", "domains": ["b"]}, {"name": "80/a", "domains": ["a"]}],
                        "vhds": {"config_source": {"ads": {}}},
                    }
                }
            ]
        },
        {
            "dynamic_endpoint_configs": [
                {
                    "endpoint_config": {
                        "cluster_name": "c",
                        "endpoints": [{"lb_endpoints": [{"endpoint": ADMIN_HOST, "health_status": "HEALTHY"}]}],
                        "policy": {"overprovisioning_factor": 140},
                    }
                },
                {"endpoint_config": {"cluster_name": "s"}},
            ]
        },
        {
            "dynamic_active_secrets": [
                {"secret": {"name": "k", "tls_certificate": {"private_key": {"inline_bytes": "W3JlZGFjdGVkXQ=="}}}}
            ]
        },
    ]
}


def found(dump: Any, document: Any = DOCUMENT) -> list[str]:
    return differences(held(json.dumps(dump)), compiled(document))


def test_equal_things_are_equal():
    assert not found(DUMP)


def test_every_section_is_compared():
    assert [each.split(" ")[0] for each in found({"configs": []})] == [
        "listeners", "clusters", "clusters", "routes", "endpoints", "secrets",
    ]  # fmt: skip


def test_what_is_held_and_not_compiled_is_found():
    assert found(DUMP, {**DOCUMENT, "listeners": []}) == ["listeners l: not compiled"]


def test_a_host_that_differs_is_found():
    other = deepcopy(DOCUMENT)
    other["routes"][0]["virtualHosts"][1]["domains"] = ["c"]
    assert found(DUMP, other) == ["routes 80: other"]


def test_an_endpoint_that_differs_is_found():
    other = deepcopy(DOCUMENT)
    other["endpoints"][0]["endpoints"][0]["lbEndpoints"][0]["healthStatus"] = "DRAINING"
    assert found(DUMP, other) == ["endpoints c: other"]
