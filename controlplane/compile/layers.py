"""Layers: how proxies that see almost the same share it.

What a proxy sees is a stack of layers, the most particular on top; a name found in a higher layer hides the same name
below. The mesh layer holds what everybody sees and is large; the others hold only what is different for some:

    proxy      inbound traffic of one proxy
    labels     hosts whose rules single out callers by label, at the caller's place if that matters too
    node       endpoints of hosts that prefer the caller's node
    zone       endpoints of hosts that prefer the caller's locality
    forward    virtual hosts of the explicit forward proxy (route table `http_proxy`)
    namespace  hosts that look different from one namespace     (proxies without a Sidecar resource)
    mesh       hosts as everybody sees them                      (proxies without a Sidecar resource)
    sidecar    all that a Sidecar resource admits                (instead of namespace and mesh)
    gateway    all that the Gateways bound to a gateway say      (gateways have this one alone)
"""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from controlplane.compile.inputs import Key, Labels
from controlplane.mesh.caller import Caller, Standpoint


class Layer(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """The key of a layer; fields that a kind does not use stay empty.

    It is a part of nearly every key there is, so its hash is worked out once.
    """

    kind: str
    namespace: str = ""  # of the callers
    sidecar: Key = ("", "")
    captured: bool = True  # traffic is intercepted; otherwise only explicit listeners work
    labels: Labels = ()
    locality: str = ""  # of the callers, where it matters
    node: str = ""
    proxy: str = ""
    gateways: tuple[Key, ...] = ()
    ingress: bool = False  # serves Ingresses too
    bind: str = ""  # what listeners bind instead of the wildcard address
    port_offset: int = 0  # added to ports below 1024

    @property
    def standpoint(self) -> Standpoint:
        """Where its callers stand, as far as that matters."""
        return Standpoint(self.locality, self.node, self.caller.labels)

    @property
    def caller(self) -> Caller:
        """Who calls, as far as this layer's rules look."""
        return _caller(self.namespace, self.labels)


@lru_cache(maxsize=4096)
def _caller(namespace: str, labels: Labels) -> Caller:
    return Caller(namespace, dict(labels))


MESH = Layer("mesh")
NO_SIDECAR: Key = ("", "")


class Parts(NamedTuple):
    """What of a host a layer holds."""

    clusters: bool = False
    endpoints: bool = False
    hosts: bool = False
    listeners: bool = False  # and its share in listeners and route tables


ALL = Parts(clusters=True, endpoints=True, hosts=True, listeners=True)
POLICY = Parts(clusters=True, endpoints=True, hosts=True)
ROUTES = Parts(hosts=True)
ENDPOINTS = Parts(endpoints=True)
CLUSTERS = Parts(clusters=True)  # with the endpoints that stand in them
