"""Sidecar: what a workload sees of the mesh, which explicit listeners it has, and what it serves.

A workload has at most one: the oldest of its namespace that selects it, else the oldest of its namespace without a
selector, else the oldest of a root namespace without a selector. Its parts are read in `egress.py` and `ingress.py`.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from controlplane.mesh import hosts
from controlplane.mesh.caller import has_labels
from controlplane.mesh.destinations import Target
from controlplane.mesh.egress import EVERYTHING, Egress, HostFilter, egress_listener, read_egress, service_port
from controlplane.mesh.ingress import Ingress, read_ingress
from controlplane.mesh.policy import OutboundPolicy, mesh_policy, policy_of
from controlplane.mesh.problems import invalid
from controlplane.model.destinationrule import ConnectionPoolSettings
from controlplane.model.meta import origin_of, ref_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.sidecar import OutboundTrafficMode, OutboundTrafficPolicy, Sidecar

__all__ = [
    "Egress",
    "HostFilter",
    "Ingress",
    "SidecarScope",
    "choose",
    "egress_listener",
    "outdone",
    "scope",
    "service_port",
]

_NO_LABELS: Mapping[str, str] = {}


class SidecarScope(msgspec.Struct, frozen=True):
    """A Sidecar, read."""

    egress: tuple[Egress, ...]
    ingress: tuple[Ingress, ...]
    policy: OutboundPolicy
    pool: ConnectionPoolSettings | None = None  # for connections to the application
    origin: Origin | None = None

    @property
    def claimed_ports(self) -> frozenset[int]:
        """Ports whose captured traffic an explicit listener takes: services have no ordinary place on these."""
        return frozenset(one.port for one in self.egress if one.port and not one.bound and not one.bind)

    def admits(self, namespace: str, host: str) -> bool:
        """Whether the workload may call a host, through whichever listener."""
        return any(egress.hosts.admits(namespace, host) for egress in self.egress)


def choose(sidecars: Sequence[Sidecar], roots: Sequence[Sidecar], labels: Mapping[str, str]) -> Sidecar | None:
    """The Sidecar of a workload, from those of its namespace and those of the root namespaces, oldest first."""
    usable = [sidecar for sidecar in sidecars if not sidecar.invalid]
    selecting = (one for one in usable if _selector(one) and has_labels(labels, _selector(one)))
    general = (one for one in usable if not _selector(one))
    mesh_wide = (one for one in roots if not _selector(one) and not one.invalid)
    return next(selecting, None) or next(general, None) or next(mesh_wide, None)


def outdone(chosen: Sidecar, sidecars: Sequence[Sidecar], labels: Mapping[str, str]) -> Iterator[Problem]:
    """Sidecars that say the same workload is theirs: of its namespace they are younger than the one it has."""
    selecting = bool(_selector(chosen))
    for one in sidecars:
        same = one.meta.namespace == chosen.meta.namespace and not one.invalid and bool(_selector(one)) is selecting
        if not same or one is chosen or not has_labels(labels, _selector(one)):
            continue
        if selecting:
            text = f"some workloads have the labels of {ref_of(chosen)} too, which is older: that acts on them"
            at = origin_of(one, "spec.workloadSelector")
            yield Problem("Conflicted", Level.WARNING, at, text)
        else:
            text = f"no effect: {ref_of(chosen)} is for all workloads of the namespace too, and is older"
            yield Problem("Conflicted", Level.ERROR, origin_of(one, "spec"), text)


def scope(
    sidecar: Sidecar | None, namespace: str, settings: Settings, *, captured: bool = True
) -> tuple[SidecarScope, tuple[Problem, ...]]:
    """What a Sidecar says to workloads of `namespace`; None is a workload without one, which sees everything."""
    if sidecar is None:
        policy = mesh_policy(settings)
        return SidecarScope((Egress(EVERYTHING, policy.origin),), (), policy), ()
    egress, egress_problems = read_egress(sidecar, namespace, settings, captured=captured)
    ingress, ingress_problems = read_ingress(sidecar, captured=captured)
    written = sidecar.spec.outbound_traffic_policy
    policy, policy_problems = _policy(written, origin_of(sidecar, "spec"), namespace, settings)
    pool = sidecar.spec.inbound_connection_pool
    found = SidecarScope(egress, ingress, policy, pool, origin_of(sidecar))
    return found, (*egress_problems, *ingress_problems, *policy_problems)


def _selector(sidecar: Sidecar) -> Mapping[str, str]:
    selector = sidecar.spec.workload_selector
    return selector.labels if selector is not None else _NO_LABELS


def _policy(
    written: OutboundTrafficPolicy | None, spec: Origin, namespace: str, settings: Settings
) -> tuple[OutboundPolicy, tuple[Problem, ...]]:
    """An egress proxy that cannot be named is no reason to let calls out past it: they are refused."""
    if written is None:
        return mesh_policy(settings), ()
    origin = spec.at("outboundTrafficPolicy")
    proxy = written.egress_proxy
    if proxy is None or written.mode is OutboundTrafficMode.REGISTRY_ONLY:
        return policy_of(written.mode or OutboundTrafficMode.ALLOW_ANY, origin), ()
    port = proxy.port.number if proxy.port is not None else None
    if not proxy.host or not port:
        text = "egressProxy needs host and port.number; until it has both, calls to unknown hosts are refused"
        return policy_of(OutboundTrafficMode.REGISTRY_ONLY, origin), (invalid(origin.at("egressProxy"), text),)
    host = hosts.qualify(proxy.host, namespace, settings.cluster_domain)
    return OutboundPolicy("", origin).through(Target(host, port, proxy.subset or "")), ()
