"""Nobody's objects lead a proxy to itself: to its machine's loopback, to its files, or to where it is told what to do."""

import time
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from itertools import product
from typing import Any, Final

import msgspec
import pytest
import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2

from controlplane.mesh.hosts import is_local
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.settings import Settings
from controlplane.snapshot import types
from tests.envoys import start
from tests.envoys.upstreams import Upstreams
from tests.live.fleet import fleet
from tests.live.nodes import ground, nodes
from tests.live.test_simple_tls import PORT
from tests.meshes import decoded
from tests.ports import free_port
from tests.world import World

# Every way to write "here": the first of each row is what the others mean.
SPELLINGS: Final = (
    "127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "0X7F000001",
    "2130706433", "017700000001", "127.000.000.001", "127.0.0.1.", "0", "0.0.0.0", "0x0", "00", "0.0.0.1",
    "::1", "0:0:0:0:0:0:0:1", "::0001", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:127.0.0.1",
    "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:7f00:1::1",
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "localhost4", "ip6-localhost",
    "169.254.169.254", "169.254.0.1", "0xa9fea9fe", "2852039166", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0",
    "64:ff9b::a9fe:a9fe",
    "unix:///run/x.sock", "unix:///etc/lateen/admin.sock", "unix:///x/../admin.sock", "unix:///a//admin.sock",
    "unix://@abstract",
)  # fmt: skip
ABROAD: Final = ("10.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "example.com", "1.2.3")
PORTS: Final = (15000, 15004, 15020, 15021, 15090)

SERVICE_ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: here, namespace: default}
spec:
  hosts: [%(host)s]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %(port)s}]
  resolution: %(resolution)s
  %(more)s
"""
SELECTED = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: here, namespace: default}
spec: {address: '%(address)s', labels: {app: here}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: here, namespace: default}
spec: {clusterIP: 10.96.7.7, selector: {app: here}, ports: [{name: http, port: 80, targetPort: %(port)s}]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: here-1, namespace: default, labels: {kubernetes.io/service-name: here}}
addressType: IPv4
ports: [{name: http, port: %(port)s}]
endpoints: [{addresses: ['%(address)s']}]
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: here, namespace: default, labels: {app: here}}
status: {phase: Running, podIP: '%(address)s', conditions: [{type: Ready, status: "True"}]}
"""
EXTERNAL = """
apiVersion: v1
kind: Service
metadata: {name: here, namespace: default}
spec: {type: ExternalName, externalName: '%(address)s', ports: [{name: http, port: 80, targetPort: %(port)s}]}
"""
SELECTING = SERVICE_ENTRY.replace("%(more)s", "workloadSelector: {labels: {app: here}}")
LISTING = SERVICE_ENTRY.replace("%(more)s", "endpoints: [{address: '%(address)s'}]")
BY_HOST = SERVICE_ENTRY.replace("%(more)s", "")

# How an object says where its calls go.
WAYS: Final = {
    "endpoints of a ServiceEntry, STATIC": (LISTING, "STATIC"),
    "endpoints of a ServiceEntry, DNS": (LISTING, "DNS"),
    "endpoints of a ServiceEntry, DNS_ROUND_ROBIN": (LISTING, "DNS_ROUND_ROBIN"),
    "the host of a ServiceEntry": (BY_HOST, "DNS"),
    "a WorkloadEntry, STATIC": (f"{SELECTING}---{SELECTED}", "STATIC"),
    "a WorkloadEntry, DNS": (f"{SELECTING}---{SELECTED}", "DNS"),
    "a WorkloadEntry of a Service": (f"{SERVICE}---{SELECTED}", ""),
    "a Pod of a ServiceEntry": (f"{SELECTING}---{POD}", "STATIC"),
    "an EndpointSlice": (f"{SERVICE}---{SLICE}", ""),
    "an ExternalName": (EXTERNAL, ""),
}


def objects(way: str, address: str, port: int) -> list[Any]:
    text, resolution = WAYS[way]
    host = address if way == "the host of a ServiceEntry" else "here.example.com"
    made = text % {"address": address, "port": port, "resolution": resolution, "host": f"'{host}'"}
    return list(yaml.safe_load_all(made))


