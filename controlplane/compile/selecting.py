"""Policies by the workloads they select.

A namespace has hundreds of workloads, and each may have a policy of its own: one that changes must not wake the others.
So nobody reads "the policies of a namespace". A policy is filed under one label of its selector, which stands for all
of it, and is read by those who have that label.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

from controlplane.compile.inputs import Inputs, Key, Labels, settings_of
from controlplane.mesh.caller import has_labels
from controlplane.model.meta import Meta
from controlplane.model.selecting import PolicySelector
from controlplane.store import Collection, Fetch, Store

_ANYBODY: Final = ("", "")  # in place of a label: no selector, or one that cannot be read
_Place = tuple[str, str, str]  # (namespace of policies, one label of what they select)
_Wanted = tuple[int, str, Labels]  # (number of the kind, namespace of policies, all labels they select by)


class _Spec(Protocol):
    @property
    def selector(self) -> PolicySelector | None: ...


class Policy(Protocol):
    """What selects workloads by labels."""

    @property
    def meta(self) -> Meta: ...

    @property
    def spec(self) -> _Spec: ...


P = TypeVar("P", bound=Policy)


def selector_of(policy: Policy) -> Mapping[str, str]:
    """One that cannot be read selects all it may: nothing is open because of a mistake."""
    selector = policy.spec.selector
    return selector.match_labels if selector is not None and not selector.invalid else {}


class Selecting(Generic[P]):
    """The policies of one kind."""

    def __init__(self, store: Store, inputs: Inputs, name: str, policies: Collection[Key, P]) -> None:
        self._inputs = inputs
        self._by_label = store.index(f"{name}ByLabel", policies, _filed)

    def of(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> list[P]:
        """Those that select a workload, of the root namespaces and of its own."""
        places = _places(fetch, self._inputs, namespace, (_ANYBODY, *labels.items()))
        there = (policy for place in places for _, policy in fetch.values(self._by_label, place))
        return [policy for policy in there if has_labels(labels, selector_of(policy))]


class Selectors:
    """What policies of several kinds select by, whatever they say."""

    def __init__(self, store: Store, inputs: Inputs, *kinds: Collection[Key, Any]) -> None:
        self._inputs = inputs
        wanted = [
            store.keys(f"{kind.name}Selectors", store.index(f"{kind.name}BySelector", kind, _wanted_by(number)))
            for number, kind in enumerate(kinds)
        ]
        self._by_label = store.index("PolicySelectorsByLabel", store.union("PolicySelectors", *wanted), _one_label)

    def matched(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> Labels:
        """The labels of a workload by which some policy selects it."""
        found: set[tuple[str, str]] = set()
        for place in _places(fetch, self._inputs, namespace, labels.items()):
            for _, _, wanted in fetch.keys(self._by_label, place):
                if has_labels(labels, dict(wanted)):
                    found.update(wanted)
        return tuple(sorted(found))


def _places(fetch: Fetch, inputs: Inputs, namespace: str, labels: Iterable[tuple[str, str]]) -> Iterator[_Place]:
    listed = tuple(labels)
    for home in dict.fromkeys((*settings_of(fetch, inputs).root_namespaces, namespace)):
        for label in listed:
            yield (home, *label)


def _filed(key: Key, policy: Policy) -> Iterable[_Place]:
    return ((key[0], *min(selector_of(policy).items(), default=_ANYBODY)),)


def _wanted_by(number: int) -> Callable[[Key, Policy], Iterable[_Wanted]]:
    def wanted(key: Key, policy: Policy) -> Iterable[_Wanted]:
        labels = selector_of(policy)
        return ((number, key[0], tuple(sorted(labels.items()))),) if labels else ()

    return wanted


def _one_label(wanted: _Wanted, _: object) -> Iterable[_Place]:
    return ((wanted[1], *wanted[2][0]),)
