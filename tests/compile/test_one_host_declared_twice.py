"""Several ServiceEntries of one namespace for one host: together they are one service."""

from controlplane.explain.resources import decode as decode_resources
from controlplane.snapshot import types
from tests.world import World

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: default}
spec:
  hosts: [api.example.com]
  resolution: %s
  ports: [{number: %d, name: %s, protocol: %s}]
  %s
"""


def clusters(world):
    return sorted(name for name in world.sidecar().names(types.CLUSTER) if "api.example.com" in name)


def test_ports_add_up():
    world = (
        World().apply(ENTRY % ("a", "DNS", 80, "http", "HTTP", "")).apply(ENTRY % ("b", "DNS", 443, "tls", "TLS", ""))
    )
    assert clusters(world) == ["outbound|443||api.example.com", "outbound|80||api.example.com"]
    assert world.problems() == []
    world.delete("ServiceEntry", "a")
    assert clusters(world) == ["outbound|443||api.example.com"]


def test_listed_endpoints_of_one_port_add_up():
    world = World()
    for name, address in (("a", "192.0.2.9"), ("b", "192.0.2.1"), ("c", "192.0.2.9")):
        world.apply(ENTRY % (name, "STATIC", 80, "http", "HTTP", f"endpoints: [{{address: {address}}}]"))
    resources, _ = decode_resources(world.sidecar().resources())
    (group,) = resources.endpoints["outbound|80||api.example.com"].endpoints
    assert [one.endpoint.address.socket_address.address for one in group.lb_endpoints] == ["192.0.2.1", "192.0.2.9"]


def test_what_contradicts_the_older_one_is_said():
    world = World().apply(ENTRY % ("a", "DNS", 80, "http", "HTTP", ""))
    world.apply(ENTRY % ("b", "NONE", 443, "tls", "TLS", "")).apply(ENTRY % ("c", "DNS", 80, "tls", "TLS", ""))
    assert clusters(world) == ["outbound|80||api.example.com"]
    assert [(one.code, str(one.level), str(one.origin)) for one in world.problems()] == [
        ("Conflicted", "error", "ServiceEntry default/b spec.hosts"),
        ("Conflicted", "warning", "ServiceEntry default/a spec.hosts"),
        ("Conflicted", "warning", "ServiceEntry default/a spec.ports"),
        ("Conflicted", "warning", "ServiceEntry default/c spec.ports"),
    ]
