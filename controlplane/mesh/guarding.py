"""Puts what guards a workload into every filter chain of a listener: a chain without it would be a way around."""

import msgspec

from controlplane.ir.guard import OPEN, WorkloadPolicy
from controlplane.ir.listener import FilterChain, HttpChain, Listener, TcpChain


def guarded(listener: Listener, policy: WorkloadPolicy) -> Listener:
    """A listener whose calls are judged by this policy."""
    if policy.http == policy.tcp == OPEN:
        return listener
    default, behind = listener.default_chain, _Behind({})
    return msgspec.structs.replace(
        listener,
        chains=tuple(_guarded(chain, policy, behind) for chain in listener.chains),
        default_chain=None if default is None else _guarded(default, policy, behind),
    )


# By identity: several chains may lead to one thing, and go on doing so.
_Behind = dict[int, HttpChain | TcpChain]


def _guarded(chain: FilterChain, policy: WorkloadPolicy, behind: _Behind) -> FilterChain:
    guard = policy.http if isinstance(chain.network, HttpChain) else policy.tcp
    network = behind.get(id(chain.network))
    if network is None:
        network = behind[id(chain.network)] = msgspec.structs.replace(chain.network, guard=guard)
    origins = tuple(dict.fromkeys((*chain.origins, *guard.origins)))
    return msgspec.structs.replace(chain, network=network, origins=origins)
