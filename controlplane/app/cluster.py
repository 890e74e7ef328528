"""A cluster as what a control plane reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random  # noqa: TID251  the root is where randomness comes from
from typing import Final

import msgspec

from controlplane.app.control import ControlPlane
from controlplane.model import core
from controlplane.model.kinds import BY_NAME, KINDS, Kind
from controlplane.model.proxy import Proxy, ProxyType
from controlplane.runtime.clock import SystemClock
from controlplane.sources.kubernetes.access import Access, credentials
from controlplane.sources.kubernetes.resource import Resource
from controlplane.sources.kubernetes.source import KubernetesSource, Timing

# Secrets are never read of the whole cluster: nobody should have to grant that.
_NAMESPACE_BY_NAMESPACE: Final = (core.Secret.KIND,)
# The largest Secrets, and the most secret ones: whoever does not need them does not read them.
_NO_CERTIFICATES: Final = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
PATIENCE: Final = 30.0  # seconds


class Cluster(msgspec.Struct, frozen=True):
    """Which one. Neither is said: the one we run in, or else kubectl's."""

    kubeconfig: str | None = None
    context: str | None = None


@asynccontextmanager
async def open_cluster(
    cluster: Cluster, control: ControlPlane, patience: float = PATIENCE, timing: Timing | None = None
) -> AsyncIterator[KubernetesSource]:
    """A source of every kind that the control plane makes something from. `patience`: see `GatewaySecrets`."""
    clock, random = SystemClock(), Random()  # noqa: S311  jitter, not a secret
    access = Access(credentials(cluster.kubeconfig, cluster.context), clock, random.random)
    source = KubernetesSource(access, kinds_of(control), clock, random.random, timing=timing)
    control.prepare = GatewaySecrets(source, patience).prepare
    try:
        yield source
    finally:
        await access.close()


class GatewaySecrets:
    """Secrets of the namespaces that gateways are in, from when the first one connects."""

    def __init__(self, source: KubernetesSource, patience: float) -> None:
        """`patience`, in seconds: a gateway keeps what it had until then. After it, all else is good for it, too."""
        self._source = source
        self._patience = patience

    async def prepare(self, proxy: Proxy) -> None:
        """See `control.Prepare`. The namespace is that of its certificate."""
        if proxy.type is not ProxyType.ROUTER:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._source.also(_secrets(proxy.namespace))


def _secrets(namespace: str) -> Resource:
    return Resource(
        group=core.Secret.GROUP,
        version="v1",
        plural="secrets",
        kind=core.Secret.KIND,
        known=BY_NAME[core.Secret.GROUP, core.Secret.KIND],
        namespace=namespace,
        fields=_NO_CERTIFICATES,
    )


def kinds_of(control: ControlPlane) -> tuple[Kind, ...]:
    """What is worth reading everywhere."""
    of = control.graph.inputs.of
    return tuple(kind for kind in KINDS if of(kind.group, kind.kind) and kind.kind not in _NAMESPACE_BY_NAMESPACE)
