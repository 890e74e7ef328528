"""What one scope of proxies sees, as `xds` reads it.

`xds` must not know how scopes are made; `compile` must not know how streams are served. They meet here: a view is
the current content of one scope, and a change is what the last revision did to it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from controlplane.snapshot.resource import Ref, Resource


class Change(NamedTuple):
    """One resource before and after a revision; `None` is absence."""

    old: Resource | None
    new: Resource | None


# type URL -> resource name -> before and after. Only real changes: `old != new`.
Changes = Mapping[str, Mapping[str, Change]]


class View(Protocol):
    """The content of one scope at the current revision. Reading is cheap; nothing is copied.

    Route configurations are "headers": their virtual hosts are resources of their own, named
    `<route configuration>/<virtual host>`. `snapshot.routes` joins them where a whole one is needed.
    """

    @property
    def revision(self) -> int:
        """Grows with every published revision of the store, whether or not this scope changed."""
        ...

    def get(self, type_url: str, name: str) -> Resource | None:
        """The resource of this exact name, whether or not a wildcard subscription shows it."""
        ...

    def find(self, type_url: str, asked: str) -> Resource | None:
        """The resource a proxy means by `asked`: the name, or for a virtual host `<route config>/<authority>`."""
        ...

    def names(self, type_url: str) -> Iterable[str]:
        """The names a wildcard subscription shows, sorted."""
        ...

    def virtual_hosts(self, route: str) -> Iterable[str]:
        """Names of the virtual hosts of one route configuration, sorted."""
        ...

    def count(self, type_url: str) -> int:
        """How many names a wildcard subscription shows."""
        ...

    def shows(self, type_url: str, name: str) -> bool:
        """Whether a wildcard subscription shows a resource of this name; a rule, so it answers for absent names too."""
        ...

    def referrers(self, ref: Ref) -> Iterable[Ref]:
        """The resources of this view that name `ref`: what still needs a cluster that is gone."""
        ...

    @property
    def shared(self) -> "View":
        """What every proxy of the scope sees: one object for all of them, so that streams can share bytes by it."""
        ...

    def own(self, type_url: str) -> Collection[str]:
        """The few names only this proxy sees, on top of `shared`; a name is shared or own, never both."""
        ...
