"""Whether watches told us everything.

Watches have lost events before (caches of API servers, proxies in between), and nothing in the protocol shows it: what
was lost stays wrong until it changes again. So now and then a list of names and versions is held against what we have,
while the watch goes on. An object is lost where the list has a version that we should have had before it began; or
where we were told nothing of a change by the time the watch had got to where the list was made.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from controlplane.model.problem import ObjectRef
from controlplane.sources.kubernetes.reflector import Reflector
from controlplane.sources.kubernetes.wire import Garbage, Head, Page, order, read_head


class Audit:
    """One list, held against one mirror."""

    def __init__(self, reflector: Reflector) -> None:
        """Begins where the watch is now."""
        self._reflector = reflector
        self._mirror = reflector.mirror
        self._lists = reflector.lists
        self._began = order(reflector.version)
        self._seen: set[ObjectRef] = set()
        self._lost: set[ObjectRef] = set()
        self._awaited: AbstractSet[ObjectRef] = frozenset()  # changed after we began and before the list was made
        self._made: int | None = None  # the version of the list; None: it is under way
        self._changed: set[ObjectRef] = set()
        self._told = self._mirror.note()

    def page(self, page: Page) -> Iterator[None]:
        """A part of the list; yields after each object, so that others get their turn."""
        for raw in page.items:
            try:
                self._compare(read_head(raw))
            except Garbage:
                continue
            yield
        if not page.token:
            self._made = order(page.version)
            self._awaited = (self._mirror.refs - self._seen) | self._changed

    def _compare(self, head: Head) -> None:
        ref = self._reflector.resource.ref(head.namespace, head.name)
        self._seen.add(ref)
        if self._mirror.version_of(ref) == head.version or ref in self._told:
            return
        (self._lost if order(head.version) <= self._began else self._changed).add(ref)

    def lost(self) -> AbstractSet[ObjectRef] | None:
        """What we were not told of; None while it is too early to say."""
        if self._reflector.lists != self._lists or self._began < 0:
            return frozenset()  # all was listed meanwhile
        if self._made is None or order(self._reflector.version) < self._made:
            return None
        return self._lost | (self._awaited - self._told)
