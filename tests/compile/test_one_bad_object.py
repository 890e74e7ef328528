"""One invalid object among a thousand: what others get stays the same to the byte, and the problem names the field."""

from typing import Any

import msgspec
import pytest

from controlplane.compile.graph import Graph
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.problem import Level
from tests.compile.meshes import as_bytes, connect, problems, put, seen
from tests.meshes import SETTINGS, random_mesh

SERVICES = 250  # four objects each
NAMESPACE = "shop"
PROXIES = (
    *random_mesh(1).proxies,
    msgspec.structs.replace(random_mesh(1).proxies[0], name="shopper", namespace=NAMESPACE),
)


def service(number: int):
    name = f"s{number}"
    meta = {"name": name, "namespace": NAMESPACE}
    ports = [{"name": "http" if number % 3 else "tcp", "port": 80 if number % 3 else 9000}]
    address = f"10.20.{number // 250}.{number % 250 + 1}"
    subsets = [{"name": "v1", "labels": {"version": "v1"}}]
    route = [{"destination": {"host": name, "subset": "v1"}, "weight": 9}, {"destination": {"host": name}, "weight": 1}]
    slice_meta = {"labels": {"kubernetes.io/service-name": name}}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"clusterIP": address, "ports": ports, "selector": {"app": name}},
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, **slice_meta},
        "ports": [{**ports[0], "port": 8080}],
        "endpoints": [{"addresses": [f"10.30.{number // 250}.{number % 250 + 1}"]}],
    }
    yield istio("DestinationRule", name, host=name, subsets=subsets)
    if number % 3:
        yield istio("VirtualService", name, hosts=[name], http=[{"route": route}])
    else:
        yield istio("VirtualService", name, hosts=[name], tcp=[{"route": to(name)}])


def istio(kind: str, name: str, **spec):
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def to(host: str, **more):
    return [{"destination": {"host": host, **more}}]


def gateway(**server):
    return istio("Gateway", "bad", selector={"istio": "ingressgateway"}, servers=[server])


WEB = {"number": 80, "name": "web", "protocol": "HTTP"}
SAFE = {"number": 443, "name": "safe", "protocol": "HTTPS"}

