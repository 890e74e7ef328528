"""Who takes mutual TLS of the mesh: asked by servers of themselves, and by callers of each endpoint."""

from collections.abc import Iterable, Mapping

from controlplane.compile.inputs import Inputs, Key, settings_of
from controlplane.compile.selecting import Selecting
from controlplane.ir import guard
from controlplane.ir.service import Endpoint
from controlplane.mesh import peerauthentication as mesh_peers
from controlplane.model.peerauthentication import PeerAuthentication
from controlplane.model.problem import Problem
from controlplane.store import Fetch, Store


class Peers:
    """The modes of workloads, by their labels."""

    def __init__(self, store: Store, inputs: Inputs) -> None:
        self._inputs = inputs
        self.enforced = store.derive("EnforcedPeerAuthentications", inputs.peer_authentications, self._enforced)
        self._policies = Selecting(store, inputs, "PeerAuthentications", self.enforced)
        refusing = store.index("RefusingPeerAuthentications", self.enforced, _where_it_refuses)
        self._refusing = store.keys("RefusingNamespaces", refusing)
        self._matters_to_callers = store.query("PeersMatterToCallers", self._is_refusing)

    def of(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> tuple[guard.Peers, tuple[Problem, ...]]:
        """What a workload takes."""
        acting = sorted(self._policies.of(fetch, namespace, labels), key=_age)
        modes, problems = mesh_peers.modes(acting, namespace, settings_of(fetch, self._inputs))
        peers, more = mesh_peers.peers(modes, labels)
        return peers, (*problems, *more)

    def secured(self, fetch: Fetch, namespace: str, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Endpoints of a namespace, as they are to be called. Next to nothing while no policy says DISABLE there."""
        if not fetch(self._matters_to_callers, namespace):
            return endpoints
        return mesh_peers.secured(endpoints, lambda labels: self.of(fetch, namespace, labels)[0])

    def _enforced(self, fetch: Fetch, _: Key, policy: PeerAuthentication) -> PeerAuthentication | None:
        if settings_of(fetch, self._inputs).workload_certificates:
            return policy
        fetch.report(mesh_peers.unenforced(policy))
        return None

    def _is_refusing(self, fetch: Fetch, namespace: str) -> bool | None:
        """Whether some policy that may act in a namespace makes servers refuse mutual TLS."""
        homes = (*settings_of(fetch, self._inputs).root_namespaces, namespace)
        return any(fetch.has(self._refusing, home) for home in homes) or None


def _where_it_refuses(key: Key, policy: PeerAuthentication) -> Iterable[str]:
    return (key[0],) if mesh_peers.refuses(policy) else ()


def _age(policy: PeerAuthentication) -> tuple[bool, str, str, str]:
    """Oldest first; objects without age come last, by name."""
    meta = policy.meta
    born = meta.created.isoformat() if meta.created is not None else ""
    return (meta.created is None, born, meta.namespace, meta.name)