def leads_to(world: World) -> list[str]:
    """All addresses of all proxies, but those of the inbound side, which is the application's own."""
    found = []
    for client in (world.sidecar("other"), world.gateway("other")):
        for resource in client.resources():
            if resource.type_url == types.CLUSTER:
                made = cluster_pb2.Cluster.FromString(resource.body)
                found += _addresses(made.load_assignment) if not made.name.startswith("inbound|") else []
            elif resource.type_url == types.ENDPOINT:
                found += _addresses(endpoint_pb2.ClusterLoadAssignment.FromString(resource.body))
    return found


def _addresses(assignment: Any) -> list[str]:
    addresses = [one.endpoint.address for locality in assignment.endpoints for one in locality.lb_endpoints]
    return [f"unix://{one.pipe.path}" if one.HasField("pipe") else one.socket_address.address for one in addresses]


def applied(way: str, address: str, port: int, settings: Settings) -> World:
    world = World(settings)
    values: list[Any] = [decode(document).value for document in objects(way, address, port)]
    return world.change({ref_of(value): value for value in values if value is not None})


@pytest.mark.point
def test_no_object_leads_callers_to_themselves(proved):
    wrong: list[str] = []
    count = 0
    for way, address in product(WAYS, SPELLINGS):
        found = leads_to(applied(way, address, PORTS[count % len(PORTS)], Settings()))
        wrong += [f"{way}: {address} as {one}" for one in found if is_local(one) or one == address]
        count += 1
    proved(
        "identity 7.22", "spellings of the caller's own machine, in every object that says where calls go: taken",
        bound="0", figure=f"{len(wrong)} {wrong[:3]}" if wrong else "0", holds=not wrong, cases=count, asked=400,
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_others_are_called(way):
    """Or the test above could not fail."""
    address = (
        "10.0.0.1" if "STATIC" in way or "Pod" in way or "Slice" in way or "of a Service" in way else "example.com"
    )
    assert address in leads_to(applied(way, address, 80, Settings()))
    assert not any(map(is_local, ABROAD))


def test_what_is_refused_says_so():
    for way, address in (
        ("endpoints of a ServiceEntry, STATIC", "127.0.0.1"),
        ("the host of a ServiceEntry", "localhost"),
        ("a WorkloadEntry, STATIC", "::1"),
        ("an EndpointSlice", "169.254.169.254"),
        ("an ExternalName", "127.1"),
        ("endpoints of a ServiceEntry, STATIC", "unix:///run/x.sock"),
    ):
        world = applied(way, address, 80, Settings())
        leads_to(world)
        assert any("refuseLocalEndpoints" in problem.message for problem in world.problems()), way


ATTACK = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: admin, namespace: alpha}
spec:
  hosts: [admin.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 'unix://%(admin)s'}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: upstream, namespace: alpha}
spec:
  hosts: [upstream.test]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %(port)s}]
  resolution: STATIC
  endpoints: [{address: %(ip)s}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: admin, namespace: alpha}
