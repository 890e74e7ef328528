"""Kinds whose proxies are counted are named by what is made of them, or nobody would ever be concerned."""

from controlplane.app.status import COUNTED, is_ours
from controlplane.model.proxy import parse_node
from controlplane.store import Change
from tests.world import World

MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {name: bill, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bill, namespace: shop}
spec: {host: bill.shop.svc.cluster.local}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop}
spec: {hosts: [example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {selector: {app: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bill, namespace: shop}
spec: {hosts: [bill.shop.svc.cluster.local], http: [{route: [{destination: {host: bill}}]}]}
"""


def test_resources_name_every_kind_that_is_counted() -> None:
    world = World().apply(MANIFESTS)
    for connection, kind in (("1", "sidecar"), ("2", "router")):
        said = {"NAMESPACE": "shop", "LABELS": {"app": "edge"}}
        proxy = parse_node(f"{kind}~10.0.0.{connection}~web-1.shop~shop.svc.cluster.local", said)
        world.graph.store.apply([Change(world.graph.inputs.proxies, connection, proxy)])
    named = {
        origin.ref.kind
        for sources in world.graph.outputs.sources.values()
        for source in sources
        for _, resource in world.graph.store.items(source)
        for origin in resource.origins
        if is_ours(origin.ref)
    }
    assert named >= COUNTED
