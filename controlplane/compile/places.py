"""For which hosts it matters where a caller stands.

Nearly all hosts have the same endpoints for everybody. Locality and node are asked about only where some rule, or the
Service itself, prefers what is near; a proxy that is singled out by its labels as well is asked about both at once.
"""

from typing import Final

from controlplane.compile.registry import Registry
from controlplane.compile.rules import Rules, Variants, example
from controlplane.ir.policy import DestinationPolicy
from controlplane.mesh import clusters as mesh_clusters
from controlplane.mesh.caller import Caller
from controlplane.store import Fetch, Store

ZONE: Final = "zone"
NODE: Final = "node"
LABELLED_ZONE: Final = "zone of labelled callers"
LABELLED_NODE: Final = "node of labelled callers"
_LABELLED: Final = {ZONE: LABELLED_ZONE, NODE: LABELLED_NODE}


class Places:
    """Hosts by what of a caller's place they look at."""

    def __init__(self, store: Store, registry: Registry, rules: Rules) -> None:
        self._registry = registry
        self._rules = rules
        self._sensitive = store.derive("PlaceSensitivity", rules.variants, self._sensitivity)
        self.by_place = store.index("HostsByPlace", self._sensitive, lambda _, kinds: kinds)
        self._asked = store.keys("PlacesAsked", self.by_place)

    def asked(self, fetch: Fetch, kind: str) -> bool:
        """Whether any host looks at this."""
        return fetch.has(self._asked, kind)

    def of(self, fetch: Fetch, host: str) -> tuple[str, ...]:
        """What a host looks at."""
        return fetch(self._sensitive, host) or ()

    def _sensitivity(self, fetch: Fetch, host: str, variants: Variants) -> tuple[str, ...] | None:
        service = fetch(self._registry.owners, host)
        if service is None or self._registry.concrete(fetch, service) is not None:
            return None
        zone, node = mesh_clusters.place_sensitivity(service, self._policies(fetch, host, variants))
        kinds = tuple(kind for kind, wanted in ((ZONE, zone), (NODE, node)) if wanted)
        return (*kinds, *(_LABELLED[kind] for kind in kinds if variants.selectors)) or None

    def _policies(self, fetch: Fetch, host: str, variants: Variants) -> list[DestinationPolicy]:
        """How the callers that differ treat a host."""
        if not variants.ruled:
            return [self._rules.unruled(fetch)]
        namespaces = ("", *sorted(variants.policy))
        callers = [Caller(namespace) for namespace in namespaces]
        for its_namespace, labels in sorted(variants.selectors):
            known = dict(example(labels))
            callers += [Caller(its_namespace or namespace, known) for namespace in namespaces]
        return [self._rules.policy(fetch, host, caller) for caller in callers]