spec:
  hosts: [admin.test, upstream.test]
  http:
  - match: [{headers: {to: {exact: admin}}}]
    rewrite: {uri: /config_dump}
    route: [{destination: {host: admin.test}}]
  - route: [{destination: {host: upstream.test}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: caller, namespace: alpha}
spec:
  egress:
  - {port: {number: 20000, protocol: HTTP, name: out}, bind: %(bind)s, captureMode: NONE, hosts: ["*/*"]}
  ingress:
  - {port: {number: 20001, protocol: HTTP, name: in}, bind: %(bind)s, captureMode: NONE, defaultEndpoint: 'unix://%(admin)s'}
"""


@pytest.mark.parametrize("spelt", ["{}", "{0.parent}/./{0.name}", "/{}", "{0.parent}/x/../{0.name}"])
def test_a_proxy_s_admin_socket_is_no_endpoint_even_where_loopback_is(tmp_path, spelt):
    """On a laptop, where Unix sockets may be called: this one may not, or a route would lead to it."""
    where = ground(tmp_path)
    alone = next(node for node in nodes(where) if node[0].name == "alone")
    with Upstreams() as upstreams, fleet([alone]) as envoys:
        ip, port = upstreams.add("upstream")
        (member,) = envoys.members
        place = member.envoy.folder / "admin.sock"
        member.envoy.wait_for(place.exists, lambda: "its admin socket")
        admin = spelt.format(place)
        text = ATTACK % {"admin": admin, "ip": ip, "port": port, "bind": f"{where.bind}.2"}
        values = [decoded(document) for document in yaml.safe_load_all(text)]
        envoys.show({ref_of(value): value for value in values})
        envoys.wait_until_taken()
        assert asked(f"{where.bind}.2", PORT, "upstream.test")[0] == 200
        for entrance, host in ((PORT, "admin.test"), (PORT, "upstream.test"), (PORT + 1, "admin.test")):
            status, body = asked(f"{where.bind}.2", entrance, host, to="admin")
            assert status in {0, 404, 500, 503}
            assert b"bootstrap" not in body


def asked(address: str, port: int, host: str, **headers: str) -> tuple[int, bytes]:
    with suppress(OSError, HTTPException), closing(HTTPConnection(address, port, timeout=5)) as connection:
        connection.request("GET", "/config_dump", headers={"host": host, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    return 0, b""


BOUND = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bound, namespace: %(namespace)s}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 0, name: http, protocol: HTTP}, bind: 'unix://%(path)s', hosts: ['*']}
  - {port: {number: 80, name: http-80, protocol: HTTP}, hosts: ['*']}
"""


@pytest.mark.parametrize(
    ("namespace", "name", "replaced"),
    [("tenant", "precious", False), ("istio-ingress", "admin.sock", False), ("istio-ingress", "mine.sock", True)],
)
def test_a_listener_takes_the_place_of_no_file_of_others(tmp_path, namespace, name, replaced):
    """Envoy removes whatever stands where it is to listen: a key, its admin socket, anything."""
    where = ground(tmp_path)
    (node,) = [one for one in nodes(where) if one[0].name == "gateway"]
    path = tmp_path / name
    path.write_text("precious")
    with fleet([node]) as envoys:
        values = [decoded(document) for document in yaml.safe_load_all(BOUND % {"namespace": namespace, "path": path})]
        envoys.show({ref_of(value): value for value in values})
        envoys.wait_until_taken()
        assert asked(f"{where.bind}.3", 10080, "x")[0] == 404
        assert path.is_socket() == replaced
        codes = {problem.code for problem in envoys._in_loop(_problems(envoys))}
    assert codes & {"NotOwner", "InvalidValue"} or replaced


async def _problems(envoys: Any) -> Any:
    return envoys._plane.problems()


def test_names_of_proxies_own_clusters_are_nobodys_destination():
    """What stands in the bootstrap can be named by no route: all that users name begins with "outbound|"."""
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: admin, namespace: default}
spec:
  hosts: [%s]
  http: [{route: [{destination: {host: %s}}]}]
  tls: [{match: [{sniHosts: [%s]}], route: [{destination: {host: %s}}]}]
  tcp: [{route: [{destination: {host: %s}}]}]
"""
    for name in ("prometheus_stats", "xds-grpc", "agent", "sds-grpc", "BlackHoleCluster"):
        world = World(msgspec.structs.replace(Settings(), refuse_local_endpoints=False))
        world.apply(text % ((name,) * 5))
        for client in (world.sidecar(), world.gateway("default", labels={"istio": "ingressgateway"})):
            named = {ref.name for one in client.resources() for ref in one.refs if ref.type_url == types.CLUSTER}
            assert name == "BlackHoleCluster" or name not in named
            assert not any(b"cluster_header" in one.body or b"SniCluster" in one.body for one in client.resources())


def test_the_spellings_a_resolver_takes_are_known():
    """Envoy hands names to a resolver: which of the spellings without dots or with few mean this machine to one."""
    port = free_port()
    clusters = {f"c{number}": name for number, name in enumerate(one for one in SPELLINGS if "/" not in one)}
    with start(_resolving(clusters, port)) as envoy:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and "cm_init" in envoy.admin("/clusters"):
            time.sleep(0.1)
        listed = envoy.admin("/clusters")
    for cluster, name in clusters.items():
        for line in listed.splitlines():
            if line.startswith(f"{cluster}::") and f":{port}::cx_active" in line:
                assert is_local(name), line
    assert f":{port}::" in listed


def _resolving(clusters: dict[str, str], port: int) -> Any:
    bootstrap = bootstrap_pb2.Bootstrap()
    for name, address in clusters.items():
        cluster = bootstrap.static_resources.clusters.add(name=name, type=cluster_pb2.Cluster.STRICT_DNS)
        cluster.connect_timeout.seconds, cluster.wait_for_warm_on_init.value = 1, False
        cluster.load_assignment.cluster_name = name
        endpoint = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        endpoint.address, endpoint.port_value = address.strip("[]"), port
    return bootstrap
