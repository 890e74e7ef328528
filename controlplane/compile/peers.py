"""Who takes mutual TLS of the mesh: asked by servers of themselves, and by callers of each endpoint."""

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.compile.inputs import Inputs, Key, settings_of
from controlplane.ir import guard
from controlplane.ir.service import Endpoint
from controlplane.mesh import peerauthentication as mesh_peers
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.problem import Problem
from controlplane.store import Fetch, Store


class Peers:
    """The modes of workloads, by namespace."""

    def __init__(self, store: Store, inputs: Inputs) -> None:
        self._inputs = inputs
        self._policies = store.index("PeerAuthenticationsByNamespace", inputs.peer_authentications, _namespace)
        self._modes = store.query("PeerModes", self._modes_in)
        self._seen_by_callers = store.query("PeerModesForCallers", self._for_callers)

    def of(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> tuple[guard.Peers, tuple[Problem, ...]]:
        """What a workload takes."""
        modes = fetch(self._modes, namespace)
        assert modes is not None
        return mesh_peers.peers(modes, labels)

    def secured(self, fetch: Fetch, namespace: str, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Endpoints of a namespace, as they are to be called. Next to nothing while no policy says DISABLE."""
        modes = fetch(self._seen_by_callers, namespace)
        return endpoints if modes is None else mesh_peers.secured(endpoints, modes)

    def _modes_in(self, fetch: Fetch, namespace: str) -> mesh_peers.Modes:
        settings = settings_of(fetch, self._inputs)
        homes = dict.fromkeys((*settings.root_namespaces, namespace))
        acting = [policy for home in homes for _, policy in fetch.values(self._policies, home)]
        modes, problems = mesh_peers.modes(sorted(acting, key=_age), namespace, settings)
        fetch.report(*problems)
        return modes

    def _for_callers(self, fetch: Fetch, namespace: str) -> mesh_peers.Modes | None:
        """None: all take it."""
        modes = fetch(self._modes, namespace)
        return modes if modes is not None and mesh_peers.matters_to_callers(modes) else None


def _namespace(key: Key, _: Any) -> Iterable[str]:
    return (key[0],)


def _age(policy: PeerAuthentication) -> tuple[bool, str, str, str]:
    """Oldest first; objects without age come last, by name."""
    meta = policy.meta
    born = meta.created.isoformat() if meta.created is not None else ""
    return (meta.created is None, born, meta.namespace, meta.name)
