"""Calls to hosts nobody declared: let through, refused, or sent to an egress proxy."""

import msgspec

from controlplane.ir import names
from controlplane.ir.route import DirectResponse, Forward, Route, RouteMatch, VirtualHost, WeightedCluster
from controlplane.mesh.destinations import Target
from controlplane.model.problem import ObjectRef, Origin
from controlplane.model.settings import Settings
from controlplane.model.sidecar import OutboundTrafficMode

MESH_SETTINGS = Origin(ObjectRef("", "MeshConfig", "", "mesh"))


class OutboundPolicy(msgspec.Struct, frozen=True):
    """Where unknown calls go. `cluster` is empty when they are refused."""

    cluster: str
    origin: Origin
    proxy: Target | None = None  # an egress proxy: then the cluster is its

    def through(self, proxy: Target) -> "OutboundPolicy":
        """The same, by way of an egress proxy."""
        return OutboundPolicy(proxy.cluster, self.origin, proxy)

    @property
    def tcp_cluster(self) -> str:
        """Where connections go."""
        return self.cluster or names.BLACK_HOLE_CLUSTER


def mesh_policy(settings: Settings) -> OutboundPolicy:
    """What holds for workloads whose Sidecar says nothing about it."""
    return policy_of(settings.outbound_traffic_policy.mode, MESH_SETTINGS.at("outboundTrafficPolicy"))


def policy_of(mode: OutboundTrafficMode, origin: Origin) -> OutboundPolicy:
    """A policy without an egress proxy."""
    allowed = mode is OutboundTrafficMode.ALLOW_ANY
    return OutboundPolicy(names.PASSTHROUGH_CLUSTER if allowed else "", origin)


def catch_all(policy: OutboundPolicy, *, captured: bool = True) -> VirtualHost:
    """The last virtual host of every sidecar route table.

    Passing a call on needs the address it was dialled for. On an explicit listener that is the listener's own, so
    there is nowhere to pass it to: without an egress proxy such calls are refused.
    """
    dialled = policy.cluster == names.PASSTHROUGH_CLUSTER
    if policy.cluster and (captured or not dialled):
        return _host("allow_any", Forward((WeightedCluster(policy.cluster),)), policy.origin)
    return _host("block_all", DirectResponse(502), policy.origin)


def _host(name: str, action: Forward | DirectResponse, origin: Origin) -> VirtualHost:
    route = Route(RouteMatch(), action, origin, name=name)
    return VirtualHost(name, ("*",), (route,), origins=(origin,))
