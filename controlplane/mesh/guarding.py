"""Puts what guards a workload into every filter chain of a listener: a chain without it would be a way around."""

import msgspec

from controlplane.ir.guard import OPEN, WorkloadPolicy
from controlplane.ir.listener import FilterChain, HttpChain, Listener


def guarded(listener: Listener, policy: WorkloadPolicy) -> Listener:
    """A listener whose calls are judged by this policy."""
    if policy.http == policy.tcp == OPEN:
        return listener
    default = listener.default_chain
    return msgspec.structs.replace(
        listener,
        chains=tuple(_guarded(chain, policy) for chain in listener.chains),
        default_chain=None if default is None else _guarded(default, policy),
    )


def _guarded(chain: FilterChain, policy: WorkloadPolicy) -> FilterChain:
    guard = policy.http if isinstance(chain.network, HttpChain) else policy.tcp
    return msgspec.structs.replace(
        chain,
        network=msgspec.structs.replace(chain.network, guard=guard),
        origins=tuple(dict.fromkeys((*chain.origins, *guard.origins))),
    )
