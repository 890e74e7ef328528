"""A cluster as what a control plane reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random  # noqa: TID251  the root is where randomness comes from

import msgspec

from controlplane.app.control import ControlPlane
from controlplane.model import core
from controlplane.model.kinds import KINDS, Kind
from controlplane.runtime.clock import SystemClock
from controlplane.sources.kubernetes.access import Access, credentials
from controlplane.sources.kubernetes.source import KubernetesSource

# Secrets are never read of the whole cluster: nobody should have to grant that.
_NAMESPACE_BY_NAMESPACE = (core.Secret.KIND,)


class Cluster(msgspec.Struct, frozen=True):
    """Which one. Neither is said: the one we run in, or else kubectl's."""

    kubeconfig: str | None = None
    context: str | None = None


@asynccontextmanager
async def open_cluster(cluster: Cluster, control: ControlPlane) -> AsyncIterator[KubernetesSource]:
    """A source of every kind that the control plane makes something from."""
    clock, random = SystemClock(), Random()  # noqa: S311  jitter, not a secret
    access = Access(credentials(cluster.kubeconfig, cluster.context), clock, random.random)
    try:
        yield KubernetesSource(access, kinds_of(control), clock, random.random)
    finally:
        await access.close()


def kinds_of(control: ControlPlane) -> tuple[Kind, ...]:
    """What is worth reading everywhere."""
    of = control.graph.inputs.of
    return tuple(kind for kind in KINDS if of(kind.group, kind.kind) and kind.kind not in _NAMESPACE_BY_NAMESPACE)
