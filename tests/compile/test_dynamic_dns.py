"""Names that the proxy resolves as calls come: from the Host of a request, from the SNI of a connection."""

import pytest
from envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3 import sni_dynamic_forward_proxy_pb2

from controlplane.explain.resources import decode as decode_resources
from tests.world import World

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec:
  hosts: ["*.example.com"]
  resolution: DYNAMIC_DNS
  ports: [{number: 443, name: any, protocol: %s}]
"""


def filters(world):
    """The network filters of the listener's first chain."""
    resources, _ = decode_resources(world.sidecar().resources())
    found = resources.listeners.get("0.0.0.0_443")
    return {} if found is None else {one.name: one.typed_config for one in found.filter_chains[0].filters}


@pytest.mark.parametrize(("target", "port"), [("", 443), (", targetPort: 8443", 8443)])
def test_the_server_name_is_resolved_and_called_at_the_port(target, port):
    found = filters(World().apply((ENTRY % "TLS").replace("TLS}", f"TLS{target}}}")))
    assert list(found) == ["envoy.filters.network.sni_dynamic_forward_proxy", "envoy.filters.network.tcp_proxy"]
    config = sni_dynamic_forward_proxy_pb2.FilterConfig()
    assert next(iter(found.values())).Unpack(config)
    assert config.port_value == port


def test_bytes_that_carry_no_name_are_not_taken():
    world = World().apply(ENTRY % "TCP")
    assert filters(world) == {}
    assert [(one.code, one.origin.path) for one in world.problems()] == [("InvalidValue", "spec.ports[0].protocol")]
