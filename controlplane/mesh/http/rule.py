"""The rules of a VirtualService once delegation is carried out.

A root VirtualService can leave the routes under some match to another one, one level deep. The rules that come out
keep who wrote them: origins point at the delegate's own fields, and short names are completed with the delegate's
namespace.

A delegate that does not exist leaves a good match without an action: that match answers 500, and the root is told.
Merging follows Istio: the delegate's match must lie within the root's (a delegate's rule outside of it is dropped and
reported), and what the delegate does not say comes from the root.
"""

from collections.abc import Callable, Iterator

import msgspec

from controlplane.mesh.destinations import missing
from controlplane.mesh.http.merge import merged_matches, merged_rule
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.virtualservice import Delegate, HTTPRoute, VirtualService

DelegateLookup = Callable[[str, str], VirtualService | None]  # (namespace, name)


class Rule(msgspec.Struct, frozen=True):
    """One rule, who wrote it, and in which namespace its short names are read."""

    http: HTTPRoute
    origin: Origin
    namespace: str
    broken: bool = False  # good match, no usable action: answers 500


def rules_of(vs: VirtualService, delegate: DelegateLookup) -> tuple[tuple[Rule, ...], tuple[Problem, ...]]:
    """All rules in order."""
    spec = origin_of(vs, "spec")
    rules: list[Rule] = []
    problems: list[Problem] = []
    for index, http in enumerate(vs.spec.http):
        origin = spec.at(f"http[{index}]")
        if delegates(http):
            rules += _delegated(http, origin, vs.meta.namespace, delegate, problems)
        else:
            rules.append(Rule(http, origin, vs.meta.namespace))
    return tuple(rules), tuple(problems)


def delegates(http: HTTPRoute) -> bool:
    """A rule delegates only if it has no routes of its own."""
    return http.delegate is not None and not http.route and http.redirect is None and http.direct_response is None


def delegate_key(delegate: Delegate, namespace: str) -> tuple[str, str]:
    """(namespace, name) of the VirtualService a rule of `namespace` delegates to."""
    return delegate.namespace or namespace, delegate.name


def _delegated(
    root: HTTPRoute, origin: Origin, namespace: str, lookup: DelegateLookup, problems: list[Problem]
) -> Iterator[Rule]:
    assert root.delegate is not None
    key = delegate_key(root.delegate, namespace)
    vs = lookup(*key)
    refusal = _refusal(vs, key, origin.at("delegate"))
    if vs is None or refusal is not None:
        problems += (refusal,) if refusal is not None else ()
        yield Rule(root, origin, namespace, broken=True)
        return
    spec = origin_of(vs, "spec")
    for index, leaf in enumerate(vs.spec.http):
        yield from _leaf(root, leaf, spec.at(f"http[{index}]"), vs.meta.namespace, origin, problems)


def _refusal(vs: VirtualService | None, key: tuple[str, str], origin: Origin) -> Problem | None:
    if vs is None:
        return missing(origin, f"there is no VirtualService {key[0]}/{key[1]}; requests for it get 500")
    if vs.spec.hosts:
        text = f"VirtualService {key[0]}/{key[1]} has hosts, so it cannot be a delegate; requests for it get 500"
        return Problem("InvalidDelegate", Level.ERROR, origin, text)
    return None


def _leaf(  # noqa: PLR0913, PLR0917  both rules, and where each stands
    root: HTTPRoute, leaf: HTTPRoute, origin: Origin, namespace: str, root_origin: Origin, problems: list[Problem]
) -> Iterator[Rule]:
    matches = merged_matches(root.match, leaf.match)
    if matches is None:
        text = f"this rule matches nothing within what {root_origin} delegates, so it is left out"
        problems.append(Problem("DelegateConflict", Level.ERROR, origin.at("match"), text))
        return
    if delegates(leaf):
        text = "a delegate cannot delegate again; requests for this rule get 500"
        problems.append(Problem("InvalidDelegate", Level.ERROR, origin.at("delegate"), text))
    yield Rule(merged_rule(root, leaf, matches), origin, namespace, broken=delegates(leaf))