# what is wrong, the object, words in the names of resources that are its own, and the field that is to blame
CASES = [
    ("regex", istio("VirtualService", "bad", hosts=["own.test"], http=[{"match": [{"uri": {"regex": "("}}], "route": to("s1")}]), "own.test", "spec.http[0].match[0].uri.regex"),
    ("weights", istio("VirtualService", "bad", hosts=["own.test"], http=[{"route": [{**to("s1")[0], "weight": 0}, {**to("s2")[0], "weight": 0}]}]), "own.test", "spec.http[0].route"),
    ("huge weight", istio("VirtualService", "bad", hosts=["own.test"], http=[{"route": [{**to("s1")[0], "weight": 2**40}]}]), "own.test", "spec.http[0].route[0].weight"),
    ("no service", istio("VirtualService", "bad", hosts=["own.test"], http=[{"route": to("nowhere")}]), "own.test", "spec.http[0].route[0].destination.host"),
    ("no subset", istio("VirtualService", "bad", hosts=["own.test"], http=[{"route": to("s1", subset="v9")}]), "own.test", "spec.http[0].route[0].destination.subset"),
    ("no delegate", istio("VirtualService", "bad", hosts=["own.test"], http=[{"delegate": {"name": "nobody"}}]), "own.test", "spec.http[0].delegate"),
    ("header", istio("VirtualService", "bad", hosts=["own.test"], http=[{"route": to("s1"), "headers": {"request": {"set": {"a b": "c"}}}}]), "own.test", "spec.http[0].headers.request.set[a b]"),
    ("percent sign", istio("VirtualService", "bad", hosts=["own.test"], http=[{"route": to("s1"), "headers": {"request": {"set": {"a": "5%"}}}}]), "own.test", "spec.http[0].headers.request.set[a]"),
    ("wrong type", istio("VirtualService", "bad", hosts=["own.test"], http="all of them"), "own.test", "spec.http"),
    ("unknown field", istio("VirtualService", "bad", hosts=["own.test"], http=[{"rout": to("s1"), "route": to("s1")}]), "own.test", "spec.http[0].rout"),
    ("host", istio("VirtualService", "bad", hosts=["own..test"], http=[{"route": to("s1")}]), "own..test", "spec.hosts[0]"),
    ("the same host", istio("VirtualService", "bad", hosts=["s7"], http=[{"match": [{"uri": {"regex": "*"}}], "route": to("s7")}]), "s7.shop", "spec.http[0].match[0].uri.regex"),
    ("subnet", istio("VirtualService", "bad", hosts=["s9"], tcp=[{"match": [{"destinationSubnets": ["10.0.0.0/99"]}], "route": to("s9")}]), "s9.shop", "spec.tcp[0].match[0].destinationSubnets[0]"),
    ("table size", istio("DestinationRule", "bad", host="s7", trafficPolicy={"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 12}}}}), "s7.shop", "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize"),
    ("duration", istio("DestinationRule", "bad", host="s7", trafficPolicy={"connectionPool": {"tcp": {"connectTimeout": "soon"}}}), "s7.shop", "spec.trafficPolicy.connectionPool.tcp.connectTimeout"),
    ("enum", istio("DestinationRule", "bad", host="s7", trafficPolicy={"loadBalancer": {"simple": "FASTEST"}}), "s7.shop", "spec.trafficPolicy.loadBalancer.simple"),
    ("TLS", istio("DestinationRule", "bad", host="s7", trafficPolicy={"tls": {"mode": "MUTUAL"}}), "s7.shop", "spec.trafficPolicy.tls.clientCertificate"),
    ("nobody's rule", istio("DestinationRule", "bad", host="nobody.test", subsets=[{"name": "UPPER", "labels": {}}]), "nobody.test", "spec.subsets[0].name"),
    ("no tls", gateway(port=SAFE, hosts=["*"]), "443", "spec.servers[0].tls"),
    ("no secret", gateway(port=SAFE, hosts=["*"], tls={"mode": "SIMPLE", "credentialName": "nothing"}), "443", "spec.servers[0]"),
    ("no protocol", gateway(port={**WEB, "protocol": "CARRIER-PIGEON"}, hosts=["*"]), "80", "spec.servers[0].port.protocol"),
    ("wildcard DNS", istio("ServiceEntry", "bad", hosts=["*.own.test"], ports=[{"number": 80, "name": "http", "protocol": "HTTP"}], resolution="DNS"), "own.test", "spec.hosts[0]"),
    ("address", istio("ServiceEntry", "bad", hosts=["own.test"], ports=[{"number": 80, "name": "http", "protocol": "HTTP"}], resolution="STATIC", endpoints=[{"address": "here"}]), "own.test", "spec.endpoints[0].address"),
    ("taken address", istio("ServiceEntry", "bad", hosts=["own.test"], addresses=["10.20.0.2"], ports=[{"number": 80, "name": "http", "protocol": "HTTP"}]), "own.test", ""),
    ("taken name", istio("ServiceEntry", "bad", hosts=["s7.shop"], ports=[{"number": 80, "name": "http", "protocol": "HTTP"}], resolution="STATIC"), "|s7.shop$", ""),
    ("selected by none", istio("Sidecar", "bad", workloadSelector={"labels": {"app": "nobody"}}, egress=[{"hosts": ["nowhere"]}]), "none", "spec.egress[0].hosts[0]"),
    ("bad workload", istio("WorkloadEntry", "bad", address="here and there"), "none", "spec.address"),
]  # fmt: skip


@pytest.fixture(scope="module")
def graph():
    """A thousand good objects, and proxies of several namespaces."""
    made = Graph(SETTINGS)
    good: list[Any] = [decode(one).value for number in range(SERVICES) for one in service(number)]
    put(made, {ref_of(one): one for one in good})
    connect(made, PROXIES)
    assert problems(made) == set()
    return made


@pytest.mark.point
@pytest.mark.parametrize(("bad", "own", "field"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_others_get_the_same_bytes_and_the_field_is_named(graph, bad, own, field, proved):
    """That adding to a graph is as good as compiling anew is shown in test_incremental."""
    before = as_bytes(seen(graph, PROXIES))
    decoded: Any = decode(bad)
    name = bad["metadata"]["name"]
    if decoded.value is not None:
        put(graph, {ref_of(decoded.value): decoded.value})
    after, told = as_bytes(seen(graph, PROXIES)), {*decoded.problems, *problems(graph)}
    if decoded.value is not None:
        put(graph, {ref_of(decoded.value): None})
    theirs = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    others = {key for key in theirs if not is_own(own, key[2])}
    assert as_bytes(seen(graph, PROXIES)) == before, "it is gone, and so is all it did"
    blamed = {
        problem.origin.path for problem in told if problem.origin.ref.name == name and problem.level is not Level.INFO
    }
    print(others, blamed)
    named = any(path.startswith(field) for path in blamed)
    proved(
        "4", "one invalid object among 1,000: resources of others that change; its field is named",
        bound="0, yes", figure=f"{len(others)}, {'yes' if named else 'no'}", holds=named and not others,
        cases=1, asked=1,
    )  # fmt: skip


def is_own(own, name):
    """Whether a resource belongs to the object, by its name; `$` stands for the end."""
    return name.endswith(own[:-1]) if own.endswith("$") else own in name
