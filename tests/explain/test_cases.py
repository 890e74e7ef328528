"""Cases that were once seen differently: asked of the simulator and, all in one Envoy, of Envoy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import json_format

from controlplane.explain import Address, Call, Outcome, Resources, Stage, simulate
from tests.envoys import RunningEnvoy, Upstreams
from tests.explain.case import Addresses, Case, merge
from tests.explain.compare import disagreements
from tests.explain.generate.worlds import ADS, REGISTERED
from tests.explain.observe import envoy_of, observe

assert REGISTERED  # protobuf JSON opens only types that are imported

FOLDER = Path(__file__).parent / "cases"
CASES = {one["case"]: one for file in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load(file.read_text())}
TYPE = "type.googleapis.com/envoy.extensions."
PORT = 10_001  # cases name it as a destination port
FILTERS = {
    "tls": ("tls_inspector", "TlsInspector"),
    "http": ("http_inspector", "HttpInspector"),
    "proxy_protocol": ("proxy_protocol", "ProxyProtocol"),
}


def world(number: int, case: dict[str, Any], ip: str, upstream: Address) -> Case:
    """The resources a case stands for, under names no other case has."""
    name = f"case{number}"
    own = json_text(case).replace('"up"', f'"{name}-up"').replace('"empty"', f'"{name}-empty"')
    case = yaml.safe_load(own)
    clusters = [
        {"name": f"{name}-{kind}", "type": "EDS", "eds_cluster_config": {"eds_config": ADS}} for kind in ("up", "empty")
    ]
    static = {"listeners": [listener(name, case, ip)], "clusters": clusters, "secrets": secrets(name)}
    found = json_format.ParseDict({"static_resources": static}, bootstrap_pb2.Bootstrap()).static_resources
    at = {"endpoint": {"address": address(*upstream)}}
    load = {"cluster_name": f"{name}-up", "endpoints": [{"lb_endpoints": [at]}]}
    loads = [
        json_format.ParseDict(one, endpoint_pb2.ClusterLoadAssignment())
        for one in (load, {"cluster_name": f"{name}-empty"})
    ]
    resources = Resources.of([*found.listeners, *found.clusters, *found.secrets, *loads])
    return Case(resources, (call(case, ip),))


def json_text(case: dict[str, Any]) -> str:
    return msgspec.json.encode(case).decode()


def call(case: dict[str, Any], ip: str) -> Call:
    fields = {"address": [ip, PORT], "authority": "a.test", **case.get("call", {})}
    return msgspec.convert(fields, Call)


def secrets(name: str) -> list[dict[str, Any]]:
    return [{"name": f"{name}-cert", "tls_certificate": {}}, {"name": f"{name}-ca", "validation_context": {}}]


def listener(name: str, case: dict[str, Any], ip: str) -> dict[str, Any]:
    chains = [{"filter_chain_match": match, "filters": [tcp(name)]} for match in case.get("chains", ())]
    if "routes" in case:
        chains.append({"filters": [http(name, case)], **secured(name, case)})
    filters = [inspector(one) for one in case.get("inspectors", ())]
    return {
        "name": name,
        "address": address(ip, PORT),
        "filter_chains": chains,
        "listener_filters": filters,
        "listener_filters_timeout": "0.5s",
        **case.get("listener", {}),
    }


def address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}


def inspector(short: str) -> dict[str, Any]:
    folder, kind = FILTERS[short]
    return {"name": short, "typed_config": {"@type": f"{TYPE}filters.listener.{folder}.v3.{kind}"}}


def tcp(name: str) -> dict[str, Any]:
    config = {"@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": f"{name}-up"}
    return {"name": "tcp", "typed_config": config}


def http(name: str, case: dict[str, Any]) -> dict[str, Any]:
    kinds = {"fault": "fault.v3.HTTPFault", "cors": "cors.v3.Cors", "router": "router.v3.Router"}
    filters = [{"name": n, "typed_config": {"@type": f"{TYPE}filters.http.{kind}"}} for n, kind in kinds.items()]
    host = {"name": "h", "domains": ["*"], "routes": case["routes"]}
    config = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "http_filters": filters,
        "route_config": {"name": f"{name}-routes", "virtual_hosts": [host]},
        **case.get("manager", {}),
    }
    return {"name": "http", "typed_config": config}


def secured(name: str, case: dict[str, Any]) -> dict[str, Any]:
    if "tls" not in case:
        return {}
    common: dict[str, Any] = {"tls_certificate_sds_secret_configs": [{"name": f"{name}-cert", "sds_config": ADS}]}
    if "validation_context" in case["tls"]:
        common["validation_context_sds_secret_config"] = {"name": f"{name}-ca", "sds_config": ADS}
    context = {"@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}
    return {"transport_socket": {"name": "tls", "typed_config": context}}


def told(said: Outcome) -> dict[str, Any]:
    """What a case may expect."""
    first = said.destinations[0] if said.destinations else None
    return {
        "verdict": said.verdict,
        "status": said.status,
        "grpc_status": said.grpc_status,
        "flag": said.failure.flag if said.failure else "",
        "details": said.failure.details if said.failure else "",
        "location": said.location,
        "filter_chain": said.name(Stage.FILTER_CHAIN),
        "virtual_host": said.virtual_host,
        "cluster": said.cluster.partition("-")[2],
        "authority": first.authority if first else "",
    }


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, Case]]:
    addresses = Addresses()
    with Upstreams() as upstreams:
        upstream = Address(*upstreams.add("up"))
        yield {name: world(n, case, addresses.take(), upstream) for n, (name, case) in enumerate(CASES.items())}


@pytest.fixture(scope="module")
def envoy(worlds: dict[str, Case]) -> Iterator[RunningEnvoy]:
    with envoy_of(merge(worlds.values())) as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_a_case(name: str, worlds: dict[str, Case], envoy: RunningEnvoy) -> None:
    case = worlds[name]
    did = observe(envoy, case.calls)[0]
    said = simulate(case.resources, did.call)
    expected = CASES[name]["expect"]
    assert {key: told(said)[key] for key in expected} == expected, said.steps
    assert disagreements(said, did) == []
    assert said.doubts == ()
