"""An Ingress says where it is reached."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.gatewayapi.ingress import GatewayAddress
from controlplane.model.decode import decode
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from controlplane.status.addresses import Addresses
from tests.status.test_keeping import World, keeping

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: shop}}
spec: {{ingressClassName: {cls}, defaultBackend: {{service: {{name: bill, port: {{number: 80}}}}}}}}
"""
GATEWAY: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "istio-ingressgateway", "namespace": "lateen-system"},
    "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.7", "selector": {"istio": "ingressgateway"}, "ports": []},
}
OURS, THEIRS = (ObjectRef("networking.k8s.io", "Ingress", "shop", name) for name in ("ours", "theirs"))
HERE = GatewayAddress(ip="192.0.2.1")


def gateway(world: World, **more: Any) -> None:
    found: Any = decode(GATEWAY | more).value
    world.control.apply({ref_of(found): found})


def balanced(ip: str) -> dict[str, Any]:
    return {"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}}


def shown(world: World, ref: ObjectRef) -> Any:
    return world.objects[ref].get("status", {}).get("loadBalancer", {}).get("ingress")


async def test_an_ingress_of_ours_shows_where_its_gateway_is(tmp_path: Path) -> None:
    async with keeping(tmp_path) as world:
        gateway(world, **balanced("192.0.2.1"))
        world.apply(INGRESS.format(name="theirs", cls="nginx"))
        world.apply(INGRESS.format(name="ours", cls="lateen"))
        await world.until(lambda: shown(world, OURS) == [{"ip": "192.0.2.1"}])
        gateway(world, **balanced("192.0.2.2"))
        await world.until(lambda: shown(world, OURS) == [{"ip": "192.0.2.2"}])
        node_port = GATEWAY["spec"] | {"type": "NodePort"}
        gateway(world, spec=node_port)
        await world.until(lambda: shown(world, OURS) == [])
        world.control.apply(dict(pod(name) for name in ("a", "b")))
        await world.until(lambda: shown(world, OURS) == [{"ip": "10.99.0.1"}])
        assert shown(world, THEIRS) is None
        assert not [each for each in world.events.values() if each["involvedObject"]["kind"] == "Ingress"]


def pod(name: str) -> tuple[ObjectRef, Any]:
    """Of the gateway."""
    manifest = f"""
    apiVersion: v1
    kind: Pod
    metadata: {{name: {name}, namespace: lateen-system, labels: {{istio: ingressgateway}}}}
    status: {{phase: Running, podIP: 10.0.0.9, hostIP: 10.99.0.1, conditions: [{{type: Ready, status: "True"}}]}}
    """
    found: Any = decode(yaml.safe_load(manifest)).value
    return ref_of(found), found


@pytest.mark.parametrize(
    ("before", "entries", "after"),
    [
        (None, (), None),
        ({"loadBalancer": {}}, (), None),
        ({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}, (HERE,), None),
        (None, (HERE,), {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}),
        (
            {"loadBalancer": {"ingress": [{"hostname": "x"}]}, "more": 1},
            (),
            {"loadBalancer": {"ingress": []}, "more": 1},
        ),
    ],
)
def test_what_is_written_over_what_stands_there(
    before: Any, entries: tuple[GatewayAddress, ...], after: dict[str, Any] | None
) -> None:
    assert Addresses(entries).status(before) == after
