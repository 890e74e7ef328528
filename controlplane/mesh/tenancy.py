"""Whose rules act on whose calls.

In a shared mesh any namespace can write a rule about any host. Taken at its word, such a rule redirects other people's
traffic; Istio does take it at its word. Here a rule acts on everybody's calls to a host only if its own namespace
owns that host; otherwise it acts on the calls of its own namespace alone. The root namespaces own everything, and
`tenancy: istio` gives Istio's looser rule. One function decides, for all kinds.
"""

import msgspec

from controlplane.model.settings import Settings, Tenancy

EVERYONE = "*"
SAME_NAMESPACE = "."
NO_ONE = "~"


class Reach(msgspec.Struct, frozen=True):
    """The callers something acts on or is visible to, by namespace."""

    everyone: bool
    namespaces: frozenset[str] = frozenset()
    narrowed: bool = False  # tenancy took away callers that the object asks for

    def covers(self, caller_namespace: str) -> bool:
        """Whether callers of this namespace are among them; `""` stands for a namespace nobody names."""
        return self.everyone or caller_namespace in self.namespaces


TO_EVERYONE = Reach(everyone=True)


def exported(namespace: str, export_to: tuple[str, ...]) -> Reach:
    """What `exportTo` of an object in `namespace` says; empty means everyone."""
    if not export_to or EVERYONE in export_to:
        return TO_EVERYONE
    named = (namespace if entry == SAME_NAMESPACE else entry for entry in export_to if entry != NO_ONE)
    return Reach(everyone=False, namespaces=frozenset(named))


def both(first: Reach, second: Reach) -> Reach:
    """The callers that are in both."""
    if first.everyone:
        return second
    if second.everyone:
        return first
    return Reach(everyone=False, namespaces=first.namespaces & second.namespaces)


def reach(namespace: str, owner: str | None, export_to: tuple[str, ...], settings: Settings) -> Reach:
    """The callers on whose calls to a host a rule of `namespace` acts.

    `owner` is the namespace that owns the host, None when no object declares it.
    """
    asked = exported(namespace, export_to)
    if namespace == owner or namespace in settings.root_namespaces or settings.tenancy is Tenancy.ISTIO:
        return asked
    own = frozenset({namespace}) if asked.covers(namespace) else frozenset()
    narrowed = asked.everyone or not asked.namespaces <= own
    return Reach(everyone=False, namespaces=own, narrowed=narrowed)
