"""What a proxy says of itself counts as far as its Pod does not say otherwise."""

import pytest
from msgspec.structs import replace

from controlplane.ir.service import Workload
from controlplane.mesh.vouching import Impostor, vouched
from controlplane.mesh.workload import from_pod
from controlplane.model import core
from controlplane.model.decode import decode
from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.proxy import Locality, Proxy, ProxyType

PROXY = Proxy(
    id="sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
    type=ProxyType.SIDECAR,
    namespace="shop",
    name="web-1",
    labels={"app": "admin", "mine": "yes"},
    ips=("10.0.0.1", "10.0.0.66"),
    service_account="web",
    identity="spiffe://cluster.local/ns/shop/sa/web",
    locality=Locality("moon"),
    node_name="elsewhere",
)
ROUTER = replace(PROXY, type=ProxyType.ROUTER)
POD = Workload(
    namespace="shop",
    name="web-1",
    origin=Origin(ObjectRef("", "Pod", "shop", "web-1")),
    addresses=("10.0.0.1", "fd00::1"),
    labels={"app": "web"},
    service_account="shop/web",
    node="node-1",
    locality="eu/1",
)
MACHINE = replace(POD, origin=Origin(ObjectRef("networking.istio.io", "WorkloadEntry", "shop", "web-1")))


def told(proxy, workload):
    found = vouched(proxy, workload)
    assert isinstance(found, Proxy), found
    return found


def test_the_pod_says_labels_place_and_addresses():
    found = told(PROXY, POD)
    assert (found.labels, str(found.locality), found.node_name) == ({"app": "web"}, "eu/1", "node-1")
    assert found.ips == ("10.0.0.1",)
    assert told(replace(PROXY, ips=("10.9.9.9",)), POD).ips == POD.addresses


def test_a_machine_outside_knows_its_own_addresses():
    assert told(PROXY, MACHINE).ips == PROXY.ips


def test_without_a_pod_a_sidecar_is_what_it_says_in_its_own_namespace():
    assert told(PROXY, None) == PROXY


@pytest.mark.parametrize("proxy", [PROXY, ROUTER])
@pytest.mark.parametrize("account", ["shop/admin", "other/web", "shop/we", "shop/webb", "shop/"])
def test_a_pod_of_another_account_is_not_its_own(proxy, account):
    found = vouched(proxy, replace(POD, service_account=account, gateway=True))
    assert isinstance(found, Impostor)
    assert "Pod shop/web-1, which is of another account than shop/web" in found.why


def test_a_gateway_needs_a_pod_that_is_one():
    assert told(ROUTER, replace(POD, gateway=True)).type is ProxyType.ROUTER
    for workload in (None, POD, MACHINE):
        found = vouched(ROUTER, workload)
        assert isinstance(found, Impostor)
        assert "inject.istio.io/templates" in found.why


def test_whoever_comes_over_the_socket_is_believed():
    local = replace(ROUTER, identity="")
    assert told(local, None) == local
    assert told(local, replace(POD, service_account="shop/admin")).ips == local.ips


def pod(**fields):
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "edge", **fields.pop("metadata", {})}}
    document |= {"status": {"podIP": "10.0.0.1"}, "spec": fields}
    found = decode(document).value
    assert isinstance(found, core.Pod)
    workload = from_pod(found, "")
    assert workload is not None
    return workload


@pytest.mark.parametrize(
    ("made", "gateway"),
    [
        (pod(metadata={"annotations": {"inject.istio.io/templates": "gateway"}}), True),
        (pod(metadata={"annotations": {"inject.istio.io/templates": "grpc-agent, gateway"}}), True),
        (pod(metadata={"annotations": {"inject.istio.io/templates": "my-gateway"}}), False),
        (pod(metadata={"labels": {"gateway.networking.k8s.io/gateway-name": "edge"}}), True),
        (pod(metadata={"labels": {"istio": "ingressgateway"}}), False),
        (pod(containers=[{"name": "istio-proxy", "args": ["proxy", "router", "--domain", "x"]}]), True),
        (pod(containers=[{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]), False),
        (pod(containers=[{"name": "app", "args": ["proxy", "router"]}]), False),
        (pod(), False),
    ],
)
def test_which_pods_are_gateways(made, gateway):
    assert made.gateway is gateway
