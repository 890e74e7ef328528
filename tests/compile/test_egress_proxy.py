"""The egress proxy of a Sidecar: calls to unknown hosts go there, whatever they speak, or somebody is told."""

import pytest

from controlplane.explain import Address, Call
from controlplane.snapshot import types
from tests.world import VIRTUAL_OUTBOUND, World, service

SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec:
  egress: [{hosts: ["%s"]}]
  outboundTrafficPolicy: {egressProxy: {host: %s, port: {number: %s}}}
"""
PROXY = "proxy.egress.svc.cluster.local"


@pytest.mark.parametrize("hosts", ["~/*", "./*"])
def test_connections_and_requests_go_through_it(hosts):
    world = World().apply(service("proxy", "egress")).apply(service("web")).apply(SIDECAR % (hosts, PROXY, 80))
    client = world.sidecar()
    assert f"outbound|80||{PROXY}" in client.names(types.CLUSTER)
    assert f"outbound|80||{PROXY}" in client.names(types.ENDPOINT)
    call = Call(address=Address("192.0.2.1", 5432), captured_at=VIRTUAL_OUTBOUND)
    assert client.simulate(call).cluster == f"outbound|80||{PROXY}"
    assert world.problems() == []


def test_it_may_be_named_by_an_alias():
    world = (
        World()
        .apply(service("proxy", "egress"))
        .apply(f"""
apiVersion: v1
kind: Service
metadata: {{name: out, namespace: default}}
spec: {{type: ExternalName, externalName: {PROXY}}}
""")
    )
    client = world.apply(SIDECAR % ("~/*", "out", 80)).sidecar()
    assert f"outbound|80||{PROXY}" in client.names(types.CLUSTER)


@pytest.mark.parametrize(("host", "port", "field"), [("nowhere.shop", 80, "host"), (PROXY, 81, "port.number")])
def test_one_that_does_not_exist_is_said(host, port, field):
    world = World().apply(service("proxy", "egress")).apply(SIDECAR % ("~/*", host, port))
    world.sidecar()
    assert [(one.code, one.origin.path) for one in world.problems()] == [
        ("ReferencedResourceNotFound", f"spec.outboundTrafficPolicy.egressProxy.{field}")
    ]


def test_a_subset_of_it_that_nobody_declares_is_said():
    sidecar = (SIDECAR % ("~/*", PROXY, 80)).replace("port: {", "subset: v1, port: {")
    world = World().apply(service("proxy", "egress")).apply(sidecar)
    client = world.sidecar()
    assert [(one.code, one.origin.path) for one in world.problems()] == [
        ("ReferencedResourceNotFound", "spec.outboundTrafficPolicy.egressProxy.subset")
    ]
    world.apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: proxy, namespace: egress}
spec: {host: proxy, subsets: [{name: v1, labels: {version: v1}}]}
""")
    assert world.problems() == []
    assert f"outbound|80|v1|{PROXY}" in client.names(types.CLUSTER)
